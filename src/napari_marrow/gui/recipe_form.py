"""The recipe as a form: a collapsible section per step, an editor per parameter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_marrow.errors import MarrowError
from napari_marrow.gui.editors import Editor, make_editor
from napari_marrow.gui.plot_style import ThemeFollower, symbol_icon
from napari_marrow.gui.recipe_fields import FormSection, form_sections
from napari_marrow.gui.recipe_text import as_command, as_python
from napari_marrow.pipeline.preferences import preferred_recipe
from napari_marrow.pipeline.recipe import Recipe, dump_recipe, load_recipe, parse_recipe


class RecipeForm(QWidget):
    """Shows and edits a recipe.

    Attributes
    ----------
    study : Path
        Named where the recipe is copied as a command or as Python.

    Signals
    -------
    changed
        Some parameter was changed.
    refused : str
        A file could not be read or written; the sentence says why.
    """

    changed = Signal()
    refused = Signal(str)

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__()
        self._editors: dict[tuple[str, str], Editor] = {}
        self.study = Path("study.marrow")
        sections = QWidget()
        column = QVBoxLayout(sections)
        column.setContentsMargins(0, 0, 6, 0)
        column.setSpacing(2)
        self.sections = [self._section(section) for section in form_sections()]
        for section in self.sections:
            column.addWidget(section)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(sections)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addLayout(self._buttons())
        layout.addWidget(scroll, 1)
        self.set_recipe(recipe or preferred_recipe())
        self._wear_theme()
        ThemeFollower(self).changed.connect(self._wear_theme)

    def _wear_theme(self) -> None:
        """Draw the sections' arrows in the text's colour; superqt draws them black in every theme."""
        closed, opened = symbol_icon("▶"), symbol_icon("▼")
        for section in self.sections:
            section.setCollapsedIcon(closed)
            section.setExpandedIcon(opened)

    def recipe(self) -> Recipe:
        """Return the recipe that is shown.

        Raises
        ------
        RecipeError
            If a value does not fit; the sentence names it.
        """
        content: dict[str, Any] = {}
        for (section, name), editor in self._editors.items():
            target = content.setdefault(section, {}) if section else content
            target[name] = editor.value()
        return parse_recipe(content, source="form")

    def set_recipe(self, recipe: Recipe) -> None:
        """Show a recipe."""
        for (section, name), editor in self._editors.items():
            editor.set_value(getattr(getattr(recipe, section) if section else recipe, name))

    def set_defaults(self, *_: Any) -> None:
        """Show every default, on the preferred device."""
        self.set_recipe(preferred_recipe())

    def editor(self, section: str, name: str) -> Editor:
        """Return the editor of a parameter."""
        return self._editors[section, name]

    def load(self, path: Path | str) -> None:
        """Show a recipe file; what cannot be read is refused with a sentence and changes nothing."""
        try:
            self.set_recipe(load_recipe(path))
        except MarrowError as error:
            self.refused.emit(str(error))

    def save(self, path: Path | str) -> None:
        """Write the shown recipe as the YAML that `marrow run --recipe` takes."""
        try:
            Path(path).write_text(dump_recipe(self.recipe()), encoding="utf-8")
        except (MarrowError, OSError) as error:
            self.refused.emit(f"The recipe was not saved: {error}.".replace("..", "."))

    def _section(self, section: FormSection) -> QCollapsible:
        collapsible = QCollapsible(section.title)
        collapsible.setDuration(120)
        collapsible.setToolTip(section.description)
        collapsible.layout().setContentsMargins(0, 0, 0, 0)
        content = QWidget()
        form = QFormLayout(content)
        form.setContentsMargins(8, 0, 0, 4)
        form.setVerticalSpacing(3)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for field in section.fields:
            editor = make_editor(field)
            editor.changed.connect(self.changed)
            self._editors[field.section, field.name] = editor
            label = QLabel(field.label)
            label.setToolTip(field.tooltip)
            form.addRow(label, editor)
        collapsible.addWidget(content)
        return collapsible

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        for text, tip, action in (
            ("Load...", "Load a recipe file (YAML).", self._ask_load),
            ("Save...", "Save the recipe as the file that `marrow run --recipe` takes.", self._ask_save),
            ("Defaults", "Show every default again.", self.set_defaults),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(action)
            row.addWidget(button)
        copy = QPushButton("Copy")
        copy.setToolTip("Copy what Run does, to be run elsewhere with the same result.")
        menu = QMenu(copy)
        for text, make in (("Copy as command", as_command), ("Copy as Python", as_python)):
            action = menu.addAction(text)
            assert action is not None
            action.triggered.connect(partial(self.copy, make))
        copy.setMenu(menu)
        row.addWidget(copy)
        return row

    def copy(self, make: Callable[[Path, Recipe], str], *_: Any) -> None:
        """Put the recipe onto the clipboard as `make` writes it; what does not fit is refused with a sentence."""
        try:
            text = make(self.study, self.recipe())
        except MarrowError as error:
            self.refused.emit(str(error))
            return
        clipboard = QGuiApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)

    def _ask_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a recipe", "", "Recipes (*.yaml *.yml)")
        if path:
            self.load(path)

    def _ask_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the recipe", "recipe.yaml", "Recipes (*.yaml *.yml)")
        if path:
            self.save(path)
