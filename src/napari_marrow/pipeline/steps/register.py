"""Step *register*: where the sample went between frames and between sessions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.imaging import DriftTracker, Transform, register_sessions
from napari_marrow.imaging.wells import MOST_PAIRS
from napari_marrow.pipeline.recipe import Recipe, digest
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, inventory, session_units
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.pipeline.steps.frames import fit_frames, unfit_note
from napari_marrow.pipeline.steps.swapped_wells import TABLE as WELL_MATCHES
from napari_marrow.pipeline.steps.swapped_wells import SwappedWell, WellComparison, as_table, from_table
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import TRANSFORMS

if TYPE_CHECKING:
    from napari_marrow.study import Study


class RegisterStep(Step):
    """Estimate drift within a session and the remounting between sessions; pixels are never resampled."""

    name = "register"
    title = "Registering"
    version = 4
    reads = ("quality", "correct")
    tables = ("transforms", "well_matches")

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `registration`."""
        return recipe.registration.model_dump(mode="json")

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per session of a position."""
        return session_units(study)

    def chain(self, unit: Unit, context: Context) -> Hashable:
        """Return the position: a session is placed on the one before it."""
        return unit.position

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Place the session's first frame on the session before, and its other frames on its first."""
        session = CorrectedSession(study, unit.position, unit.session, context)
        drifts = _drift(session, context.recipe, cancel)
        to_reference = self._between(study, session, drifts, unit, context)
        rows = []
        for t, drift in enumerate(drifts):
            place = {"position": unit.position, "session": unit.session, "t": t, "time_h": session.image.times_h[t]}
            found = to_reference.compose(drift)
            rows.append({**place, **found.to_row(), "drift_residual": drift.residual})
        table = TRANSFORMS.conform(pd.DataFrame(rows))
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), table)
        return {"frames": len(table), "accepted": int(table["accepted"].sum())}

    def _between(
        self, study: Study, session: CorrectedSession, drifts: Sequence[Transform], unit: Unit, context: Context
    ) -> Transform:
        """Place a session's first frame on the last fit frame of an earlier one that is itself placed.

        The first fit frame is compared; its drift leads back to the first frame.
        """
        section = context.recipe.registration
        first = next((t for t in fit_frames(study, unit.position, unit.session, context) if drifts[t].accepted), 0)
        back = drifts[first].inverse()
        earlier = [s for s in study.sessions(unit.position) if s < unit.session]
        if not earlier or section.between_sessions == "none":
            return Transform()
        last_known = Transform()
        for before, channel in self._references(study, session, unit, context, earlier):
            row = self._last_row(study, unit.position, before.image.session, context)
            onto_first = Transform.from_row(row)
            if before.image.session == earlier[-1]:
                last_known = onto_first
            if not onto_first.accepted:
                continue
            found = register_sessions(
                _plane(before, int(row["t"]), channel),
                _plane(session, first, channel),
                spacing=session.image.spacing[1:],
                kind=section.between_sessions,
                max_shift_um=section.max_shift_um,
                max_angle_deg=section.max_angle_deg,
            )
            if found.accepted:
                return onto_first.compose(found.compose(back))
        # nothing is known about the remounting: keep the earlier frame and refuse identity over the gap
        return Transform(last_known.matrix, last_known.shift, last_known.kind, accepted=False)

    def _references(
        self, study: Study, session: CorrectedSession, unit: Unit, context: Context, earlier: Sequence[int]
    ) -> list[tuple[CorrectedSession, str]]:
        """Return earlier sessions with the channel to compare in: the recipe's best channel first, then the latest."""
        wanted = context.recipe.registration.channels
        found = []
        for number in reversed(earlier):
            before = CorrectedSession(study, unit.position, number, context)
            channel = _common_channel(wanted, before.channels, session.channels)
            if channel is not None and before.image.spacing == session.image.spacing:
                found.append((before, channel))
        return sorted(found, key=lambda pair: wanted.index(pair[1]) if pair[1] in wanted else len(wanted))

    def _last_row(self, study: Study, position: str, session: int, context: Context) -> pd.Series:
        unit = {"position": position, "session": session}
        table = study.table(self.tables[0], context.keys[self.name], unit=unit).set_index("t", drop=False)
        fit = fit_frames(study, position, session, context)
        placed = [t for t in fit if table.loc[t, "accepted"]]
        return table[table["t"] == (placed or fit)[-1]].iloc[0]

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the sessions that could not be placed, and the wells that fit another's past."""
        table = study.table(self.tables[0], context.keys[self.name])
        refused = table[(table["t"] == 0) & ~table["accepted"] & (table["session"] > 0)]
        notes = unfit_note(study, context, "sessions are not placed by them")
        notes += [
            f"Session {session} could not be placed on an earlier one at {', '.join(group['position'])}: identity of "
            "colonies is not carried over that gap."
            for session, group in refused.groupby("session")
        ]
        by_session = {
            int(group["session"].iloc[0]): sorted(map(str, group["position"]))
            for _, group in refused.groupby("session")
        }
        return notes + [str(well) for well in self._swapped(study, context, by_session)]

    def _swapped(self, study: Study, context: Context, refused: dict[int, list[str]]) -> list[SwappedWell]:
        """Return the wells that fit another's past, from what was found before if the study is as it was then."""
        key, compared = context.keys[self.name], digest({"images": inventory(study), "refused": refused})
        if study.has_record(WELL_MATCHES, key, {}):
            record = study.commit_record(WELL_MATCHES, key, {})
            if record["extra"].get("compared") == compared:
                return from_table(study.table(WELL_MATCHES, key))
        wells = WellComparison(study, context, lambda p, s: CorrectedSession(study, p, s, context))
        found = [w for number, positions in refused.items() for w in wells.swapped(number, positions, MOST_PAIRS)]
        study.commit(WELL_MATCHES, key, {}, as_table(found), extra={"compared": compared})
        return found


def _common_channel(wanted: Sequence[str], first: Sequence[str], second: Sequence[str]) -> str | None:
    common = [name for name in first if name in second]
    return next((name for name in wanted if name in common), common[0] if common else None)


def _plane(session: CorrectedSession, t: int, channel: str) -> npt.NDArray[np.float32]:
    return session.read(t, channel).max(axis=0)


def _drift(session: CorrectedSession, recipe: Recipe, cancel: CancelToken) -> list[Transform]:
    frames = int(session.image.shape[0])
    if frames == 1 or not recipe.registration.drift:
        return [Transform() for _ in range(frames)]
    channel = _common_channel(recipe.registration.channels, session.channels, session.channels)
    assert channel is not None  # a session has at least one channel
    tracker = DriftTracker(spacing=session.image.spacing[1:], residuals=True)
    drift = []
    for t in range(frames):
        cancel.raise_if_cancelled()
        drift.append(tracker.add(_plane(session, t, channel)))
    return drift
