"""A simulated experiment on disk as a microscope would leave it: OME-TIFF per field and session, layout, truth."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_marrow.errors import MarrowError, PathExistsError, write_refused
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.simulation.experiment import Experiment, SimulatedSession
from napari_marrow.simulation.scenario import Scenario
from napari_marrow.simulation.truth import cell_rows

COMPRESSION: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 4}}
"""Lossless and readable everywhere; higher levels shrink camera noise no further."""


def raw_name(position: str, session: int) -> str:
    """Return the file name of a field's session, ``B02_f00_session01.ome.tif``."""
    return f"{position}_session{session:02d}.ome.tif"


def write_raw_set(
    experiment: Experiment, out_dir: Path, *, progress: Progress = no_progress, cancel: CancelToken | None = None
) -> Path:
    """Write a simulated experiment as a raw set.

    Parameters
    ----------
    experiment : Experiment
        From `simulation.simulate`.
    out_dir : Path
        Folder to make: ``raw/<position>_session<NN>.ome.tif`` (uint16, T C Z Y X, with pixel size, channel names, time
        of every plane and acquisition date), ``layout.csv``, ``truth/<table>.csv``,
        ``truth/labels/<position>_session<NN>_labels.tif`` (int32, T Z Y X; label = cell id), ``truth/scenario.json``.
    progress : callable, optional
        Called per frame.
    cancel : CancelToken, optional
        Asked per frame.

    Returns
    -------
    Path
        `out_dir`.

    Raises
    ------
    PathExistsError
        If `out_dir` is there and not an empty folder.
    StorageError
        If the disk does not take the data.
    Cancelled
        When asked to stop. Whatever goes wrong, nothing half-written is left.
    """
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise PathExistsError(f"{out_dir} exists and is not empty: choose another folder or remove it.")
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    made = [folder for folder in partial.parents if not folder.exists()]
    try:
        (partial / "raw").mkdir(parents=True)
        (partial / "truth" / "labels").mkdir(parents=True)
        _write_images(experiment, partial, progress, cancel)
        _write_tables(experiment, partial)
        if out_dir.exists():
            out_dir.rmdir()
        partial.rename(out_dir)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        if isinstance(error, OSError) and not isinstance(error, MarrowError):
            raise write_refused(out_dir, error) from error
        raise
    return out_dir


def _write_images(experiment: Experiment, folder: Path, progress: Progress, cancel: CancelToken | None) -> None:
    total = sum(session.shape[0] for p in experiment.positions for session in experiment.sessions(p))
    cells: list[pd.DataFrame] = []
    done = 0
    for position in experiment.positions:
        for session in experiment.sessions(position):
            name = raw_name(position, session.session)

            def frames(session: SimulatedSession = session, done: int = done, name: str = name) -> Iterator[Any]:
                for t in range(session.shape[0]):
                    if cancel is not None:
                        cancel.raise_if_cancelled()
                    planes = session.frame(t).reshape(-1, *session.shape[3:])
                    # Told before the planes are handed over: the writer does not come back after the last one.
                    progress(done + t + 1, total, f"writing {name}")
                    yield from planes

            def truth(session: SimulatedSession = session) -> Iterator[Any]:
                for t in range(session.shape[0]):
                    mask = session.labels(t)
                    cells.append(cell_rows(experiment, session, t, mask))
                    yield from mask

            _write_ome(folder / "raw" / name, frames(), session, experiment.scenario)
            _write_labels(folder / "truth" / "labels" / name.replace(".ome.tif", "_labels.tif"), truth(), session)
            done += session.shape[0]
    experiment.truth.set_cells(pd.concat(cells, ignore_index=True))


def _write_ome(
    path: Path, planes: Iterator[npt.NDArray[np.uint16]], session: SimulatedSession, scenario: Scenario
) -> None:
    dz, dy, dx = session.spacing
    per_frame = session.shape[1] * session.shape[2]
    started = datetime.fromisoformat(scenario.t0) + timedelta(hours=session.start_h)
    times = np.repeat(session.time_s, per_frame).tolist()
    metadata: dict[str, Any] = {
        "axes": "TCZYX",
        # A fixed identifier, so that the same experiment gives the same bytes.
        "UUID": str(uuid5(NAMESPACE_URL, f"marrow/{scenario.name}/{scenario.seed}/{path.name}")),
        "Name": f"{session.position} session {session.session:02d}",
        "AcquisitionDate": started.strftime("%Y-%m-%dT%H:%M:%S"),
        "PhysicalSizeX": dx,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": dy,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": list(session.channels)},
        "Plane": {"DeltaT": times, "DeltaTUnit": ["s"] * len(times)},
    }
    if session.shape[2] > 1:
        metadata |= {"PhysicalSizeZ": dz, "PhysicalSizeZUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(
            planes, shape=session.shape, dtype=np.uint16, photometric="minisblack", metadata=metadata, **COMPRESSION
        )


def _write_labels(path: Path, planes: Iterator[npt.NDArray[np.int32]], session: SimulatedSession) -> None:
    shape = (session.shape[0], *session.shape[2:])
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            planes, shape=shape, dtype=np.int32, photometric="minisblack", metadata={"axes": "TZYX"}, **COMPRESSION
        )


def _write_tables(experiment: Experiment, folder: Path) -> None:
    experiment.layout.to_csv(folder / "layout.csv", index=False)
    for name, table in experiment.truth.items():
        table.to_csv(folder / "truth" / f"{name}.csv", index=False, float_format="%.6g")
    text = json.dumps(_plain(asdict(experiment.scenario)), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "truth" / "scenario.json").write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Spell out what JSON has no number for (an infinite capacity, no dose)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
