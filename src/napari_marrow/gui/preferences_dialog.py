"""What the user prefers on this machine; napari's own preferences take no values of plugins."""

from __future__ import annotations

from typing import get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_marrow.errors import MarrowError
from napari_marrow.gui.sentences import sentence
from napari_marrow.pipeline.preferences import (
    Preferences,
    preferences,
    preferences_path,
    write_preferences,
)

_FIELDS = Preferences.model_fields


class PreferencesDialog(QDialog):
    """Shows the preferences and keeps what is changed.

    Parameters
    ----------
    parent : QWidget, optional

    Signals
    -------
    kept : Preferences
        They were changed and are in the user's file.
    """

    kept = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Preferences of Marrow")
        found, problem = preferences()
        self.device = QComboBox()
        self.device.addItems(list(get_args(_FIELDS["device"].annotation)))
        self.threads = QSpinBox()
        self.threads.setRange(0, 1024)
        self.threads.setSpecialValueText("all cores")
        self.cache = QLineEdit()
        self.cache.setMaxLength(4096)
        self.cache.setPlaceholderText("the system's folder for caches")
        self.cache_button = QPushButton("Choose...")
        self.said = QLabel(problem)
        self.said.setWordWrap(True)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok
            | QDialogButtonBox.StandardButton.Cancel
            | QDialogButtonBox.StandardButton.RestoreDefaults
        )
        self._lay_out()
        self.cache_button.clicked.connect(self._ask_folder)
        self.buttons.accepted.connect(self._keep)
        self.buttons.rejected.connect(self.reject)
        self.buttons.button(QDialogButtonBox.StandardButton.RestoreDefaults).clicked.connect(self._show_defaults)
        self.show_preferences(found)

    def _lay_out(self) -> None:
        form = QFormLayout()
        folder = QHBoxLayout()
        folder.addWidget(self.cache, 1)
        folder.addWidget(self.cache_button)
        for name, title, widget, row in (
            ("device", "Device", self.device, self.device),
            ("threads", "Cores", self.threads, self.threads),
            ("cache", "Cache", self.cache, folder),
        ):
            widget.setToolTip(str(_FIELDS[name].description))
            form.addRow(title, row)
        about = QLabel(
            "Defaults of this machine, in the window and on the command line: a recipe, an option or an environment "
            f"variable goes before them. They are kept in {preferences_path()}."
        )
        about.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(about)
        layout.addLayout(form)
        layout.addWidget(self.said)
        layout.addWidget(self.buttons)
        self.resize(460, 240)

    def show_preferences(self, wanted: Preferences) -> None:
        """Show preferences, without keeping them."""
        self.device.setCurrentText(wanted.device)
        self.threads.setValue(wanted.threads or 0)
        self.cache.setText(wanted.cache or "")

    def shown(self) -> Preferences:
        """Return what is shown."""
        return Preferences(
            device=self.device.currentText(),
            threads=self.threads.value() or None,
            cache=self.cache.text().strip() or None,
        )

    def _show_defaults(self, *_: object) -> None:
        self.show_preferences(Preferences())

    def _ask_folder(self, *_: object) -> None:
        path = QFileDialog.getExistingDirectory(self, "Cache folder", self.cache.text())
        if path:
            self.cache.setText(path)

    def _keep(self) -> None:
        wanted = self.shown()
        try:
            write_preferences(wanted)
        except MarrowError as error:
            self.said.setText(sentence(error))
            return
        self.kept.emit(wanted)
        self.accept()
