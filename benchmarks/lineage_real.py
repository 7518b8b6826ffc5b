"""Lineage statistics of real, hand-annotated trees.

    python benchmarks/lineage_real.py t_cells DATA/lineage/cyton2/t_il2-20131218.xlsx
    python benchmarks/lineage_real.py b_cells DATA/lineage/cyton2/b_cpg-cpg3.xlsx
    python benchmarks/lineage_real.py fucci   DATA/lineage/fucci
    python benchmarks/lineage_real.py au565   DATA/lineage/au565

print division and death times, cumulative incidence of division and death, onset of the reporter and correlations of
kin, beside what the papers report. Reading the workbooks needs openpyxl. With --csv FILE the trees are written as
`marrow lineage` takes them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow import lineage


def cyton_trees(path: Path) -> pd.DataFrame:
    """Read a workbook of Cheon et al. 2021 (Front Bioinform 1:723337): a row per cell, `relation` its way there."""
    table = pd.read_excel(path, sheet_name=0, dtype={"relation": str, "well": str})
    # A founder is followed from its first frame; its relation is one character, as its daughters' is in B cells.
    tail = table["gen"].astype(int)
    way = [r[len(r) - g :] if g else "" for r, g in zip(table["relation"].astype(str), tail, strict=True)]
    key = pd.MultiIndex.from_arrays([table["clone"], way])
    doubled = key.duplicated()
    table, way = table[~doubled].reset_index(drop=True), [w for w, d in zip(way, doubled, strict=True) if not d]
    number = {k: i + 1 for i, k in enumerate(zip(table["clone"], way, strict=True))}
    out = pd.DataFrame({"track_id": range(1, len(table) + 1)})
    out["parent_track_id"] = [number.get((c, w[:-1]), 0) if w else 0 for c, w in zip(table["clone"], way, strict=True)]
    out["position"] = "well"
    out["clone"] = table["clone"]
    out["start_h"] = table["t_birth"].fillna(0.0) if "t_birth" in table else 0.0
    ends = table[["t_div", "t_death", "t_loss"]]
    out["end_h"] = ends.min(axis=1)
    kind = ends.idxmin(axis=1).map({"t_div": "division", "t_death": "death", "t_loss": "loss"})
    out["fate"] = kind
    out["onset_h"] = table.get("t_rOn", np.nan)
    out["lineage"] = np.where(pd.notna(out["onset_h"]), "reporter", "")
    return _consistent(out)


def _consistent(cells: pd.DataFrame) -> pd.DataFrame:
    """Leave out cells without an end and their descendants, and what the annotation contradicts; say how many."""
    keep = cells["end_h"].notna() & (cells["end_h"] >= cells["start_h"])
    known = set(cells.loc[keep, "track_id"])
    mothers = cells.set_index("track_id")[["end_h", "fate"]]
    for _ in range(12):
        parent = cells["parent_track_id"]
        fine = keep & ((parent == 0) | parent.isin(known))
        after = cells["start_h"] >= parent.map(mothers["end_h"]).fillna(-np.inf) - 1e-6
        divided = (parent == 0) | (parent.map(mothers["fate"]) == "division")
        keep = fine & after & divided
        known = set(cells.loc[keep, "track_id"])
    left_out = int((~keep).sum())
    if left_out:
        print(f"{left_out} of {len(cells)} cells left out: no end, or not after their mother's division")
    out = cells[keep].copy()
    wrong = out["onset_h"].notna() & ~out["onset_h"].between(out["start_h"], out["end_h"])
    out.loc[wrong, ["onset_h", "lineage"]] = [np.nan, ""]
    start = out["parent_track_id"].map(out.set_index("track_id")["end_h"])
    out["start_h"] = np.fmax(out["start_h"], start.fillna(-np.inf))
    return out


def describe(cells: pd.DataFrame) -> None:
    """Print the statistics of annotated trees."""
    pedigree, onsets = lineage.annotated_trees(cells)
    life = pedigree.lifetimes()
    founders = int((pedigree.mother < 0).sum())
    print(f"{len(pedigree)} cells, {founders} founders, generations up to {pedigree.generation.max()}")
    for which in ("first", "later"):
        for event in ("division", "death"):
            curve = lineage.division_curve(life, which=which, event=event)
            n = int(((life["birth_seen"] == (which == "later")) & (life["event"] == event)).sum())
            print(f"{which} {event}: {n} seen, median {curve.median:.1f} h, quartiles {curve.quantile(0.25):.1f} to "
                  f"{curve.quantile(0.75):.1f} h (Kaplan-Meier)")  # fmt: skip
    later = life[life["birth_seen"]]
    cause = later["event"].map({"division": 1, "death": 2}).fillna(0).astype(int)
    curves = lineage.aalen_johansen(later["age_h"], cause, n_causes=2)
    for t in (10.0, 20.0, 30.0):
        division, death = curves.at([t])[:, 0]
        print(f"by {t:.0f} h of age: {division:.2f} divided, {death:.2f} died (Aalen-Johansen)")
    for name, values in (("division time", np.where(life["event"] == "division", life["age_h"], np.nan)),
                         ("death time", np.where(life["event"] == "death", life["age_h"], np.nan))):  # fmt: skip
        values = np.where(life["birth_seen"], values, np.nan)
        for row in lineage.kin_correlation(pedigree, values, adjust_generation=True).itertuples():
            if np.isfinite(row.pooled):
                print(f"{name} of {row.kind}s: r = {row.pooled:.2f} ({row.n_pairs} pairs), "
                      f"clone alone {row.shuffled:.2f}, p = {row.p_value:.3f}")  # fmt: skip
    for row in lineage.kin_correlation(pedigree, lineage.division_scores(pedigree)).itertuples():
        if np.isfinite(row.pooled):
            print(
                f"division score of {row.kind}s: r = {row.pooled:.2f}, beyond the clone {row.excess:.2f} "
                f"(p = {row.p_value:.3f})"
            )
    if (onsets["event"] == "onset").any():
        columns = ["generation", "to", "n_cells", "n_events", "rate", "low", "high"]
        print(lineage.hazard_by_generation(onsets)[columns].round(4).to_string(index=False))


def fucci(folder: Path) -> None:
    """Print division times, reporter onsets and sister correlations of the four FUCCI experiments."""
    for path in sorted(folder.glob("*.csv")):
        table = pd.read_csv(path)
        table = table[(table["t"] > 0) & (table["end"] > table["start"])]
        green = table["end"] - table["greenOn"]
        share = np.corrcoef(table["t"], green)[0, 1]
        table = table.assign(part=green / table["t"])
        # Sisters begin together in one well and at one place; only cells that divide were annotated.
        group = table.groupby(["well", "row", "col", table["start"].round(3)])
        pairs = [g[["t", "part"]].to_numpy()[:2] for _, g in group if len(g) == 2]
        time, part = (_double_entry([p[:, k] for p in pairs]) for k in (0, 1))
        print(f"{path.stem}: {len(table)} divisions, mean {table['t'].mean():.1f} h (SD {table['t'].std():.1f}), "
              f"S/G2/M {green.mean():.1f} h = {table['part'].mean():.2f} of it (SD {table['part'].std():.2f}), "
              f"r(S/G2/M, division time) = {share:.2f}; sisters ({len(pairs)} pairs): r = {time:.2f} for the time, "
              f"{part:.2f} for the proportion")  # fmt: skip
    print("paper (Dowling et al. 2014, PNAS 111:6377): a near-fixed proportion of the division time is in S/G2/M, "
          "and this proportion is correlated between siblings")  # fmt: skip


def _double_entry(pairs: list[np.ndarray]) -> float:
    a, b = np.array(pairs).T
    return float(np.corrcoef(np.concatenate([a, b]), np.concatenate([b, a]))[0, 1])


def au565_trees(folder: Path, hours_per_frame: float = 0.5) -> pd.DataFrame:
    """Read the workbooks of tHMM (Mohammadi et al. 2022, Commun Biol 5:1258): a block of rows per lineage.

    Every generation has three columns (transition from G1, death, division, in frames of the film); daughters stand
    above and below their mother.
    """
    from openpyxl import load_workbook

    rows: list[dict[str, object]] = []
    for path in sorted(folder.glob("*.xlsx")):
        sheet = [list(r) for r in load_workbook(path, data_only=True).active.iter_rows(values_only=True)]
        last = max((float(v) for r in sheet for v in r[3::3] if isinstance(v, (int, float))), default=np.nan)

        def value(r: int, c: int, sheet: list[list[object]] = sheet) -> float:
            inside = 0 <= r < len(sheet) and c < len(sheet[r])
            return float(sheet[r][c]) if inside and isinstance(sheet[r][c], (int, float)) else np.nan  # type: ignore[arg-type]

        for root in [i for i, r in enumerate(sheet) if i > 2 and isinstance(r[0], (int, float))]:
            waiting = [(root, 0, 0, 0.0)]
            while waiting:
                r, generation, mother, birth = waiting.pop()
                transition, death, division = (value(r, 1 + 3 * generation + k) for k in range(3))
                end = np.nanmin([death, division]) if np.isfinite([death, division]).any() else np.nan
                if not np.isfinite(end) or end < birth:
                    continue
                fate = "end" if end >= last else ("death" if end == death else "division")
                rows.append({
                    "track_id": len(rows) + 1, "parent_track_id": mother, "position": path.stem, "fate": fate,
                    "start_h": birth * hours_per_frame, "end_h": end * hours_per_frame,
                    "transition_h": transition * hours_per_frame if birth < transition < end else np.nan,
                })  # fmt: skip
                if fate == "division" and generation < 4:
                    step = (4, 2, 1, 0)[generation]
                    # The last generation has no row between: daughters share their mother's row and the one outside it.
                    pair = (r - step, r + step) if step else ((r - 1, r) if r < root else (r, r + 1))
                    waiting += [(p, generation + 1, len(rows), end) for p in pair]
    table = pd.DataFrame(rows)
    seen = table["parent_track_id"].isin(table["track_id"]) | (table["parent_track_id"] == 0)
    return table[seen].assign(onset_h=np.nan, lineage="")


def main() -> None:
    """Run one data set."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", choices=["t_cells", "b_cells", "fucci", "au565"])
    arguments.add_argument("path", type=Path)
    arguments.add_argument("--csv", type=Path)
    given = arguments.parse_args()
    if given.data == "fucci":
        fucci(given.path)
        return
    cells = au565_trees(given.path) if given.data == "au565" else cyton_trees(given.path)
    if given.csv is not None:
        cells.to_csv(given.csv, index=False)
    describe(cells)
    if given.data == "au565":
        g1 = (cells["transition_h"] - cells["start_h"])[cells["parent_track_id"] > 0].dropna()
        print(f"G1 of {len(g1)} cells seen through it: median {g1.median():.1f} h, at 30 min per frame")
    else:
        print("paper (Cheon et al. 2021): fates of siblings are timed alike, and times are inherited in the family")


if __name__ == "__main__":
    main()
