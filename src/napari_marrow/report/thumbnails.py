"""Small composite pictures of the organoids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.palette import CHANNEL_COLOURS
from napari_marrow.progress import CancelToken
from napari_marrow.report.figures.overview import Tile
from napari_marrow.report.style import condition_order

if TYPE_CHECKING:
    from napari_marrow.study import Study

MOST_SESSIONS = 8
MOST_ROWS = 24

# Markers in the colours of their lineages; vessels yellow, nuclei blue: told apart under every common colour vision.
CHANNEL_COLORS = {
    **CHANNEL_COLOURS,
    "nuclei": "#4C8BD9",
    "scaffold": "#7F7F7F",
    "brightfield": "#FFFFFF",
}


@dataclass(frozen=True, eq=False)
class _Planes:
    """Shrunk planes of one session's first frame."""

    organoid: str
    condition: str
    position: str
    session: int
    day: float
    um_per_px: float
    planes: dict[str, npt.NDArray[np.float32]]


def collect_tiles(
    study: Study, layout: pd.DataFrame, *, cancel: CancelToken
) -> tuple[list[Tile], list[tuple[str, str]], list[str]]:
    """Read the first frame of every session and return small tiles, the channels and notes.

    Bright field is shown only where there is no fluorescence. Each channel has one contrast in all tiles, so that weeks
    and organoids can be compared by eye.

    Parameters
    ----------
    study : Study
    layout : DataFrame
        Positions with organoid and condition.
    cancel : CancelToken

    Returns
    -------
    tiles, channels, notes
        ``channels`` are (name, colour) pairs; ``notes`` say what was left out.
    """
    notes: list[str] = []
    positions = _ordered_positions(study.positions, layout)
    if len(positions) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(positions)} fields are shown.")
    known = layout.drop_duplicates("position").set_index("position")
    found: list[_Planes] = []
    # Tiles of a large study are drawn smaller anyway, and would make a heavy page.
    many = sum(min(MOST_SESSIONS, len(study.sessions(p))) for p in positions[:MOST_ROWS]) > 48
    side = 128 if many else 200
    for position in positions[:MOST_ROWS]:
        sessions = study.sessions(position)
        kept = _evenly(sessions, MOST_SESSIONS)
        if len(kept) < len(sessions):
            notes.append(f"{position}: {len(kept)} of {len(sessions)} sessions are shown.")
        row = known.loc[position] if position in known.index else None
        for session in kept:
            cancel.raise_if_cancelled()
            planes, pitch, day = _read(study.image(position, session), side)
            organoid = str(row["organoid"]) if row is not None else position
            condition = str(row["condition"]) if row is not None else ""
            found.append(_Planes(organoid, condition, position, session, day, pitch, planes))
    names = _shown_channels(found)
    limits = {name: _contrast([f.planes[name] for f in found if name in f.planes]) for name in names}
    tiles = [
        Tile(f.organoid, f.condition, f.position, f.session, f.day, _composite(f.planes, names, limits), f.um_per_px)
        for f in found
        if f.planes
    ]
    return tiles, [(name, _color(name, i)) for i, name in enumerate(names)], notes


def _ordered_positions(positions: Sequence[str], layout: pd.DataFrame) -> list[str]:
    if layout.empty:
        return list(positions)
    known = layout.drop_duplicates("position").set_index("position")
    order = condition_order(list(layout["condition"].astype(str)))
    return sorted(
        positions,
        key=lambda p: (
            (order.index(str(known.loc[p, "condition"])), str(known.loc[p, "organoid"]), p)
            if p in known.index
            else (len(order), "", p)
        ),
    )


def _evenly(values: Sequence[int], most: int) -> list[int]:
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def _read(image: Any, side: int) -> tuple[dict[str, npt.NDArray[np.float32]], float, float]:
    """Return shrunk maximum projections of the session's first frame by channel name, µm per pixel, and the day."""
    height, width = image.shape[-2:]
    level = 0
    # Reading a coarser pyramid level saves time, as long as it still has more pixels than the tile.
    while level + 1 < image.levels and max(height, width) / 2 ** (level + 1) >= side:
        level += 1
    frame = image.read(0, level=level).max(axis=1)
    factor = max(1, -(-max(frame.shape[-2:]) // side))
    rows, columns = (n // factor * factor for n in frame.shape[-2:])
    blocks = frame[:, :rows, :columns].reshape(len(frame), rows // factor, factor, columns // factor, factor)
    small = np.nan_to_num(blocks.mean(axis=(2, 4), dtype=np.float32))
    pitch = float(image.spacing[-1]) * width / frame.shape[-1] * factor
    planes = {str(channel.name): small[i] for i, channel in enumerate(image.channels)}
    return planes, pitch, float(image.times_h[0]) / 24.0


def _shown_channels(found: Sequence[_Planes]) -> list[str]:
    present = list(dict.fromkeys(name for f in found for name in f.planes))
    fluorescent = [n for n in present if n != "brightfield"]
    order = {name: i for i, name in enumerate(CHANNEL_COLORS)}
    return sorted(fluorescent or present, key=lambda n: (order.get(n, len(order)), n))


def _contrast(planes: Sequence[npt.NDArray[np.float32]]) -> tuple[float, float]:
    """Return black and white level: the typical background and the 99.7th percentile over all tiles of the channel."""
    low = float(np.median([np.percentile(p, 60) for p in planes]))
    high = float(np.percentile(np.concatenate([p.ravel() for p in planes]), 99.7))
    return low, max(high, low + 1e-3)


def _color(name: str, index: int) -> str:
    spare = ("#56B4E9", "#E69F00", "#7A5195", "#FFFFFF")
    return CHANNEL_COLORS.get(name, spare[index % len(spare)])


def _composite(
    planes: dict[str, npt.NDArray[np.float32]], names: Sequence[str], limits: dict[str, tuple[float, float]]
) -> npt.NDArray[np.uint8]:
    """Add the channels in their colours, after a slight gamma that lifts dim cells."""
    shape = next(iter(planes.values())).shape
    total = np.zeros((*shape, 3), dtype=np.float32)
    for i, name in enumerate(names):
        if name not in planes:
            continue
        low, high = limits[name]
        value = np.clip((planes[name] - low) / (high - low), 0.0, 1.0) ** 0.8
        color = _color(name, i).lstrip("#")
        # Scaffold and nuclei are context: they must not outshine or tint the markers.
        value *= {"scaffold": 0.6, "nuclei": 0.6 if len(names) > 2 else 1.0}.get(name, 1.0)
        total += value[..., None] * np.array([int(color[k : k + 2], 16) for k in (0, 2, 4)], dtype=np.float32)
    # Steps of 8 are not seen, and noise in the lowest bits would treble the size of the page.
    return (np.clip(total, 0, 248) / 8).round().astype(np.uint8) * 8
