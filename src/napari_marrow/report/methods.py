"""The methods paragraph, from the recipe and from what the study holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from napari_marrow.report.gather import StudyTables
from napari_marrow.report.overviews import method_versions
from napari_marrow.report.wording import joined


@dataclass(frozen=True)
class Methods:
    """Methods text.

    Attributes
    ----------
    paragraphs : list of (str, str)
        Heading and text; ``[@key]`` stands for a citation.
    cited : list of str
        Keys of the cited works in the order of first mention.
    """

    paragraphs: list[tuple[str, str]]
    cited: list[str]


def methods(data: StudyTables) -> Methods:
    """Write what was done, only for steps whose results the study holds, with the parameters of the recipe."""
    recipe = data.recipe
    paragraphs = [
        text
        for text in (
            _software(data),
            _imaging(data, recipe),
            _segmentation(data, _section(recipe, "segment")),
            _tracking(data, _section(recipe, "track")),
            _colonies(data, _section(recipe, "colonies")),
            _niche(data, _section(recipe, "niche")),
            _lineage(data, _section(recipe, "lineage")),
            _statistics(data, _section(recipe, "lineage")),
        )
        if text[1]
    ]
    cited = list(dict.fromkeys(key for _, text in paragraphs for key in re.findall(r"\[@(\w+)\]", text)))
    return Methods(paragraphs, cited)


def _section(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = recipe.get(name, {})
    return dict(section) if isinstance(section, Mapping) else {}


def _given(section: Mapping[str, Any], key: str, template: str) -> str:
    """Return the template with the parameter's value, '' where the recipe does not hold it."""
    value = section.get(key)
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return template.format(*value) if template.count("{}") > 1 else template.format(joined([str(v) for v in value]))
    return template.format(f"{value:g}" if isinstance(value, float) else value)


def _software(data: StudyTables) -> tuple[str, str]:
    versions = method_versions(data)
    own = versions.get("napari-marrow", "")
    python = f" on Python {versions['python']}" if "python" in versions else ""
    others = [f"{name} {v}" for name, v in versions.items() if name not in ("napari-marrow", "python", "system")]
    seed = data.recipe.get("seed")
    text = f"Images were analysed with napari-marrow {own}{python}".rstrip()
    text += f" ({', '.join(others)})." if others else "."
    text += f" Simulations and bootstraps were seeded with {seed}." if seed is not None else ""
    return "Software", text


def _imaging(data: StudyTables, recipe: Mapping[str, Any]) -> tuple[str, str]:
    correct, register = _section(recipe, "correct"), _section(recipe, "registration")
    text = ""
    if "quality" in data.present:
        text += (
            "Each frame was judged against the others of its session and flagged where it was blank, out of focus, "
            "saturated, repeated, late, drifted or followed a change of medium. "
        )
    if correct.get("shading"):
        text += (
            "Uneven illumination was estimated per channel as a polynomial fitted robustly to the median background of "
            "normalised frames, and divided out where the background allowed it. "
        )
    if correct.get("bleaching"):
        text += (
            f"Bleaching{_of_channels(correct, 'bleaching_channels')} was undone by an exponential fitted to the signal "
            "of each session (Theil-Sen)"
            + (
                f"; that{_of_channels(correct, 'bleaching_ratio_channels')} by its nearest falling course. "
                if correct.get("bleaching_ratio_channels")
                else ". "
            )
        )
    if correct.get("gain_jumps"):
        text += (
            f"Lasting steps of the brightness{_of_channels(correct, 'gain_channels')} within a session that signal and "
            "peaks shared were undone. "
        )
    if correct.get("background", "none") != "none":
        what = (
            "The commonest level" if correct["background"] == "level" else "A smoothed local minimum of the background"
        )
        text += f"{what}{_of_channels(correct, 'background_channels')} was taken off every plane. "
    if len(data["transforms"]):
        if register.get("drift", True):
            text += (
                "Drift within a session was estimated by cross-correlation of band-passed frames, refined by an "
                "up-sampled "
                "Fourier transform [@guizar]. "
            )
        kind = register.get("between_sessions", "rigid")
        if kind != "none":
            text += (
                f"Sessions were registered to the first one ({kind}"
                f"{_given(register, 'channels', ', on the first channel of {} that both hold')}) by masked normalised "
                "correlation [@padfield]"
                f"{_given(register, 'max_shift_um', ' over shifts of up to {} µm')}"
                f"{_given(register, 'max_angle_deg', ' and rotations of up to {}°')}, "
                "followed by robust Gauss-Newton refinement [@baker]; displacements of image blocks gave the "
                "residual, and "
                "registrations with a poor correlation or residual were not used to carry identities over. "
            )
    return "Image correction and registration", text.strip()


def _of_channels(section: Mapping[str, Any], key: str) -> str:
    names = section.get(key) or []
    return f" of {joined(names)}" if names else ""


def _segmentation(data: StudyTables, section: Mapping[str, Any]) -> tuple[str, str]:
    if "cells" not in data.present:
        return "Segmentation", ""
    digest = next(
        (str(r["config"][k]) for r in reversed(data.runs) if isinstance(r.get("config"), dict)
         for k in r["config"] if "sha256" in k or "digest" in k or "weights" in k), ""
    )  # fmt: skip
    text = "Cells were segmented with a Cellpose network [@cellpose]"
    text += _given(section, "model", " ('{}'")
    if section.get("model"):
        text += f", SHA-256 of its weights {digest[:16]}…)" if re.fullmatch(r"[0-9a-f]{32,}", digest) else ")"
    text += _given(section, "channel", " on the channel {}")
    diameter = section.get("diameter_um")
    text += f", cell diameter {diameter:g} µm" if diameter else ", cell diameter estimated per session"
    text += _given(section, "flow_threshold", ", flow-error threshold {}")
    text += _given(section, "cellprob_threshold", ", cell-probability threshold {}")
    text += _given(section, "min_area_um2", "; masks under {} µm² were dropped")
    text += ". Intensities are means over a cell less the median of a surrounding ring."
    return "Segmentation", text


def _tracking(data: StudyTables, section: Mapping[str, Any]) -> tuple[str, str]:
    if "track_edges" not in data.present:
        return "Tracking", ""
    text = (
        "Within a session cells were linked by assignment on likelihood ratios of displacement"
        + (" and appearance" if section.get("use_intensities", True) else "")
        + " that were learned from the study itself by expectation-maximisation, with divisions competing with links"
        " (after the linking framework of [@jaqaman])"
        + _given(section, "max_gap", "; a cell could be missed for up to {} frames")
        + ". Each link carries the posterior probability that it is right; the expected number of wrong links is the "
        "sum of "
        "what is missing to one."
    )
    return "Tracking", text


def _colonies(data: StudyTables, section: Mapping[str, Any]) -> tuple[str, str]:
    if "colonies" not in data.present:
        return "Colonies", ""
    text = (
        "Colonies are groups of cells"
        + _given(section, "distance_um", " linked by distances under {} µm")
        + _given(section, "min_cells", " with at least {} members")
        + ". Neighbouring sessions were brought together on the constellation of their colonies, and identities "
        "carried "
        "over by exact assignment on likelihood ratios of distance, growth and marker composition, merges and splits "
        "among them"
        + _given(section, "min_probability", "; links with a probability below {} were refused")
        + ". Growth rates are slopes of log cell number over time."
    )
    return "Colonies", text


def _niche(data: StudyTables, section: Mapping[str, Any]) -> tuple[str, str]:
    if "niche_metrics" not in data.present:
        return "Niche", ""
    text = (
        _given(section, "vessel_channel", "Vessels were segmented in the channel {}")
        + _given(section, "vessel_radii_um", " at radii of {} µm")
        + ", thinned with their topology kept [@malandain] and measured as graphs. "
        "Distances of cells to vessels were read from Euclidean distance transforms and their distribution corrected "
        "for "
        "the edge of the tissue [@baddeley]; pairs of cell types were compared by the cross-type K function with "
        "translation correction [@ripley]. All cells together were compared with uniform positions in the "
        "tissue outside the vessels, kinds of cells with re-labelling of the segmented cells"
        + _given(section, "n_simulations", " ({} simulations)")
        + "; bands are global 95 % envelopes and p-values Monte-Carlo tests [@myllymaki]."
    )
    return "Niche", text.removeprefix(", ")


def _lineage(data: StudyTables, section: Mapping[str, Any]) -> tuple[str, str]:
    if "onsets" not in data.present and "emergence" not in data.present:
        return "Lineage", ""
    markers = section.get("markers")
    named = [f"{v} ({k})" for k, v in markers.items()] if isinstance(markers, Mapping) else []
    text = (
        "Thresholds of lineage markers"
        + (f" ({joined(named)})" if named else "")
        + " come from a two-component mixture on transformed intensities or from a negative control. Onset is the "
        "first of"
        + (_given(section, "consecutive", " {}") or " several")
        + " consecutive frames above the threshold, and lies between the last negative and the first positive frame"
        + _given(section, "min_track_frames", "; tracks of fewer than {} frames were left out")
        + ". Cells that were positive when first seen are not at risk. Cumulative incidence of each lineage, with the "
        "other lineages and death as competing events and cells that were lost, left or reached the end as censored, "
        "was "
        "estimated after Aalen and Johansen [@aalen] for each organoid and averaged over the organoids of a condition"
        + _looks(data["emergence"])
        + "; 95 % bands of conditions are Student's t over organoids on the arcsine scale, those of organoids expanded "
        "percentiles [@hesterberg]"
        + _given(section, "n_bootstrap", " of {} bootstrap samples of founders")
        + "; where fewer than ten clones had the event both hold the limits of so many independent "
        "clones. A lost cell was taken to have died "
        + (
            f"by the death marker in {section['death_channel']}"
            if section.get("death_channel")
            else "where it had shrunk, and changed in brightness or shape, beyond cells of the "
            "same movie that live on or divide"
        )
        + "; the other lost cells are censored"
        + _given(
            section,
            "n_pedigrees",
            ". Limits with the error of tracking come from {} pedigrees drawn by the links' probabilities",
        )
        + "."
    )
    return "Lineage", text


def _looks(emergence: pd.DataFrame) -> str:
    """Say how the time between looks and between sessions was dealt with."""
    text = ""
    if "method" in emergence.columns and (emergence["method"] == "piecewise").any():
        text += (
            "; as markers were looked at rarely, hazards were taken as constant between looks, and an onset anywhere"
        )
        text += " between two of them"
    if "session" in emergence.columns and len(emergence) and (emergence["session"] == 0).all():
        text += "; over the gaps between sessions hazards were drawn as lines from one session to the next"
    return text


def _statistics(data: StudyTables, section: Mapping[str, Any]) -> tuple[str, str]:
    if not len(data["comparisons"]):
        return "Statistics", ""
    text = (
        "The organoid is the unit of replication: each contributes one value per endpoint. Conditions were compared by "
        "the difference of the means over organoids and a permutation test over organoids [@phipson], within batches "
        "and "
        "donors where these hold both conditions"
        + _given(section, "reference", ", with {} as the reference")
        + "; 95 % intervals are the permutation test inverted or, where there are too few organoids for that, "
        "Student's t "
        "with unequal variances. The smallest p that the number of organoids can give is stated, and p-values were "
        "adjusted over the endpoints [@benjamini]."
    )
    return "Statistics", text
