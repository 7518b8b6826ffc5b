"""Donor by donor: disease against its isogenic control, and who responds to a drug."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2, t

from napari_marrow.errors import DesignError, TableError
from napari_marrow.statistics.permutation import permutation_test

Floats = npt.NDArray[np.float64]
_COLUMNS = [
    "donor", "n_reference", "n_other", "mean_reference", "mean_other", "difference", "low", "high", "p_value",
    "smallest_p", "note",
]  # fmt: skip


def donor_responses(
    summary: pd.DataFrame, layout: pd.DataFrame, endpoint: str, *, reference: str, other: str
) -> pd.DataFrame:
    """Compare two conditions within every donor, and over donors.

    For a patient's line and its gene-corrected isogenic control, `donor` is the patient and the conditions are
    ``corrected`` and ``disease``; for patient-specific drug tests they are untreated and treated.

    Parameters
    ----------
    summary : pandas.DataFrame
        ORGANOID_SUMMARY table.
    layout : pandas.DataFrame
        LAYOUT table.
    endpoint : str
    reference, other : str
        Conditions.

    Returns
    -------
    pandas.DataFrame
        A row per donor: n_reference, n_other, mean_reference, mean_other, difference, low, high (95 %, Welch),
        p_value and smallest_p (permutation of the donor's organoids), note. The last row, donor ``all``, has donors as
        the units: mean of their differences, t interval, exact sign-flip test (smallest p 2/2^m for m donors), and a
        note with the heterogeneity (Cochran's Q). It speaks for other patients; a donor's row for that donor only.

    Raises
    ------
    TableError
        If the endpoint is not there.
    DesignError
        If no donor has both conditions.
    """
    mine = summary[summary["endpoint"] == endpoint]
    if mine.empty:
        raise TableError(f"The summary has no endpoint '{endpoint}': it has {sorted(set(summary['endpoint']))}.")
    places = layout[["organoid", "donor", "condition"]].drop_duplicates("organoid").astype(str)
    table = mine[["organoid", "value"]].merge(places, on="organoid", how="inner")
    table = table[np.isfinite(table["value"].to_numpy(dtype=np.float64))]
    rows, variances = [], []
    for donor, part in table.groupby("donor", sort=True):
        a = part.loc[part["condition"] == reference, "value"].to_numpy(dtype=np.float64)
        b = part.loc[part["condition"] == other, "value"].to_numpy(dtype=np.float64)
        if len(a) and len(b):
            row, variance = _one_donor(str(donor), a, b)
            rows.append(row)
            variances.append(variance)
    if not rows:
        raise DesignError(
            f"No donor has values of '{endpoint}' in both '{reference}' and '{other}': donors cannot be compared with "
            "themselves."
        )
    differences = np.array([row["difference"] for row in rows], dtype=np.float64)
    rows.append(_over_donors(differences, np.array(variances), rows))
    return pd.DataFrame(rows)[_COLUMNS]


def sign_flip_test(differences: npt.ArrayLike, *, n_draws: int = 9999, seed: int = 0) -> tuple[float, float]:
    """Test paired differences by flipping their signs, exactly up to 14 pairs.

    Returns
    -------
    p_value, smallest_p : float
        Two-sided; the smallest p that this number of pairs can give.

    References
    ----------
    Fisher 1935, The Design of Experiments, section 21.
    """
    d = np.asarray(differences, dtype=np.float64)
    if len(d) == 0:
        return float("nan"), float("nan")
    if len(d) <= 14:
        signs = np.array(list(product((1.0, -1.0), repeat=len(d))))
        extra = 0
    else:
        signs = np.random.default_rng(seed).choice([1.0, -1.0], (n_draws, len(d)))
        extra = 1
    drawn = np.abs(signs @ d)
    p = float((extra + (drawn >= abs(d.sum()) - 1e-12 * np.abs(d).sum()).sum()) / (extra + len(signs)))
    return p, max(2 / 2 ** len(d), 0 if not extra else 1 / (n_draws + 1))


def _one_donor(donor: str, a: Floats, b: Floats) -> tuple[dict[str, object], float]:
    difference = float(b.mean() - a.mean())
    row: dict[str, object] = {
        "donor": donor, "n_reference": len(a), "n_other": len(b), "mean_reference": float(a.mean()),
        "mean_other": float(b.mean()), "difference": difference,
        **dict.fromkeys(("low", "high", "p_value", "smallest_p"), np.nan), "note": "",
    }  # fmt: skip
    if len(a) < 2 or len(b) < 2:
        row["note"] = f"{len(a)} and {len(b)} organoids: this donor's own test needs two in each condition"
        return row, float("nan")
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    variance = float(va + vb)
    if variance > 0:
        df = variance**2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
        half = float(t.ppf(0.975, df) * np.sqrt(variance))
        row |= {"low": difference - half, "high": difference + half}
    test = permutation_test(np.concatenate([a, b]), np.repeat([False, True], [len(a), len(b)]))
    row |= {"p_value": test.p_value, "smallest_p": test.smallest_p}
    return row, variance


def _over_donors(differences: Floats, variances: Floats, rows: list[dict[str, object]]) -> dict[str, object]:
    m = len(differences)
    mean = float(differences.mean())
    half = float(t.ppf(0.975, m - 1) * differences.std(ddof=1) / np.sqrt(m)) if m > 1 else np.nan
    p, smallest = sign_flip_test(differences) if m > 1 else (np.nan, np.nan)
    notes = []
    known = np.isfinite(variances) & (variances > 0)
    if known.sum() > 1:
        w = 1 / variances[known]
        centre = (w * differences[known]).sum() / w.sum()
        q = float((w * (differences[known] - centre) ** 2).sum())
        p_q = float(chi2.sf(q, int(known.sum()) - 1))
        notes.append(f"donors {'differ' if p_q < 0.05 else 'are not shown to differ'} in response (Q p = {p_q:.2g})")
    if m < 2:
        notes.append("one donor: nothing is said about others")
    elif smallest > 0.05:
        notes.append(f"{m} donors cannot give p below {smallest:.3g}")
    total = [sum(int(str(row[c])) for row in rows) for c in ("n_reference", "n_other")]
    means = [float(np.mean([float(str(row[c])) for row in rows])) for c in ("mean_reference", "mean_other")]
    return {
        "donor": "all", "n_reference": total[0], "n_other": total[1], "mean_reference": means[0],
        "mean_other": means[1], "difference": mean, "low": mean - half, "high": mean + half, "p_value": p,
        "smallest_p": smallest, "note": "; ".join(notes),
    }  # fmt: skip
