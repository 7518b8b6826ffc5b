"""The filter that all plots share: condition, organoid and session."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QWidget

from napari_marrow.gui.charts import Subset


class SharedSubset(QObject):
    """What part of the study every plot shows.

    Signals
    -------
    changed
        Another part was chosen.
    choices_changed
        Another study has other conditions, organoids or sessions.
    """

    changed = Signal()
    choices_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.subset = Subset()
        self.choices: tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]] = ((), (), ())

    def choose(self, subset: Subset) -> None:
        """Show another part."""
        if subset != self.subset:
            self.subset = subset
            self.changed.emit()

    def set_choices(self, conditions: Sequence[str], organoids: Sequence[str], sessions: Sequence[int]) -> None:
        """Offer what a study holds; what was chosen and is not there is given up."""
        choices = tuple(conditions), tuple(organoids), tuple(sessions)
        if choices == self.choices:
            return
        self.choices = choices
        self.choices_changed.emit()
        old = self.subset
        self.choose(
            Subset(
                old.condition if old.condition in conditions else "",
                old.organoid if old.organoid in organoids else "",
                old.session if old.session in sessions else None,
            )
        )


class SubsetBar(QWidget):
    """Three lists in a row, the same in every dock.

    Parameters
    ----------
    shared : SharedSubset
    """

    def __init__(self, shared: SharedSubset) -> None:
        super().__init__()
        self._shared = shared
        self.condition, self.organoid, self.session = QComboBox(), QComboBox(), QComboBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box, told in (
            (self.condition, "Condition that the plots show."),
            (self.organoid, "Organoid that the plots show; the organoid is the unit of every mean and interval."),
            (self.session, "Session that the plots show; plots that can tell one session only show that on display."),
        ):
            box.setToolTip(f"{told} Shared by Lineage and Niche.")
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(6)
            box.activated.connect(self._on_chosen)
            layout.addWidget(box, 1)
        shared.choices_changed.connect(self._offer)
        shared.changed.connect(self._follow)
        self._offer()

    def _offer(self) -> None:
        names = ("Condition", "Organoid", "Session")
        for box, name, values in zip(
            (self.condition, self.organoid, self.session), names, self._shared.choices, strict=True
        ):
            box.clear()
            box.addItem(name, None)
            for value in values:
                box.addItem(str(value), value)
        self._follow()

    def _follow(self) -> None:
        subset = self._shared.subset
        for box, value in (
            (self.condition, subset.condition or None),
            (self.organoid, subset.organoid or None),
            (self.session, subset.session),
        ):
            box.setCurrentIndex(max(0, box.findData(value)))

    def _on_chosen(self) -> None:
        self._shared.choose(
            Subset(self.condition.currentData() or "", self.organoid.currentData() or "", self.session.currentData())
        )
