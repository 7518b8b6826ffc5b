"""Verify, repair, status and gc on studies that the recipe was run on."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pandas as pd
import pytest

from napari_marrow.__main__ import main
from napari_marrow.errors import StudyError
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.status import status
from napari_marrow.pipeline.verification import repair, verify_study
from napari_marrow.study import Study

RESULTS = (
    "cells",
    "tracks",
    "track_edges",
    "colonies",
    "session_links",
    "niche_curves",
    "organoid_summary",
    "structures",
)


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bytes(data))


def everything(path: Path) -> dict[str, bytes]:
    """Labels and tables, as bytes."""
    study = Study.open(path)
    found = {}
    for file in sorted(path.rglob("labels/*/*/c.*")):
        if file.is_file():
            found[str(file.relative_to(path))] = file.read_bytes()
    for table in sorted(study.active_tables):
        if table != "report_files" and study.has_table(table):
            found[table] = study.table(table).to_json(double_precision=15).encode()
    return found


def test_damaged_results_are_named_with_their_step_taken_out_and_made_again(finished_copy, quick_recipe):
    before = everything(finished_copy)
    study = Study.open(finished_copy, mode="a")
    rng = random.Random(2)
    key = study.active
    victims = [
        study.label_file("cells", key["segment"], "B02_f00", 1, 2),
        study.label_file("colonies", key["colonies"], "B02_f00", 1, 0),
        study.part_file("cells", key["measure"], {"position": "B02_f00", "session": 1, "t": 4}),
        study.part_file("session_edges", key["track"], {"position": "B02_f00", "session": 1}),
        study.part_file("niche_curves", key["niche"], {"position": "B02_f00", "session": 1, "t": 0}),
        study.part_file("track_nodes", key["track"], {}),
        study.part_file("scaffold_thresholds", key["structures"], {"session": 1}),
    ]
    victims = [v for v in victims if v.exists()]
    assert len(victims) >= 6
    for k, victim in enumerate(victims):
        if k % 2:
            victim.unlink()
        else:
            flip(victim, rng)
    problems = verify_study(study)
    assert {p.path for p in problems} >= {v.relative_to(finished_copy).as_posix() for v in victims}
    assert all("marrow run" in p.remedy and "(step " in p.remedy for p in problems)
    assert any("(step segment, B02_f00 session 1 frame 2)" in p.remedy for p in problems)
    result = repair(study, problems)
    assert result.left == ()
    assert result.again["segment"] == 1
    assert {"segment", "measure", "track", "colonies", "niche"} <= set(result.again)
    summary = run(finished_copy, quick_recipe)
    computed = {s.name: s.computed for s in summary.steps if s.computed}
    assert computed["segment"] == computed["measure"] == 1
    assert "classify" not in computed
    assert verify_study(Study.open(finished_copy)) == []
    assert everything(finished_copy) == before


def test_a_lost_label_image_or_list_is_made_again(finished_copy, quick_recipe):
    before = everything(finished_copy)
    study = Study.open(finished_copy, mode="a")
    labels = study.labels("cells", study.active["segment"], "B02_f00", 1).path
    (labels / "0" / "zarr.json").write_text("{}")
    (labels.parent / "zarr.json").unlink()
    problems = verify_study(study)
    assert {Path(p.path).name for p in problems} == {"zarr.json"}
    assert repair(study, problems).again == {"segment": 6}
    run(finished_copy, quick_recipe)
    assert everything(finished_copy) == before
    assert verify_study(Study.open(finished_copy)) == []


def test_images_are_never_taken_out(finished_copy):
    study = Study.open(finished_copy, mode="a")
    shard = study.image("B02_f00", 1).path / "0" / "c.0.0.0.0.0"
    flip(shard, random.Random(0))
    damaged = shard.read_bytes()
    problems = verify_study(study)
    assert [p.path for p in repair(study, problems).left] == [shard.relative_to(finished_copy).as_posix()]
    assert shard.read_bytes() == damaged
    with pytest.raises(StudyError, match="import the session again"):
        study.discard(problems[0], commits=[])


def test_what_a_run_that_did_not_end_has_lost_is_found(tiny_study, quick_recipe):
    """No step is active, no manifest is written: the commit records alone say what has to be there."""
    run(tiny_study, quick_recipe, until="segment")
    study = Study.open(tiny_study, mode="a")
    key = study.active["segment"]
    document = json.loads((tiny_study / "study.json").read_text())
    from napari_marrow.study.durable import ZARR, read_document, write_document

    write_document(tiny_study / "study.json", {**document, "active": {}, "active_tables": {}})
    for file in tiny_study.glob("tables/*/*/manifest.json"):
        file.unlink()
    for file in tiny_study.rglob(f"labels/*_{key}/zarr.json"):
        about = read_document(file, where=ZARR)
        about["attributes"]["marrow"].pop("frames")
        write_document(file, about, where=ZARR)
    assert verify_study(study) == []
    lost = study.label_file("cells", key, "B02_f00", 1, 3)
    lost.unlink()
    assert [p.path for p in verify_study(study)] == [lost.relative_to(tiny_study).as_posix()]


def test_a_lost_part_is_not_forgotten_by_another_run(finished_copy, quick_recipe):
    study = Study.open(finished_copy)
    lost = study.part_file("transforms", study.active["register"], {"position": "B02_f00", "session": 1})
    kept = lost.read_bytes()
    lost.unlink()
    other = quick_recipe.model_copy(update={"report": quick_recipe.report.model_copy(update={"title": "again"})})
    summary = run(finished_copy, other)
    assert next(s.computed for s in summary.steps if s.name == "register") == 1
    assert lost.read_bytes() == kept


def test_status_says_done_stale_failed_missing(tiny_study, quick_recipe, capsys):
    study = Study.open(tiny_study)
    board = status(study, quick_recipe)
    assert {f.state for f in board.fields} == {"missing"}
    assert len(board.fields) == len(board.keys) * 4
    run(tiny_study, quick_recipe)
    board = status(study)
    assert {f.state for f in board.fields} == {"done", "nothing"}
    idle = {(step, session) for step in ("paint", "curate", "cell_classes") for session in (1, 2)}
    if study.image("B02_f00", 2).shape[0] == 1:
        idle.add(("track", 2))
    assert {(f.step, f.session) for f in board.fields if f.state == "nothing"} == idle
    changed = parse_recipe({"segment": {"cellprob_threshold": 1.0}, "niche": {"every_h": 1000, "n_simulations": 39}})
    states = {f.step: f.state for f in status(study, changed).fields}
    assert (states["quality"], states["segment"], states["measure"], states["lineage"]) == ("done", *["stale"] * 3)

    shard = study.image("B02_f00", 1).path / "0" / "c.5.0.0.0.0"
    good = shard.read_bytes()
    flip(shard, random.Random(1))
    assert main(["run", str(tiny_study), "--until", "segment", "--recipe", str(write(tiny_study.parent, changed))]) == 1
    shard.write_bytes(good)
    fields = {(f.position, f.session): f for f in status(study).fields if f.step == "segment"}
    broken = fields["B02_f00", 1]
    assert (broken.state, broken.done, broken.units) == ("failed", 5, 6)
    assert "damaged" in broken.reason
    assert fields["B02_f00", 2].state == "stale"
    capsys.readouterr()
    assert main(["status", str(tiny_study), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == status(study).keys
    assert main(["status", str(tiny_study)]) == 0
    shown = capsys.readouterr().out
    assert "failed" in shown
    assert "stale" in shown


def write(folder: Path, recipe) -> Path:
    from napari_marrow.pipeline import dump_recipe

    path = folder / "changed.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    return path


def test_gc_lists_what_nothing_uses_and_removes_it_after_asking(finished_copy, quick_recipe, capsys, monkeypatch):
    (finished_copy / ".removed" / "ab12").mkdir(parents=True)
    (finished_copy / ".removed" / "ab12" / "part.parquet").write_bytes(b"x" * 1200)
    assert main(["gc", str(finished_copy)]) == 0
    assert "an interrupted removal had left: 1.2 kB" in (said := capsys.readouterr().out)
    assert "no results that nothing uses" in said
    assert not (finished_copy / ".removed").exists()
    before = everything(finished_copy)
    other = quick_recipe.model_copy(update={"segment": quick_recipe.segment.model_copy(update={"flow_threshold": 0.6})})
    run(finished_copy, other, until="measure")
    changed = Study.open(finished_copy).active["segment"]
    run(finished_copy, quick_recipe)
    study = Study.open(finished_copy, mode="a")
    assert {f.state for f in status(study).fields} == {"done", "nothing"}, (
        "the recipe of the run that had nothing to do"
    )
    unused = {r.step: r for r in study.unused_results()}
    assert set(unused) == {"segment", "measure"}
    assert unused["segment"].labels == ("cells",)
    folder = study.labels("cells", changed, "B02_f00", 1).path
    files = [p for p in finished_copy.rglob("*") if p.is_file() and any(changed in part for part in p.parts[:-1])]
    assert unused["segment"].bytes == sum(p.stat().st_size for p in files)
    monkeypatch.setattr("typer.confirm", lambda question: False)
    assert main(["gc", str(finished_copy)]) == 0
    assert folder.is_dir()
    capsys.readouterr()
    assert main(["gc", str(finished_copy), "--key", "nothing"]) == 2
    assert "no unused result 'nothing'" in capsys.readouterr().err
    assert main(["gc", str(finished_copy), "--yes"]) == 0
    assert not folder.exists()
    assert not (finished_copy / ".removed").exists()
    assert everything(finished_copy) == before
    assert verify_study(Study.open(finished_copy)) == []
    with pytest.raises(StudyError, match="in use"):
        study.remove_results([type(unused["segment"])(study.active["segment"], *["", "", "", (), (), 0, 0])])


def test_gc_keeps_what_the_next_run_would_go_on_from(tiny_study, quick_recipe, capsys):
    run(tiny_study, quick_recipe, until="register")
    from napari_marrow.pipeline.shares import Share, run_share

    waiting = {s.name: s.key for s in run_share(tiny_study, Share(1, 4), quick_recipe, until="segment").steps}
    assert main(["gc", str(tiny_study), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "Kept for `marrow run`" in said
    assert all(key in said for key in waiting.values())
    study = Study.open(tiny_study)
    assert study.units_with_part("segmentation", waiting["segment"])
    assert main(["gc", str(tiny_study), "--yes", "--key", waiting["segment"]]) == 0
    assert not study.units_with_part("segmentation", waiting["segment"])
    assert not list(tiny_study.rglob(f"cells_{waiting['segment']}"))


def test_a_session_that_is_taken_out_leaves_no_results_that_count_for_another(finished_copy, quick_recipe):
    study = Study.open(finished_copy, mode="a")
    image = study.image("B02_f00", 2)
    frames = [image.read(t) for t in range(image.shape[0])]
    study.remove_session("B02_f00", 2)
    assert not list(finished_copy.glob("tables/*/*/position=B02_f00/part-s02*"))
    assert [p for p in verify_study(study) if p.kind == "missing"] == []
    with study.add_session(
        "B02_f00", 2, channels=list(image.channels), spacing=image.spacing, shape=image.shape, dtype=image.dtype,
        start_h=image.start_h, time_s=image.time_s,
    ) as writer:  # fmt: skip
        for t, frame in enumerate(frames):
            writer.write(t, frame[..., ::-1].copy())
    summary = run(finished_copy, quick_recipe)
    assert next(s.computed for s in summary.steps if s.name == "segment") == image.shape[0]
    cells, labels = study.table("cells"), study.labels("cells", study.active["segment"], "B02_f00", 2).read(0)
    here = cells[(cells["position"] == "B02_f00") & (cells["session"] == 2) & (cells["t"] == 0)]
    assert len(here) == labels.max()
    assert isinstance(study.table("tracks"), pd.DataFrame)
    shutil.rmtree(finished_copy / "report")
    assert [p.path for p in verify_study(study)] == ["report"]
