"""A real study on disk with tables made by hand: six organoids, two conditions, one dense and three sparse sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from napari_marrow.study import Channel, Study

KEY = "0123456789abcdef"
STARTS_H = {1: 0.0, 2: 168.0, 3: 336.0, 4: 504.0}
DENSE_FRAMES = 13
DENSE_STEP_H = 6.0
SIDE = 96
PIXEL = 4.08
RECIPE = {
    "version": 1,
    "seed": 7,
    "correct": {"shading": True, "bleaching": False, "min_frames": 8},
    "registration": {
        "drift": True,
        "between_sessions": "rigid",
        "channels": ["scaffold", "CD31"],
        "max_shift_um": 200.0,
        "max_angle_deg": 6.0,
    },
    "segment": {"model": "marrow-nuclei", "channel": "nuclei", "diameter_um": None, "flow_threshold": 0.4},
    "track": {"max_gap": 3, "use_intensities": True},
    "colonies": {"distance_um": 18.0, "min_cells": 4, "min_probability": 0.5},
    "niche": {"vessel_channel": "CD31", "vessel_radii_um": [4.0, 8.0, 16.0], "n_simulations": 199},
    "lineage": {
        "markers": {"erythroid": "CD235a", "megakaryocytic": "CD41"},
        "consecutive": 2,
        "n_bootstrap": 499,
        "reference": None,
    },
    "report": {"title": ""},
}


def layout() -> pd.DataFrame:
    rows = []
    for i in range(6):
        well = f"{'BC'[i // 3]}{2 + i % 3:02d}"
        rows.append(
            {
                "position": f"{well}_f00", "well": well, "organoid": f"O{i + 1}", "donor": f"donor {1 + i % 2}",
                "batch": "batch 1", "condition": ("control", "ruxolitinib")[i // 3],
                "dose": (np.nan, 500.0)[i // 3], "replicate": 1 + i % 3,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def n_frames(session: int) -> int:
    return DENSE_FRAMES if session == 1 else 1


def picture(rng: np.random.Generator, session: int) -> np.ndarray:
    """Four channels of one frame: nuclei, CD31, CD235a, scaffold."""
    light = np.zeros((4, SIDE, SIDE))
    for _ in range(4 + 3 * session):
        centre = rng.uniform(12, SIDE - 12, 2)
        places = np.clip(rng.normal(centre, 3.5, (6 * session, 2)), 2, SIDE - 3).astype(int)
        light[0, places[:, 0], places[:, 1]] += 3000
        if rng.random() < 0.5:
            light[2, places[:, 0], places[:, 1]] += 900 * session
    light[0] = ndimage.gaussian_filter(light[0], 1.2)
    light[2] = ndimage.gaussian_filter(light[2], 1.2)
    walk = np.cumsum(rng.normal([0, 1.2], 0.6, (160, 2)), axis=0) + np.array([SIDE / 2, 0])
    inside = ((walk >= 0) & (walk < SIDE)).all(axis=1)
    light[1][tuple(walk[inside].astype(int).T)] = 1500
    light[1] = ndimage.gaussian_filter(light[1], 1.2)
    wall = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(SIDE, SIDE)), 7)
    light[3] = ndimage.gaussian_filter((np.abs(wall) < 0.2 * wall.std()) * 150.0, 1)
    return rng.poisson(light + 100).astype(np.uint16)[:, np.newaxis]


def add_images(study: Study, sessions: dict[int, int]) -> None:
    """Write sessions with their number of frames into every position."""
    rng = np.random.default_rng(0)
    for position in study.layout["position"]:
        for session, frames in sessions.items():
            flags = ["" for _ in range(frames)]
            if frames > 8 and position == "B03_f00":
                flags[5], flags[8] = "defocus", "gap"
            with study.add_session(
                position, session, channels=[Channel(c) for c in ("nuclei", "CD31", "CD235a", "scaffold")],
                spacing=(1.0, PIXEL, PIXEL), shape=(frames, 4, 1, SIDE, SIDE), dtype=np.uint16,
                start_h=STARTS_H[session], time_s=np.arange(frames) * DENSE_STEP_H * 3600, flags=flags,
            ) as writer:  # fmt: skip
                image = picture(rng, session)
                for t in range(frames):
                    writer.write(t, image)


def frame_columns(position: str, session: int, t: int) -> dict[str, object]:
    return {"position": position, "session": session, "t": t, "time_h": STARTS_H[session] + t * DENSE_STEP_H}


def transforms(positions: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for position in positions:
        for session in STARTS_H:
            angle = 0.0 if session == 1 else float(np.radians(rng.normal(0, 2)))
            for t in range(n_frames(session)):
                rows.append(
                    frame_columns(position, session, t)
                    | {
                        "kind": "identity" if session == 1 else "rigid",
                        "m00": np.cos(angle), "m01": -np.sin(angle), "ty": rng.normal(0, 40) * (session > 1),
                        "m10": np.sin(angle), "m11": np.cos(angle), "tx": rng.normal(0, 40) * (session > 1),
                        "residual": np.nan if session == 1 else rng.gamma(4, 0.35),
                        "accepted": not (position == "C04_f00" and session == 4),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def cells(positions: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    blocks = []
    for position in positions:
        for session in STARTS_H:
            for t in range(n_frames(session)):
                count = int(rng.poisson(40 * session + 2 * t))
                place = rng.uniform(0, SIDE * PIXEL, (count, 2))
                block = pd.DataFrame(frame_columns(position, session, t), index=range(count))
                blocks.append(
                    block.assign(
                        label=np.arange(1, count + 1), z=0.0, y=place[:, 0], x=place[:, 1], z_reg=0.0,
                        y_reg=place[:, 0], x_reg=place[:, 1], area=rng.normal(60, 10, count), eccentricity=0.5,
                        touches_border=False,
                        intensity_nuclei=rng.gamma(5, 100, count),
                    )
                )  # fmt: skip
    return pd.concat(blocks, ignore_index=True)


def pedigrees(positions: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tracks, onsets and edges of clones that divide and turn on a marker, faster under the second condition."""
    rng = np.random.default_rng(3)
    tracks: list[dict[str, object]] = []
    onsets: list[dict[str, object]] = []
    end = (DENSE_FRAMES - 1) * DENSE_STEP_H
    for position in positions:
        rate = 0.014 if position.startswith("B") else 0.028
        identifier = 0
        for _ in range(14):
            identifier += 1
            waiting = [(identifier, 0, identifier, 0, 0.0, "")]
            while waiting:
                track, parent, founder, generation, start, lineage = waiting.pop(0)
                division = start + rng.gamma(6, 5.0)
                onset = start + rng.exponential(1 / (rate * (1 + generation)))
                death = start + rng.exponential(250)
                stop = min(division, death, end)
                fate = "division" if stop == division else ("death" if stop == death else "end")
                if fate == "end" and rng.random() < 0.12:
                    stop, fate = start + 0.6 * (end - start), "loss"
                frame = DENSE_STEP_H * np.round(np.array([start, stop]) / DENSE_STEP_H)
                place = {"position": position, "session": 1, "track_id": track, "founder_track_id": founder}
                tracks.append(
                    place
                    | {
                        "parent_track_id": parent, "generation": generation, "t_start": int(frame[0] / DENSE_STEP_H),
                        "t_end": int(frame[1] / DENSE_STEP_H), "start_h": frame[0], "end_h": frame[1],
                        "birth": "division" if parent else "start", "fate": fate,
                        "n_nodes": 1 + int((frame[1] - frame[0]) / DENSE_STEP_H), "mean_probability": 0.97,
                    }
                )  # fmt: skip
                came_on = not lineage and onset < stop
                kind = rng.choice(["erythroid", "megakaryocytic", "granulo-monocytic"], p=[0.6, 0.25, 0.15])
                left = DENSE_STEP_H * np.floor(onset / DENSE_STEP_H)
                onsets.append(
                    place
                    | {
                        "generation": generation, "lineage": str(kind) if came_on else "",
                        "event": "onset" if came_on else fate, "entry_h": frame[0],
                        "left_h": left if came_on else frame[1], "right_h": left + DENSE_STEP_H if came_on else np.inf,
                    }
                )  # fmt: skip
                if fate == "division" and stop < end - 3:
                    for _ in range(2):
                        identifier += 1
                        waiting.append(
                            (identifier, track, founder, generation + 1, stop, lineage or str(kind) * came_on)
                        )
    edges = pd.DataFrame(
        {
            "position": rng.choice(positions, 3000), "session": 1, "t_parent": 0, "label_parent": 1, "t_child": 1,
            "label_child": 1, "kind": "link", "probability": rng.beta(40, 1.2, 3000),
        }
    )  # fmt: skip
    return pd.DataFrame(tracks), pd.DataFrame(onsets), edges


def emergence(plan: pd.DataFrame) -> pd.DataFrame:
    time = np.arange(DENSE_FRAMES) * DENSE_STEP_H
    rows = []
    for condition, part in plan.groupby("condition"):
        total = 0.012 if condition == "control" else 0.024
        for lineage, share in (("erythroid", 0.6), ("megakaryocytic", 0.2), ("granulo-monocytic", 0.1), ("death", 0.1)):
            curve = share * (1 - np.exp(-total * time))
            for organoid in [*part["organoid"], "all"]:
                factor = 1.0 if organoid == "all" else 0.85 + 0.15 * (int(organoid[1]) % 3)
                rows.append(
                    pd.DataFrame(
                        {
                            "condition": condition, "organoid": organoid, "lineage": lineage, "time_h": time,
                            "cumulative_incidence": curve * factor, "low": curve * 0.75, "high": curve * 1.25,
                            "at_risk": (120 * np.exp(-total * time)).astype(int),
                        }
                    )
                )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def colonies(positions: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(4)
    rows, growth, edges = [], [], []
    for position in positions:
        faster = 1.0 if position.startswith("B") else 0.75
        for colony in range(1, 9):
            rate = rng.normal(0.009, 0.0015) * faster
            first = rng.integers(4, 12)
            place = rng.uniform(40, SIDE * PIXEL - 40, 2)
            last = 4 if colony < 7 else 2
            for session in range(1, last + 1):
                for t in (0, n_frames(session) - 1)[: n_frames(session)]:
                    size = first * np.exp(rate * (STARTS_H[session] + t * DENSE_STEP_H)) * rng.lognormal(0, 0.08)
                    rows.append(
                        frame_columns(position, session, t)
                        | {
                            "colony": colony, "colony_id": colony, "y": place[0], "x": place[1], "y_reg": place[0],
                            "x_reg": place[1], "area": 60.0 * size, "radius": np.sqrt(60 * size / np.pi),
                            "n_cells": int(size), "founders": str(colony), "fraction_erythroid": 0.4,
                        }
                    )  # fmt: skip
                if session < last:
                    edges.append(
                        {
                            "position": position, "session_parent": session, "colony_parent": colony,
                            "session_child": session + 1, "colony_child": colony,
                            "kind": "merge" if colony == 6 and session == 3 else "same", "probability": 0.9,
                        }
                    )  # fmt: skip
            growth.append(
                {
                    "position": position, "organoid": f"O{positions.index(position) + 1}",
                    "condition": "control" if faster == 1 else "ruxolitinib", "colony_id": colony, "n_sessions": last,
                    "growth_rate": rate, "doubling_time": np.log(2) / rate, "merged": colony == 6,
                }
            )  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(growth), pd.DataFrame(edges)


def niche(positions: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(5)
    r = np.linspace(0, 60, 31)
    metrics, curves, vessels = [], [], []
    for position in positions:
        for session in (1, 4):
            where = frame_columns(position, session, 0)
            effect = 0.12 if position.startswith("B") else 0.03
            common = {"low": np.nan, "high": np.nan, "null_mean": np.nan, "p_value": np.nan, "note": ""}
            metrics.append(
                where | common
                | {"metric": "vessel_length_density", "subject": "all", "value": rng.normal(220, 30), "unit": "mm/mm³"}
            )  # fmt: skip
            for subject in ("all", "erythroid"):
                metrics.append(
                    where
                    | {
                        "metric": "proximity_effect_vessel", "subject": subject, "value": effect + 0.02, "low": -0.04,
                        "high": 0.04, "null_mean": 0.0, "p_value": 0.005 if effect > 0.1 else 0.31,
                        "unit": "", "note": "",
                    }
                )  # fmt: skip
                null = 1 - np.exp(-((r / 30.0) ** 1.6))
                curves.append(
                    pd.DataFrame(
                        where
                        | {
                            "curve": "distance_cdf_vessel", "subject": subject, "r": r,
                            "observed": np.clip(null + effect * np.sin(np.pi * r / 60), 0, 1), "null_mean": null,
                            "low": np.clip(null - 0.07, 0, 1), "high": np.clip(null + 0.07, 0, 1),
                        }
                    )
                )  # fmt: skip
            for branch in range(1, 9):
                points = np.cumsum(rng.normal(rng.normal(0, 4, 2), 3, (40, 2)), axis=0) + rng.uniform(60, 330, 2)
                points = points[((points > 0) & (points < SIDE * PIXEL)).all(axis=1)]
                vessels.append(
                    pd.DataFrame(
                        {k: v for k, v in where.items() if k != "time_h"}
                        | {
                            "branch": branch, "y": points[:, 0], "x": points[:, 1],
                            "radius": rng.uniform(4, 11) + np.sin(np.arange(len(points)) / 6),
                        }
                    )
                )  # fmt: skip
    return pd.DataFrame(metrics), pd.concat(curves, ignore_index=True), pd.concat(vessels, ignore_index=True)


def inference(plan: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exact permutation p-values of 3 + 3 organoids, all splits counted."""
    from itertools import combinations

    rng = np.random.default_rng(6)
    comparisons, summary = [], []
    endpoints = {
        "cumulative incidence erythroid": ("", 0.35, 0.2), "median division time": ("h", 26.0, 1.0),
        "colony doubling time": ("h", 78.0, 26.0), "vessel_length_density": ("mm/mm³", 220.0, -10.0),
    }  # fmt: skip
    for endpoint, (unit, base, effect) in endpoints.items():
        values = base + effect * (plan["condition"] != "control").to_numpy() + rng.normal(0, 0.08 * base, len(plan))
        summary.append(plan[["organoid", "condition"]].assign(endpoint=endpoint, value=values, unit=unit))
        control = (plan["condition"] == "control").to_numpy()
        a, b = values[control], values[~control]
        splits = [np.isin(np.arange(6), c) for c in combinations(range(6), 3)]
        differences = np.array([values[~s].mean() - values[s].mean() for s in splits])
        difference = b.mean() - a.mean()
        half = 2.776 * np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 3)
        comparisons.append(
            {
                "endpoint": endpoint, "unit": unit, "condition_a": "control", "condition_b": "ruxolitinib", "n_a": 3,
                "n_b": 3, "mean_a": a.mean(), "mean_b": b.mean(), "difference": difference, "low": difference - half,
                "high": difference + half, "p_value": np.mean(np.abs(differences) >= abs(difference) - 1e-12),
                "smallest_p": 0.1,
            }
        )  # fmt: skip
    table = pd.DataFrame(comparisons)
    return table.assign(p_adjusted=np.minimum(1.0, table["p_value"] * 4 / table["p_value"].rank())), pd.concat(summary)


def all_tables() -> dict[str, pd.DataFrame]:
    plan = layout()
    positions = list(plan["position"])
    tables: dict[str, pd.DataFrame] = {"transforms": transforms(positions), "cells": cells(positions)}
    tables["tracks"], tables["onsets"], tables["track_edges"] = pedigrees(positions)
    tables["emergence"] = emergence(plan)
    tables["colonies"], tables["colony_growth"], tables["colony_edges"] = colonies(positions)
    tables["niche_metrics"], tables["niche_curves"], tables["vessels"] = niche(positions)
    tables["comparisons"], tables["organoid_summary"] = inference(plan)
    tables["onset_thresholds"] = pd.DataFrame({"channel": ["CD235a", "CD41"], "threshold": [312.5, 250.0]})
    return tables


def commit_tables(study: Study, tables: dict[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        study.commit(name, KEY, {}, table)
    study.set_active({"lineage": KEY}, tables=dict.fromkeys(tables, KEY))


def build_study(path: Path) -> Study:
    study = Study.create(path, name="Tutorial organoids", layout=layout())
    with study.write_lock():
        add_images(study, {session: n_frames(session) for session in STARTS_H})
        commit_tables(study, all_tables())
        study.record_run(
            "lineage", KEY,
            {
                "recipe": RECIPE, "units": 6, "seconds": 1.5, "counts": {"tracks": 420},
                "versions": {"napari-marrow": "0.1.0", "python": "3.11.4", "numpy": "2.4.0"},
            },
        )  # fmt: skip
    return study


@pytest.fixture(scope="session")
def full_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return the complete study; tests must not change it."""
    return build_study(tmp_path_factory.mktemp("study") / "tutorial.marrow")


@pytest.fixture
def make_study(tmp_path: Path):
    """Return a function that makes a study of the given sessions and tables."""

    def make(sessions: dict[int, int], tables: dict[str, pd.DataFrame], name: str = "small.marrow") -> Study:
        study = Study.create(tmp_path / name, layout=layout().iloc[[0, 3]])
        with study.write_lock():
            if sessions:
                add_images(study, sessions)
            commit_tables(study, tables)
        return study

    return make
