"""Sentences that say what the tables hold: nothing is stated that is not in them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_marrow.palette import lineage_order
from napari_marrow.report.gather import StudyTables, cells_per_frame, session_transforms
from napari_marrow.report.style import condition_order
from napari_marrow.report.wording import count, endpoint_words, joined, number, p_digits, p_words, percent, plural


def summary(data: StudyTables) -> list[str]:
    """Return the report's summary, a sentence or two per subject, in the order of the sections."""
    parts = (design(data), cells(data), colonies(data), niche(data), lineage(data), comparisons(data))
    return [" ".join(sentences) for sentences in parts if sentences]


def design(data: StudyTables) -> list[str]:
    """Return what was imaged."""
    frames, layout = data["frames"], data.layout
    if frames.empty:
        return ["The study holds no images."]
    imaged = layout[layout["position"].isin(set(frames["position"]))]
    groups = [
        f"{imaged.loc[imaged['condition'] == c, 'organoid'].nunique()} {c}"
        for c in condition_order(imaged["condition"])
    ]
    days = float(frames["time_h"].max() - frames["time_h"].min()) / 24.0
    donors = {d for d in imaged["donor"].astype(str) if d}
    text = f"The study holds {plural(imaged['organoid'].nunique(), 'organoid')} ({', '.join(groups)})"
    text += f" from {plural(len(donors), 'donor')}" if donors else ""
    sessions = frames["session"].nunique()
    text += f", imaged in {plural(sessions, 'session')}"
    text += f" over {number(days)} days" if days > 0 else ""
    flagged = int((frames["flags"] != "").sum())
    text += f": {plural(len(frames), 'frame')}, of which {count(flagged) if flagged else 'none'} "
    return [text + f"{'carries' if flagged == 1 else 'carry'} a quality flag."]


def cells(data: StudyTables) -> list[str]:
    """Return how many cells were found and joined, and how many joints are expected to be wrong."""
    if "cells" not in data.present:
        return []
    if data["cells"].empty:
        return ["No cell was found in any frame."]
    per_frame = cells_per_frame(data)["n"]
    text = [
        f"{plural(len(data['cells']), 'cell')} were segmented, {count(round(per_frame.median()))} in the median frame."
    ]
    tracks, edges = data["tracks"], data["track_edges"]
    if len(tracks):
        divisions = int((tracks["fate"] == "division").sum())
        text.append(f"They were joined to {plural(len(tracks), 'track')} with {plural(divisions, 'division')}.")
    wrong, links = expected_wrong_links(edges)
    if links:
        text.append(
            f"Of {plural(links, 'link')} about {count(round(wrong))} ({percent(wrong / links)}) are expected to be "
            f"wrong."
        )
    return text + audit(data)


def audit(data: StudyTables) -> list[str]:
    """Return the share of wrong links that a person found in a random sample, with its interval."""
    table = data.audits
    if table.empty:
        return []
    from napari_marrow.study.audit import error_rate

    pooled = error_rate(int(table["wrong"].sum()), int(table["judged"].sum()))
    return [
        f"In an audit of {plural(pooled.judged, 'link')} drawn at random from {plural(len(table), 'session')}, a "
        f"person judged {count(pooled.wrong)} wrong: {percent(pooled.rate)} (95 % interval {percent(pooled.low)} to "
        f"{percent(pooled.high)})."
    ]


def expected_wrong_links(edges: pd.DataFrame) -> tuple[float, int]:
    """Return the sum of 1 - probability over links that have a probability, and their number."""
    probability = edges["probability"].to_numpy(float)
    probability = probability[np.isfinite(probability)]
    return float((1 - probability).sum()), len(probability)


def colonies(data: StudyTables) -> list[str]:
    """Return colonies, how far their identity was carried, and their growth by condition."""
    table = data["colonies"]
    if "colonies" not in data.present:
        return []
    if table.empty:
        return ["No colony was found."]
    identities = len(table[["position", "colony_id"]].drop_duplicates())
    text = [f"{plural(identities, 'colony', 'colonies')} were told apart."]
    edges = data["colony_edges"]
    if len(edges):
        kinds = edges["kind"].value_counts()
        parts = [
            f"{count(kinds[k])} {one if kinds[k] == 1 else several}"
            for k, one, several in (
                ("same", "continued", "continued"),
                ("merge", "merged", "merged"),
                ("split", "split", "split"),
                ("gap", "was missed by one session and found again", "were missed by one session and found again"),
                ("refused", "was refused", "were refused"),
            )
            if kinds.get(k, 0)
        ]
        text.append(f"Of {plural(len(edges), 'link')} of colonies between sessions {joined(parts)}.")
    return text + colony_refusals(data) + _growth(data["colony_growth"])


def carry_over(data: StudyTables) -> list[str]:
    """Return whether cells were carried over the gaps between sessions, and why not."""
    table = data["carry_over"]
    if table.empty:
        return []
    allowed = table[table["allowed"].astype(bool)]
    text = []
    if len(allowed):
        text.append(
            f"Over {plural(len(allowed), 'gap')} between sessions {plural(int(allowed['n_links'].sum()), 'cell')} were "
            "carried, as their density and movement allow."
        )
    refused = table[~table["allowed"].astype(bool)]
    if len(refused):
        nearest = refused.sort_values("ceiling", kind="stable").iloc[-1]
        text.append(
            f"Over {plural(len(refused), 'gap')} between sessions single cells were not carried. The one that came "
            f"nearest to it ({nearest['position']}, session {int(nearest['session_parent'])} to "
            f"{int(nearest['session_child'])}): {nearest['reason']}"
        )
    return text


def colony_refusals(data: StudyTables) -> list[str]:
    """Return why identities of colonies were not carried over some gaps."""
    links = data["session_links"]
    if links.empty or "reason" not in links.columns:
        return []
    refused = links[~links["accepted"].astype(bool) & (links["reason"] != "") & (links["registration"] != "none")]
    return [
        f"{row['position']}, session {int(row['session_parent'])} to {int(row['session_child'])}: colonies were not "
        f"carried over. {row['reason']}"
        for _, row in refused.head(5).iterrows()
    ]


def _growth(growth: pd.DataFrame) -> list[str]:
    usable = growth[np.isfinite(growth["growth_rate"].to_numpy(float))]
    if usable.empty:
        return []
    means = usable.groupby(["condition", "organoid"])["growth_rate"].mean() * 24.0
    parts = []
    for condition in condition_order(usable["condition"]):
        values = means[condition]
        parts.append(f"{number(values.mean())} per day in {condition} ({over_organoids(values)})")
    return [f"Colonies grew at a mean rate of {joined(parts)}."]


def over_organoids(values: pd.Series) -> str:
    """Return "organoids 1.2 to 3.4, n = 3", or "n = 1" for a single one."""
    if len(values) == 1:
        return "n = 1"
    return f"organoids {number(values.min())} to {number(values.max())}, n = {len(values)}"


def niche(data: StudyTables) -> list[str]:
    """Return vessel length density by condition, and how often cells lie nearer to vessels than their null model."""
    metrics = data["niche_metrics"]
    if metrics.empty:
        return ["No niche measurement was made."] if "niche_metrics" in data.present else []
    text = []
    where = data.layout.drop_duplicates("position").set_index("position")
    density = metrics[(metrics["metric"] == "vessel_length_density") & np.isfinite(metrics["value"].to_numpy(float))]
    if len(density):
        last = density[density["time_h"] == density.groupby("position")["time_h"].transform("max")]
        last = last.assign(
            organoid=last["position"].map(where["organoid"]), condition=last["position"].map(where["condition"])
        )
        means = last.groupby(["condition", "organoid"])["value"].mean()
        unit = str(density["unit"].iloc[0])
        parts = [
            f"{number(means[c].mean())} {unit} in {c} ({over_organoids(means[c])})"
            for c in condition_order(last["condition"])
        ]
        text.append(f"The vessel length density at the last measured time was {joined(parts)}.")
    return text + _proximity(metrics)


def _proximity(metrics: pd.DataFrame) -> list[str]:
    effect = metrics[(metrics["metric"] == "proximity_effect_vessel") & np.isfinite(metrics["p_value"].to_numpy(float))]
    if effect.empty:
        return []
    effect = effect[effect["time_h"] == effect.groupby(["position", "subject"])["time_h"].transform("max")]
    parts = []
    for subject, part in effect.groupby("subject", sort=True):
        near = int(((part["p_value"] <= 0.05) & (part["value"] > part["null_mean"].fillna(0))).sum())
        parts.append(f"{subject} in {near} of {len(part)}")
    return [f"Cells lay nearer to vessels than their null model (p ≤ .05, each field alone): {joined(parts)} fields."]


def lineage(data: StudyTables) -> list[str]:
    """Return the cumulative incidence of each lineage at the end of observation, by condition."""
    table = data["emergence"]
    pooled = table[(table["organoid"] == "all") & np.isfinite(table["cumulative_incidence"].to_numpy(float))]
    if pooled.empty:
        return ["No lineage marker could be followed."] if "emergence" in data.present else []
    if (pooled["condition"] != "all").any():
        pooled = pooled[pooled["condition"] != "all"]
    end = float(pooled["time_h"].max())
    sentences = []
    for condition in condition_order(pooled["condition"]):
        part = pooled[pooled["condition"] == condition].sort_values("time_h")
        shares = []
        for name in lineage_order(part["lineage"]):
            row = part[part["lineage"] == name].iloc[-1]
            band = f" ({percent(row['low'])} to {percent(row['high'])})" if np.isfinite(row["low"]) else ""
            shares.append(f"{name} {percent(row['cumulative_incidence'])}{band}")
        sentences.append(f"in {condition}: {', '.join(shares)}")
    lead = f"Cumulative incidence {number(end)} h after the start of observation"
    lead += ", with 95 % intervals over organoids" if np.isfinite(pooled["low"].to_numpy(float)).any() else ""
    return [f"{lead}; {'; '.join(sentences)}."]


def comparisons(data: StudyTables) -> list[str]:
    """Return which endpoints differ between conditions, and what p such a number of organoids can give at all."""
    table = data["comparisons"]
    tested = table[np.isfinite(table["p_value"].to_numpy(float))]
    if tested.empty:
        return []
    text = []
    hits = tested[tested["p_adjusted"] <= 0.05].sort_values("p_adjusted")
    if hits.empty:
        text.append(
            f"Of {plural(len(tested), 'comparison')} between conditions none reaches an adjusted p of .05 "
            f"(smallest unadjusted {p_words(float(tested['p_value'].min()))})."
        )
    else:
        text.append(f"{count(len(hits))} of {plural(len(tested), 'comparison')} reach an adjusted p of .05:")
        text += [f"{comparison_sentence(row)}" for _, row in hits.head(6).iterrows()]
    floor = float(tested["smallest_p"].min())
    if np.isfinite(floor) and floor > 0.05:
        text.append(
            f"With so few organoids no test can give a p below {p_digits(floor)}: "
            "read the differences and their intervals."
        )
    return text


def comparison_sentence(row: pd.Series) -> str:
    """Return one comparison as a sentence with both means, the difference and its interval."""
    unit = f" {row['unit']}" if str(row["unit"]) else ""
    return (
        f"{endpoint_words(str(row['endpoint']))} was {number(row['mean_b'])}{unit} in {row['condition_b']} "
        f"(n = {row['n_b']}) and {number(row['mean_a'])}{unit} in {row['condition_a']} (n = {row['n_a']}), a "
        f"difference of "
        f"{number(row['difference'])} (95 % interval {number(row['low'])} to {number(row['high'])}; "
        f"{p_words(float(row['p_value']))}, adjusted {p_words(float(row['p_adjusted']))})."
    )


def registration(data: StudyTables) -> list[str]:
    """Return how well sessions were registered, and where identity may not be carried over."""
    table = session_transforms(data)
    within = _within_sessions(data["transforms"])
    if table.empty:
        return [
            "There is one session per field, or registration was not run: nothing was registered between sessions.",
            *within,
        ]
    accepted = table["accepted"].astype(bool)
    residual = table.loc[accepted, "residual"].dropna()
    text = [f"{int(accepted.sum())} of {plural(len(table), 'session')} after the first were registered with confidence"]
    if len(residual):
        text[0] += f" (median residual {number(residual.median())} µm, largest {number(residual.max())} µm)"
    text[0] += "."
    if (~accepted).any():
        refused = [f"{p} session {s}" for p, s in table.loc[~accepted, ["position", "session"]].itertuples(index=False)]
        shown = joined(refused[:8]) + (f" and {len(refused) - 8} more" if len(refused) > 8 else "")
        text.append(f"No identity was carried over for: {shown}.")
    return text + _swapped_wells(data["well_matches"]) + within


def _swapped_wells(matches: pd.DataFrame) -> list[str]:
    """Return which wells fit the past of another one."""
    fits = [
        f"{r['position']} in session {r['session']} fits the earlier images of {r['looks_like']}, not its own "
        f"({r['channel']}{', and the other way round' if r['mutual'] else ''})"
        for r in matches.to_dict("records")
    ]
    if not fits:
        return []
    return [f"Wells may have been swapped: {'; '.join(fits)}. Nothing was re-assigned: check the plate and the files."]


def _within_sessions(transforms: pd.DataFrame) -> list[str]:
    """Return what displacement is left between the frames of a session once their drift is taken off."""
    if "drift_residual" not in transforms:
        return []
    left = transforms.loc[transforms["t"] > 0].groupby(["position", "session"])["drift_residual"].median().dropna()
    if left.empty:
        return []
    worst = left.reset_index().sort_values("drift_residual").iloc[-1]
    return [
        f"Within {plural(len(left), 'session')} blocks of the frames lie {number(left.median())} µm from where the "
        f"session began (median over frames, then sessions; most {number(worst['drift_residual'])} µm, "
        f"{worst['position']} session {worst['session']}): what the registered channel shows has moved by so much "
        "within the field."
    ]


def links(data: StudyTables) -> list[str]:
    """Return the confidence of the links between cells."""
    wrong, number_of_links = expected_wrong_links(data["track_edges"])
    if not number_of_links:
        return ["No cell was followed from frame to frame."]
    probability = data["track_edges"]["probability"].to_numpy(float)
    weak = int(np.sum(probability < 0.5))
    return [
        f"The mean probability of {plural(number_of_links, 'link')} is {np.nanmean(probability):.3f}; {count(weak)} "
        f"lie "
        f"below .5. Expected number of wrong links: {number(wrong)} ({percent(wrong / number_of_links)})."
    ]


def deaths(data: StudyTables) -> list[str]:
    """Return how many lost cells died, as far as their looks tell."""
    losses = data["losses"]
    if losses.empty:
        return []
    p = losses["death_probability"].to_numpy(float)
    known = np.isfinite(p)
    if not known.any():
        return [f"{plural(len(losses), 'cell')} were lost from sight; whether they died cannot be told "
                f"({losses['note'].iloc[0]})."]  # fmt: skip
    sd = float(np.sqrt((p[known] * (1 - p[known])).sum()))
    text = (
        f"Of {plural(len(losses), 'lost cell')} about {p[known].sum():.0f} (SD {sd:.1f}) died, judged by shrinking and "
        "brightening before they were lost; the others count as lost from sight."
    )
    if not known.all():
        text += f" {int((~known).sum())} could not be judged and count as lost too."
    return [text]


def coupling(data: StudyTables) -> list[str]:
    """Return whether the distance to vessels bears on the onset of a lineage, by the test settled beforehand."""
    table = data["niche_coupling"]
    if "primary" not in table.columns:
        return []
    tested = table[table["primary"].astype(bool) & np.isfinite(table["p_adjusted"].to_numpy(float))]
    if tested.empty:
        return []
    n = plural(int(tested["n_organoids"].max()), "organoid")
    hits = tested[tested["p_adjusted"] <= 0.05]
    lead = "The distance to vessels along a cell's line of descent"
    if hits.empty:
        least = float(tested["p_adjusted"].min())
        return [f"{lead} is not shown to bear on the onset of any lineage in {n} (smallest adjusted {p_words(least)})."]
    parts = [
        f"{row['lineage']} ({'nearer to' if row['log_hazard_ratio'] < 0 else 'further from'} vessels, log hazard ratio "
        f"{number(row['log_hazard_ratio'])}, {number(row['low'])} to {number(row['high'])}, adjusted "
        f"{p_words(float(row['p_adjusted']))})"
        for _, row in hits.iterrows()
    ]
    return [f"{lead} bears on the onset of {joined(parts)} in {n}."]
