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
