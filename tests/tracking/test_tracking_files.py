"""Plain files in, plain files out, read back and scored."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_marrow.errors import InputFileError, PathExistsError, PathMissingError, TableError
from napari_marrow.export.ctc import ctc_tracks, relabel
from napari_marrow.pipeline.evaluate_files import evaluate_labels, evaluate_tracks
from napari_marrow.pipeline.track_files import track_labels_files, track_points_file


def write(path, array):
    tifffile.imwrite(path, array, photometric="minisblack")


def movie(frames=9):
    """Six squares that drift; number 4 is unseen in frame 4, number 2 divides at frame 5."""
    labels = np.zeros((frames, 96, 120), np.uint16)
    for t in range(frames):
        for k in range(6):
            y, x = 10 + 45 * (k // 3), 8 + 38 * (k % 3) + t
            if k == 3 and t == 4:
                continue
            if k == 1 and t >= 5:
                labels[t, y : y + 10, x - 3 : x + 3] = 160 + t
                labels[t, y : y + 10, x + 6 : x + 12] = 180 + t
            else:
                labels[t, y : y + 10, x : x + 10] = 10 * (k + 1) + t
    return labels


def test_pieces_of_a_track_follow_the_rules_of_the_format():
    t = np.array([0, 1, 4, 5, 2, 3, 6])
    track = np.array([1, 1, 1, 1, 2, 2, 3])
    parent = np.array([0, 0, 0, 0, 0, 0, 1])
    found = ctc_tracks(t, track, parent)
    assert found.table.tolist() == [[1, 0, 1, 0], [2, 2, 3, 0], [3, 6, 6, 4], [4, 4, 5, 1]]
    assert found.label.tolist() == [1, 1, 4, 4, 2, 2, 3]


def test_relabelling_drops_what_is_not_tracked():
    frame = np.array([[0, 2**40], [5, 7]], np.int64)
    assert relabel(frame, np.array([7, 2**40]), np.array([1, 300])).tolist() == [[0, 300], [0, 1]]


@pytest.mark.parametrize("layout", ["stack", "folder", "list"])
def test_labels_round_trip_through_ctc_files(tmp_path, layout):
    labels = movie()
    if layout == "stack":
        source = tmp_path / "labels.tif"
        write(source, labels)
    else:
        folder = tmp_path / "labels"
        folder.mkdir()
        for t, frame in enumerate(labels):
            write(folder / f"frame{t + 5}.tif", frame)  # frame10 sorts before frame5 as text
        source = folder if layout == "folder" else [folder / f"frame{t + 5}.tif" for t in range(len(labels))]
    found = track_labels_files(source, tmp_path / "RES")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    table = np.loadtxt(tmp_path / "RES" / "res_track.txt", dtype=int)
    seen = {}
    for t in range(len(labels)):
        mask = tifffile.imread(tmp_path / "RES" / f"mask{t:03d}.tif")
        assert mask.dtype == np.uint16
        assert np.array_equal(mask > 0, labels[t] > 0)
        for value in np.unique(mask[mask > 0]):
            seen.setdefault(value, []).append(t)
    assert {k: (min(v), max(v)) for k, v in seen.items()} == {r[0]: (r[1], r[2]) for r in table}
    assert all(v == list(range(min(v), max(v) + 1)) for v in seen.values())
    assert found.n_tracks == 8
    assert (table[:, 3] > 0).sum() == 3  # two daughters and the track that went on after its gap


def test_ctc_result_scores_one_against_itself(tmp_path):
    pytest.importorskip("ctc_metrics")
    write(tmp_path / "labels.tif", movie())
    track_labels_files(tmp_path / "labels.tif", tmp_path / "RES")
    truth = tmp_path / "GT" / "TRA"
    truth.mkdir(parents=True)
    for path in (tmp_path / "RES").glob("mask*.tif"):
        write(truth / path.name.replace("mask", "man_track"), tifffile.imread(path))
    (truth / "man_track.txt").write_text((tmp_path / "RES" / "res_track.txt").read_text())
    scores = evaluate_tracks(tmp_path / "GT", tmp_path / "RES")
    assert [scores[k] for k in ("DET", "TRA", "LNK", "division_F1")] == [1.0, 1.0, 1.0, 1.0]


def test_masks_of_volumes(tmp_path):
    labels = np.repeat(movie(4)[:, None], 3, axis=1)
    folder = tmp_path / "volumes"
    folder.mkdir()
    for t, frame in enumerate(labels):
        write(folder / f"t{t}.tif", frame)
    track_labels_files(folder, tmp_path / "RES", spacing=(2.0, 0.5, 0.5))
    assert tifffile.imread(tmp_path / "RES" / "mask002.tif").shape == (3, 96, 120)


def points_csv(path, separator=","):
    rng = np.random.default_rng(0)
    lines = [separator.join(["name", "t", "y", "x", "area", "note"])]
    order = rng.permutation(60)
    for row in order:
        t, k = divmod(int(row), 6)
        lines.append(
            separator.join([f"c{k:03d}", str(t), f"{40 * k + 0.1 * t:.3f}", f"{2.0 * t:.2f}", "50.10", '"a ""b"""'])
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return order


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_points_csv_keeps_rows_and_text(tmp_path, separator):
    order = points_csv(tmp_path / "in.csv", separator)
    track_points_file(tmp_path / "in.csv", tmp_path / "out.csv")
    before = pd.read_csv(tmp_path / "in.csv", sep=separator, dtype=str)
    after = pd.read_csv(tmp_path / "out.csv", sep=separator, dtype=str)
    assert list(after.columns) == [*before.columns, "track_id", "parent_track_id", "link_probability"]
    assert after[before.columns].equals(before)
    cell = order % 6
    assert len(set(zip(cell, after["track_id"], strict=True))) == 6
    assert set(after["parent_track_id"]) == {"0"}
    assert after["link_probability"].isna().sum() == 6
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_points_scored_against_truth(tmp_path):
    order = points_csv(tmp_path / "in.csv")
    track_points_file(tmp_path / "in.csv", tmp_path / "out.csv")
    truth = pd.read_csv(tmp_path / "in.csv").assign(track=order % 6 + 1)
    truth[["t", "track", "y", "x"]].to_csv(tmp_path / "truth.csv", index=False)
    scores = evaluate_tracks(tmp_path / "truth.csv", tmp_path / "out.csv")
    assert scores["link_F1"] == 1.0
    part = truth[truth["track"] <= 2].assign(y=lambda d: d["y"] + 0.4)
    part[["t", "track", "y", "x"]].to_csv(tmp_path / "part.csv", index=False)
    scores = evaluate_tracks(tmp_path / "part.csv", tmp_path / "out.csv")
    assert scores["link_recall"] == 1.0
    assert scores["links_true"] == 18


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [
        (b"", InputFileError, "empty"),
        (b"\xff\xfe\x00\x81binary", InputFileError, "no text"),
        (b"t,y\n0,1\n", TableError, "lacks the column"),
        (b"t,y,x\n0,1,\n", TableError, "NaN or infinity"),
        (b"t,y,x\n0,1,abc\n", TableError, "'abc' in column 'x', line 2"),
        (b"t,y,x\n0,1\n", InputFileError, "2 values in line 2"),
        (b"t,y,x,track_id\n0,1,2,3\n", TableError, "already"),
        (b"t,t,x\n0,1,2\n", InputFileError, "twice"),
    ],
)
def test_bad_csv_is_refused_in_a_sentence(tmp_path, content, error, sentence):
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(error, match=sentence):
        track_points_file(tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_header_alone_gives_a_header(tmp_path):
    (tmp_path / "in.csv").write_text("t,y,x\n")
    track_points_file(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "t,y,x,track_id,parent_track_id,link_probability\n"


def test_nothing_is_overwritten_and_nothing_missing_is_read(tmp_path):
    points_csv(tmp_path / "in.csv")
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(PathExistsError):
        track_points_file(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    write(tmp_path / "labels.tif", movie(2))
    (tmp_path / "RES").mkdir()
    (tmp_path / "RES" / "old").write_text("mine")
    with pytest.raises(PathExistsError):
        track_labels_files(tmp_path / "labels.tif", tmp_path / "RES")
    with pytest.raises(PathMissingError):
        track_labels_files(tmp_path / "none.tif", tmp_path / "RES2")
    with pytest.raises(PathMissingError):
        track_points_file(tmp_path / "none.csv", tmp_path / "new.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PathMissingError, match="no TIFF"):
        track_labels_files(tmp_path / "empty", tmp_path / "RES2")


def test_images_that_are_no_labels_are_refused(tmp_path):
    (tmp_path / "text.tif").write_text("no image")
    write(tmp_path / "float.tif", np.random.default_rng(0).random((3, 8, 8)).astype(np.float32))
    for name, sentence in (("text.tif", "no TIFF"), ("float.tif", "no labels")):
        with pytest.raises(InputFileError, match=sentence):
            track_labels_files(tmp_path / name, tmp_path / "RES")
    assert not (tmp_path / "RES").exists()
    write(tmp_path / "whole.tif", movie(3).astype(np.float32))
    assert track_labels_files(tmp_path / "whole.tif", tmp_path / "RES").n_tracks == 6


def test_empty_frames_give_empty_masks(tmp_path):
    labels = movie(4)
    labels[1] = 0
    write(tmp_path / "labels.tif", labels)
    track_labels_files(tmp_path / "labels.tif", tmp_path / "RES")
    assert tifffile.imread(tmp_path / "RES" / "mask001.tif").max() == 0
    write(tmp_path / "none.tif", np.zeros_like(labels))
    assert track_labels_files(tmp_path / "none.tif", tmp_path / "NONE").n_tracks == 0
    assert (tmp_path / "NONE" / "res_track.txt").read_text() == ""


def test_labels_scored_against_truth(tmp_path):
    labels = movie(3)
    shifted = np.roll(labels, 2, axis=2)
    for name, stack in (("truth.tif", labels), ("same.tif", labels + (labels > 0)), ("shifted.tif", shifted)):
        write(tmp_path / name, stack.astype(np.uint16))
    same = evaluate_labels(tmp_path / "truth.tif", tmp_path / "same.tif")
    assert [same[k] for k in ("AP@0.50", "AP@0.75", "AP@0.90", "SEG")] == [1.0, 1.0, 1.0, 1.0]
    # squares of side 10 shifted by 2: IoU 8/12
    moved = evaluate_labels(tmp_path / "truth.tif", tmp_path / "shifted.tif")
    assert [moved[k] for k in ("AP@0.50", "AP@0.75", "AP@0.90")] == [1.0, 0.0, 0.0]
    assert moved["SEG"] == pytest.approx(8 / 12)
    write(tmp_path / "short.tif", labels[:2])
    with pytest.raises(InputFileError, match="as many"):
        evaluate_labels(tmp_path / "truth.tif", tmp_path / "short.tif")
