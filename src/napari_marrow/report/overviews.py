"""Tables that the report shows: design, sessions, quality, comparisons."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from napari_marrow.report.gather import StudyTables, cells_per_frame, session_transforms
from napari_marrow.report.style import condition_order
from napari_marrow.report.wording import endpoint_words, number, p_digits

FLAG_NAMES = ("blank", "defocus", "saturation", "drift", "duplicate", "media_change", "gap")


def design_table(data: StudyTables) -> pd.DataFrame:
    """Return one row per organoid: condition, dose, donor, batch, fields, sessions, frames, and why one is left out."""
    layout, frames = data.layout, data["frames"]
    order = {c: i for i, c in enumerate(condition_order(layout["condition"]))}
    rows = []
    for organoid, part in layout.groupby("organoid", sort=False):
        seen = frames[frames["position"].isin(set(part["position"]))]
        first = part.iloc[0]
        rows.append(
            {
                "organoid": organoid,
                "condition": first["condition"],
                "dose": first["dose"],
                "donor": first["donor"],
                "batch": first["batch"],
                "fields": part["position"].nunique(),
                "sessions": seen["session"].nunique(),
                "frames": len(seen),
                "first_day": seen["time_h"].min() / 24.0 if len(seen) else np.nan,
                "last_day": seen["time_h"].max() / 24.0 if len(seen) else np.nan,
                "exclusion": _exclusion(part, seen),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table = table.sort_values(
        ["condition", "organoid"], key=lambda s: s.map(order) if s.name == "condition" else s, kind="stable"
    ).reset_index(drop=True)
    return table.drop(columns="dose") if table["dose"].isna().all() else table


def _exclusion(part: pd.DataFrame, seen: pd.DataFrame) -> str:
    if "exclusion" in part.columns:
        reasons = [str(r) for r in part["exclusion"].dropna() if str(r)]
        if reasons:
            return "; ".join(dict.fromkeys(reasons))
    return "" if len(seen) else "no images"


def quality_table(data: StudyTables) -> pd.DataFrame:
    """Return one row per field and session: frames, cells per frame, flags and registration."""
    frames = data["frames"]
    if frames.empty:
        return pd.DataFrame()
    cells = cells_per_frame(data)
    transforms = {(str(r["position"]), int(r["session"])): r for r in session_transforms(data).to_dict("records")}
    left = _frame_residuals(data["transforms"])
    rows = []
    for (position, session), part in frames.groupby(["position", "session"], sort=True):
        place = (str(position), int(part["session"].iloc[0]))
        flags = part["flags"].str.split(",").explode()
        row: dict[str, object] = {
            "organoid": data.names.get(str(position), str(position)),
            "position": position,
            "session": session,
            "day": float(part["time_h"].min()) / 24.0,
            "frames": len(part),
        }
        here = cells[(cells["position"] == position) & (cells["session"] == session)]["n"]
        row["cells_per_frame"] = float(here.median()) if len(here) else np.nan
        row["flagged"] = int((part["flags"] != "").sum())
        row["flags"] = ", ".join(f"{n} {flags.eq(n).sum()}" for n in FLAG_NAMES if flags.eq(n).any()).replace("_", " ")
        row |= _registration_cells(transforms, place)
        row["frame_residual_um"] = left.get(place, np.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def _frame_residuals(transforms: pd.DataFrame) -> dict[tuple[str, int], float]:
    """Return the median over each session's frames of what displacement is left in a frame, µm."""
    if "drift_residual" not in transforms:  # a study of an earlier version
        return {}
    later = transforms[transforms["t"] > 0].dropna(subset=["drift_residual"])
    return {
        (str(rows["position"].iloc[0]), int(rows["session"].iloc[0])): float(rows["drift_residual"].median())
        for _, rows in later.groupby(["position", "session"])
    }


def _registration_cells(
    transforms: Mapping[tuple[str, int], Mapping[Hashable, Any]], place: tuple[str, int]
) -> dict[str, object]:
    empty: dict[str, object] = {"shift_um": np.nan, "angle_deg": np.nan, "residual_um": np.nan, "accepted": ""}
    if place not in transforms:
        return empty
    row = transforms[place]
    return {
        "shift_um": float(row["shift_um"]),
        "angle_deg": float(row["angle_deg"]),
        "residual_um": float(row["residual"]),
        "accepted": "yes" if bool(row["accepted"]) else "no",
    }


def comparison_table(data: StudyTables) -> pd.DataFrame:
    """Return the comparisons as a reader's table."""
    table = data["comparisons"]
    if table.empty:
        return table
    result = pd.DataFrame(
        {
            "endpoint": table["endpoint"],
            "unit": table["unit"],
            "reference": table["condition_a"] + " (n = " + table["n_a"].astype(str) + ")",
            "compared": table["condition_b"] + " (n = " + table["n_b"].astype(str) + ")",
            "mean_reference": table["mean_a"],
            "mean_compared": table["mean_b"],
            "difference": table["difference"],
            "low": table["low"],
            "high": table["high"],
            "p": table["p_value"],
            "smallest_p": table["smallest_p"],
            "p_adjusted": table["p_adjusted"],
        }
    )
    return result.join(table[[c for c in ("strata", "interval", "note") if c in table]])


def compact_comparisons(table: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons with means, interval and p-values as text, narrow enough for a page."""
    rows = []
    for _, row in table.iterrows():
        unit = f" ({row['unit']})" if str(row["unit"]) else ""
        interval = f"{number(row['low'])} to {number(row['high'])}"
        rows.append(
            {
                "endpoint": f"{endpoint_words(str(row['endpoint']))}{unit}",
                "reference": f"{row['condition_a']} {number(row['mean_a'])} (n = {row['n_a']})",
                "compared": f"{row['condition_b']} {number(row['mean_b'])} (n = {row['n_b']})",
                "difference (95 % interval)": f"{number(row['difference'])} ({interval})",
                "p": p_digits(float(row["p_value"])),
                "adjusted p": p_digits(float(row["p_adjusted"])),
                "smallest possible p": p_digits(float(row["smallest_p"])),
            }
        )
    return pd.DataFrame(rows)


def compact_quality(table: pd.DataFrame) -> pd.DataFrame:
    """Return the quality table with numbers rounded as they deserve, narrow enough for a page."""
    return pd.DataFrame(
        {
            "organoid": table["organoid"],
            "session": table["session"],
            "day": table["day"].map("{:.1f}".format),
            "frames": table["frames"],
            "cells per frame (median)": table["cells_per_frame"].round(0),
            "flags": table["flags"].where(table["flags"] != "", "none"),
            "shift (µm)": table["shift_um"].round(0),
            "rotation (°)": [_fixed(v, 1) for v in table["angle_deg"]],
            "residual (µm)": [_fixed(v, 1) for v in table["residual_um"]],
            "of a frame (µm)": [_fixed(v, 1) for v in table["frame_residual_um"]],
            "accepted": table["accepted"],
        }
    )


def _fixed(value: float, digits: int) -> str:
    return "–" if not np.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def niche_table(data: StudyTables) -> pd.DataFrame:
    """Return the niche metrics of each field's last measured frame."""
    metrics = data["niche_metrics"]
    if metrics.empty:
        return metrics
    last = metrics[metrics["time_h"] == metrics.groupby(["position", "metric", "subject"])["time_h"].transform("max")]
    return pd.DataFrame(
        {
            "organoid": last["position"].map(data.names).fillna(last["position"]),
            "day": last["time_h"] / 24.0,
            "metric": last["metric"].str.replace("_", " "),
            "subject": last["subject"],
            "value": last["value"],
            "unit": last["unit"],
            "low": last["low"],
            "high": last["high"],
            "null_mean": last["null_mean"],
            "p": last["p_value"],
            "note": last["note"],
        }
    ).reset_index(drop=True)


def method_versions(data: StudyTables) -> dict[str, str]:
    """Return the software versions of the latest runs, or those at hand where no run recorded any."""
    for run in reversed(data.runs):
        versions = run.get("versions")
        if isinstance(versions, dict) and versions:
            return {str(k): str(v) for k, v in versions.items()}
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("napari-marrow", "numpy", "scipy", "scikit-image", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def organoid_values(data: StudyTables) -> pd.DataFrame:
    """Return each organoid's value of every endpoint, a column per organoid."""
    summary = data["organoid_summary"]
    if summary.empty:
        return summary
    table = summary.assign(
        endpoint=[
            f"{endpoint_words(str(e))}{f' ({u})' if u else ''}" for e, u in summary[["endpoint", "unit"]].to_numpy()
        ],
        column=summary["organoid"].astype(str) + " (" + summary["condition"].astype(str) + ")",
    )
    wide = table.pivot_table(index="endpoint", columns="column", values="value", aggfunc="first", dropna=False)
    return wide.reset_index().rename_axis(columns=None)
