"""How many of the link errors on MCF10A lie where truth holds two tracks almost on top of each other.

Usage: ``python benchmarks/tracking_close_pairs.py [--data FOLDER] [--share 0.2]``.

A pair of true tracks is called close if, in the five consecutive frames or more in which both have a point, the median
distance of the two is below a share of the movie's usual distance between nearest neighbours: which of the two goes on
as which cannot be told from points. An error (a wrong or a missed link) lies there if one of its ends belongs to a
track of such a pair, *at divisions* if one lies within three frames of a division. The second table says of what kind
the others are:

* *exchanged*: two cells took each other's place, four errors each; *longer*: the sum of the squared annotated steps is
  larger than that of the ones found, so that nothing in the places speaks for truth;
* *no mother*: a daughter that truth holds was found, but to begin anew;
* *another mother*: a daughter was given to another cell, two errors;
* *rest*: whatever else, such as three cells that moved on by one.

``--list`` names every error.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_marrow.tracking.scores import links_of
from tracking import DATA, ours, real_sets

_LEAST_FRAMES = 5


def usual_distance(table: pd.DataFrame) -> float:
    """Median distance of nearest neighbours over all frames."""
    out = []
    for _, frame in table.groupby("t"):
        x = frame[["y", "x"]].to_numpy()
        if len(x) > 1:
            out.append(cKDTree(x).query(x, k=2)[0][:, 1])
    return float(np.median(np.concatenate(out)))


def close_pairs(table: pd.DataFrame, limit: float) -> dict[tuple[int, int], tuple[int, float]]:
    """Frames in common and median distance of each pair of true tracks that keeps closer than `limit`."""
    near: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for t, frame in table[table["track_id"] > 0].groupby("t"):
        x, track = frame[["y", "x"]].to_numpy(), frame["track_id"].to_numpy()
        for a, b in cKDTree(x).query_pairs(3 * limit):
            key = (int(min(track[a], track[b])), int(max(track[a], track[b])))
            near.setdefault(key, []).append((int(t), float(np.hypot(*(x[a] - x[b])))))
    out = {}
    for pair, seen in near.items():
        longest: list[float] = []
        run = [seen[0][1]]
        for (before, _), (after, distance) in pairwise(seen):
            run = [*run, distance] if after == before + 1 else [distance]
            longest = max(longest, run, key=len)
        if len(longest) >= _LEAST_FRAMES and np.median(longest) < limit:
            out[pair] = len(longest), float(np.median(longest))
    return out


def errors(table: pd.DataFrame, track: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, wrong and missed links (pairs of rows, at most three frames apart)."""
    t = table["t"].to_numpy()
    links = []
    for ids, mothers in ((table["track_id"], table["parent_track_id"]), (track, parent)):
        found = np.concatenate(links_of(t, np.asarray(ids, np.int64), np.asarray(mothers, np.int64)))
        links.append(found[t[found[:, 1]] - t[found[:, 0]] <= 3])
    true, own = ({tuple(link) for link in part.tolist()} for part in links)
    return tuple(np.array(sorted(s)).reshape(-1, 2) for s in (true & own, own - true, true - own))


def near_divisions(table: pd.DataFrame) -> np.ndarray:
    """Whether each point lies within three frames of the division that ends or begins its true track."""
    t, track, parent = (table[c] for c in ("t", "track_id", "parent_track_id"))
    first, last = t.groupby(track).transform("min"), t.groupby(track).transform("max")
    daughters, mothers = parent > 0, track.isin(parent[parent > 0])
    return np.asarray((daughters & (t - first <= 3)) | (mothers & (last - t <= 3)))


def kinds(table: pd.DataFrame, wrong: np.ndarray, missed: np.ndarray) -> dict[str, list[tuple[int, ...]]]:
    """Sort errors by kind: rows of exchanged links (a, b, c, d for a -> b and c -> d), and of single ones."""
    x, parent = table[["y", "x"]].to_numpy(), table["parent_track_id"].to_numpy()
    first = table["t"] == table.groupby("track_id")["t"].transform("min")
    born = np.asarray(first & (parent > 0))
    own, true = ({tuple(link) for link in part.tolist()} for part in (wrong, missed))
    out: dict[str, list[tuple[int, ...]]] = {"exchanged": [], "longer": [], "no mother": [], "another mother": []}
    for a, b in sorted(own):
        for c, d in sorted(own):
            if a < c and {(a, d), (c, b)} <= true and {(a, b), (c, d)} <= own:
                ways = [float(sum(((x[q] - x[p]) ** 2).sum() for p, q in pairs)) for pairs in (
                    ((a, d), (c, b)), ((a, b), (c, d)))]  # fmt: skip
                out["exchanged"].append((a, b, c, d))
                out["longer"] += [(a, b, c, d)] if ways[0] > ways[1] else []
                own -= {(a, b), (c, d)}
                true -= {(a, d), (c, b)}
    given = {b: a for a, b in own}
    for a, b in sorted(true):
        if born[b] and b not in given:
            out["no mother"].append((a, b))
            true -= {(a, b)}
        elif born[b]:
            out["another mother"].append((a, b, given[b]))
            true -= {(a, b)}
            own -= {(given[b], b)}
    return {**out, "rest": [*sorted(own), *sorted(true)]}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--list", action="store_true", help="name every error")
    options = parser.parse_args()
    second, named = [], []
    print(
        "| movie | neighbours, px | close pairs (frames, px) | errors | of them there | at divisions | link F1 "
        "| without these tracks |"
    )
    print("|---" * 8 + "|")
    for name, (table, known) in real_sets(options.data).items():
        if not name.startswith("EGF"):
            continue
        usual = usual_distance(table)
        pairs = close_pairs(table, options.share * usual)
        (track, parent), _, _ = ours(table[["t", "y", "x", *known]])
        inside = np.isin(table["track_id"].to_numpy(), np.array([k for pair in pairs for k in pair], np.int64))
        right, wrong, missed = errors(table, track, parent)
        at_division = near_divisions(table)[np.concatenate([wrong, missed])].any(1)
        counts = [(len(part), int(inside[part].any(1).sum())) for part in (right, wrong, missed)]
        (r, r_in), (w, w_in), (m, m_in) = counts
        score, without = (2 * a / max(2 * a + b, 1) for a, b in ((r, w + m), (r - r_in, w + m - w_in - m_in)))
        said = ", ".join(f"{a}/{b} ({frames}, {px:.1f})" for (a, b), (frames, px) in pairs.items()) or "none"
        print(
            f"| {name} | {usual:.1f} | {said} | {w + m} | {w_in + m_in} | {at_division.sum()} | {score:.4f} | "
            f"{without:.4f} |"
        )
        elsewhere = [part[~inside[part].any(1)] for part in (wrong, missed)]
        sorted_out = kinds(table, *elsewhere)
        counts_of = {kind: len(rows) for kind, rows in sorted_out.items()}
        second.append(
            f"| {name} | {sum(map(len, elsewhere))} | {counts_of['exchanged']} | {counts_of['longer']} | "
            f"{counts_of['no mother']} | {counts_of['another mother']} | {counts_of['rest']} |"
        )
        t, who = table["t"].to_numpy(), table["track_id"].to_numpy()
        named += [
            f"{name}: {kind}: " + ", ".join(f"track {who[row]} in frame {t[row]}" for row in rows)
            for kind, found in sorted_out.items() if kind != "longer" for rows in found
        ]  # fmt: skip
    print("\n| movie | errors elsewhere | exchanged | of these longer | no mother | another mother | rest |")
    print("|---" * 7 + "|")
    print("\n".join(second + (named if options.list else [])))


if __name__ == "__main__":
    main()
