"""Settings of cell tracking: everything that is not learned from the data."""

from __future__ import annotations

from dataclasses import dataclass

from napari_marrow.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Settings of `track_points`; the defaults serve every data set, because costs are learned.

    Attributes
    ----------
    max_gap : int
        A cell may stay unseen for ``max_gap - 1`` frames and still be linked (1 to 10).
    candidates : int
        Nearest detections of the next frame that compete for a cell (2 to 20).
    rounds : int
        Rounds of learning and solving (1 to 8); in the first half only the past of a cell counts.
    divisions : bool
        Whether cells may divide.
    second_order : bool
        Whether a cell's own velocity and speed enter (off: displacement only).
    appearance : bool
        Whether area and further features enter.
    blobs : bool
        Whether a detection may hold two cells.
    drift : bool
        Whether shifts of the whole field from frame to frame are removed first.
    features : tuple of str or None
        Feature columns to use; None takes every numeric measurement column (see `points.feature_columns`).
    search_radius : float or None
        Largest displacement between two frames in the unit of the coordinates; None learns it.
    division_rate : float
        Starting value of the learned rate of divisions per cell and frame (0 to 0.2).
    """

    max_gap: int = 3
    candidates: int = 6
    rounds: int = 4
    divisions: bool = True
    second_order: bool = True
    appearance: bool = True
    blobs: bool = True
    drift: bool = True
    features: tuple[str, ...] | None = None
    search_radius: float | None = None
    division_rate: float = 0.003

    def __post_init__(self) -> None:
        for name, low, high in (("max_gap", 1, 10), ("candidates", 2, 20), ("rounds", 1, 8)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"Tracking setting {name} is {value}: give a whole number from {low} to {high}.")
        if self.search_radius is not None and not self.search_radius > 0:
            raise SettingsError(f"Tracking setting search_radius is {self.search_radius}: give a length above 0.")
        if not 0 < self.division_rate <= 0.2:
            raise SettingsError(
                f"Tracking setting division_rate is {self.division_rate}: give a number above 0 and at most 0.2."
            )
