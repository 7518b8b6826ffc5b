"""What would become what, in words: the rows that the command and the window show before an import."""

from __future__ import annotations

from collections.abc import Sequence

from napari_marrow.errors import SettingsError
from napari_marrow.ingest.plan import PlannedSession

COLUMNS = ("source", "becomes", "channels", "frames", "time (h)", "size (px)", "pixel (µm)", "type", "missing")


def plan_row(plan: PlannedSession) -> tuple[str, ...]:
    """Return the words of `COLUMNS` for one planned session; what is not known is a question mark."""
    _, _, z, y, x = plan.shape
    lacking = "; ".join(f"{m.lacks.removeprefix('has ')}: {m.option}" for m in plan.missing)
    return (
        plan.source.name if plan.image == 0 else f"{plan.source.name} #{plan.image}",
        f"{plan.position} session {plan.session}",
        ", ".join(plan.channels),
        str(plan.shape[0]),
        _time_range(plan),
        " x ".join(str(n) for n in ([z] if z > 1 else []) + [y, x]),
        " x ".join("?" if s != s else f"{s:.4g}" for s in (plan.spacing if z > 1 else plan.spacing[1:])),
        plan.dtype,
        "is there already" if plan.present else lacking or "-",
    )


def plan_summary(planned: Sequence[PlannedSession]) -> str:
    """Return how many sessions and frames an import would bring."""
    new = [p for p in planned if not p.present]
    return f"{len(planned)} session(s), {sum(p.shape[0] for p in new)} frames to import"


def parse_pixel_size(text: str) -> tuple[float, ...]:
    """Return (y, x) or (z, y, x) in µm from ``0.65``, ``y,x`` or ``z,y,x``.

    Raises
    ------
    SettingsError
        If it is none of these.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not 1 <= len(values) <= 3 or any(not 0 < value < 1e6 for value in values):
        raise SettingsError(f"--pixel-size is '{text}': give one, two (y,x) or three (z,y,x) positive numbers in µm.")
    return values * 2 if len(values) == 1 else values


def _time_range(plan: PlannedSession) -> str:
    start = "?" if plan.start_h != plan.start_h else f"{plan.start_h:.4g}"
    if plan.shape[0] == 1:
        return start
    if not plan.time_s:
        return f"{start} to ?"
    last = plan.time_s[-1] / 3600.0
    return f"? to ? + {last:.4g}" if start == "?" else f"{start} to {plan.start_h + last:.4g}"
