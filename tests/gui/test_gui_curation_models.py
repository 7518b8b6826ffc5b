"""Curation without a window: what is uncertain, which edit is meant, what an audit says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import EditError, SettingsError
from napari_marrow.gui.curation import Curation
from napari_marrow.gui.numbering import Numbering
from napari_marrow.gui.picked_edits import bulk_accept, edits_of
from napari_marrow.gui.review_queue import link_queue, nodes_of, onset_queue, pairs_of, state_of
from napari_marrow.pipeline import run
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.study import Study
from napari_marrow.study.audit import audit_of, draw_sample, drawing, error_rate, judgement
from napari_marrow.study.edits import Entry
from napari_marrow.tracking.edit_graph import Edge, Node, TrackGraph
from napari_marrow.tracking.edits import Break, Confirm, Delete, Divide, Link, Merge, Swap


def node(t: int, label: int) -> Node:
    return Node(0, t, label)


def family() -> TrackGraph:
    """Cell 1 divides after frame 1 into 1 and 2; cell 5 stays alone for two frames."""
    nodes = {node(0, 1), node(1, 1), node(2, 1), node(2, 2), node(0, 5), node(1, 5)}
    edges = {
        (node(0, 1), node(1, 1)): Edge("link", 0.9),
        (node(1, 1), node(2, 1)): Edge("division", 0.7),
        (node(1, 1), node(2, 2)): Edge("division", 0.6),
        (node(0, 5), node(1, 5)): Edge("link", 0.99),
    }
    return TrackGraph(nodes, edges)


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The family as tables; in frame 1 cell 6 lies as near to cell 1 as its own next place does."""
    cells = pd.DataFrame(
        [(0, 1, 10.0, 10.0), (1, 1, 12.0, 10.0), (2, 1, 14.0, 8.0), (2, 2, 14.0, 12.0), (0, 5, 80.0, 80.0),
         (1, 5, 81.0, 80.0), (1, 6, 9.0, 12.0)],
        columns=["t", "label", "y", "x"],
    ).assign(area=50.0)  # fmt: skip
    edges = pd.DataFrame(
        [(0, 1, 1, 1, "link", 0.9), (1, 1, 2, 1, "division", 0.7), (1, 1, 2, 2, "division", 0.6),
         (0, 5, 1, 5, "link", 0.99)],
        columns=["t_parent", "label_parent", "t_child", "label_child", "kind", "probability"],
    )  # fmt: skip
    nodes = pd.DataFrame(
        [(0, 1, 1), (1, 1, 1), (2, 1, 2), (2, 2, 3), (0, 5, 4), (1, 5, 4)], columns=["t", "label", "track_id"]
    )
    return edges, cells, nodes.assign(session=0)


def test_the_queue_has_a_row_per_link_and_one_per_division_the_least_certain_first() -> None:
    queue = link_queue(*tables())
    assert queue["kind"].tolist() == ["division", "link", "link"]
    assert queue["probability"].tolist() == [0.6, 0.9, 0.99]
    assert queue["reason"].tolist() == ["division", "another cell as near", "nothing stands out"]
    division = queue.iloc[0]
    assert nodes_of(division, 0) == [node(1, 1), node(2, 1), node(2, 2)]
    assert pairs_of(division, 0) == [(node(1, 1), node(2, 1)), (node(1, 1), node(2, 2))]
    assert queue["track_id"].tolist() == [2, 1, 4]


def test_daughters_that_are_first_seen_in_different_frames_are_one_entry() -> None:
    edges, cells, nodes = tables()
    later = edges.assign(t_child=edges["t_child"].where(edges["label_child"] != 2, 3))
    division = link_queue(later, cells, nodes).iloc[0]
    assert nodes_of(division, 0) == [node(1, 1), node(2, 1), node(3, 2)]
    assert pairs_of(division, 0) == [(node(1, 1), node(2, 1)), (node(1, 1), node(3, 2))]


def test_an_entry_is_open_until_its_links_are_confirmed_or_gone() -> None:
    graph, division = family(), link_queue(*tables()).iloc[0]
    pairs = pairs_of(division, 0)
    assert state_of(pairs, graph) == "open"
    Confirm(*pairs[0]).apply(graph)
    assert state_of(pairs, graph) == "open"
    Confirm(*pairs[1]).apply(graph)
    assert state_of(pairs, graph) == "accepted"
    Break(*pairs[1]).apply(graph)
    assert state_of(pairs, graph) == "changed"


def test_an_onset_between_dark_and_bright_is_certain_and_one_at_the_threshold_is_not() -> None:
    rng = np.random.default_rng(0)
    dark, bright = rng.normal(0, 2, 400), rng.normal(100, 10, 200)
    cells = pd.DataFrame({"t": 0, "label": np.arange(600) + 10, "intensity_G": np.concatenate([dark, bright])})
    own = pd.DataFrame(
        [(1, 1, 0.5), (2, 1, 100.0), (3, 1, 100.0), (1, 2, 0.5), (2, 2, 25.0), (3, 2, 25.0)],
        columns=["t", "label", "intensity_G"],
    )
    cells = pd.concat([cells, own], ignore_index=True)
    cells["time_h"] = cells["t"] * 1.0
    nodes = own[["t", "label"]].assign(track_id=own["label"])
    onsets = pd.DataFrame(
        [(1, "green", "onset", 2.0), (2, "green", "onset", 2.0), (2, "", "end", np.inf)],
        columns=["track_id", "lineage", "event", "right_h"],
    )
    queue = onset_queue(onsets, cells, nodes, {"green": "G"})
    assert queue["track_id"].tolist() == [2, 1]
    assert queue["probability"].iloc[0] < 0.9 < 0.999 < queue["probability"].iloc[1]
    assert nodes_of(queue.iloc[1], 0) == [node(1, 1), node(2, 1)]
    assert pairs_of(queue.iloc[1], 0) == []


def test_picked_cells_mean_one_edit_whatever_their_order() -> None:
    graph = family()
    assert edits_of("break", [node(1, 1), node(0, 1)], graph) == [Break(node(0, 1), node(1, 1))]
    assert edits_of("break", [node(1, 1)], graph) == [Break(node(0, 1), node(1, 1))]
    assert edits_of("link", [node(2, 2), node(1, 5)], graph) == [Link(node(1, 5), node(2, 2))]
    assert edits_of("swap", [node(1, 5), node(1, 1)], graph) == [Swap(node(1, 1), node(1, 5))]
    assert edits_of("merge", [node(2, 2), node(2, 1)], graph) == [Merge(node(2, 1), node(2, 2))]
    assert edits_of("delete", [node(1, 5)], graph) == [Delete(node(1, 5))]
    mother = Divide(node(1, 5), node(2, 1), node(2, 2))
    assert edits_of("divide", [node(2, 2), node(1, 5), node(2, 1)], graph) == [mother]
    both = [Confirm(node(1, 1), node(2, 1)), Confirm(node(1, 1), node(2, 2))]
    assert edits_of("accept", [node(2, 1), node(2, 2), node(1, 1)], graph) == both


@pytest.mark.parametrize(
    ("kind", "picked"),
    [("link", [node(0, 1)]), ("swap", [node(0, 1), node(1, 1)]), ("divide", [node(0, 1), node(1, 1), node(2, 1)]),
     ("delete", []), ("accept", [node(0, 1)]), ("merge", [node(0, 1), node(0, 5), node(1, 1)])],
)  # fmt: skip
def test_picked_cells_that_mean_nothing_are_told_what_is_needed(kind: str, picked: list[Node]) -> None:
    with pytest.raises(EditError, match=f"To {kind}, pick"):
        edits_of(kind, picked, family())


def test_bulk_accept_takes_every_open_link_from_a_probability_up() -> None:
    graph = family()
    assert bulk_accept(graph, 0, 0.9) == [Confirm(node(0, 1), node(1, 1)), Confirm(node(0, 5), node(1, 5))]
    Confirm(node(0, 5), node(1, 5)).apply(graph)
    with pytest.raises(EditError, match=r"0\.95 or more"):
        bulk_accept(graph, 0, 0.95)


# from Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
@pytest.mark.parametrize(
    ("wrong", "judged", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_error_rate_has_wilsons_interval(wrong: int, judged: int, low: float, high: float) -> None:
    rate = error_rate(wrong, judged)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)
    assert rate.rate == wrong / judged


def test_error_rate_of_nothing_is_unknown_and_of_nonsense_refused() -> None:
    assert str(error_rate(0, 0)) == "Nothing judged yet."
    with pytest.raises(SettingsError):
        error_rate(3, 2)


def test_an_audit_is_read_back_from_the_journal() -> None:
    graph = family()
    pairs = draw_sample(graph, 0, 3, seed=7)
    assert len(set(pairs)) == 3
    assert sorted(draw_sample(graph, 0, 99, seed=1)) == sorted(graph.edges)
    said = [drawing(0, pairs, 7), judgement(0, pairs[0], right=True), judgement(0, pairs[1], right=False)]
    entries = [Entry(k, "", "ada", "B02", "reviews", dict(action)) for k, action in enumerate(said)]
    audit = audit_of(entries, "B02", 0)
    assert audit.pairs == pairs
    assert (audit.rate.wrong, audit.rate.judged) == (1, 2)
    assert audit.next() == pairs[2]
    assert not audit_of(entries, "C03", 0).pairs


def test_numbers_of_tracks_follow_edits_and_come_back() -> None:
    graph, (_, _, nodes) = family(), tables()
    numbering = Numbering(nodes, graph)
    before = numbering.track.copy()
    changes = [Break(node(0, 1), node(1, 1)).apply(graph)]
    numbering.update(graph, changes[0].touched())
    assert numbering.track_of(node(0, 1)) == 1
    assert numbering.track_of(node(1, 1)) == 5  # the piece that came off is new
    assert numbering.graph_of(graph) == {2: [5], 3: [5]}
    changes.append(Delete(node(1, 5)).apply(graph))
    numbering.update(graph, changes[1].touched())
    assert numbering.track_of(node(1, 5)) == 0
    assert numbering.node_of(1, 5) == node(1, 1)  # the cell of track 5
    for change in reversed(changes):
        graph.apply(change.inverse())
        numbering.update(graph, change.touched())
    assert graph == family()
    np.testing.assert_array_equal(numbering.track, before)


def copied(study: Path, to: Path) -> Path:
    return Path(shutil.copytree(study, to / "curated.marrow"))


@pytest.mark.gui
def test_edits_stand_over_restarts_and_the_recipe_brings_them_in(
    finished_study: Path, tmp_path: Path, quick_recipe: Recipe
) -> None:
    path = copied(finished_study, tmp_path)
    study = Study.open(path)
    segmented = study.active["segment"]
    curation = Curation(path, "B02_f00", 2)
    assert not curation.stale
    first = link_queue(curation.base_edges, curation.cells, curation.base_nodes).query("kind == 'link'").iloc[0]
    pair = pairs_of(first, 2)[0]
    curation.act(lambda graph: edits_of("break", list(pair), graph), "ada")
    assert curation.stale
    again = Curation(path, "B02_f00", 2)
    assert pair not in again.graph.edges
    assert again.graph == curation.graph
    assert again.nodes()["track_id"].nunique() == curation.base_nodes["track_id"].nunique() + 1
    # another window edits, this one keeps up before it undoes what stands last
    again.act(lambda graph: edits_of("delete", [pair[1]], graph), "bob")
    undone = curation.turn_back("ada")
    assert [e.author for e in undone.entries] == ["bob"]
    assert pair[1] in curation.graph.nodes
    summary = run(path, quick_recipe)
    computed = {step.name: step.computed for step in summary.steps}
    assert computed["curate"] == 1
    assert [computed[name] for name in ("segment", "measure", "track", "structures")] == [0, 0, 0, 0]
    assert Study.open(path).active["segment"] == segmented
    edges = Study.open(path).table("track_edges").query("position == 'B02_f00' and session == 2")
    kept = {(int(r.t_parent), int(r.label_parent), int(r.t_child), int(r.label_child)) for r in edges.itertuples()}
    assert (pair[0].t, pair[0].label, pair[1].t, pair[1].label) not in kept
    fresh = Curation(path, "B02_f00", 2)
    assert not fresh.stale
    fresh.turn_back("ada")
    assert fresh.stale
    assert pair in fresh.graph.edges
    assert len(Study.open(path).edits().entries) == 2  # nothing was ever taken out


@pytest.mark.gui
def test_an_impossible_edit_among_others_changes_nothing(finished_study: Path, tmp_path: Path) -> None:
    path = copied(finished_study, tmp_path)
    curation = Curation(path, "B02_f00", 2)
    before = Curation(path, "B02_f00", 2).graph
    pair = next(iter(sorted(p for p in before.edges if p[0].session == 2)))
    with pytest.raises(EditError):
        curation.act(lambda graph: [Break(*pair), Break(*pair)], "ada")
    assert curation.graph == before
    assert not Study.open(path).edits().entries
