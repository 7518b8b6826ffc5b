"""Which study, position and session is on display."""

from __future__ import annotations

import hashlib

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_marrow.gui.study_reader import Contents


class PlacePicker(QWidget):
    """Opens studies and picks a session of a position.

    Signals
    -------
    sample_asked, study_asked, import_asked
        A button was pressed.
    picked : (str, int)
        Position and session were chosen by the user.
    """

    sample_asked = Signal()
    study_asked = Signal()
    import_asked = Signal()
    picked = Signal(str, int)

    def __init__(self) -> None:
        super().__init__()
        self._contents: Contents | None = None
        self._blinded = False
        self.sample_button = QPushButton("Open sample")
        self.sample_button.setToolTip(
            "Tutorial study of two simulated organoids; made on this computer the first time."
        )
        self.sample_button.clicked.connect(self.sample_asked)
        self.study_button = QPushButton("Open study...")
        self.study_button.setToolTip("Open a *.marrow folder.")
        self.study_button.clicked.connect(self.study_asked)
        self.import_button = QPushButton("Import...")
        self.import_button.setToolTip("Make a study of microscope files, or add a session to one; with a preview.")
        self.import_button.clicked.connect(self.import_asked)
        self.title = QLabel("No study is open.")
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.position = QComboBox()
        self.session = QComboBox()
        for combo in (self.position, self.session):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setEnabled(False)
        self.position.currentIndexChanged.connect(self._on_position)
        self.session.currentIndexChanged.connect(self._on_session)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(4)
        buttons = QHBoxLayout()
        for button in (self.sample_button, self.study_button, self.import_button):
            buttons.addWidget(button)
        grid.addLayout(buttons, 0, 0, 1, 3)
        grid.addWidget(self.title, 1, 0, 1, 3)
        grid.addWidget(QLabel("Position"), 2, 0)
        grid.addWidget(self.position, 2, 1, 1, 2)
        grid.addWidget(QLabel("Session"), 3, 0)
        grid.addWidget(self.session, 3, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 2)

    def set_contents(self, contents: Contents, position: str, session: int) -> None:
        """Offer the positions and sessions of a study, and show one of them as picked."""
        self._contents = contents
        self.title.setText("<b>blinded study</b>" if self._blinded else f"<b>{contents.name}</b>")
        self.title.setToolTip("" if self._blinded else str(contents.path))
        self._fill_positions(position)
        self._fill_sessions(position, session)

    def place(self) -> tuple[str, int] | None:
        """Return the picked position and session."""
        if self.position.currentData() is None or self.session.currentData() is None:
            return None
        return self.position.currentData(), self.session.currentData()

    def set_blinded(self, blinded: bool) -> None:
        """Hide names and conditions of the positions, and shuffle them; or show them again."""
        self._blinded = blinded
        place = self.place()
        if self._contents is not None and place is not None:
            self.set_contents(self._contents, *place)

    @property
    def blinded(self) -> bool:
        """Whether names and conditions are hidden."""
        return self._blinded

    def name_of(self, position: str) -> str:
        """Return what a position is called on display: its name, or a number in random order where it is hidden."""
        if not self._blinded or self._contents is None:
            return position
        return f"Organoid {self._shuffled().index(position) + 1}"

    def _shuffled(self) -> list[str]:
        """Return the positions in an order that is random, and the same whenever the study is blinded."""
        assert self._contents is not None
        seed = hashlib.sha256(f"blinded {self._contents.name}".encode()).digest()
        return sorted(self._contents.positions(), key=lambda name: hashlib.sha256(seed + name.encode()).digest())

    def set_busy(self, busy: bool) -> None:
        """Keep from opening another study while a job works on this one."""
        self.sample_button.setEnabled(not busy)
        self.study_button.setEnabled(not busy)
        self.import_button.setEnabled(not busy)

    def _fill_positions(self, chosen: str) -> None:
        assert self._contents is not None
        self.position.blockSignals(True)
        self.position.clear()
        for name in self._shuffled() if self._blinded else self._contents.positions():
            about = "" if self._blinded else self._contents.organoids.get(name)
            shown = self.name_of(name)
            self.position.addItem(f"{shown}, {about}" if about else shown, name)
        self.position.setCurrentIndex(self.position.findData(chosen))
        self.position.setEnabled(True)
        self.position.blockSignals(False)

    def _fill_sessions(self, position: str, chosen: int) -> None:
        assert self._contents is not None
        self.session.blockSignals(True)
        self.session.clear()
        for place in self._contents.sessions(position):
            self.session.addItem(str(place), place.session)
        self.session.setCurrentIndex(max(0, self.session.findData(chosen)))
        self.session.setEnabled(True)
        self.session.blockSignals(False)

    def _on_position(self) -> None:
        position, session = self.position.currentData(), self.session.currentData()
        if position is not None:
            self._fill_sessions(position, session)
            self._on_session()

    def _on_session(self) -> None:
        place = self.place()
        if place is not None:
            self.picked.emit(*place)
