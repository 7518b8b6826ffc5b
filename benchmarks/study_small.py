"""A small study for the benchmarks that kill, fill and damage: two organoids, a dense session and a sparse one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow import simulation
from napari_marrow.pipeline import Recipe, parse_recipe
from napari_marrow.study import Study

RECIPE: Recipe = parse_recipe({"niche": {"n_simulations": 39, "every_h": 1000}, "lineage": {"n_bootstrap": 99}})
"""Every step, with few simulations."""


def write_small_study(path: Path) -> None:
    """Write the images of a simulated experiment of 128 x 128 px into a new study."""
    sample = simulation.preset("sample", seed=3)
    dense, sparse = sample.sessions[1], sample.sessions[2]
    scenario = replace(
        sample,
        name="small",
        sessions=(replace(dense, n_frames=8), replace(sparse, start_h=dense.start_h + 48)),
        imaging=replace(sample.imaging, shape=(1, 128, 128)),
    )
    experiment = simulation.simulate(scenario)
    study = Study.create(path, layout=experiment.layout)
    for position in experiment.layout["position"]:
        for session in experiment.sessions(position):
            with study.add_session(
                position, session.session, channels=list(session.channels), spacing=session.spacing,
                shape=session.shape, dtype="uint16", start_h=session.start_h, time_s=session.time_s,
            ) as writer:  # fmt: skip
                for t in range(session.shape[0]):
                    writer.write(t, session.frame(t))


def results(path: Path) -> dict[str, np.ndarray | pd.DataFrame]:
    """Return every active label image and table of a study, read through its public functions."""
    study = Study.open(path)
    found: dict[str, np.ndarray | pd.DataFrame] = {}
    names = {"segment": ["cells"], "structures": ["organoid", "scaffold", "vessels"], "colonies": ["colonies"]}
    for position in study.positions:
        for session in study.sessions(position):
            for step, images in names.items():
                for name in images:
                    if study.has_labels(name, study.active[step], position, session):
                        labels = study.labels(name, study.active[step], position, session)
                        for t in labels.times:
                            found[f"{name} {position} {session} {t}"] = labels.read(t)
    for table in study.active_tables:
        if table != "report_files" and study.has_table(table):  # sizes of pages that hold the time of writing
            found[table] = study.table(table)
    return found


def differences(a: dict[str, np.ndarray | pd.DataFrame], b: dict[str, np.ndarray | pd.DataFrame]) -> list[str]:
    """Return the names of results that are not equal to the last bit."""
    different = sorted(a.keys() ^ b.keys())
    for name in a.keys() & b.keys():
        first, second = a[name], b[name]
        same = first.equals(second) if isinstance(first, pd.DataFrame) else np.array_equal(first, second)
        different += [] if same else [name]
    return different
