"""Cell classes by rules on several markers, with ambiguous as a class of its own.

A rule is a row of markers with their signs, such as ``CD34+ CD45+ CD31-/CD144-``. Each marker of a cell is on with a
probability, and a class is given only where the whole rule holds with enough of it: a cell close to a threshold, or one
whose decisive stain was not imaged, is ambiguous and not silently something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import FloatArray

DEFAULT_RULES: dict[str, str] = {
    "HSPC": "CD34+ CD45+ CD31-/CD144-",
    "endothelial": "CD31+ CD144+ CD45-",
    "ambiguous CD34+": "CD34+",
}
"""Haematopoietic stem and progenitor cells, endothelium, and what shows CD34 but is neither for certain."""

AMBIGUOUS, OTHER = "ambiguous", "other"
_STAIN = re.compile(r"(?P<name>[^\s/]+?)(?P<sign>[+\-−])")


@dataclass(frozen=True)
class ClassRule:
    """One class.

    Attributes
    ----------
    name : str
        A name that begins with "ambiguous" is given only to cells that no other class takes.
    conditions : tuple of tuple of (str, bool)
        Every condition must hold. One with several markers (written with a slash) names stains that stand for each
        other: those that were imaged must all hold, and at least one must have been imaged.
    """

    name: str
    conditions: tuple[tuple[tuple[str, bool], ...], ...]

    @property
    def fallback(self) -> bool:
        """Whether the class is only for cells that no other one takes."""
        return self.name.lower().startswith(AMBIGUOUS)

    @property
    def markers(self) -> tuple[str, ...]:
        """Markers that the rule reads."""
        return tuple(dict.fromkeys(marker for condition in self.conditions for marker, _ in condition))


def parse_rules(rules: Mapping[str, str]) -> tuple[ClassRule, ...]:
    """Read a table of class and rule.

    Parameters
    ----------
    rules : mapping of str to str
        Class to markers with signs, separated by spaces; a slash joins stains that stand for each other.

    Raises
    ------
    SettingsError
        If a rule cannot be read, names a marker with both signs, or rests on one marker only (unless its class begins
        with "ambiguous").

    Examples
    --------
    >>> parse_rules({"HSPC": "CD34+ CD45+ CD31-/CD144-"})[0].markers
    ('CD34', 'CD45', 'CD31', 'CD144')
    """
    parsed = []
    for name, text in rules.items():
        if not name.strip() or name in (AMBIGUOUS, OTHER):
            raise SettingsError(f"'{name}' cannot be the name of a class: choose another one.")
        rule = ClassRule(name, tuple(_condition(name, part) for part in text.split()))
        signs: dict[str, set[bool]] = {}
        for condition in rule.conditions:
            for marker, positive in condition:
                signs.setdefault(marker, set()).add(positive)
        both = [marker for marker, seen in signs.items() if len(seen) > 1]
        if both:
            raise SettingsError(f"The rule of '{name}' asks for {both[0]}+ and {both[0]}-: no cell is both.")
        if len(rule.conditions) < (1 if rule.fallback else 2):
            raise SettingsError(
                f"The rule of '{name}' is '{text}': a class rests on two markers or more, never one; add another one, "
                f"or call it 'ambiguous {name}'."
            )
        parsed.append(rule)
    return tuple(parsed)


def _condition(name: str, part: str) -> tuple[tuple[str, bool], ...]:
    stains = []
    for piece in part.split("/"):
        match = _STAIN.fullmatch(piece)
        if match is None:
            raise SettingsError(
                f"The rule of '{name}' has '{part}': write each marker with its sign, such as CD34+ or CD31-/CD144-."
            )
        stains.append((match["name"], match["sign"] == "+"))
    return tuple(stains)


def classify_by_rules(
    positive: pd.DataFrame, rules: Sequence[ClassRule], *, min_probability: float = 0.9
) -> pd.DataFrame:
    """Give each cell its class.

    Parameters
    ----------
    positive : DataFrame
        P(marker on) of each cell, a column per marker; NaN (or no column) where it was not imaged.
    rules : sequence of ClassRule
    min_probability : float
        Least probability of the whole rule, above .5.

    Returns
    -------
    DataFrame
        cell_class and class_probability (of that class; of "ambiguous" the largest of any class; of "other" that of no
        class), with the index of `positive`. "ambiguous": a class may be there but is not certain, or two are;
        "other": every class is ruled out.

    Raises
    ------
    SettingsError
        If `min_probability` is not above .5 and below 1, or a probability lies outside 0..1.

    Notes
    -----
    Markers count as independent given the cell: the probability of a rule is the product over its conditions.
    """
    if not 0.5 < min_probability < 1:
        raise SettingsError(f"min_probability is {min_probability}: give a number above .5 and below 1.")
    values = positive.to_numpy(dtype=np.float64) if len(positive.columns) else np.zeros((len(positive), 0))
    if ((values < 0) | (values > 1)).any():
        raise SettingsError("A probability of a marker lies outside 0..1.")
    n = len(positive)
    name = np.full(n, OTHER, dtype=object)
    sure = {rule.name: _bounds(positive, rule) for rule in rules}
    full = [rule for rule in rules if not rule.fallback]
    low = np.stack([sure[r.name][0] for r in full], axis=1) if full else np.zeros((n, 0))
    high = np.stack([sure[r.name][1] for r in full], axis=1) if full else np.zeros((n, 0))
    most = high.max(axis=1, initial=0.0)
    probability = 1.0 - most
    possible = most > 1 - min_probability
    name[possible], probability[possible] = AMBIGUOUS, most[possible]
    given = low >= min_probability
    once = given.sum(axis=1) == 1
    for k, rule in enumerate(full):
        here = once & given[:, k]
        name[here], probability[here] = rule.name, low[here, k]
    open_cells = ~once
    for rule in rules:
        here = open_cells & (sure[rule.name][0] >= min_probability) & rule.fallback
        name[here], probability[here] = rule.name, sure[rule.name][0][here]
        open_cells &= ~here
    return pd.DataFrame({"cell_class": name, "class_probability": probability}, index=positive.index)


def _bounds(positive: pd.DataFrame, rule: ClassRule) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest probability of a rule, over what unseen markers may show."""
    low, high = np.ones(len(positive)), np.ones(len(positive))
    for condition in rule.conditions:
        imaged = np.zeros(len(positive), dtype=bool)
        product = np.ones(len(positive))
        for marker, sign in condition:
            if marker not in positive.columns:
                continue
            p = positive[marker].to_numpy(dtype=np.float64)
            seen = np.isfinite(p)
            imaged |= seen
            product = np.where(seen, product * np.where(seen, p if sign else 1 - p, 1.0), product)
        low = np.where(imaged, low * product, 0.0)
        high = np.where(imaged, high * product, high)
    return low, high
