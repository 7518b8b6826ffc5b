"""Truth tables of an experiment, computed when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.schemas import TRANSFORMS
from napari_marrow.simulation import metrics
from napari_marrow.simulation.kinetics import ALIVE, FATES
from napari_marrow.simulation.scenario import LINEAGES

if TYPE_CHECKING:
    from napari_marrow.simulation.experiment import Experiment, SimulatedSession

Float = npt.NDArray[np.float64]


class TruthTables(Mapping[str, pd.DataFrame]):
    """Truth by table name; a table is computed at its first access and kept.

    ``cells``: every visible nucleus in every frame: label = cell_id; centroid z, y, x of the label in µm; z_reg, y_reg,
    x_reg the same in the tissue's frame, which is that of the first session's first frame; area µm² (3D: volume µm³);
    type; latent lineage; marker_on. ``pedigree``: every blood cell that lived; times in h since seeding, NaN for what
    did not happen; onset_h and commitment_h are inherited, own_onset and own_commitment say where they began.
    ``colonies``, ``colony_edges``: colonies in the field per session with founder sets, and same/merge/split edges.
    ``vessels``, ``vessel_points``: graph and centrelines in the tissue's frame. ``transforms``: image to the tissue's
    frame (schema `TRANSFORMS`). ``frames``: true and recorded times. ``faults``: what went wrong. ``organoids``: design
    and true effects. ``metrics``: exact values.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._tables: dict[str, pd.DataFrame] = {}
        self._makers: dict[str, Callable[[], pd.DataFrame]] = {
            "cells": self._cells,
            "pedigree": self._pedigree,
            "colonies": self._colonies,
            "colony_edges": self._colony_edges,
            "vessels": self._vessels,
            "vessel_points": self._vessel_points,
            "transforms": self._transforms,
            "frames": self._frames,
            "faults": self._faults,
            "organoids": lambda: self._experiment.organoids,
            "metrics": self._metrics,
        }

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._tables:
            self._tables[name] = self._makers[name]()
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def _sessions(self) -> Iterator[SimulatedSession]:
        for position in self._experiment.positions:
            yield from self._experiment.sessions(position)

    def _cells(self) -> pd.DataFrame:
        parts = [
            cell_rows(self._experiment, session, t, session.labels(t))
            for session in self._sessions()
            for t in range(session.shape[0])
        ]
        return pd.concat(parts, ignore_index=True)

    def set_cells(self, table: pd.DataFrame) -> None:
        """Take a cells table that was put together while frames were written, so that labels are not drawn twice."""
        self._tables["cells"] = table

    def _pedigree(self) -> pd.DataFrame:
        return pd.concat([pedigree_rows(self._experiment, p) for p in self._experiment.positions], ignore_index=True)

    def _colonies(self) -> pd.DataFrame:
        return self._colony_tables()[0]

    def _colony_edges(self) -> pd.DataFrame:
        return self._colony_tables()[1]

    def _colony_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        tables = metrics.colony_tables(self["cells"], self["pedigree"])
        self._tables["colonies"], self._tables["colony_edges"] = tables
        return tables

    def _vessels(self) -> pd.DataFrame:
        return self._by_position(lambda p: self._experiment.history(p).vessels.edge_table())

    def _vessel_points(self) -> pd.DataFrame:
        return self._by_position(lambda p: self._experiment.history(p).vessels.point_table())

    def _by_position(self, make: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
        parts = []
        for position in self._experiment.positions:
            table = make(position)
            table.insert(0, "position", position)
            parts.append(table)
        return pd.concat(parts, ignore_index=True)

    def _transforms(self) -> pd.DataFrame:
        swelling = self._experiment.scenario.faults.swelling_per_day != 0.0
        rows = []
        for session in self._sessions():
            for t in range(session.shape[0]):
                matrix, shift = session.acquisition.registration(t)
                rows.append(
                    {
                        "position": session.position, "session": session.session, "t": t,
                        "time_h": session.true_h[t], "kind": "affine" if swelling else "rigid",
                        "m00": matrix[0, 0], "m01": matrix[0, 1], "ty": shift[0],
                        "m10": matrix[1, 0], "m11": matrix[1, 1], "tx": shift[1], "residual": 0.0, "accepted": True,
                    }
                )  # fmt: skip
        return TRANSFORMS.conform(pd.DataFrame(rows))

    def _frames(self) -> pd.DataFrame:
        rows = []
        for session in self._sessions():
            for t in range(session.shape[0]):
                rows.append(
                    {
                        "position": session.position, "session": session.session, "t": t,
                        "time_h": session.true_h[t], "recorded_s": session.time_s[t],
                        "planned_t": int(session.acquisition.planned[t]), "gain": session.acquisition.gain,
                        "flags": ",".join(sorted(session.acquisition.flags[t])),
                        "source_position": session.source_position,
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def _faults(self) -> pd.DataFrame:
        rows: list[dict[str, object]] = []
        faults = self._experiment.scenario.faults

        def note(session: SimulatedSession, t: int, fault: str, value: float, unit: str) -> None:
            rows.append(
                {
                    "position": session.position,
                    "session": session.session,
                    "t": t,
                    "fault": fault,
                    "value": value,
                    "unit": unit,
                }
            )

        for session in self._sessions():
            acquisition = session.acquisition
            note(session, 0, "shift", float(np.hypot(*acquisition.shift[0])), "µm")
            note(session, 0, "rotation", float(np.rad2deg(acquisition.angle)), "degree")
            note(session, 0, "drift", faults.drift_um_per_h, "µm/h")
            note(session, 0, "gain", acquisition.gain, "")
            if faults.swelling_per_day:
                note(session, 0, "swelling", float(acquisition.scale[0]), "")
            if session.source_position != session.position:
                note(session, 0, "swapped", 1.0, "")
            for t, flags in enumerate(acquisition.flags):
                for flag in sorted(flags):
                    note(session, t, flag, 1.0, "")
            n = self._experiment.scenario.sessions[session.session - 1].n_frames
            for planned in sorted(set(range(n)) - set(acquisition.planned.tolist())):
                # The frame after which pixels are missing.
                note(
                    session, int(np.searchsorted(acquisition.planned, planned)) - 1, "dropped", float(planned), "frame"
                )
        return pd.DataFrame(rows, columns=["position", "session", "t", "fault", "value", "unit"])

    def _metrics(self) -> pd.DataFrame:
        return metrics.metric_table(self._experiment, self["cells"], self["colonies"])


def cell_rows(experiment: Experiment, session: SimulatedSession, t: int, labels: npt.NDArray[np.int32]) -> pd.DataFrame:
    """Rows of the cells table of one frame from its truth labels (Z, Y, X)."""
    dz, dy, dx = session.spacing
    flat = labels.ravel()
    at = np.flatnonzero(flat)
    ids, inverse, count = np.unique(flat[at], return_inverse=True, return_counts=True)
    zyx = np.stack(np.unravel_index(at, labels.shape), axis=1)
    centre = np.stack([np.bincount(inverse, zyx[:, k], len(ids)) for k in range(3)], axis=1) / count[:, None]
    centre = centre * np.array([dz, dy, dx])
    edge = (zyx[:, 1] == 0) | (zyx[:, 1] == labels.shape[1] - 1) | (zyx[:, 2] == 0) | (zyx[:, 2] == labels.shape[2] - 1)
    registered = session.acquisition.to_tissue(t, centre[:, 1:])
    voxel = dy * dx * (dz if labels.shape[0] > 1 else 1.0)
    history = experiment.history(session.source_position)
    time_h = float(session.true_h[t])
    blood = history.population
    appearance = experiment.renderer(session.source_position).appearance
    drawn = np.concatenate([history.snapshots[time_h].cells, len(blood) + np.arange(len(history.static.positions))]) + 1
    types = pd.Series(appearance.types_at(time_h), index=drawn).reindex(ids).to_numpy()
    row = np.minimum(ids - 1, max(len(blood) - 1, 0))
    is_blood = ids <= len(blood)
    lineage = np.where(is_blood & (blood.commit[row] <= time_h), blood.lineage[row], -1)
    return pd.DataFrame(
        {
            "position": session.position, "session": np.int32(session.session), "t": np.int32(t), "time_h": time_h,
            "label": ids.astype(np.int32), "cell_id": ids.astype(np.int32),
            "founder": np.where(is_blood, blood.founder[row], 0).astype(np.int32),
            "z": centre[:, 0], "y": centre[:, 1], "x": centre[:, 2],
            "z_reg": centre[:, 0], "y_reg": registered[:, 0], "x_reg": registered[:, 1],
            "area": count * voxel, "touches_border": np.bincount(inverse, edge, len(ids)) > 0, "type": types,
            "lineage": np.array([*LINEAGES, ""], dtype=object)[lineage],
            "marker_on": is_blood & (blood.onset[row] <= time_h), "source_position": session.source_position,
        }
    )  # fmt: skip


def pedigree_rows(experiment: Experiment, position: str) -> pd.DataFrame:
    """Rows of the pedigree of one organoid: all blood cells that ever lived."""
    history = experiment.history(position)
    cells = history.population
    last = max(history.snapshots)
    own_onset = np.isfinite(cells.onset) & (cells.onset >= cells.birth) & _first_in_line(cells.onset, cells.parent)
    own_commitment = np.isfinite(cells.commit) & _first_in_line(cells.commit, cells.parent)
    return pd.DataFrame(
        {
            "position": position, "organoid": experiment.plan(position).organoid,
            "cell_id": np.arange(1, len(cells) + 1, dtype=np.int32), "parent": cells.parent.astype(np.int32),
            "founder": cells.founder.astype(np.int32), "generation": cells.generation.astype(np.int32),
            "birth_h": cells.birth, "end_h": np.where(cells.fate == ALIVE, last, cells.end),
            "fate": np.array(FATES, dtype=object)[cells.fate],
            "lineage": np.array([*LINEAGES, ""], dtype=object)[cells.lineage],
            "commitment_h": cells.commit, "onset_h": cells.onset,
            "own_commitment": own_commitment, "own_onset": own_onset,
        }
    )  # fmt: skip


def _first_in_line(time: Float, parent: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether an inherited event happened in the cell itself: its mother does not have it (or has none)."""
    of_mother = np.where(parent > 0, time[np.maximum(parent - 1, 0)], np.nan)
    return ~np.isfinite(of_mother)
