"""Files and options that are not what they should be: one sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.__main__ import main
from napari_marrow.segmentation.registry import find_model

PLAIN = ("--pixel-size", "0.5", "--frame-interval", "0.5")


def cells(frames: int = 3) -> np.ndarray:
    """Nine bright spots that move by a pixel per frame, (T, 96, 96) uint16."""
    yy, xx = np.mgrid[:96, :96]
    spots = [(16 + 32 * (k // 3), 16 + 32 * (k % 3)) for k in range(9)]
    noise = np.random.default_rng(0).normal(100, 5, (frames, 96, 96))
    for t in range(frames):
        noise[t] += sum(400 * np.exp(-((yy - y - t) ** 2 + (xx - x) ** 2) / 50) for y, x in spots)
    return noise.astype(np.uint16)


def labels(frames: int = 3, dtype: type = np.uint16) -> np.ndarray:
    """Four squares that move by a pixel per frame, (T, 64, 64)."""
    out = np.zeros((frames, 64, 64), dtype)
    for t in range(frames):
        for k in range(4):
            out[t, 6 + 28 * (k // 2) + t :, 6 + 28 * (k % 2) :][:8, :8] = k + 1
    return out


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {"metadata": {"axes": "TYX"}} if pixels.ndim == 3 and "photometric" not in options else {}
    tifffile.imwrite(path, pixels, **({"photometric": "minisblack"} | axes | options))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad input; do not change it."""
    folder = tmp_path_factory.mktemp("files")
    good = write(folder / "good.tif", cells(4), compression="zlib").read_bytes()
    stack = write(folder / "labels.tif", labels(6), compression="zlib").read_bytes()
    (folder / "text.tif").write_text("this is no image\n" * 40)
    (folder / "nothing.tif").write_bytes(b"")
    (folder / "cut.tif").write_bytes(good[: len(good) // 2])
    (folder / "cut_labels.tif").write_bytes(stack[: len(stack) // 2])
    damaged = bytearray(good)
    damaged[len(good) // 2 : len(good) // 2 + 40] = b"\xff" * 40
    (folder / "damaged.tif").write_bytes(bytes(damaged))
    plane = cells(1)[0]
    write(folder / "nan.tif", np.full((96, 96), np.nan, np.float32))
    write(folder / "nan_frame.tif", np.stack([plane, plane * np.nan]).astype(np.float32))
    write(folder / "rgb.tif", np.zeros((96, 96, 3), np.uint8), photometric="rgb")
    with tifffile.TiffWriter(folder / "two.tif") as writer:
        writer.write(cells(2), photometric="minisblack")
        writer.write(cells(2)[:, :50, :50], photometric="minisblack")
    write(folder / "halves.tif", labels(6).astype(np.float32) + 0.5)
    write(folder / "negative_labels.tif", labels(6).astype(np.int16) - 1)
    write(folder / "small.tif", labels(6)[:, :60, :60])
    write(folder / "one.tif", labels(1)[0])
    (folder / "empty").mkdir()
    for t, frame in enumerate(labels()):
        write(folder / "mixed" / f"t{t}.tif", frame if t < 2 else frame[:50])
    (folder / "file").write_text("in the way")
    for name, text in CSV.items():
        (folder / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


CSV: dict[str, str | bytes] = {
    "ok": "t,y,x\n0,1,2\n1,1,2\n",
    "empty": "",
    "columns": "a,b,c\n1,2,3\n",
    "blank": "t,y,x\n0,1,\n1,1,1\n",
    "nan": "t,y,x\n0,1,nan\n1,1,1\n",
    "infinite": "t,y,x\n0,inf,2\n1,1,1\n",
    "word": "t,y,x\n0,1,abc\n1,1,1\n",
    "quote": 't,y,x\n0,1,"2\n1,1,2\n',
    "comma": "t;y;x\n0;1,5;2\n1;1,5;2\n",
    "half_frame": "t,y,x\n0.5,1,2\n",
    "late_frame": "t,y,x\n0,1,2\n1e30,1,2\n",
    "ragged": "t,y,x\n0,1,2\n1,1\n",
    "twice": "t,y,x,x\n0,1,2,3\n",
    "tracked": "t,y,x,track_id\n0,1,2,3\n",
    "binary": b"\0\1\2\xff" * 40,
    "latin": "t,y,x,größe\n0,1,2,3\n".encode("latin-1"),
    "no_track": "t,y,x,track_id\n0,1,2,inf\n1,1,2,1\n",
    "half_track": "t,y,x,track_id\n0,1,2,1.5\n1,1,2,1.5\n",
}


def listing(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size if p.is_file() else -1 for p in folder.rglob("*")}


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """Run a command that must fail and return its one sentence."""
    capsys.readouterr()
    found = main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "does not handle" not in err
    said = [line for line in err.splitlines() if not re.search(r"(\.\.\.|: \d+ of \d+)$", line)]
    assert len(said) == 1, err
    assert said[0].startswith("Error: ")
    assert found == code, err
    return said[0]


@pytest.mark.parametrize(
    "name",
    ["gone", "empty", "text", "nothing", "cut", "damaged", "nan", "nan_frame", "rgb", "two", "ünï codé/gone"],
)
@pytest.mark.parametrize("command", ["segment", "import", "track"])
def test_what_is_no_image_is_named_and_leaves_nothing(command, name, files, tmp_path, capsys):
    source = files / name if name == "empty" else files / f"{name}.tif"
    out = {"segment": ("--out", tmp_path / "new"), "track": ("--out", tmp_path / "new")}
    arguments = out.get(command) or ("--study", tmp_path / "new.marrow", *PLAIN)
    assert source.name in refused(capsys, command, source, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cut_labels.tif", "halves.tif", "negative_labels.tif", "mixed", "small.tif"])
def test_what_are_no_labels_is_named(name, files, tmp_path, capsys):
    if name != "small.tif":
        assert ("t2.tif" if name == "mixed" else name) in refused(
            capsys, "track", files / name, "--out", tmp_path / "new"
        )
        assert not list(tmp_path.iterdir())
    sentence = refused(capsys, "evaluate", files / "labels.tif", files / name)
    assert any(word in sentence for word in (name, "t2.tif", "(60, 60)"))


@pytest.mark.parametrize("name", [n for n in CSV if n not in ("ok", "no_track", "half_track")])
def test_a_bad_table_of_points_is_named(name, files, tmp_path, capsys):
    assert f"{name}.csv" in refused(capsys, "track", files / f"{name}.csv", "--out", tmp_path / "new.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ok", "empty", "infinite", "half_frame", "no_track", "half_track", "binary"])
def test_a_bad_table_of_tracks_is_named(name, files, tmp_path, capsys):
    truth = tmp_path / "truth.csv"
    truth.write_text("t,y,x,track_id\n0,1,2,1\n1,1,2,1\n")
    result = files / f"{name}.csv"
    if name in ("infinite", "half_frame"):
        result = tmp_path / f"{name}.csv"
        result.write_text("\n".join(f"{line},1" for line in str(CSV[name]).split()).replace("x,1", "x,track_id"))
    assert f"{name}.csv" in refused(capsys, "evaluate", truth, result, "--tracks")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--diameter", "0"),
        ("--diameter", "nan"),
        ("--flow-threshold", "nan"),
        ("--flow-threshold", "-1"),
        ("--cellprob-threshold", "inf"),
        ("--model", "nomodel"),
        ("--channel", "7"),
        ("--axes", "TXY"),
        ("--axes", "YX"),
        ("--device", "bogus"),
        ("--device", "cuda:99"),
        ("--diameter", "5000"),
        ("--second-channel", "7"),
        ("--precision", "f8"),
    ],
)
def test_an_impossible_option_of_segment_is_named(option, value, files, tmp_path, capsys):
    assert value in refused(capsys, "segment", files / "good.tif", f"{option}={value}", "--out", tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [lambda p: p > 250, lambda p: p.astype(np.int32) - 5000, lambda p: p.astype(np.float64) * 1e-9],
    ids=["one_bit", "negative", "tiny_values"],
)
def test_unusual_values_give_the_same_cells(change, tmp_path):
    pixels = cells(1)[0]
    counts = []
    for name, image in (("plain", pixels), ("changed", change(pixels))):
        source = write(tmp_path / f"{name}.tif", image)
        assert main(["segment", str(source), "--out", str(tmp_path / name), "--diameter", "14"]) == 0
        counts.append(int(tifffile.imread(tmp_path / name / f"{name}.tif").max()))
    assert counts == [9, 9]


def test_infinite_pixels_are_counted(files, tmp_path, capsys):
    pixels = cells(1)[0].astype(np.float32)
    pixels[3, :5] = np.inf
    source = write(tmp_path / "inf.tif", pixels)
    assert "inf.tif: 5 of 9216 pixels are NaN or infinite" in refused(
        capsys, "segment", source, "--out", tmp_path / "o"
    )


def test_models_that_cannot_be_are_named(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NAPARI_MARROW_MODELS", str(tmp_path / "own"))
    assert "text.tif is no model file" in refused(capsys, "models", "add", files / "text.tif", "--name", "mine")
    assert "gone" in refused(capsys, "models", "add", tmp_path / "gone", "--name", "mine")
    assert "'nomodel'" in refused(capsys, "models", "show", "nomodel")
    assert "'nomodel'" in refused(capsys, "models", "remove", "nomodel")
    assert "'nomodel' is no model of Cellpose" in refused(capsys, "models", "fetch", "nomodel")
    assert "named '../up'" in refused(capsys, "models", "add", files / "text.tif", "--name", "../up")
    assert not list(tmp_path.rglob("*"))


def test_a_file_in_the_way_of_the_output_is_the_users_to_move(files, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for inside in ("file", "file/deeper"):
        place = tmp_path / inside
        for arguments in (
            ("segment", files / "good.tif", "--out", place),
            ("track", files / "labels.tif", "--out", place),
            ("track", files / "ok.csv", "--out", place),
            ("import", files / "good.tif", *PLAIN, "--study", place),
            ("simulate", place, "--preset", "sample"),
            ("demo", "--out", place, "--preset", "sample"),
            ("recipe", "--out", place),
        ):
            assert str(tmp_path / "file") in refused(capsys, *arguments)
    assert listing(tmp_path) == {"file": 10}


def test_labels_never_overwrite_what_is_not_theirs(files, tmp_path, capsys):
    first, second = tmp_path / "a" / "x.tif", tmp_path / "b" / "x.tif"
    write(first, cells(1)[0])
    write(second, cells(2)[1])
    os.utime(second, (0, 0))
    out = tmp_path / "out"
    assert "same name" in refused(capsys, "segment", first, second, "--out", out)
    assert "would overwrite it" in refused(capsys, "segment", first, "--out", first.parent)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.tif").write_text("precious")
    assert "x.tif exists" in refused(capsys, "segment", first, "--out", tmp_path / "mine")
    assert listing(tmp_path / "mine") == {"x.tif": 8}
    assert main(["segment", str(first), "--out", str(out)]) == 0
    before = (out / "x.tif").stat().st_mtime_ns
    assert main(["segment", str(first), "--out", str(out)]) == 0  # finished: left as it is
    assert "labels of another image" in refused(capsys, "segment", second, "--out", out)
    assert "other settings" in refused(capsys, "segment", first, "--out", out, "--diameter", "20")
    assert (out / "x.tif").stat().st_mtime_ns == before
    (out / "counts.csv").write_text("spoilt\n1,2\n")
    assert "counts.csv" in refused(capsys, "segment", first, "--out", out)
    for arguments in (("track", files / "labels.tif"), ("track", files / "ok.csv")):
        assert "exists" in refused(capsys, *arguments, "--out", out)
    assert "name of a CSV" in refused(capsys, "track", files / "labels.tif", "--out", tmp_path / "n.csv")


UNUSUAL = {
    "empty": (np.zeros((96, 96), np.uint16), 0),
    "flat": (np.full((96, 96), 500, np.uint16), 0),
    "five_pixels": (np.arange(5, dtype=np.uint8)[None], 0),
    "one_pixel": (np.array([[7]], np.uint8), 0),
    "one_bit": (cells(1)[0] > 200, 9),
    "negative": (cells(1)[0].astype(np.int16) - 300, 9),
    "negative_float": (cells(1)[0].astype(np.float32) - 300, 9),
    "long_integers": (cells(1)[0].astype(np.int64), 9),
}


def test_unusual_images_are_segmented(tmp_path):
    paths = [write(tmp_path / "ünï 细胞 in" / f"{name}.tif", pixels) for name, (pixels, _) in UNUSUAL.items()]
    gap = cells(3)
    gap[1] = 0
    paths.append(write(tmp_path / "ünï 细胞 in" / "gap.tif", gap))
    out = tmp_path / "aus gabe ö"
    assert main(["segment", *map(str, paths), "--out", str(out)]) == 0
    for name, (pixels, n) in UNUSUAL.items():
        found = tifffile.imread(out / f"{name}.tif")
        assert found.shape == pixels.shape
        assert found.max() == n, name
    assert [int(frame.max()) for frame in tifffile.imread(out / "gap.tif")] == [9, 0, 9]


@pytest.mark.parametrize(
    ("pixels", "tracks"),
    [
        (labels(1)[0], "1 0 0 0\n2 0 0 0\n3 0 0 0\n4 0 0 0\n"),
        (np.zeros((3, 32, 32), np.uint16), ""),
        (np.zeros((32, 32), np.uint16), ""),
        (labels(3, np.int64) * 10**12, "1 0 2 0\n2 0 2 0\n3 0 2 0\n4 0 2 0\n"),
        (labels(3, np.float32), "1 0 2 0\n2 0 2 0\n3 0 2 0\n4 0 2 0\n"),
    ],
    ids=["one_frame", "no_cells", "no_cells_one_frame", "int64", "whole_floats"],
)
def test_unusual_labels_are_tracked_and_scored(pixels, tracks, tmp_path, capsys):
    source, out = write(tmp_path / "in.tif", pixels), tmp_path / "out"
    assert main(["track", str(source), "--out", str(out)]) == 0
    assert (out / "res_track.txt").read_text() == tracks
    assert len(list(out.glob("mask*.tif"))) == (len(pixels) if pixels.ndim == 3 else 1)
    truth = shutil.copytree(out, tmp_path / "truth")
    (truth / "res_track.txt").rename(truth / "man_track.txt")
    capsys.readouterr()
    assert main(["evaluate", str(truth), str(out), "--tracks"]) == 0
    scores = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert scores["TRA"] == scores["DET"] == ("1.0000" if tracks else "nan")


def test_a_result_without_cells_scores_zero(files, tmp_path, capsys):
    for name, source in (("truth", "labels.tif"), ("result", "none.tif")):
        path = files / source if name == "truth" else write(tmp_path / source, np.zeros((6, 64, 64), np.uint16))
        assert main(["track", str(path), "--out", str(tmp_path / name)]) == 0
    (tmp_path / "truth" / "res_track.txt").rename(tmp_path / "truth" / "man_track.txt")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "truth"), str(tmp_path / "result"), "--tracks"]) == 0
    assert {"DET: 0.0000", "TRA: 0.0000", "LNK: 0.0000"} <= set(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("res_track.txt", b"a b c\n"),
        ("res_track.txt", b"1 0 2 0 7\n"),
        ("res_track.txt", b"1.5 0 2 0\n"),
        ("res_track.txt", b"\x00\xff\xfe"),
        ("res_track.txt", b"1 0 2 0\n1 0 2 0\n"),
        ("res_track.txt", b"1 0 2 9\n"),
        ("res_track.txt", b"1 0 9 0\n"),
        ("res_track.txt", b"1 0 5 0\n"),
        ("mask001.tif", b"no image"),
    ],
)
def test_a_broken_challenge_folder_is_named(name, content, files, tmp_path, capsys):
    assert main(["track", str(files / "labels.tif"), "--out", str(tmp_path / "result")]) == 0
    truth = shutil.copytree(tmp_path / "result", tmp_path / "truth")
    (truth / "res_track.txt").rename(truth / "man_track.txt")
    (tmp_path / "result" / name).write_bytes(content)
    assert name in refused(capsys, "evaluate", truth, tmp_path / "result", "--tracks")


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("t,y,x\n", ""),
        ("t,y,x\n0,1,2\n0,30,2\n", "0,1,2,1,0,"),
        ("t,y,x\n0,1,2\n0,1,2\n", "0,1,2,2,0,"),
        ("t,y,x\n2,1.2,2\n0,1,2\n1,1.1,2\n", "2,1.2,2,1,0,"),
        ("\ufefft;y;x\r\n0;1;2\r\n1;1;2\r\n", "0;1;2;1;0;"),
        ('t,y,x,name\n0,1,2,"a,b"\n', '0,1,2,"a,b",1,0,'),
    ],
    ids=["no_rows", "one_frame", "duplicates", "unsorted", "semicolon", "text_column"],
)
def test_unusual_points_keep_their_rows(text, row, tmp_path):
    source, out = tmp_path / "punkte ö.csv", tmp_path / "out.csv"
    source.write_bytes(text.encode())
    assert main(["track", str(source), "--out", str(out)]) == 0
    lines = out.read_text().splitlines()
    assert lines[0].replace(";", ",").endswith("track_id,parent_track_id,link_probability")
    assert len(lines) == len(text.splitlines())
    assert not row or any(line.startswith(row) for line in lines[1:])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("segmnt: {}\n", "did you mean 'segment'"),
        ("segment: {flow_threshold: 0.4}\nsegment: {}\n", "'segment' is there twice"),
        ("segment: {diameter_um: .nan}\n", "diameter_um"),
        ("- a\n", "mapping"),
        ("a: [1,\n", "YAML"),
        ("!!python/object/apply:os.getcwd []\n", "YAML"),
    ],
)
def test_a_bad_recipe_changes_nothing(text, word, tiny_study, tmp_path, capsys):
    recipe = tmp_path / "rezept ö.yaml"
    recipe.write_text(text)
    before = listing(tiny_study)
    sentence = refused(capsys, "run", tiny_study, "--recipe", recipe)
    assert "rezept ö.yaml" in sentence
    assert word in sentence
    assert listing(tiny_study) == before


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs the right to mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_the_machines_fault_and_leaves_nothing(full_disk, files, tmp_path, capsys):
    (full_disk / "fill").write_bytes(b"0" * (256 * 1024 - 4096))
    noise = np.random.default_rng(0).integers(0, 60000, (4, 256, 256)).astype(np.uint16)
    rows = (f"{t},{y * 9},{x * 9}\n" for t in range(8) for y in range(50) for x in range(50))
    points = tmp_path / "points.csv"
    points.write_text("t,y,x\n" + "".join(rows))
    for arguments in (
        ("import", write(tmp_path / "noise.tif", noise), *PLAIN, "--study", full_disk / "new.marrow"),
        ("segment", files / "good.tif", "--out", full_disk / "new"),
        ("track", files / "labels.tif", "--out", full_disk / "new"),
        ("track", points, "--out", full_disk / "new.csv"),
        ("simulate", full_disk / "deep" / "new", "--preset", "sample"),
    ):
        assert "disk is full" in refused(capsys, *arguments, code=1)
        assert set(listing(full_disk)) == {"fill"}


def test_a_model_that_does_not_fit_leaves_nothing(full_disk, capsys, monkeypatch):
    monkeypatch.setenv("NAPARI_MARROW_MODELS", str(full_disk / "own"))
    weights = find_model("marrow-nuclei").path
    assert "disk is full" in refused(capsys, "models", "add", weights, "--name", "mine", code=1)
    assert set(listing(full_disk)) <= {"own"}


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(full_disk, tiny_study, capsys):
    subprocess.run(["mount", "-o", "remount,size=24m", str(full_disk)], check=True)
    study = Path(shutil.copytree(tiny_study, full_disk / "tiny.marrow"))
    room = shutil.disk_usage(full_disk).free
    (full_disk / "fill").write_bytes(b"0" * (room - 64 * 1024))
    assert "disk is full" in refused(capsys, "run", study, "--until", "segment", code=1)
    assert not [name for name in listing(study) if name.endswith((".partial", "write.lock"))]
    (full_disk / "fill").unlink()
    assert main(["run", str(study), "--until", "segment"]) == 0
    assert main(["verify", str(study)]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
def test_an_interrupt_leaves_what_is_whole(tmp_path):
    image = write(tmp_path / "long.tif", np.tile(cells(4), (60, 3, 3)))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "napari_marrow", "segment", str(image), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.partial")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not list(out.glob("*.tif*"))
