"""Cells through the frames of one session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.tracking.decisions import distributions, rivals
from napari_marrow.tracking.found_tracks import Tracking
from napari_marrow.tracking.frames import label_points
from napari_marrow.tracking.hypotheses import Solution, no_solution
from napari_marrow.tracking.points import Detections, Floats, Ints, read_points
from napari_marrow.tracking.posterior import Posterior, posterior
from napari_marrow.tracking.settings import TrackingSettings
from napari_marrow.tracking.solver import Learner, solve


def track_points(
    points: pd.DataFrame,
    *,
    settings: TrackingSettings | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> Tracking:
    """Link detections into tracks and pedigrees, with costs learned from the detections themselves.

    Displacement (by local crowding, with the cell's own velocity and speed), appearance and the rates of loss, entry
    and division are learned by expectation-maximisation in a few rounds; each round decides links and divisions
    together by exact assignment, frame after frame, while a lost cell stays a candidate. No length enters: scaling the
    coordinates changes nothing.

    Parameters
    ----------
    points : DataFrame
        One row per detection: ``t`` (whole frame numbers, in any order), ``y``, ``x``, optionally ``z`` (all in one
        unit, µm or pixels), ``time_h`` (hours; frame times may be irregular), ``area`` or ``volume``, and any
        measurements.
    settings : TrackingSettings, optional
    progress : callable, optional
    cancel : CancelToken, optional

    Returns
    -------
    Tracking

    Raises
    ------
    TableError
        If a column is missing or holds NaN, or times go back.
    Cancelled
        If a stop was asked for.

    Notes
    -----
    Same rows in any order, any number of threads: same tracks.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"t": [0, 1, 0, 1], "y": [0.0, 1.0, 50.0, 51.0], "x": [0.0, 0.5, 50.0, 50.5]})
    >>> track_points(table).track_id.tolist()
    [1, 1, 2, 2]
    """
    settings = settings or TrackingSettings()
    detections = read_points(points, settings)
    if detections.n_frames < 2:
        nothing = no_solution()
        return _assemble(
            detections, nothing, posterior(detections.n, nothing, calibrated=True), {"settings": asdict(settings)}
        )
    solution, learner = solve(detections, settings, progress=progress, cancel=cancel or CancelToken())
    model = _describe(learner, solution, settings)
    model["distributions"] = distributions(detections, learner.full.past, learner.full.future, solution)
    return _assemble(detections, solution, posterior(detections.n, solution, calibrated=True), model)


def track_labels(
    labels: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
    *,
    spacing: Sequence[float],
    images: Iterable[npt.NDArray[Any]] | None = None,
    times_h: Sequence[float] | None = None,
    settings: TrackingSettings | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> tuple[Tracking, pd.DataFrame]:
    """Track the objects of label images.

    Parameters
    ----------
    labels : (T, (Z,) Y, X) array of whole numbers, or an iterable of frames
        0 is background; values need be neither consecutive nor the same object's from frame to frame.
    spacing : sequence of float
        Size of a voxel (z, y, x) or of a pixel (y, x), µm.
    images : iterable of ((Z,) Y, X) arrays, optional
        One image per frame; its mean over each object becomes a feature.
    times_h : sequence of float, optional
        Time of every frame, hours.
    settings, progress, cancel :
        As for `track_points`.

    Returns
    -------
    Tracking
    points : DataFrame
        ``t, label, (z,) y, x, area`` (µm², in 3D µm³), ``intensity`` with images, ``time_h`` with times; a row per
        object.

    Raises
    ------
    TableError
        If a frame holds no whole numbers, or the frames' shapes do not fit the spacing.
    """
    points = label_points(labels, spacing=spacing, images=images, times_h=times_h, cancel=cancel)
    return track_points(points, settings=settings, progress=progress, cancel=cancel), points


def _assemble(detections: Detections, solution: Solution, chances: Posterior, model: dict[str, Any]) -> Tracking:
    n, order = detections.n, detections.order
    divisions, late = solution.divisions, solution.late
    # a late daughter turns the link to the first one into a division
    turned = np.isin(solution.i, late.mother)
    previous, chance = np.full(n, -1, np.int64), np.full(n, np.nan)
    previous[solution.j[~turned]] = solution.i[~turned]
    chance[solution.j[~turned]] = chances.links[~turned]
    mother, daughter_chance = np.full(n, -1, np.int64), np.full(n, np.nan)
    for source, target, p in (
        (solution.i[turned], solution.j[turned], chances.links[turned]),
        (divisions.mother, divisions.first, chances.divisions[:, 0]),
        (divisions.mother, divisions.second, chances.divisions[:, 1]),
        (late.mother, late.second, chances.late),
    ):
        mother[target], daughter_chance[target] = source, p
    track = _number(previous)
    parent_of_track = np.zeros(int(track.max(initial=0)) + 1, np.int32)
    born = np.flatnonzero(mother >= 0)
    parent_of_track[track[born]] = track[mother[born]]
    edges = _edges(detections, previous, chance, mother, daughter_chance, rivals(n, solution))
    track_id, parent, probability = np.zeros(n, np.int32), np.zeros(n, np.int32), np.full(n, np.nan)
    track_id[order], parent[order], probability[order] = track, parent_of_track[track], chance
    begins, ends = np.ones(n), np.ones(n)
    begins[order], ends[order] = chances.start, chances.end
    return Tracking(track_id, parent, probability, begins, ends, edges, model)


def _number(previous: Ints) -> npt.NDArray[np.int32]:
    """Track numbers in the order of first detections; rows are sorted by frame, so a predecessor always comes first."""
    root = np.where(previous >= 0, previous, np.arange(len(previous)))
    while True:  # pointer doubling
        further = root[root]
        if np.array_equal(further, root):
            break
        root = further
    first = np.flatnonzero(previous < 0)
    number = np.zeros(len(previous), np.int32)
    number[first] = np.arange(1, len(first) + 1)
    return number[root]


def _edges(
    detections: Detections, previous: Ints, chance: Floats, mother: Ints, daughter_chance: Floats, rival: Ints
) -> pd.DataFrame:
    linked, born = np.flatnonzero(previous >= 0), np.flatnonzero(mother >= 0)
    frames = np.unique(detections.t)
    usual = float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0
    skipped = detections.t[linked] - detections.t[previous[linked]] > usual
    over = skipped | (detections.frame[linked] - detections.frame[previous[linked]] > 1)
    kinds = np.where(over, "gap", "link").astype(object)
    table = pd.DataFrame(
        {
            "parent_row": detections.order[np.concatenate([previous[linked], mother[born]])],
            "child_row": detections.order[np.concatenate([linked, born])],
            "kind": np.concatenate([kinds, np.full(len(born), "division", dtype=object)]),
            "probability": np.concatenate([chance[linked], daughter_chance[born]]),
            "rival_row": np.where(rival >= 0, detections.order[rival], -1)[np.concatenate([linked, born])],
        }
    )
    return table.sort_values("child_row", kind="stable", ignore_index=True)


def _describe(learner: Learner, solution: Solution, settings: TrackingSettings) -> dict[str, Any]:
    motion, rates, division = learner.motion, learner.rates, learner.division
    out: dict[str, Any] = {
        "settings": asdict(settings),
        "features": list(learner.detections.names),
        "search_radius": settings.search_radius or motion.reach(),
        "step_sigma": motion.sigma.tolist(),
        "step_weight": motion.weight.tolist(),
        "time_exponent": motion.exponent,
        "persistence_past": motion.a[:, 1].tolist(),
        "lost_per_frame": float(np.mean(rates.lost)),
        "new_per_frame": float(np.mean(rates.new)),
        "found_again": rates.found_again,
        "n_links": len(solution.i),
        "n_divisions": len(solution.divisions) + len(solution.late),
    }
    if division is not None:
        geometry = division.geometry
        out |= {
            "division_rate": division.rate,
            "daughters_apart": geometry.apart,
            "midpoint_sigma": geometry.middle,
            "mother_steering": geometry.steering,
            "mother_pace": geometry.pace,
        }
    if learner.appearance is not None:
        out["feature_width"] = dict(zip(learner.detections.names, learner.appearance.width.tolist(), strict=True))
    return out
