"""Tracks in one format, written in another and read back: the same points, links, mothers and masks."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.errors import InputFileError, PathExistsError, PathMissingError, SettingsError, TableError
from napari_marrow.pipeline.track_conversion import convert_tracks
from napari_marrow.tracking.scores import links_of

FORMATS = ("csv", "xml", "geff")


def squares(path):
    """A folder in Cell Tracking Challenge format: a mother with two daughters, a cell with a gap, one alone."""
    path.mkdir()
    tracks = {1: (0, 2, 0), 2: (3, 5, 1), 3: (3, 5, 1), 4: (0, 1, 0), 5: (3, 5, 4), 6: (2, 2, 0)}
    places = {1: (10, 20), 2: (10, 12), 3: (10, 30), 4: (40, 10), 5: (40, 10), 6: (40, 40)}
    for t in range(6):
        mask = np.zeros((60, 60), np.uint16)
        for name, (first, last, _) in tracks.items():
            if first <= t <= last:
                y, x = places[name]
                mask[y : y + 5, x + t : x + t + 5] = name
        tifffile.imwrite(path / f"mask{t:03d}.tif", mask, photometric="minisblack")
    rows = [f"{name} {first} {last} {parent}\n" for name, (first, last, parent) in tracks.items()]
    (path / "res_track.txt").write_text("".join(rows))
    return path


def content(folder):
    masks = [tifffile.imread(p) for p in sorted(folder.glob("mask*.tif"))]
    return np.stack(masks), (folder / "res_track.txt").read_text()


def links(table):
    """Pairs of (frame, y, x) that are linked."""
    t, track, parent = (table[c].to_numpy(np.int64) for c in ("t", "track_id", "parent_track_id"))
    place = list(zip(t.tolist(), table["y"].round(6), table["x"].round(6), strict=True))
    return {(place[a], place[b]) for a, b in np.concatenate(links_of(t, track, parent)).tolist()}


def test_masks_are_a_table_of_tracks(tmp_path):
    assert convert_tracks(squares(tmp_path / "RES"), tmp_path / "tracks.csv") == 5
    table = pd.read_csv(tmp_path / "tracks.csv")
    assert len(table) == 15
    assert table["area"].eq(25).all()
    found = {name: part["track_id"].unique().tolist() for name, part in table.groupby("label")}
    assert found[4] == found[5]  # one track that was not seen in frame 2
    of = table.drop_duplicates("track_id").set_index("track_id")["parent_track_id"]
    assert of[found[2][0]] == of[found[3][0]] == found[1][0]
    assert of.drop([found[2][0], found[3][0]]).eq(0).all()


@pytest.mark.parametrize("chain", [("csv",), ("xml",), ("geff",), ("geff", "xml", "csv", "geff")])
def test_masks_come_back_equal_through_every_format(tmp_path, chain):
    at = source = squares(tmp_path / "RES")
    for number, kind in enumerate(chain):
        at, before = tmp_path / f"{number}.{kind}", at
        assert convert_tracks(before, at) == 5
    convert_tracks(at, tmp_path / "BACK", labels=source)
    (masks, tracks), (back, again) = content(source), content(tmp_path / "BACK")
    # numbers may differ, masks and tree may not
    pairs = np.unique(np.column_stack([masks.ravel(), back.ravel()]), axis=0)
    assert len(pairs) == 7
    name = dict(pairs.tolist())
    rows = [tuple(map(int, line.split())) for line in tracks.splitlines()]
    renamed = {(name[label], first, last, name.get(parent, 0)) for label, first, last, parent in rows}
    assert renamed == {tuple(map(int, line.split())) for line in again.splitlines()}
    # and once more they are equal to the last byte
    convert_tracks(tmp_path / "BACK", tmp_path / "again.geff")
    convert_tracks(tmp_path / "again.geff", tmp_path / "THIRD", labels=tmp_path / "BACK")
    assert np.array_equal(content(tmp_path / "THIRD")[0], back)
    assert content(tmp_path / "THIRD")[1] == again


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_tracked_is_told_the_same_by_every_format(tmp_path, kind):
    """Points with measurements and a third axis, tracked by the command, then converted from each format to CSV."""
    rng = np.random.default_rng(1)
    rows = [(t, 8.0 * k + rng.normal(0, 0.3), 30.0 * k, 2.0 * t, 50.5 + k) for t in range(8) for k in range(9)]
    pd.DataFrame(rows, columns=["t", "z", "y", "x", "area"]).to_csv(tmp_path / "points.csv", index=False)
    runner = CliRunner()
    for out in (f"tracks.{kind}", "direct.csv"):
        made = runner.invoke(app, ["track", str(tmp_path / "points.csv"), "--out", str(tmp_path / out)])
        assert made.exit_code == 0, made.output
    done = runner.invoke(app, ["convert", str(tmp_path / f"tracks.{kind}"), "--out", str(tmp_path / "back.csv")])
    assert done.exit_code == 0, done.output
    assert "9 tracks" in done.output
    direct, back = pd.read_csv(tmp_path / "direct.csv"), pd.read_csv(tmp_path / "back.csv")
    assert links(direct) == links(back)
    assert np.allclose(np.sort(direct["z"]), np.sort(back["z"]))
    if kind != "xml":  # a TrackMate file holds costs, not probabilities, and no areas
        assert np.allclose(direct["area"], back["area"])
        assert np.allclose(direct["link_probability"], back["link_probability"], atol=1e-4, equal_nan=True)


def test_true_tracks_of_the_challenge_are_read(tmp_path):
    folder = tmp_path / "01_GT" / "TRA"
    folder.parent.mkdir()
    squares(folder)
    (folder / "res_track.txt").rename(folder / "man_track.txt")
    assert convert_tracks(tmp_path / "01_GT", tmp_path / "tracks.xml") == 5


def test_what_cannot_be_converted_is_refused_in_a_sentence(tmp_path):
    folder = squares(tmp_path / "RES")
    convert_tracks(folder, tmp_path / "tracks.csv")
    with pytest.raises(PathExistsError, match="nothing is overwritten"):
        convert_tracks(folder, tmp_path / "tracks.csv")
    with pytest.raises(PathMissingError, match="nothing at"):
        convert_tracks(tmp_path / "none.csv", tmp_path / "new.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PathMissingError, match=r"neither res_track\.txt nor"):
        convert_tracks(tmp_path / "empty", tmp_path / "new.csv")
    with pytest.raises(SettingsError, match="give the label images"):
        convert_tracks(tmp_path / "tracks.csv", tmp_path / "NEW")
    with pytest.raises(SettingsError, match="serve Cell Tracking Challenge files"):
        convert_tracks(tmp_path / "tracks.csv", tmp_path / "new.xml", labels=folder)
    table = pd.read_csv(tmp_path / "tracks.csv")
    table.assign(y=table["y"] + 30).to_csv(tmp_path / "off.csv", index=False)
    with pytest.raises(InputFileError, match="lies on no object"):
        convert_tracks(tmp_path / "off.csv", tmp_path / "NEW", labels=folder)
    table.assign(t=table["t"] + 3).to_csv(tmp_path / "late.csv", index=False)
    with pytest.raises(InputFileError, match="from frame 3 to 8, but there are 6 masks"):
        convert_tracks(tmp_path / "late.csv", tmp_path / "NEW", labels=folder)
    pd.concat([table, table.iloc[[0]]]).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(TableError, match="twice in frame 0"):
        convert_tracks(tmp_path / "twice.csv", tmp_path / "new.geff")
    table.drop(columns="track_id").to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(TableError, match="track_id"):
        convert_tracks(tmp_path / "bare.csv", tmp_path / "new.geff")
    assert not (tmp_path / "NEW").exists()
    assert not (tmp_path / "new.geff").exists()
