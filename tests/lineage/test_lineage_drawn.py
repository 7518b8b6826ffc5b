from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import Pedigree, PedigreeDraws, drawn_results
from napari_marrow.schemas import LOSSES, TRACK_EDGES


def tracked(tracks: pd.DataFrame, probability: float = 1.0, division: float = 1.0):
    """Nodes and edges of a TRACKS table with frames every hour; each track on a line of its own, 10 µm apart."""
    nodes, edges = [], []
    for row in tracks.to_dict("records"):
        for t in range(row["t_start"], row["t_end"] + 1):
            nodes.append((row["position"], row["session"], t, float(t), row["track_id"], row["track_id"]))
            if t > row["t_start"]:
                edges.append((row["position"], row["session"], t - 1, row["track_id"], t, row["track_id"], "link"))
        if row["parent_track_id"]:
            mother = tracks[tracks["track_id"] == row["parent_track_id"]].iloc[0]
            edges.append((row["position"], row["session"], mother["t_end"], mother["track_id"], row["t_start"],
                          row["track_id"], "division"))  # fmt: skip
    node = pd.DataFrame(nodes, columns=["position", "session", "t", "time_h", "label", "track_id"])
    node = node.assign(link_probability=1.0, y=10.0 * node["track_id"], x=0.0)
    edge = pd.DataFrame(edges, columns=["position", "session", "t_parent", "label_parent", "t_child", "label_child",
                                        "kind"])  # fmt: skip
    edge["probability"] = np.where(edge["kind"] == "division", division, probability)
    return node, TRACK_EDGES.conform(edge)


def test_certain_links_give_the_same_pedigree(family):
    nodes, edges = tracked(family)
    drawn = PedigreeDraws(family, nodes, edges).draw(np.random.default_rng(0))
    kept = ["start_h", "end_h", "birth", "fate", "generation"]
    before = Pedigree.from_tracks(family).tracks.sort_values(kept[:4])[kept].to_numpy().tolist()
    after = Pedigree.from_tracks(drawn.tracks).tracks.sort_values(kept[:4])[kept].to_numpy().tolist()
    assert after == before


def test_cuts_come_as_often_as_links_are_wrong(make_tracks):
    tracks = make_tracks([(i, 0, 0, 20, "start", "end") for i in range(1, 101)])
    nodes, edges = tracked(tracks, probability=0.9)
    draws = PedigreeDraws(tracks, nodes, edges, reach=1.0)
    assert draws.expected_wrong == pytest.approx(200)
    number = [len(draws.draw(np.random.default_rng(i)).tracks) - 100 for i in range(30)]
    assert np.mean(number) == pytest.approx(200, abs=3 * np.sqrt(2000 * 0.09 / 30))
    drawn = draws.draw(np.random.default_rng(0)).tracks
    assert (drawn["fate"] == "end").sum() == 100
    assert (drawn["fate"] == "loss").sum() == (drawn["birth"] == "appearance").sum() == len(drawn) - 100


def test_wrong_links_between_neighbours_are_exchanged(make_tracks):
    tracks = make_tracks([(1, 0, 0, 1, "start", "end"), (2, 0, 0, 1, "start", "end")])
    nodes, edges = tracked(tracks, probability=0.5)
    draws = PedigreeDraws(tracks, nodes, edges, reach=15.0)
    exchanged = 0
    for i in range(200):
        drawn = draws.draw(np.random.default_rng(i))
        assert len(drawn.tracks) == 2  # a wrong link always has a partner here
        exchanged += drawn.nodes.groupby("track_id")["label"].nunique().eq(2).all()
    assert 0.4 < exchanged / 200 < 0.6  # wrong together: .5, as their probabilities say


def test_a_division_that_is_wrong_leaves_one_cell_and_an_appearance(make_tracks):
    tracks = make_tracks([(1, 0, 0, 4, "start", "division"), (2, 1, 5, 9, "division", "end"),
                          (3, 1, 5, 9, "division", "loss")])  # fmt: skip
    nodes, edges = tracked(tracks)
    edges.loc[(edges["kind"] == "division") & (edges["label_child"] == 3), "probability"] = 0.0
    drawn = PedigreeDraws(tracks, nodes, edges).draw(np.random.default_rng(0)).tracks
    assert len(drawn) == 2
    whole = drawn[drawn["start_h"] == 0].iloc[0]
    assert (whole["end_h"], whole["fate"]) == (9, "end")
    other = drawn[drawn["start_h"] == 5].iloc[0]
    assert (other["birth"], other["fate"]) == ("appearance", "loss")


def test_deaths_are_drawn_with_their_probability(make_tracks):
    tracks = make_tracks([(i, 0, 0, 5, "start", "loss") for i in range(1, 41)])
    nodes, edges = tracked(tracks)
    losses = tracks[["position", "session", "track_id", "end_h"]].assign(
        area_change=0.0, light_change=0.0, eccentricity_change=0.0, death_probability=0.25, evidence="x", note=""
    )  # fmt: skip
    draws = PedigreeDraws(tracks, nodes, edges, losses=LOSSES.conform(losses))
    dead = [(draws.draw(np.random.default_rng(i)).tracks["fate"] == "death").sum() for i in range(50)]
    assert np.mean(dead) == pytest.approx(10, abs=3 * np.sqrt(40 * 0.1875 / 50))


def test_tracks_are_named_within_their_position(make_tracks):
    rows = [(1, 0, 0, 4, "start", "end"), (2, 0, 0, 3, "entry", "exit")]
    both = [make_tracks(rows, position=p) for p in ("A01_f00", "A02_f00")]
    parts = [tracked(tracks) for tracks in both]
    nodes, edges = (pd.concat([p[k] for p in parts], ignore_index=True) for k in (0, 1))
    drawn = PedigreeDraws(pd.concat(both), nodes, edges).draw(np.random.default_rng(0)).tracks
    assert drawn.groupby("position")["fate"].agg(sorted).tolist() == [["end", "exit"]] * 2
    assert drawn.groupby("position")["birth"].agg(sorted).tolist() == [["entry", "start"]] * 2


def test_bad_input_is_named(family):
    nodes, edges = tracked(family)
    with pytest.raises(TableError, match="two parents"):
        PedigreeDraws(family, nodes, pd.concat([edges, edges.iloc[:1]]))
    with pytest.raises(TableError, match="between 0 and 1"):
        PedigreeDraws(family, nodes, edges.assign(probability=1.5))
    with pytest.raises(TableError, match="stands twice"):
        PedigreeDraws(family, pd.concat([nodes, nodes.iloc[:1]]), edges)
    with pytest.raises(SettingsError, match="n_draws is 1"):
        drawn_results(PedigreeDraws(family, nodes, edges), lambda d: d.tracks, n_draws=1)


def test_losses_that_nobody_could_judge_die_as_often_as_the_others(make_tracks):
    tracks = make_tracks([(i, 0, 0, 5, "start", "loss") for i in range(1, 41)])
    nodes, edges = tracked(tracks)
    losses = tracks[["position", "session", "track_id", "end_h"]].assign(
        area_change=0.0, light_change=0.0, eccentricity_change=0.0, death_probability=0.5, evidence="x", note=""
    )  # fmt: skip
    losses.loc[20:, "death_probability"] = np.nan
    draws = PedigreeDraws(tracks, nodes, edges, losses=LOSSES.conform(losses))
    dead = [(draws.draw(np.random.default_rng(i)).tracks["fate"] == "death").to_numpy() for i in range(50)]
    by_cell = np.mean(dead, axis=0)
    assert by_cell[20:].mean() == pytest.approx(0.5, abs=3 * np.sqrt(0.25 / 1000))
