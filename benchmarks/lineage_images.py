"""Lineage emergence end to end: simulated images are segmented, tracked and measured, then compared with the truth.

    python benchmarks/lineage_images.py coupled OUT --organoids 12
    python benchmarks/lineage_images.py null OUT --organoids 12

prints, per lineage, cumulative incidence at the end of the dense session (estimated, true, error by organoid, and
whether the interval with tracking error holds the truth), deaths told from losses, and the coupling of onset to the
distance from the nearest vessel: log hazard ratio per unit of log(1 + distance / 10 µm), the rows of the test that was
settled beforehand (`lineage.coupling_test`) first. OUT is kept and used again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.export.raw_set import write_raw_set
from napari_marrow.ingest import import_files
from napari_marrow.pipeline import Recipe, run
from napari_marrow.simulation import Effect, preset, simulate
from napari_marrow.study import Study


def analysed(name: str, out: Path, organoids: int, seed: int) -> Study:
    """Simulate the preset's dense session with so many organoids and analyse it, as far as that was not done."""
    raw, path = out / "raw", out / f"{name}.marrow"
    if not raw.exists():
        scenario = preset(name, seed=seed)
        dense = tuple(s for s in scenario.sessions if s.kind == "dense")
        design = replace(scenario.design, conditions={"control": Effect()}, organoids_per_condition=organoids, donors=1)
        write_raw_set(simulate(replace(scenario, sessions=dense, design=design)), raw)
    if not (path / "study.json").is_file():
        import_files(path, [raw / "raw"], layout=raw / "layout.csv")
    run(path, Recipe(), until="lineage")
    return Study.open(path)


def incidence(study: Study, truth: Path) -> pd.DataFrame:
    """Return estimated and true incidence per organoid and lineage at the last true time, and coverage."""
    true = pd.read_csv(truth / "metrics.csv").query("metric == 'cumulative_incidence'")
    true = true.merge(study.layout[["position", "organoid"]], on="position")
    rows = []
    found = study.table("emergence")
    for (organoid, lineage), part in true.groupby(["organoid", "subject"]):
        last = part.sort_values("argument").iloc[-1]
        mine = found[(found["organoid"] == organoid) & (found["lineage"] == lineage)].dropna(
            subset="cumulative_incidence"
        )
        if len(mine):
            at = mine.iloc[(mine["time_h"] - last["argument"]).abs().argmin()]
            rows.append([lineage, at["cumulative_incidence"], last["value"], at["low"] <= last["value"] <= at["high"],
                         at["low_total"] <= last["value"] <= at["high_total"]])  # fmt: skip
    table = pd.DataFrame(rows, columns=["lineage", "estimated", "true", "covered", "covered_with_tracking"])
    table["absolute_error"] = (table["estimated"] - table["true"]).abs()
    return table.groupby("lineage").mean()


def main() -> None:
    """Print the comparisons."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("preset", choices=["coupled", "null", "tutorial"])
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--organoids", type=int, default=12)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    study = analysed(given.preset, given.out, given.organoids, given.seed)
    truth = given.out / "raw" / "truth"
    with pd.option_context("display.width", 160):
        print(incidence(study, truth).round(3).to_string())
        losses = study.table("losses")
        died = float(np.nansum(losses["death_probability"]))
        pedigree = pd.read_csv(truth / "pedigree.csv")
        deaths = int((pedigree["fate"] == "death").sum())
        print(
            f"lost cells {len(losses)}, expected deaths among them {died:.1f}; true deaths {deaths} (whole simulation)"
        )
        columns = [
            "primary",
            "question",
            "exposure",
            "lineage",
            "log_hazard_ratio",
            "low",
            "high",
            "p_value",
            "p_adjusted",
            "n_events",
            "n_organoids",
            "method",
        ]
        coupling = study.table("niche_coupling")
        print(coupling[columns].round(4).to_string(index=False))
        p = float(coupling.loc[coupling["primary"].astype(bool), "p_adjusted"].min())
        print(f"the test settled beforehand (hazard, line of descent, all lineages): p = {p:.4f}")


if __name__ == "__main__":
    main()
