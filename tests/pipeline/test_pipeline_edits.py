"""Edits of a real small study: kept, brought into every result, undone, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.errors import Cancelled, EditError, PathMissingError
from napari_marrow.gui.currency import current_steps
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.edits import edit_study, read_edits, turn_back
from napari_marrow.pipeline.step import step_keys
from napari_marrow.pipeline.steps import STEPS
from napari_marrow.progress import CancelToken
from napari_marrow.study import Study

RECIPE = parse_recipe({"niche": {"n_simulations": 39, "every_h": 1000}, "lineage": {"n_bootstrap": 99}})


@pytest.fixture(scope="module")
def tracked(imported_tiny_study, tmp_path_factory) -> Path:
    path = Path(shutil.copytree(imported_tiny_study, tmp_path_factory.mktemp("edited") / "tiny.marrow"))
    run(path, RECIPE, until="colonies")
    return path


@pytest.fixture
def study(tracked, tmp_path) -> Path:
    return Path(shutil.copytree(tracked, tmp_path / "tiny.marrow"))


def a_link(path: Path) -> dict[str, object]:
    edges = Study.open(path).table("track_edges")
    row = edges[edges["kind"] == "link"].iloc[0]
    parent, child = (
        [int(row["session"]), int(row[f"t_{end}"]), int(row[f"label_{end}"])] for end in ("parent", "child")
    )
    return {"position": row["position"], "action": "break", "parent": parent, "child": child}


def has(path: Path, edit: dict) -> bool:
    edges = Study.open(path).table("track_edges")
    (s, t, label), (_, u, other) = edit["parent"], edit["child"]
    return bool(
        ((edges["position"] == edit["position"]) & (edges["session"] == s) & (edges["t_parent"] == t)
         & (edges["label_parent"] == label) & (edges["t_child"] == u) & (edges["label_child"] == other)).any()
    )  # fmt: skip


def lineage_key(path: Path) -> str:
    return step_keys(STEPS, RECIPE, Study.open(path))["lineage"]


def test_an_edit_reaches_the_tracks_and_what_follows_and_can_be_undone(study):
    before = Study.open(study).active
    assert before["curate"] == before["track"]
    edit, lineage = a_link(study), lineage_key(study)
    made = edit_study(study, [edit], author="ada")
    assert [(e.number, e.author) for e in made] == [(1, "ada")]
    summary = run(study, RECIPE, until="colonies")
    computed = {step.name: step.computed for step in summary.steps}
    assert {name for name, n in computed.items() if n} == {"curate"}
    assert lineage_key(study) != lineage
    after = Study.open(study).active
    assert after["track"] == before["track"]
    assert after["curate"] != before["curate"]
    assert not has(study, edit)
    nodes, tracks = Study.open(study).table("track_nodes"), Study.open(study).table("tracks")
    assert set(nodes["track_id"]) == set(tracks["track_id"])
    assert tracks["track_id"].is_unique
    assert Study.open(study).verify() == []
    turn_back(study)
    run(study, RECIPE, until="colonies")
    assert Study.open(study).active == before
    assert has(study, edit)
    assert lineage_key(study) == lineage
    turn_back(study, redo=True)
    assert Study.open(study).edits().standing()[0].action["action"] == "break"


def test_tracking_again_never_leaves_tracks_without_their_edits(study):
    edit = a_link(study)
    edit_study(study, [edit])
    run(study, RECIPE, until="colonies")
    assert "curate" in current_steps(Study.open(study))
    other = parse_recipe({**RECIPE.model_dump(), "track": {"max_gap": 2}})
    # stopped between tracking and the edits: the edited tracks of before stay, and are known to be out of date
    stop = CancelToken()
    with pytest.raises(Cancelled):
        run(study, other, progress=lambda done, total, what: what == "Applying edits" and stop.cancel(), cancel=stop)
    halted = Study.open(study)
    assert halted.active_tables["tracks"] == halted.active["curate"] != halted.active["track"]
    assert not has(study, edit)
    assert not {"curate", "lineage"} & current_steps(halted)
    # a run up to the tracks is one up to the edited tracks
    assert [step.name for step in run(study, other, until="track").steps][-1] == "curate"
    assert not has(study, edit)
    assert "curate" in current_steps(Study.open(study))
    turn_back(study)
    run(study, other, until="track")
    assert has(study, edit)
    assert Study.open(study).active["curate"] == Study.open(study).active["track"]
    assert "curate" in current_steps(Study.open(study))


def test_an_edit_that_cannot_be_leaves_no_trace(study):
    edit = a_link(study)
    with pytest.raises(EditError, match=r"Edit 2 \(break\) .* There is no link"):
        edit_study(study, [edit, edit])
    assert not (study / "edits.jsonl").exists()
    for wrong, words in (
        ({**edit, "position": "Z99_f00"}, "names the position"),
        ({**edit, "target": "vessels"}, "use cells or colonies"),
    ):
        with pytest.raises(EditError, match=words):
            edit_study(study, [wrong])


def test_a_named_colony_keeps_its_name(study):
    colonies = Study.open(study).table("colonies")
    if colonies.empty:
        pytest.skip("the small study has no colony")
    row = colonies.iloc[0]
    place = [int(row["session"]), int(row["t"]), int(row["colony"])]
    edit_study(
        study,
        [{"position": row["position"], "target": "colonies", "action": "relabel", "node": place, "name": "Rosalind"}],
    )
    run(study, RECIPE, until="colonies")
    named = Study.open(study).table("colonies")
    own = (named["position"] == row["position"]) & (named["colony_id"] == row["colony_id"])
    assert set(named.loc[own, "name"]) == {"Rosalind"}
    assert set(named.loc[~own, "name"]) <= {""}


def test_the_command_line_lists_applies_undoes_and_redoes(study, tmp_path):
    runner = CliRunner()
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(a_link(study)) + "\n")
    assert "No edit stands" in runner.invoke(app, ["edits", "list", str(study)]).output
    assert "1 edit(s) kept" in runner.invoke(app, ["edits", "apply", str(study), str(file), "--author", "ada"]).output
    assert "ada" in runner.invoke(app, ["edits", "list", str(study)]).output
    assert "undone: 1" in runner.invoke(app, ["edits", "undo", str(study)]).output
    assert "nothing to be undone" in runner.invoke(app, ["edits", "undo", str(study)]).output
    assert "redone: 1" in runner.invoke(app, ["edits", "redo", str(study)]).output


def whole_tracks(path: Path, place: tuple[str, int], frames: int) -> list[list[int]]:
    """Labels in the first frames of the tracks that are seen in each of them and do not divide there."""
    nodes, edges = (Study.open(path).table(name) for name in ("track_nodes", "track_edges"))
    nodes, edges = (t[(t["position"] == place[0]) & (t["session"] == place[1])] for t in (nodes, edges))
    divided = set(edges.loc[edges["kind"] == "division", ["t_parent", "label_parent"]].itertuples(index=False))
    divided |= set(edges.loc[edges["kind"] == "division", ["t_child", "label_child"]].itertuples(index=False))
    out = []
    for _, track in nodes[nodes["t"] < frames].sort_values("t").groupby("track_id"):
        free = not divided & set(track[["t", "label"]].itertuples(index=False))
        if track["t"].tolist() == list(range(frames)) and free:
            out.append(track["label"].astype(int).tolist())
    return out


def test_each_kind_of_edit_by_command_reaches_the_tracks_and_goes_again(study, tmp_path):
    place, session = "B02_f00", 1
    tracks = whole_tracks(study, (place, session), 4)
    assert len(tracks) >= 9
    a, b, c, d, e, f, g, h, i = tracks[:9]

    def at(track: list[int], t: int) -> list[int]:
        return [session, t, track[t]]

    made = [
        {"action": "break", "parent": at(a, 0), "child": at(a, 1)},
        {"action": "break", "parent": at(b, 0), "child": at(b, 1)},
        {"action": "link", "parent": at(b, 0), "child": at(b, 1)},
        {"action": "swap", "first": at(c, 2), "second": at(d, 2)},
        {"action": "break", "parent": at(e, 1), "child": at(e, 2)},
        {"action": "divide", "mother": at(f, 1), "first": at(f, 2), "second": at(e, 2)},
        {"action": "merge", "first": at(g, 2), "second": at(h, 2)},
        {"action": "delete", "node": at(i, 1)},
        {"action": "relabel", "node": at(g, 0), "name": "Ada"},
    ]
    file = tmp_path / "seven.yaml"
    file.write_text(json.dumps([{"position": place, **edit} for edit in made]))
    runner, before = CliRunner(), {name: Study.open(study).table(name) for name in ("track_edges", "tracks")}
    done = runner.invoke(app, ["edits", "apply", str(study), str(file), "--author", "ada"])
    assert "9 edit(s) kept" in done.output, done.output
    recipe = tmp_path / "recipe.json"
    recipe.write_text(RECIPE.model_dump_json())
    run_it = ["run", str(study), "--recipe", str(recipe), "--until", "track"]
    assert runner.invoke(app, run_it).exit_code == 0
    now = Study.open(study)
    edges, nodes = now.table("track_edges"), now.table("track_nodes")
    here = edges[(edges["position"] == place) & (edges["session"] == session)]
    names = ["t_parent", "label_parent", "t_child", "label_child"]
    kind = {tuple(map(int, row[:4])): row[4] for row in here[[*names, "kind"]].itertuples(index=False)}

    def link(parent: list[int], child: list[int]) -> tuple[int, ...]:
        return (*parent[1:], *child[1:])

    assert link(at(a, 0), at(a, 1)) not in kind
    assert kind[link(at(b, 0), at(b, 1))] == "link"
    assert {link(at(c, 1), at(d, 2)), link(at(d, 1), at(c, 2))} <= set(kind)
    assert {kind[link(at(f, 1), at(x, 2))] for x in (e, f)} == {"division"}
    left = set(
        nodes.loc[(nodes["position"] == place) & (nodes["session"] == session), ["t", "label"]].itertuples(index=False)
    )
    assert (2, h[2]) not in left
    assert (2, g[2]) in left
    assert (1, i[1]) not in left
    assert "Ada" in set(now.table("tracks")["name"])
    # other positions and sessions are untouched
    other = (before["track_edges"]["position"] != place) | (before["track_edges"]["session"] != session)
    untouched = (edges["position"] != place) | (edges["session"] != session)
    assert (
        before["track_edges"]
        .loc[other, names]
        .reset_index(drop=True)
        .equals(edges.loc[untouched, names].reset_index(drop=True))
    )
    assert "undone: 9" in runner.invoke(app, ["edits", "undo", str(study)]).output
    assert runner.invoke(app, run_it).exit_code == 0
    assert Study.open(study).table("tracks").equals(before["tracks"])


def test_files_that_hold_no_edits_are_refused(tmp_path):
    with pytest.raises(PathMissingError):
        read_edits(tmp_path / "none.yaml")
    for name, text, words in (
        ("a.yaml", "just words", "holds no edits"),
        ("b.yaml", "[]", "holds no edits"),
        ("c.yaml", "!!python/object/apply:os.system ['true']", "neither a YAML list"),
        ("d.jsonl", "{", "neither a YAML list"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(EditError, match=words):
            read_edits(tmp_path / name)
