"""The command line as a user types it: what it prints, what it leaves behind, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.__main__ import main
from napari_marrow.study import Study

HEAVY = (
    "torch",
    "cellpose",
    "openvino",
    "zarr",
    "numba",
    "matplotlib",
    "qtpy",
    "PyQt6",
    "napari",
    "dask",
    "pandas",
    "skimage",
)


def modules_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running code."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    ["import napari_marrow", "from napari_marrow.__main__ import main\nassert main(['--help']) == 0"],
    ids=["import", "help"],
)
def test_starting_loads_nothing_heavy(code):
    assert modules_after(code).isdisjoint(HEAVY)


def run_marrow(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def one_sentence(err: str) -> str:
    """Return the error line; there must be exactly one, and no traceback."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, err
    return lines[0]


def test_version_and_recipe(capsys, tmp_path):
    assert run_marrow("--version", capsys=capsys)[1].startswith("napari-marrow 0.")
    code, text, _ = run_marrow("recipe", capsys=capsys)
    assert code == 0
    assert "flow_threshold: 0.4" in text
    target = tmp_path / "recipe.yaml"
    assert run_marrow("recipe", "--out", target, capsys=capsys)[0] == 0
    assert target.read_text(encoding="utf-8") == text
    code, _, err = run_marrow("recipe", "--out", target, capsys=capsys)
    assert code == 2
    assert "exists" in one_sentence(err)


def test_info_and_verify_of_a_study(tiny_study, capsys):
    code, out, _ = run_marrow("info", tiny_study, capsys=capsys)
    assert code == 0
    assert "organoid-02" in out
    assert "128 x 128" in out
    code, out, _ = run_marrow("verify", tiny_study, capsys=capsys)
    assert (code, "is sound" in out) == (0, True)
    shard = next(p for p in (tiny_study / "images.ome.zarr").rglob("c.0.*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    code, out, err = run_marrow("verify", tiny_study, capsys=capsys)
    assert code == 1
    assert "1 problem" in one_sentence(err)
    assert shard.name in out or str(shard.relative_to(tiny_study)) in out


@pytest.mark.parametrize("command", ["run", "info", "verify", "report"])
def test_what_is_no_study_is_refused(command, tmp_path, capsys):
    code, _, err = run_marrow(command, tmp_path / "none.marrow", capsys=capsys)
    assert code == 2
    assert "none.marrow" in one_sentence(err)
    (tmp_path / "folder.marrow").mkdir()
    code, _, err = run_marrow(command, tmp_path / "folder.marrow", capsys=capsys)
    assert code == 2
    assert "is no study" in one_sentence(err)


def test_a_window_without_napari_or_without_a_study_is_refused(tiny_study, tmp_path, capsys, monkeypatch):
    assert main(["view", str(tmp_path / "gone.marrow")]) == 2
    assert "There is no study at" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "napari", None)
    assert main(["view", str(tiny_study)]) == 2
    assert "pip install 'napari-marrow[gui]'" in capsys.readouterr().err


def test_a_study_of_a_newer_schema_is_refused(tiny_study, capsys):
    document = tiny_study / "study.json"
    content = json.loads(document.read_text())
    from napari_marrow.study.durable import write_document  # with its checksum, as a newer version would write it

    content["schema_version"] = 99
    write_document(document, {k: v for k, v in content.items() if k != "crc32c"})
    code, _, err = run_marrow("run", tiny_study, capsys=capsys)
    assert code == 2
    assert "99" in one_sentence(err)


def test_an_unknown_key_in_a_recipe_is_named(tiny_study, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("segment: {diametre_um: 10}\n")
    code, _, err = run_marrow("run", tiny_study, "--recipe", recipe, capsys=capsys)
    assert code == 2
    assert "unknown key 'segment.diametre_um' (did you mean 'diameter_um'?)" in one_sentence(err)
    assert not (tiny_study / "runs").exists() or not list((tiny_study / "runs").iterdir())


def test_two_runs_at_once_are_refused_with_the_holder(tiny_study, capsys):
    study = Study.open(tiny_study, mode="a")
    script = f"from napari_marrow.__main__ import main; raise SystemExit(main(['run', {str(tiny_study)!r}]))"
    with study.write_lock():
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    import os

    assert str(os.getpid()) in one_sentence(done.stderr)


def stack(path: Path, frames: int = 3, **metadata: object) -> Path:
    pixels = np.random.default_rng(0).integers(90, 200, (frames, 40, 50)).astype(np.uint16)
    tifffile.imwrite(path, pixels, metadata={"axes": "TYX", **metadata}, imagej=True)
    return path


def test_import_asks_for_what_the_file_does_not_say(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = stack(tmp_path / "movie.tif")
    code, _, err = run_marrow("import", source, capsys=capsys)
    assert code == 2
    assert "--pixel-size" in one_sentence(err)
    assert not (tmp_path / "movie.marrow").exists()
    code, _, err = run_marrow("import", source, "--pixel-size", "0.65", capsys=capsys)
    assert code == 2
    assert "--frame-interval" in one_sentence(err)
    arguments = ("import", source, "--pixel-size", "0.65", "--frame-interval", "0.5")
    code, out, _ = run_marrow(*arguments, "--dry-run", capsys=capsys)
    assert code == 0
    assert "movie.tif" in out
    assert not (tmp_path / "movie.marrow").exists()
    assert run_marrow(*arguments, capsys=capsys)[0] == 0
    image = Study.open(tmp_path / "movie.marrow").image("A01_f00", Study.open(tmp_path / "movie.marrow").sessions()[0])
    assert image.spacing[1:] == (0.65, 0.65)
    np.testing.assert_allclose(image.times_h, [0, 0.5, 1.0])


@pytest.mark.parametrize("size", ["0", "-1", "a", "1,2,3,4", "inf"])
def test_an_impossible_pixel_size_is_refused(size, tmp_path, capsys):
    source = stack(tmp_path / "movie.tif")
    code, _, err = run_marrow("import", source, f"--pixel-size={size}", capsys=capsys)
    assert code == 2
    assert size in one_sentence(err)


def test_segment_says_where_it_runs_and_imports_nothing_heavy(tmp_path):
    pixels = np.random.default_rng(0).integers(90, 200, (64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    arguments = ["segment", str(tmp_path / "a.tif"), "--out", str(tmp_path / "out"), "--device", "auto"]
    code = f"from napari_marrow.__main__ import main\nassert main({arguments!r}) == 0"
    loaded = modules_after(code)
    assert "openvino" in loaded
    assert loaded.isdisjoint({"torch", "cellpose", "matplotlib", "skimage", "zarr", "dask", "napari", "qtpy", "PyQt6"})


def test_a_misspelt_option_is_explained(capsys):
    code, _, err = run_marrow("run", "x.marrow", "--recipee", "y", capsys=capsys)
    assert code == 2
    assert "--recipee" in err
    assert "Traceback" not in err


def test_an_unforeseen_fault_is_one_sentence_too(monkeypatch, tiny_study, capsys):
    monkeypatch.delenv("MARROW_DEBUG", raising=False)
    monkeypatch.setattr(Study, "summary", lambda self: 1 / 0)
    code, _, err = run_marrow("info", tiny_study, capsys=capsys)
    assert code == 1
    assert "ZeroDivisionError" in one_sentence(err)
    assert "MARROW_DEBUG=1" in err


def test_a_dry_run_says_what_becomes_what_and_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plate = tmp_path / "plate one"
    plate.mkdir()
    for well, channel, time in np.ndindex(2, 2, 3):
        name = f"x_{'BC'[well]}02_{('DAPI', 'CD31')[channel]}_t{time}.tif"
        tifffile.imwrite(plate / name, np.full((20, 30), time, np.uint16), photometric="minisblack")
    arguments = ("import", plate, "--pattern", "x_{well}_{channel}_t{time}.tif", "--dry-run")
    code, out, err = run_marrow(*arguments, capsys=capsys)
    assert code == 2
    row = next(line for line in out.splitlines() if "C02_f00 session 0" in line)
    assert all(word in row for word in ("plate one #1", "CD31, DAPI", "0 to ?", "20 x 30", "? x ?", "uint16"))
    assert "no pixel size: --pixel-size" in " ".join(out.split())
    assert "--frame-interval" in one_sentence(err)
    code, out, _ = run_marrow(*arguments, "--pixel-size", "0.5", "--frame-interval", "2", capsys=capsys)
    assert code == 0
    row = next(line for line in out.splitlines() if "B02_f00 session 0" in line)
    assert all(word in row for word in ("0 to 4", "0.5 x 0.5"))
    assert "2 session(s), 6 frames to import; nothing was written." in out
    assert list(tmp_path.glob("*.marrow")) == []
