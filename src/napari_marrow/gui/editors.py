"""One small editor per kind of recipe field: each has `value`, `set_value` and the signal `changed`."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QSpinBox,
    QWidget,
)

from napari_marrow.gui.recipe_fields import FormField

_INT_MAX = 2**31 - 1


class Editor(QWidget):
    """Base of all editors."""

    changed = Signal()

    def __init__(self, field: FormField) -> None:
        super().__init__()
        self.field = field
        self.setToolTip(field.tooltip)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        self._row = row

    def value(self) -> Any:
        """Return what the recipe takes."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value of the recipe."""
        raise NotImplementedError


class BoolEditor(Editor):
    """A tick."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._box = QCheckBox()
        self._box.toggled.connect(self.changed)
        self._row.addWidget(self._box)
        self._row.addStretch()

    def value(self) -> bool:
        """Return what is shown."""
        return bool(self._box.isChecked())

    def set_value(self, value: Any) -> None:
        """Show a value."""
        self._box.setChecked(bool(value))


class NumberEditor(Editor):
    """A number with its unit; an optional one has a tick, without which it is left to the program."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._spin = _spin_box(field)
        self._tick = QCheckBox("set") if field.optional else None
        if self._tick is not None:
            self._tick.setToolTip("Without the tick the value is estimated.")
            self._tick.toggled.connect(self._spin.setEnabled)
            self._tick.toggled.connect(self.changed)
            self._spin.setEnabled(False)
            self._row.addWidget(self._tick)
        self._spin.valueChanged.connect(self.changed)
        self._row.addWidget(self._spin, 1)

    def value(self) -> float | int | None:
        """Return what is shown."""
        if self._tick is not None and not self._tick.isChecked():
            return None
        number = self._spin.value()
        return int(number) if self.field.kind == "int" else float(number)

    def set_value(self, value: Any) -> None:
        """Show a value."""
        if self._tick is not None:
            self._tick.setChecked(value is not None)
        if value is not None:
            self._spin.setValue(value)


class PairEditor(Editor):
    """Two numbers, smallest and largest."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._spins = (_spin_box(field), _spin_box(field))
        for spin in self._spins:
            spin.valueChanged.connect(self.changed)
            self._row.addWidget(spin, 1)

    def value(self) -> tuple[float, float]:
        """Return what is shown."""
        return float(self._spins[0].value()), float(self._spins[1].value())

    def set_value(self, value: Any) -> None:
        """Show a value."""
        for spin, number in zip(self._spins, value, strict=True):
            spin.setValue(number)


class TextEditor(Editor):
    """A line of text, or a list of names separated by commas."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._line = QLineEdit()
        if field.optional:
            self._line.setPlaceholderText("automatic")
        self._line.textChanged.connect(self.changed)
        self._row.addWidget(self._line, 1)

    def value(self) -> str | list[str] | None:
        """Return what is shown."""
        text = self._line.text().strip()
        if self.field.kind == "list":
            return [part.strip() for part in text.split(",") if part.strip()]
        return None if self.field.optional and not text else text

    def set_value(self, value: Any) -> None:
        """Show a value."""
        if self.field.kind == "list":
            value = ", ".join(value)
        self._line.setText("" if value is None else str(value))
        self._line.setCursorPosition(0)


class ChoiceEditor(Editor):
    """One of a few."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._combo = QComboBox()
        for choice in field.choices:
            self._combo.addItem(str(choice), choice)
        self._combo.currentIndexChanged.connect(self.changed)
        self._row.addWidget(self._combo, 1)

    def value(self) -> Any:
        """Return what is shown."""
        return self._combo.currentData()

    def set_value(self, value: Any) -> None:
        """Show a value."""
        self._combo.setCurrentIndex(self._combo.findData(value))


class MappingEditor(Editor):
    """Names and what each stands for, a line each: ``erythroid: CD235a``."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._text = QPlainTextEdit()
        self._text.setFixedHeight(72)
        self._text.textChanged.connect(self.changed)
        self._row.addWidget(self._text, 1)

    def value(self) -> dict[str, str]:
        """Return what is shown."""
        lines = [line.partition(":") for line in self._text.toPlainText().splitlines() if line.strip()]
        return {name.strip(): value.strip() for name, _, value in lines}

    def set_value(self, value: Any) -> None:
        """Show a value."""
        self._text.setPlainText("\n".join(f"{name}: {content}" for name, content in value.items()))


def make_editor(field: FormField) -> Editor:
    """Return the editor of a field, showing its default."""
    kinds: dict[str, type[Editor]] = {
        "bool": BoolEditor,
        "int": NumberEditor,
        "float": NumberEditor,
        "pair": PairEditor,
        "text": TextEditor,
        "list": TextEditor,
        "choice": ChoiceEditor,
        "mapping": MappingEditor,
    }
    editor = kinds[field.kind](field)
    editor.set_value(field.default)
    return editor


class _CalmSpinBox(QSpinBox):
    """Leaves the wheel to the form that is being scrolled."""

    def wheelEvent(self, event: Any) -> None:  # noqa: N802
        """Leave the wheel to the parent."""
        event.ignore()


class _CalmDoubleSpinBox(QDoubleSpinBox):
    """Keeps six decimals but shows only those that say something."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(6)

    def wheelEvent(self, event: Any) -> None:  # noqa: N802
        """Leave the wheel to the parent."""
        event.ignore()

    def textFromValue(self, value: float) -> str:  # noqa: N802
        """Return the number without trailing zeros."""
        text = f"{value:.6f}".rstrip("0").rstrip(".")
        return text.replace(".", self.locale().decimalPoint())


def _spin_box(field: FormField) -> Any:
    spin = _int_spin_box(field) if field.kind == "int" else _float_spin_box(field)
    if field.unit:
        spin.setSuffix(f" {field.unit}")
    spin.setMinimumWidth(60)
    return spin


def _int_spin_box(field: FormField) -> Any:
    if field.maximum is not None and field.maximum > _INT_MAX:
        from superqt import QLargeIntSpinBox

        spin: Any = QLargeIntSpinBox()
    else:
        spin = _CalmSpinBox()
    low = int(field.minimum if field.minimum is not None else -_INT_MAX) + field.above
    high = int(field.maximum if field.maximum is not None else _INT_MAX) - field.below
    spin.setRange(low, high)
    return spin


def _float_spin_box(field: FormField) -> QDoubleSpinBox:
    spin = _CalmDoubleSpinBox()
    least = 10.0 ** -spin.decimals()
    low = -1e9 if field.minimum is None else field.minimum + least * field.above
    high = 1e9 if field.maximum is None else field.maximum - least * field.below
    spin.setRange(low, high)
    spin.setSingleStep(_step(field))
    return spin


def _step(field: FormField) -> float:
    size = field.default[0] if isinstance(field.default, tuple) else field.default
    size = abs(float(size)) if isinstance(size, int | float) and size else 1.0
    return float(10.0 ** math.floor(math.log10(size)) / 2 if size < 1 else 10.0 ** math.floor(math.log10(size)) / 10)
