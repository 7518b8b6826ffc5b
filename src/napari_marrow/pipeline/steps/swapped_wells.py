"""Wells that changed places between two sessions: looked for where a session does not fit its own past."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.imaging import Transform, match_wells, register_sessions, small_plane
from napari_marrow.pipeline.step import Context
from napari_marrow.pipeline.steps.frames import fit_frames

if TYPE_CHECKING:
    from napari_marrow.pipeline.recipe_sections import RegistrationSection
    from napari_marrow.study import SessionImage, Study

TABLE = "well_matches"
COLUMNS = {
    "position": "str", "session": "int32", "session_before": "int32", "channel": "str", "looks_like": "str",
    "correlation": "float64", "residual": "float64", "mutual": "bool",
}  # fmt: skip
"""Of the table `well_matches`: wells whose images fit the past of another."""


class Pictures(Protocol):
    """A session of a position whose pixels can be read."""

    image: SessionImage
    channels: list[str]

    def read(self, t: int, channel: str | None = None) -> npt.NDArray[Any]:
        """Return a channel of a frame, (Z, Y, X)."""
        ...


@dataclass(frozen=True)
class SwappedWell:
    """A well of a session whose images fit the past of another well.

    Attributes
    ----------
    position : str
    session, session_before : int
    channel : str
        What they were compared in.
    looks_like : str
        The other position.
    correlation : float
    residual : float, µm
    mutual : bool
        Whether that one fits this one's past in turn.
    """

    position: str
    session: int
    session_before: int
    channel: str
    looks_like: str
    correlation: float
    residual: float
    mutual: bool

    def __str__(self) -> str:
        fits = (
            f"{self.position} in session {self.session} does not fit its own session {self.session_before}; it fits "
            f"that of {self.looks_like} ({self.channel}, correlation {self.correlation:.2f}, residual "
            f"{self.residual:.1f} µm)"
        )
        both = f", and {self.looks_like} fits that of {self.position}: the two were probably swapped"
        return f"{fits}{both if self.mutual else ''}. Nothing was re-assigned: check the plate and the names of files."


@dataclass(frozen=True)
class _Group:
    """Wells of one session that do not fit their own past, and what they are compared with."""

    session: int
    refused: tuple[str, ...]
    before: dict[str, int]
    channel: str
    spacing: tuple[float, float]


class WellComparison:
    """Compares sessions with the past of their own and of other wells.

    Parameters
    ----------
    study : Study
    context : Context
        With the key of *quality*: frames that are blank, repeated or blurred are not compared.
    open_session : callable
        Returns the pictures of a position and session.
    check : callable, optional
        Called before each comparison; may raise to end it.
    """

    def __init__(
        self,
        study: Study,
        context: Context,
        open_session: Callable[[str, int], Pictures],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._study, self._context, self._open, self._check = study, context, cache(open_session), check
        self._section: RegistrationSection = context.recipe.registration

    def own(self, position: str, session: int) -> tuple[Transform, str] | None:
        """Place a session on the one before it; None where there is none, or none in the same channel and scale."""
        group = self._group(session, [position])
        if group is None:
            return None
        before = self._plane(position, group.before[position], group.channel, last=True)
        after = self._plane(position, session, group.channel, last=False)
        return register_sessions(before, after, spacing=group.spacing, **self._limits()), group.channel

    def swapped(self, session: int, refused: Sequence[str], most_pairs: int) -> list[SwappedWell]:
        """Return the wells of a session that fit another's past, among those that do not fit their own."""
        group = self._group(session, refused)
        if group is None or len(group.before) < 2:
            return []
        before = {
            p: self._plane(p, earlier, group.channel, last=True)
            for p, earlier in self._nearest(group, most_pairs).items()
        }
        after = {p: self._plane(p, session, group.channel, last=False) for p in group.refused}
        matches = match_wells(
            before, after, spacing=group.spacing, refused=refused, most_pairs=most_pairs, check=self._check,
            **self._limits(),
        )  # fmt: skip
        return [
            SwappedWell(
                m.well, session, group.before[m.well], group.channel, m.looks_like, m.correlation, m.residual, m.mutual
            )
            for m in matches
        ]

    def _limits(self) -> dict[str, Any]:
        section = self._section
        kind = "rigid" if section.between_sessions == "none" else section.between_sessions
        return {"kind": kind, "max_shift_um": section.max_shift_um, "max_angle_deg": section.max_angle_deg}

    def _nearest(self, group: _Group, most_pairs: int) -> dict[str, int]:
        """Return the wells whose past is looked at: those that are refused first, not more than can be compared."""
        order = sorted(group.before, key=lambda p: (p not in group.refused, p))
        return {p: group.before[p] for p in order[: max(2, most_pairs // len(group.refused) + 1)]}

    def _group(self, session: int, refused: Sequence[str]) -> _Group | None:
        """Return what can be compared: the best channel that most of the wells hold, in one pixel size."""
        earlier = {p: [s for s in self._study.sessions(p) if s < session] for p in self._study.positions}
        before = {p: self._open(p, numbers[-1]) for p, numbers in earlier.items() if numbers}
        after = {p: self._open(p, session) for p in refused if p in before}
        names = [name for name in self._section.channels if any(name in s.channels for s in after.values())]
        for channel in names:
            able = [p for p, s in after.items() if channel in s.channels]
            scale = after[able[0]].image.spacing
            shape = after[able[0]].image.shape[3:]
            pasts = {
                p: earlier[p][-1]
                for p, s in before.items()
                if channel in s.channels and s.image.spacing == scale and s.image.shape[3:] == shape
            }
            able = [p for p in able if p in pasts and after[p].image.spacing == scale]
            if able:
                return _Group(session, tuple(able), pasts, channel, self._pitch(after[able[0]]))
        return None

    @staticmethod
    def _pitch(session: Pictures) -> tuple[float, float]:
        step = (float(session.image.spacing[1]), float(session.image.spacing[2]))
        return small_plane(np.zeros(session.image.shape[3:], np.float32), step)[1]

    def _plane(self, position: str, session: int, channel: str, *, last: bool) -> npt.NDArray[np.float32]:
        """Return the last or first fit frame of a session, small enough to hold those of a plate."""
        self._check()
        pictures = self._open(position, session)
        t = fit_frames(self._study, position, session, self._context)[-1 if last else 0]
        step = (float(pictures.image.spacing[1]), float(pictures.image.spacing[2]))
        return small_plane(pictures.read(t, channel).max(axis=0), step)[0]


def as_table(found: Iterable[SwappedWell]) -> pd.DataFrame:
    """Return the table `well_matches`."""
    rows = [asdict(well) for well in found]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({k: v for k, v in COLUMNS.items() if v != "str"})


def from_table(table: pd.DataFrame) -> list[SwappedWell]:
    """Return the wells that a table `well_matches` names."""
    return [
        SwappedWell(
            str(r["position"]), int(r["session"]), int(r["session_before"]), str(r["channel"]), str(r["looks_like"]),
            float(r["correlation"]), float(r["residual"]), bool(r["mutual"]),
        )
        for r in table.to_dict("records")
    ]  # fmt: skip
