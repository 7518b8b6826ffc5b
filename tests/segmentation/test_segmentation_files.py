"""`marrow segment`: label files of plain images, resumed, and refused with a sentence."""

import json
import shutil

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_marrow.errors import Cancelled, InputFileError, PathExistsError, PathMissingError, SettingsError
from napari_marrow.pipeline.image_files import describe
from napari_marrow.pipeline.image_paths import image_paths
from napari_marrow.pipeline.segment_files import segment_files
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation.registry import find_model


def frame(seed=0, shape=(90, 100), n=8):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for cy, cx in rng.uniform(10, 85, (n, 2)):
        image += 150.0 * ((y - cy) ** 2 + (x - cx) ** 2 < 60)
    return rng.poisson(20 + gaussian_filter(np.minimum(image, 150), 1)).astype(np.uint16)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files as they come: single planes, a time series, a volume over time, channels, colour, OME."""
    folder = tmp_path_factory.mktemp("images")
    series = np.stack([frame(s) for s in range(4)])
    tifffile.imwrite(folder / "plane.tif", series[0])
    tifffile.imwrite(folder / "empty.tif", np.full((50, 60), 9, np.uint8))
    tifffile.imwrite(folder / "tiny.tif", np.arange(5, dtype=np.uint8).reshape(1, 5))
    tifffile.imwrite(folder / "series.tif", series, compression="zlib", photometric="minisblack")
    tifffile.imwrite(folder / "plain_big_endian.tif", series, byteorder=">", photometric="minisblack")
    tifffile.imwrite(folder / "imagej.tif", np.stack([series[:3], series[1:]]), imagej=True, metadata={"axes": "TZYX"})
    channels = np.stack([np.stack([np.zeros_like(f), f]) for f in series[:2]])
    tifffile.imwrite(
        folder / "two.ome.tif", channels, metadata={"axes": "TCYX", "Channel": {"Name": ["CD31", "nuclei"]}}
    )
    colour = np.stack([series[0] // 4, np.zeros_like(series[0]), np.zeros_like(series[0])], axis=-1).astype(np.uint8)
    tifffile.imwrite(folder / "colour.tif", colour, photometric="rgb")
    return folder, series


def test_planes_series_and_volumes(images, tmp_path):
    folder, series = images
    names = ["plane.tif", "series.tif", "plain_big_endian.tif", "imagej.tif", "empty.tif", "tiny.tif"]
    seen = []
    table = segment_files(
        [folder / n for n in names], tmp_path / "out", diameter=16, threads=2, progress=lambda *a: seen.append(a)
    )
    assert table["file"].tolist() == names
    assert table["frames"].tolist() == [1, 4, 4, 2, 1, 1]
    assert table["axes"].tolist() == ["YX", "TYX", "TYX", "TZYX", "YX", "YX"]
    assert seen[-1][:2] == (13, 13)
    labels = {n: tifffile.imread(tmp_path / "out" / n) for n in names}
    assert labels["plane.tif"].dtype == np.uint16
    assert labels["plane.tif"].shape == (90, 100)
    assert labels["series.tif"].shape == series.shape
    assert labels["imagej.tif"].shape == (2, 3, 90, 100)
    np.testing.assert_array_equal(labels["plane.tif"], labels["series.tif"][0])
    np.testing.assert_array_equal(labels["plain_big_endian.tif"], labels["series.tif"])
    assert not labels["empty.tif"].any()
    assert table["cells"][1] == sum(int(f.max()) for f in labels["series.tif"]) > 20
    with tifffile.TiffFile(tmp_path / "out" / "imagej.tif") as tif:
        assert tif.series[0].axes == "TZYX"
    written = pd.read_csv(tmp_path / "out" / "counts.csv")
    assert list(written)[:5] == ["file", "frames", "cells", "diameter", "seconds"]
    assert written["cells"].tolist() == table["cells"].tolist()
    assert not list((tmp_path / "out").glob("*.partial"))


def test_channels_by_name_number_and_luminance(images, tmp_path):
    folder, series = images
    by_name = segment_files([folder / "two.ome.tif"], tmp_path / "a", channel="nuclei", threads=2)
    by_number = segment_files([folder / "two.ome.tif"], tmp_path / "b", channel=1, threads=2)
    assert by_name["cells"][0] == by_number["cells"][0] > 8
    with tifffile.TiffFile(tmp_path / "a" / "two.ome.tif") as tif:
        assert tif.is_ome
        assert tif.series[0].shape == (2, 90, 100)
    np.testing.assert_array_equal(describe(folder / "two.ome.tif", channel="nuclei").frame(1), series[1])
    red = describe(folder / "colour.tif", channel=0).frame(0)
    np.testing.assert_array_equal(red, series[0] // 4)
    np.testing.assert_allclose(describe(folder / "colour.tif", channel="grey").frame(0), 0.299 * red, rtol=1e-5)


def test_a_second_channel_reaches_the_network(images, tmp_path):
    folder, series = images
    shutil.copy(find_model("marrow-nuclei").path, tmp_path / "two.safetensors")  # without its card: any channels
    model = tmp_path / "two.safetensors"
    seen = []
    given = {"channel": "nuclei", "model": model, "diameter": 16, "threads": 2}
    file = folder / "two.ome.tif"
    both = segment_files([file], tmp_path / "both", second_channel=0, on_loaded=seen.append, **given)
    alone = segment_files([file], tmp_path / "alone", **given)
    assert both["cells"].tolist() == alone["cells"].tolist()  # the other channel is empty
    assert (seen[0].card.name, seen[0].device) == ("two", "cpu")
    twice = tmp_path / "twice.tif"
    tifffile.imwrite(twice, series[:2], metadata={"axes": "CYX"}, ome=True)
    segment_files([twice], tmp_path / "a", channel=0, second_channel=1, model=model, diameter=16, threads=2)
    segment_files([twice], tmp_path / "b", channel=0, model=model, diameter=16, threads=2)
    first, second = (tifffile.imread(tmp_path / name / "twice.tif") for name in "ab")
    assert (first != second).any()
    with pytest.raises(SettingsError, match=r"twice\.tif: 'marrow-nuclei' was trained on one channel"):
        segment_files([twice], tmp_path / "d", channel=0, second_channel=1)
    with pytest.raises(SettingsError, match="no channel 5"):
        segment_files([twice], tmp_path / "c", channel=0, second_channel=5, model=model)
    with pytest.raises(PathExistsError, match="other settings"):
        segment_files([twice], tmp_path / "a", channel=0, model=model, diameter=16)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_plane_is_the_right_one(planar, compression, tmp_path):
    data = np.arange(2 * 3 * 4 * 6 * 5, dtype=np.uint16).reshape(2, 3, 4, 6, 5)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data, compression=compression, metadata={"axes": "TZCYX"}, ome=True)
    for c in range(4):
        for t in range(2):
            np.testing.assert_array_equal(describe(path, channel=c).frame(t), data[t, :, c])
    colour = (
        np.random.default_rng(0).integers(0, 255, (3, 6, 5) if planar == "separate" else (6, 5, 3)).astype(np.uint8)
    )
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="rgb", planarconfig=planar, compression=compression)
    second = colour[1] if planar == "separate" else colour[..., 1]
    np.testing.assert_array_equal(describe(tmp_path / "c.tif", channel=1).frame(0), second)
    assert describe(path, channel=0, axes="TZCYX").frame_shape == (3, 6, 5)
    with pytest.raises(SettingsError, match="do not name its 5 axes"):
        describe(path, channel=0, axes="TYX")


def test_a_plain_stack_is_time_unless_told(images):
    folder, _ = images
    assert describe(folder / "series.tif").n_frames == 4
    assert describe(folder / "series.tif", axes="ZYX").frame_shape == (4, 90, 100)


def test_resumes_where_it_was_stopped(images, tmp_path):
    folder, _ = images
    names = [folder / n for n in ("plane.tif", "series.tif", "empty.tif")]
    token, out = CancelToken(), tmp_path / "out"

    def stop(done, total, name):
        if name == "series.tif" and done == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        segment_files(names, out, diameter=16, threads=2, progress=stop, cancel=token)
    assert sorted(p.name for p in out.iterdir()) == ["counts.csv", "plane.tif", "segment.json"]
    before = (out / "plane.tif").stat().st_mtime_ns
    (out / "series.tif.partial").write_bytes(b"left by a killed run")
    table = segment_files(names, out, diameter=16, threads=2)
    assert (out / "plane.tif").stat().st_mtime_ns == before
    assert table["frames"].tolist() == [1, 4, 1]
    fresh = segment_files(names, tmp_path / "fresh", diameter=16, threads=1)
    assert fresh["cells"].tolist() == table["cells"].tolist()
    np.testing.assert_array_equal(
        tifffile.imread(out / "series.tif"), tifffile.imread(tmp_path / "fresh" / "series.tif")
    )
    with pytest.raises(PathExistsError, match="other settings"):
        segment_files(names, out, diameter=20, threads=2)
    assert json.loads((out / "segment.json").read_text())["diameter"] == 16


def test_more_labels_than_16_bits_can_number(images, tmp_path, monkeypatch):
    folder, _ = images
    from napari_marrow.pipeline import segmentation_run as module

    # As if the third frame alone went beyond: the limit is the only thing changed.
    counts = [int(f.max()) for f in _labels_of(folder / "series.tif", tmp_path / "a")]
    monkeypatch.setattr(module, "MOST_16_BIT", max(counts) - 1)
    wide = _labels_of(folder / "series.tif", tmp_path / "b")
    assert wide.dtype == np.uint32
    np.testing.assert_array_equal(wide, tifffile.imread(tmp_path / "a" / "series.tif"))


def _labels_of(path, out):
    segment_files([path], out, diameter=16, threads=2)
    return tifffile.imread(out / path.name)


def test_bad_files_are_refused_before_any_work(images, tmp_path):
    folder, _ = images
    good, out = folder / "plane.tif", tmp_path / "out"
    text = tmp_path / "text.tif"
    text.write_text("this is not an image")
    with pytest.raises(InputFileError, match=r"text\.tif is no TIFF image"):
        segment_files([good, text], out)
    with pytest.raises(PathMissingError, match=r"no image file .*gone\.tif"):
        segment_files([good, tmp_path / "gone.tif"], out)
    with pytest.raises(InputFileError, match=r"two\.ome\.tif has 2 channels: .* 0 \(CD31\), 1 \(nuclei\)"):
        segment_files([folder / "two.ome.tif"], out)
    with pytest.raises(SettingsError, match=r"no channel 'CD45': its channels are CD31, nuclei"):
        segment_files([folder / "two.ome.tif"], out, channel="CD45")
    with pytest.raises(SettingsError, match="no channel 5"):
        segment_files([folder / "two.ome.tif"], out, channel=5)
    with pytest.raises(InputFileError, match=r"colour\.tif is a colour image"):
        segment_files([folder / "colour.tif"], out)
    with pytest.raises(SettingsError, match="diameter of 0 px"):
        segment_files([good], out, diameter=0)
    with pytest.raises(SettingsError, match="at least one"):
        segment_files([], out)
    with pytest.raises(PathExistsError, match="would overwrite it"):
        segment_files([good], folder)
    with pytest.raises(PathExistsError, match="is a file"):
        segment_files([good], text)
    assert not out.exists()


@pytest.mark.parametrize("name", ["series.tif", "plain_big_endian.tif", "plane.tif"])
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_truncated_files(images, tmp_path, name, kept):
    folder, _ = images
    content = (folder / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputFileError, match=rf"{name}.*(truncated|damaged)"):
        segment_files([cut], tmp_path / "out", diameter=16, threads=2)
    assert not list(tmp_path.glob("out/*.tif*"))


def test_a_bad_frame_is_named_and_leaves_no_file(tmp_path):
    series = np.stack([frame(s).astype(np.float32) for s in range(3)])
    series[1, 5, 5] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", series, photometric="minisblack")
    with pytest.raises(InputFileError, match=r"nan\.tif, frame 1: 1 of 9000 pixels are NaN"):
        segment_files([tmp_path / "nan.tif"], tmp_path / "out", diameter=16, threads=2)
    assert not list((tmp_path / "out").glob("nan*"))


def test_folders_patterns_and_pictures(images, tmp_path, monkeypatch):
    _, series = images
    given = tmp_path / "in"
    given.mkdir()
    grey = (series[0] // 2).astype(np.uint8)
    (given / "p2.png").write_bytes(imagecodecs.png_encode(grey))
    (given / "p10.PNG").write_bytes(imagecodecs.png_encode(np.repeat(grey[..., None], 3, axis=2)))
    (given / "j.jpg").write_bytes(imagecodecs.jpeg_encode(grey, level=95))
    (given / "notes.txt").write_text("no image")
    tifffile.imwrite(given / "t.tif", grey)
    assert [p.name for p in image_paths([given])] == ["j.jpg", "p2.png", "p10.PNG", "t.tif"]
    monkeypatch.chdir(tmp_path)
    assert [p.name for p in image_paths(["in/p*"])] == ["p2.png", "p10.PNG"]
    assert len(image_paths([given, given / "t.tif"])) == 4
    with pytest.raises(PathMissingError, match="No image fits"):
        image_paths(["in/x*.tif"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PathMissingError, match="holds no image"):
        image_paths([tmp_path / "empty"])
    table = segment_files([given], tmp_path / "out", diameter=16, threads=2, overlays=True)
    assert table["file"].tolist() == ["j.jpg", "p2.png", "p10.PNG", "t.tif"]
    labels = {n: tifffile.imread(tmp_path / "out" / f"{n}.tif") for n in ("j", "p2", "p10", "t")}
    np.testing.assert_array_equal(labels["p2"], labels["t"])
    np.testing.assert_array_equal(labels["p10"], labels["t"])  # three equal colours are grey
    assert abs(int(labels["j"].max()) - int(labels["t"].max())) <= 1
    picture = imagecodecs.png_decode((tmp_path / "out" / "overlays" / "t.png").read_bytes())
    assert picture.shape == (90, 100, 3)
    coloured = (picture.min(axis=2) != picture.max(axis=2)) & (labels["t"] > 0)
    assert coloured.sum() > 30 * labels["t"].max()
    assert (picture.min(axis=2) == picture.max(axis=2))[labels["t"] == 0].all()
    # asked for later, the picture of finished labels is made as well
    (tmp_path / "out" / "overlays" / "t.png").unlink()
    segment_files([given], tmp_path / "out", diameter=16, threads=2, overlays=True)
    again = imagecodecs.png_decode((tmp_path / "out" / "overlays" / "t.png").read_bytes())
    np.testing.assert_array_equal(again, picture)


def test_pictures_that_are_none(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    (tmp_path / "c.png").write_bytes(imagecodecs.png_encode(colour))
    with pytest.raises(InputFileError, match=r"c\.png is a colour image"):
        describe(tmp_path / "c.png")
    np.testing.assert_array_equal(describe(tmp_path / "c.png", channel=1).frame(0), colour[..., 1])
    grey = describe(tmp_path / "c.png", channel="grey").frame(0)
    np.testing.assert_allclose(grey, colour @ np.array([0.299, 0.587, 0.114]), rtol=1e-5)
    content = (tmp_path / "c.png").read_bytes()
    for name, rest, sentence in [
        ("text.png", b"hello", "neither PNG nor JPEG"),
        ("cut.png", content[:200], "cannot be decoded"),
        ("cut.jpg", imagecodecs.jpeg_encode(colour)[:40], "cannot be decoded"),
        ("huge.png", content[:16] + b"\x00\x0f\xff\xff" * 2 + content[24:], "claims"),
    ]:
        (tmp_path / name).write_bytes(rest)
        with pytest.raises(InputFileError, match=sentence):
            describe(tmp_path / name)
    tifffile.imwrite(tmp_path / "c.tif", colour[..., 0])
    with pytest.raises(SettingsError, match="the same name"):
        segment_files([tmp_path / "c.png", tmp_path / "c.tif"], tmp_path / "out", channel=0)


def test_a_series_is_mended_by_its_neighbours(blinking_frames, tmp_path):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, blinking_frames, photometric="minisblack")
    settings = {"diameter": 16, "cellprob_threshold": 2.0, "threads": 2}
    plain = segment_files([path], tmp_path / "plain", **settings)
    mended = segment_files([path], tmp_path / "mended", repair=True, **settings)
    assert (plain["cells"][0], mended["cells"][0]) == (19, 20)
    labels = tifffile.imread(tmp_path / "mended" / "s.tif")
    assert labels[1].max() == 5
    assert labels[1, 50, 40] == 5
    np.testing.assert_array_equal(labels[[0, 2, 3]], tifffile.imread(tmp_path / "plain" / "s.tif")[[0, 2, 3]])
    table = pd.read_csv(tmp_path / "mended" / "s.repairs.csv")
    assert table["kind"].tolist() == ["missed"]
    assert (table["t"][0], table["labels"][0]) == (1, 5)
    assert (table["y"][0], table["x"][0]) == pytest.approx((50, 40), abs=1.5)
    assert list(table) == ["t", "kind", "labels", "y", "x", "probability", "overlap"]
    with pytest.raises(PathExistsError, match="repair True, now False"):
        segment_files([path], tmp_path / "mended", **settings)


@pytest.fixture
def large_is_small(monkeypatch):
    """As if planes of more than 8000 px were too large to be held."""
    from napari_marrow.pipeline import label_writing
    from napari_marrow.pipeline import segmentation_run as module
    from napari_marrow.segmentation import dynamics, finding

    for where in (module, dynamics, finding):
        monkeypatch.setattr(where, "LARGE_PLANE", 8000)
    monkeypatch.setattr(finding, "STRIP_PIXELS", 1000)
    monkeypatch.setattr(label_writing, "_TILE", 32)


def test_a_large_plane_is_written_as_it_comes(images, tmp_path, large_is_small):
    folder, _ = images
    seen = []
    names = [folder / "plane.tif", folder / "series.tif"]
    table = segment_files(names, tmp_path / "out", diameter=16, threads=2, overlays=True)
    assert sorted(p.name for p in (tmp_path / "out" / "overlays").iterdir()) == ["plane.png", "series.png"]
    alone = segment_files(names[:1], tmp_path / "alone", threads=2, progress=lambda *a: seen.append(a))
    labels = tifffile.imread(tmp_path / "out" / "plane.tif")
    assert labels.dtype == np.uint32
    assert labels.max() == table["cells"][0] > 5
    np.testing.assert_array_equal(labels, tifffile.imread(tmp_path / "out" / "series.tif")[0])
    assert alone["diameter"][0] == pytest.approx(16, rel=0.2)
    assert seen[0][2].startswith("plane.tif, ")
    assert seen[-1] == (1, 1, "plane.tif")
    tifffile.imwrite(tmp_path / "flat.ome.tif", np.full((100, 90), 7, np.uint8))
    assert segment_files([tmp_path / "flat.ome.tif"], tmp_path / "flat")["cells"].tolist() == [0]
    with tifffile.TiffFile(tmp_path / "flat" / "flat.ome.tif") as tif:
        assert tif.is_ome
        assert tif.series[0].shape == (100, 90)


def test_a_large_plane_that_fails_leaves_no_file(images, tmp_path, large_is_small, monkeypatch):
    folder, _ = images
    token = CancelToken()
    with pytest.raises(Cancelled):
        segment_files(
            [folder / "plane.tif"], tmp_path / "out", diameter=16, cancel=token, progress=lambda *a: token.cancel()
        )
    assert not (tmp_path / "out").exists()
    broken = frame(0).astype(np.float32)
    broken[80, 5] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", broken)
    with pytest.raises(InputFileError, match=r"nan\.tif: 1 of 9000 pixels are NaN"):
        segment_files([tmp_path / "nan.tif"], tmp_path / "out", diameter=16)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("large", [False, True])
def test_a_full_disk_leaves_no_file(images, tmp_path, monkeypatch, request, large):
    """The disk takes a few kilobytes of a label file and then no more."""
    import errno

    from napari_marrow.errors import StorageError

    if large:
        request.getfixturevalue("large_is_small")
    folder, _ = images
    write = tifffile.TiffWriter.write

    def full(self, data, **options):
        def until_full():
            for n, page in enumerate(data):
                if n == 1:
                    raise OSError(errno.ENOSPC, "No space left on device")
                yield page

        return write(self, until_full(), **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    name = "plane.tif" if large else "series.tif"
    with pytest.raises(StorageError, match=name):
        segment_files([folder / name], tmp_path / "out", diameter=16, threads=1)
    assert not (tmp_path / "out").exists()


def test_volumes_by_flows(tmp_path):
    volume = np.stack([frame(0)] * 6)
    tifffile.imwrite(tmp_path / "volume.tif", volume, photometric="minisblack")
    options = {"axes": "ZYX", "diameter": 16, "anisotropy": 2.0}
    planes = segment_files([tmp_path / "volume.tif"], tmp_path / "planes", **options)
    flows = segment_files([tmp_path / "volume.tif"], tmp_path / "flows", volume_mode="flows", **options)
    assert planes["axes"].tolist() == flows["axes"].tolist() == ["ZYX"]
    assert planes["cells"][0] > 5
    assert flows["cells"][0] > 0
    assert (
        tifffile.imread(tmp_path / "planes" / "volume.tif") != tifffile.imread(tmp_path / "flows" / "volume.tif")
    ).any()
    with pytest.raises(PathExistsError, match="other settings"):
        segment_files([tmp_path / "volume.tif"], tmp_path / "flows", volume_mode="planes", **options)
    with pytest.raises(SettingsError, match="Volume mode 'cubes'"):
        segment_files([tmp_path / "volume.tif"], tmp_path / "no", volume_mode="cubes")
    with pytest.raises(SettingsError, match="anisotropy of 0"):
        segment_files([tmp_path / "volume.tif"], tmp_path / "no", anisotropy=0)
