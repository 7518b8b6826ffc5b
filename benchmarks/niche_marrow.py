"""Human bone marrow by light sheet: how CXCL12 and CD271 cells lie to bone and to vessels (ENG), three samples.

    python benchmarks/niche_marrow.py DATA/niche/chu2023

Spots of Chu et al. 2023, positions in µm. Each sample gives one effect per class, structure and null model; the last
columns take the three samples as what is replicated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.niche import NicheSettings, Spots, measure_niche, window_of_points
from napari_marrow.statistics import unit_mean

CELLS = {"CD271": "CD271only", "CXCL12": "CXCL12only", "both": "CD271_CXCL12"}
STRUCTURES = {"bone": "Bone", "vessel": "ENG"}


def read(path: Path) -> np.ndarray:
    """Return z, y, x of the spots of a file, whose header follows three lines."""
    table = pd.read_csv(path, skiprows=3, index_col=False)
    return table[["Position Z", "Position Y", "Position X"]].to_numpy(dtype=float)


def sample_rows(folder: Path, closing: float, n_simulations: int, r_max: float) -> list[dict[str, object]]:
    """Measure one sample."""
    name = folder.name
    cells = {k: read(folder / f"{name}_{v}.csv") for k, v in CELLS.items()}
    spots = {k: read(folder / f"{name}_{v}.csv") for k, v in STRUCTURES.items()}
    every = np.concatenate([*cells.values(), *spots.values()])
    window, spacing, origin = window_of_points(every, voxel=10.0, closing=closing)
    points = np.concatenate(list(cells.values())) - origin
    label = np.repeat(list(cells), [len(c) for c in cells.values()])
    result = measure_niche(
        cells=pd.DataFrame(points, columns=["z", "y", "x"]),
        classes={"all": np.ones(len(points), bool), **{k: label == k for k in cells}},
        structures={k: Spots(p - origin) for k, p in spots.items()}, tissue=window, spacing=spacing,
        settings=NicheSettings(
            n_simulations=n_simulations, n_uniform=19, r_max=r_max, n_r=50, pairs=(), vessels=(), niche_radius=r_max
        ),
    )  # fmt: skip
    metrics = result.metrics.set_index(["metric", "subject"])
    rows = []
    for structure in STRUCTURES:
        for subject in ("all", *CELLS):
            effect = metrics.loc[(f"proximity_effect_{structure}", subject)]
            median = metrics.loc[(f"median_distance_{structure}", subject)]
            rows.append(
                {
                    "sample": name, "structure": structure, "subject": subject,
                    "n": int(metrics.loc[("n_cells", subject), "value"]), "median": median["value"],
                    "effect": effect["value"], "null": f"{effect['low']:+.3f} to {effect['high']:+.3f}",
                    "interval": f"{effect['interval_low']:+.3f} to {effect['interval_high']:+.3f}",
                    "p": effect["p_value"], "window_mm3": window.sum() * np.prod(spacing) / 1e9,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    """Print the table of samples and the summary over them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--closing", type=float, default=50.0, help="radius that closes gaps of the window, µm")
    parser.add_argument("--simulations", type=int, default=999)
    parser.add_argument("--r-max", type=float, default=30.0)
    chosen = parser.parse_args()
    rows: list[dict[str, object]] = []
    for folder in sorted(p for p in chosen.folder.iterdir() if p.is_dir()):
        rows += sample_rows(folder, chosen.closing, chosen.simulations, chosen.r_max)
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    print("\nOver samples: mean effect, 95 % interval (Student's t), sign-flip p; the smallest p of three is .25")
    for (structure, subject), part in table.groupby(["structure", "subject"], sort=False):
        mean = unit_mean(part["effect"].to_numpy(dtype=float))
        print(f"{structure:7s} {subject:7s} n = {mean.n}   {mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})   "
              f"p = {mean.p_value:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
