"""One small editor per kind of recipe field: each has `value`, `set_value` and the signal `changed`."""

from __future__ import annotations

import json
import math
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
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
            self._spin.setValue(10)  # a start for whoever sets the tick
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


class TextEditor(Editor):
    """A line of text; lists of names and numbers stand in it separated by commas, anything else as JSON."""

    def __init__(self, field: FormField) -> None:
        super().__init__(field)
        self._line = QLineEdit()
        if field.optional:
            self._line.setPlaceholderText("automatic")
        self._line.textChanged.connect(self.changed)
        self._row.addWidget(self._line, 1)
        if field.unit:
            self._row.addWidget(QLabel(field.unit))

    def value(self) -> Any:
        """Return what is shown; what is no number, or no JSON, as the text that it is: the recipe's check names it."""
        text = self._line.text().strip()
        if self.field.optional and not text:
            return None
        parts = [part.strip() for part in text.split(",") if part.strip()]
        match self.field.kind:
            case "list":
                return parts
            case "numbers":
                return [_number(part) for part in parts]
            case "json":
                try:
                    return json.loads(text)
                except json.JSONDecodeError:
                    return text
        return text

    def set_value(self, value: Any) -> None:
        """Show a value."""
        match self.field.kind:
            case "list":
                text = ", ".join(value)
            case "numbers":
                text = ", ".join(f"{number:g}" for number in value)
            case "json":
                text = json.dumps(value)
            case _:
                text = "" if value is None else str(value)
        self._line.setText(text)
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


class ValuesEditor(MappingEditor):
    """Names and a number for each, a line each: ``megakaryocyte: 12``."""

    def value(self) -> dict[str, Any]:
        """Return what is shown; what is no number stays text, which the recipe refuses with a sentence."""
        return {name: _number(content) for name, content in super().value().items()}

    def set_value(self, value: Any) -> None:
        """Show a value."""
        super().set_value({name: f"{number:g}" for name, number in value.items()})


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def make_editor(field: FormField) -> Editor:
    """Return the editor of a field, showing its default."""
    kinds: dict[str, type[Editor]] = {
        "bool": BoolEditor,
        "int": NumberEditor,
        "float": NumberEditor,
        "text": TextEditor,
        "list": TextEditor,
        "numbers": TextEditor,
        "json": TextEditor,
        "choice": ChoiceEditor,
        "mapping": MappingEditor,
        "values": ValuesEditor,
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
    size = abs(float(field.default)) if field.default else 1.0
    return float(10.0 ** math.floor(math.log10(size)) / 2 if size < 1 else 10.0 ** math.floor(math.log10(size)) / 10)
