"""Which sessions a study has: their plans, their commit records (table ``frames``), their place in the plate."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import CorruptDataError, SettingsError, StudyError, TableError
from napari_marrow.study import ome, tables
from napari_marrow.study.channel import Channel, as_channels
from napari_marrow.study.durable import ZARR, read_document, storing, sweep_partials, write_document
from napari_marrow.study.naming import (
    check_session,
    image_path,
    is_position,
    part_path,
    printable,
    split_position,
    unit_of,
    well_of,
)
from napari_marrow.study.remote import is_remote
from napari_marrow.study.session_writer import SessionPlan

if TYPE_CHECKING:
    import pandas as pd

FRAMES_KEY = "raw"
"""The frames table has one part per session: the session exists when its part does."""


def listed(root: Path) -> list[tuple[str, int]]:
    """Return (position, session) of every session, sorted."""
    return [(u["position"], u["session"]) for _, u in tables.parts(root, "frames", FRAMES_KEY) if len(u) == 2]


def of_position(root: Path, position: str) -> list[int]:
    """Return the sessions of a position, sorted, without a look at the others."""
    if is_remote(root):
        return [session for other, session in listed(root) if other == position]
    try:
        names = os.listdir(tables.table_folder(root, "frames", FRAMES_KEY) / f"position={position}")
    except (FileNotFoundError, ValueError):  # no such position, or none at all
        return []
    units = [unit_of(name) for name in names]
    return sorted(u["session"] for u in units if u is not None and set(u) == {"session"})


def record_file(root: Path, position: str, session: int) -> Path:
    """Return the file that says that a session is complete."""
    return tables.table_folder(root, "frames", FRAMES_KEY) / part_path({"position": position, "session": session})


def frames(root: Path, unit: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return the frames of all sessions, or of a position and session only; schema FRAMES."""
    from napari_marrow import schemas

    return tables.read(root, "frames", FRAMES_KEY, unit) if listed(root) else schemas.FRAMES.empty()


def plan(
    position: str,
    session: int,
    *,
    channels: list[Channel] | list[str],
    spacing: Sequence[float],
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    start_h: float,
    time_s: Sequence[float] | npt.NDArray[Any],
    name: str | None,
    utc: str | Sequence[str] | None,
    stage: Sequence[float] | Sequence[Sequence[float]] | None,
    source_file: str,
    source_indices: Sequence[int] | None,
    flags: Sequence[str] | None,
    source_digest: str,
) -> SessionPlan:
    """Return the arguments of `Study.add_session` in their stored form."""
    split_position(position)
    if len(shape) != 5:
        raise SettingsError(f"A session has the shape (T, C, Z, Y, X), not {tuple(shape)}.")
    if len(spacing) != 3:
        raise SettingsError(f"A session has the spacing (dz, dy, dx) in µm, not {tuple(spacing)}.")
    t, c, z, y, x = (int(n) for n in shape)
    dz, dy, dx = (float(s) for s in spacing)
    seconds = tuple(float(s) for s in time_s)
    return SessionPlan(
        position=position,
        session=check_session(session),
        name=printable(name or f"{position} session {session}"),
        channels=as_channels(channels),
        spacing=(dz, dy, dx),
        shape=(t, c, z, y, x),
        dtype=np.dtype(dtype).name,
        start_h=float(start_h),
        time_s=seconds,
        utc=_utc_of_frames(utc, seconds),
        stage=_stage_of_frames(stage, len(seconds)),
        source_file=_bare_name(source_file),
        source_indices=tuple(range(len(seconds)) if source_indices is None else (int(i) for i in source_indices)),
        source_digest=printable(source_digest),
        flags=("",) * len(seconds) if flags is None else tuple(printable(f) for f in flags),
    )


def _bare_name(source: str) -> str:
    """Return a file's own name, whichever system wrote the path."""
    return printable(PureWindowsPath(PurePosixPath(str(source)).name).name)


def _utc_of_frames(utc: str | Sequence[str] | None, time_s: tuple[float, ...]) -> tuple[str, ...]:
    from datetime import datetime, timedelta

    if utc is None or utc == "":
        return ("",) * len(time_s)
    if isinstance(utc, str):
        try:
            start = datetime.fromisoformat(utc)
            return tuple((start + timedelta(seconds=s)).isoformat() for s in time_s)
        except (ValueError, OverflowError):
            raise SettingsError(f"'{utc}' is no time: give ISO 8601, such as 2026-01-31T09:00:00+00:00.") from None
    return tuple(printable(u) for u in utc)


def _stage_of_frames(stage: Any, n_frames: int) -> tuple[tuple[float, float, float], ...]:
    if stage is None:
        return ((math.nan,) * 3,) * n_frames
    array = np.asarray(stage, dtype=np.float64)
    if array.shape == (3,):
        array = np.broadcast_to(array, (n_frames, 3))
    if array.ndim != 2 or array.shape[1] != 3:
        raise SettingsError("A stage position has three values (z, y, x), once or per frame.")
    return tuple((float(z), float(y), float(x)) for z, y, x in array)


def frame_rows(done: SessionPlan) -> pd.DataFrame:
    """Return the frames of a session, schema FRAMES."""
    import pandas as pd

    from napari_marrow import schemas

    n = len(done.time_s)
    stage = np.asarray(done.stage, dtype=np.float64).reshape(n, 3)
    seconds = np.asarray(done.time_s)
    return schemas.FRAMES.conform(
        pd.DataFrame(
            {
                "position": [done.position] * n,
                "session": done.session,
                "t": np.arange(n),
                "time_h": done.start_h + seconds / 3600.0,
                "time_s": seconds,
                "utc": list(done.utc),
                "stage_z": stage[:, 0],
                "stage_y": stage[:, 1],
                "stage_x": stage[:, 2],
                "source_file": [done.source_file] * n,
                "source_index": list(done.source_indices),
                "flags": list(done.flags),
            }
        )
    )


def sweep(root: Path, images: Path, position: str, session: int) -> None:
    """Remove what a writer of this session that died has left unfinished: its shards, and documents around it."""
    image = images / image_path(position, session)
    sweep_partials(image, alone=True)
    for folder in (images, image.parent.parent, image.parent, record_file(root, position, session).parent):
        sweep_partials(folder, alone=True, deep=False)


def publish(root: Path, images: Path, name: str, done: SessionPlan, more: dict[str, Any]) -> None:
    """Make a finished session visible: well, plate, and last the commit record that counts."""
    have = sorted({*listed(root), (done.position, done.session)})
    _write_plate(images, name, have, done.position, _acquisition(done))
    extra = {**more, "image": image_path(done.position, done.session), "plan": done.digest()}
    unit = {"position": done.position, "session": done.session}
    tables.commit(root, "frames", FRAMES_KEY, unit, frame_rows(done), extra)


def withdraw(images: Path, name: str, have: list[tuple[str, int]], position: str) -> None:
    """Write the plate's metadata again after a session of the position is gone; `have` is what is left."""
    row, column, _ = split_position(position)
    if have:
        if (images / row / column / "zarr.json").is_file():
            _write_plate(images, name, have, position, {})
    else:
        for folder in (images / row / column, images / row, images):
            (folder / "zarr.json").unlink(missing_ok=True)


def remove(root: Path, images: Path, name: str, position: str, session: int) -> None:
    """Remove a session, finished or not: its record first, so that it never counts while half of it is gone."""
    record = record_file(root, position, session)
    image = images / image_path(position, session)
    with storing(image):
        record.unlink(missing_ok=True)
        have = [s for s in listed(root) if s != (position, session)]
        shutil.rmtree(image, ignore_errors=True)
        withdraw(images, name, have, position)
    for folder in (*list(record.parents)[:4], image.parent, image.parent.parent, images):
        with suppress(OSError):  # folders that are not empty stay
            folder.rmdir()


def _acquisition(done: SessionPlan) -> dict[str, Any]:
    start, end = ome.seconds_since_1970(done.utc[0]), ome.seconds_since_1970(done.utc[-1])
    return {} if start is None or end is None else {done.session: {"starttime": start, "endtime": end}}  # type: ignore[dict-item]


def _write_plate(
    images: Path, name: str, have: list[tuple[str, int]], position: str, acquisition: dict[Any, Any]
) -> None:
    """Write the documents of the position's well and of the plate."""
    row, column, _ = split_position(position)
    well = images / row / column
    in_well = [s for s in have if well_of(s[0]) == row + column]
    if in_well:
        write_document(well / "zarr.json", ome.group(ome.well(in_well)), where=ZARR)
        if not (images / row / "zarr.json").is_file():
            write_document(images / row / "zarr.json", ome.group(None), where=ZARR)
    else:
        (well / "zarr.json").unlink(missing_ok=True)
        if not any(s[0].startswith(row) and split_position(s[0])[0] == row for s in have):
            (images / row / "zarr.json").unlink(missing_ok=True)
    known = _acquisitions(images)
    for session, times in acquisition.items():
        before = known.get(session, times)
        known[session] = {
            "starttime": min(before["starttime"], times["starttime"]),
            "endtime": max(before["endtime"], times["endtime"]),
        }
    write_document(images / "zarr.json", ome.group(ome.plate(name, have, known)), where=ZARR)


def _acquisitions(images: Path) -> dict[int, dict[str, Any]]:
    try:
        entries = read_document(images / "zarr.json", where=ZARR)["attributes"]["ome"]["plate"]["acquisitions"]
    except (CorruptDataError, KeyError):
        return {}
    return {e["id"]: {k: e[k] for k in ("starttime", "endtime")} for e in entries if "starttime" in e}


def set_flags(root: Path, position: str, session: int, flags: Sequence[str]) -> None:
    """Write a session's commit record again with other flags."""
    path = record_file(root, position, session)
    if not path.is_file():
        raise StudyError(f"The study '{root}' has no session {session} of '{position}'.")
    arrow, record = tables.read_part(path)
    rows = arrow.to_pandas()
    if len(flags) != len(rows):
        raise SettingsError(f"{position} session {session} has {len(rows)} frames, but {len(flags)} flags were given.")
    rows["flags"] = [printable(f) for f in flags]
    tables.commit(root, "frames", FRAMES_KEY, record["unit"], rows, record["extra"])


def layout_records(layout: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a layout (schema LAYOUT) as stored; NaN becomes null."""
    from napari_marrow import schemas

    table = schemas.LAYOUT.conform(layout)
    positions = [str(p) for p in table["position"]]
    for position in positions:
        if not is_position(position):
            raise TableError(f"The layout names the position '{position}': positions look like B02_f00.")
    twice = sorted({p for p in positions if positions.count(p) > 1})
    if twice:
        raise TableError(f"The layout names the position {twice[0]} twice: give one row per position.")
    records = []
    reasons = table["exclusion"].fillna("").astype(str) if "exclusion" in table.columns else [""] * len(table)
    for row, reason in zip(table[schemas.LAYOUT.names].to_dict("records"), reasons, strict=True):
        clean = {str(k): printable(v) if isinstance(v, str) else v for k, v in row.items()}
        dose = float(clean["dose"])
        record = {**clean, "dose": None if math.isnan(dose) else dose, "replicate": int(clean["replicate"])}
        records.append({**record, "exclusion": printable(reason)} if reason else record)
    return records


def layout_table(records: list[dict[str, Any]], positions: list[str]) -> pd.DataFrame:
    """Return the stored layout as a table, with a row for every position that it does not name."""
    import pandas as pd

    from napari_marrow import schemas

    named = {r["position"] for r in records}
    rows = [{**r, "dose": math.nan if r["dose"] is None else r["dose"]} for r in records]
    for position in positions:
        if position not in named:
            rows.append(default_layout_row(position))
    if not rows:
        return schemas.LAYOUT.empty()
    table = pd.DataFrame(rows).sort_values("position", ignore_index=True)
    if "exclusion" in table.columns:
        table["exclusion"] = table["exclusion"].fillna("")
    return schemas.LAYOUT.conform(table)


def default_layout_row(position: str) -> dict[str, Any]:
    """Return what is known of a position that no layout names: its well, taken as one organoid."""
    well = well_of(position)
    unknown = dict.fromkeys(("donor", "batch", "condition"), "unknown")
    return {"position": position, "well": well, "organoid": well, **unknown, "dose": math.nan, "replicate": 1}
