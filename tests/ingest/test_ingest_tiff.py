"""TIFF, ImageJ TIFF and OME-TIFF written by tifffile: pixels, axes, sizes, times and dates arrive as meant."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.errors import Cancelled, InputFileError, MissingMetadataError, PathExistsError, PathMissingError
from napari_marrow.ingest import import_files, preview
from napari_marrow.progress import CancelToken
from napari_marrow.study import Study

RNG = np.random.default_rng(8)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 4096, shape).astype(np.uint16)


def write_ome(path: Path, frames: np.ndarray, *, date: str | None = "2026-01-05T08:00:00", first: float = 0.0, **more):
    """Write (T, C, Z, Y, X) with everything that a microscope states; times are uneven."""
    t, c, z = frames.shape[:3]
    times = first + 600.0 * np.arange(t) + 7.5 * np.arange(t) ** 2
    per_plane = np.repeat(times, c * z) + np.tile(np.arange(c * z) * 0.25, t)  # later planes are later
    metadata = {
        "axes": "TCZYX",
        "PhysicalSizeX": 325.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.33,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 2.0,
        "PhysicalSizeZUnit": "µm",
        "Channel": {"Name": ["nuclei", "CD31", "CD235a"][:c]},
        "Plane": {
            "DeltaT": list(per_plane),
            "DeltaTUnit": ["s"] * len(per_plane),
            "PositionX": [1.5] * len(per_plane),
            "PositionXUnit": ["mm"] * len(per_plane),
            "PositionY": [20.0] * len(per_plane),
            "PositionYUnit": ["µm"] * len(per_plane),
        },
        **({} if date is None else {"AcquisitionDate": date}),
        **more,
    }
    tifffile.imwrite(path, frames, ome=True, photometric="minisblack", metadata=metadata)
    return times


def test_an_ome_tiff_needs_nothing_else(tmp_path):
    frames = pixels(4, 2, 3, 33, 47)
    times = write_ome(tmp_path / "B02_f01_session03.ome.tif", frames, first=120.0)
    summary = import_files(tmp_path / "s.marrow", [tmp_path / "B02_f01_session03.ome.tif"])
    study = Study.open(tmp_path / "s.marrow")
    assert (study.positions, study.sessions()) == (["B02_f01"], [3])
    image = study.image("B02_f01", 3)
    np.testing.assert_array_equal(np.stack([image.read(t) for t in range(4)]), frames)
    assert image.channel_names == ["nuclei", "CD31"]
    np.testing.assert_allclose(image.spacing, (2.0, 0.33, 0.325))
    np.testing.assert_allclose(image.time_s, times - 120.0)
    assert study.t0 == "2026-01-05T08:02:00+00:00"
    assert image.start_h == 0.0
    rows = study.frames()
    assert datetime.fromisoformat(rows["utc"].iloc[-1]).timestamp() == pytest.approx(
        datetime.fromisoformat("2026-01-05T08:00:00+00:00").timestamp() + times[-1]
    )
    assert rows["stage_x"].iloc[0] == 1500.0
    assert rows["stage_y"].iloc[0] == 20.0
    assert np.isnan(rows["stage_z"].iloc[0])
    assert (summary.frames, summary.bytes) == (4, frames.nbytes)
    assert "B02_f01 session 3" in str(summary)
    assert study.verify() == []


def test_the_facts_agree_with_an_independent_reader_of_ome_xml(tmp_path):
    ome_types = pytest.importorskip("ome_types", reason="ome-types is not installed")
    write_ome(tmp_path / "x.ome.tif", pixels(3, 2, 1, 20, 20))
    (planned,) = preview(tmp_path / "s.marrow", [tmp_path / "x.ome.tif"])
    with tifffile.TiffFile(tmp_path / "x.ome.tif") as tif:
        said = ome_types.from_xml(tif.ome_metadata).images[0]
    assert planned.spacing[1:] == (said.pixels.physical_size_y, said.pixels.physical_size_x / 1000)
    first = [p.delta_t for p in said.pixels.planes if p.the_c == 0 and p.the_z == 0]
    np.testing.assert_allclose(planned.time_s, np.array(first) - first[0])
    assert list(planned.channels) == [c.name for c in said.pixels.channels]
    assert planned.utc.startswith(said.acquisition_date.isoformat()[:19])


def test_weeks_of_sessions_start_at_their_dates(tmp_path):
    for week, date in enumerate(("2026-01-05T08:00:00", "2026-01-12T09:30:00", "2026-01-19T08:00:00+01:00"), start=1):
        write_ome(tmp_path / f"C05_f00_session{week:02d}.ome.tif", pixels(2, 1, 1, 20, 20), date=date)
    files = sorted(tmp_path.glob("*.tif"))
    import_files(tmp_path / "s.marrow", [files[1], files[0]])
    import_files(tmp_path / "s.marrow", [tmp_path])  # a folder; what is there already is left alone
    study = Study.open(tmp_path / "s.marrow")
    assert study.sessions("C05_f00") == [1, 2, 3]
    assert [study.image("C05_f00", s).start_h for s in (1, 2, 3)] == [0.0, 169.5, 335.0]


def test_an_earlier_session_than_t0_is_refused(tmp_path):
    write_ome(tmp_path / "B02_f00_session02.ome.tif", pixels(2, 1, 1, 20, 20), date="2026-01-12T08:00:00")
    write_ome(tmp_path / "B02_f00_session01.ome.tif", pixels(2, 1, 1, 20, 20))
    import_files(tmp_path / "s.marrow", [tmp_path / "B02_f00_session02.ome.tif"])
    with pytest.raises(ValueError, match="168 h before the study's t0"):
        import_files(tmp_path / "s.marrow", [tmp_path / "B02_f00_session01.ome.tif"])


def test_imagej_hyperstacks_state_pixel_size_and_interval(tmp_path):
    frames = pixels(3, 4, 2, 21, 31)  # T Z C Y X, ImageJ's order
    tifffile.imwrite(
        tmp_path / "ij.tif", frames, imagej=True, resolution=(1 / 0.4, 1 / 0.5),
        metadata={"axes": "TZCYX", "spacing": 3.0, "unit": "um", "finterval": 90.0},
    )  # fmt: skip
    import_files(tmp_path / "s.marrow", [tmp_path / "ij.tif"], channel_names=["nuclei", "CD31"])
    image = Study.open(tmp_path / "s.marrow").image("A01_f00", 0)
    np.testing.assert_array_equal(image.read(2), frames[2].transpose(1, 0, 2, 3))
    np.testing.assert_allclose(image.spacing, (3.0, 0.5, 0.4), rtol=1e-6)
    np.testing.assert_allclose(image.time_s, [0, 90, 180])


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_plain_stack_with_everything_given(tmp_path, compression, byteorder):
    frames = pixels(5, 2, 30, 40)
    tifffile.imwrite(
        tmp_path / "plain.tif", frames, metadata=None, photometric="minisblack", compression=compression,
        byteorder=byteorder,
    )  # fmt: skip
    import_files(
        tmp_path / "s.marrow", [tmp_path / "plain.tif"], axes="TYX", pixel_size=(0.5, 0.25), frame_interval_h=0.1,
        start_h=24.0, position="H12_f07", session=2, channel_names=["CD34"],
    )  # fmt: skip
    image = Study.open(tmp_path / "s.marrow").image("H12_f07", 2)
    flat = frames.reshape(10, 30, 40)
    for t in range(10):
        np.testing.assert_array_equal(image.read(t)[0, 0], flat[t])
    assert image.spacing == (1.0, 0.5, 0.25)
    np.testing.assert_allclose(image.times_h, 24 + 0.1 * np.arange(10))
    assert image.channels[0].role == "CD34"


def test_axes_given_name_a_shaped_stack_in_any_order(tmp_path):
    frames = pixels(2, 3, 4, 16, 18)
    tifffile.imwrite(tmp_path / "x.tif", frames, photometric="minisblack")
    import_files(tmp_path / "s.marrow", [tmp_path / "x.tif"], axes="CZTYX", pixel_size=(2, 1, 1), frame_interval_h=1)
    image = Study.open(tmp_path / "s.marrow").image("A01_f00", 0)
    assert image.shape == (4, 2, 3, 16, 18)
    for t in range(4):
        np.testing.assert_array_equal(image.read(t), frames[:, :, t])


def test_a_virtual_stack_behind_one_page(tmp_path):
    """ImageJ writes files above 4 GB with a single directory entry; so does tifffile with truncate=True."""
    frames = pixels(6, 30, 40)
    tifffile.imwrite(
        tmp_path / "v.tif", frames, imagej=True, truncate=True, resolution=(2, 2),
        metadata={"axes": "TYX", "unit": "um", "finterval": 60.0},
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert len(tif.pages) == 1
    import_files(tmp_path / "s.marrow", [tmp_path / "v.tif"])
    image = Study.open(tmp_path / "s.marrow").image("A01_f00", 0)
    np.testing.assert_array_equal(np.stack([image.read(t)[0, 0] for t in range(6)]), frames)


def test_a_single_plane_needs_no_interval(tmp_path):
    plane = pixels(25, 26).astype(np.float64) / 7
    tifffile.imwrite(tmp_path / "one.tif", plane)
    import_files(tmp_path / "s.marrow", [tmp_path / "one.tif"], pixel_size=0.5)
    image = Study.open(tmp_path / "s.marrow").image("A01_f00", 0)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image.read(0)[0, 0], plane.astype(np.float32))


def test_several_fields_in_one_ome_tiff(tmp_path):
    fields = [pixels(2, 1, 1, 20, 22) for _ in range(3)]
    with tifffile.TiffWriter(tmp_path / "many.ome.tif", ome=True) as writer:
        for n, frames in enumerate(fields):
            metadata = {"axes": "TCZYX", "Name": f"field {n}", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}
            writer.write(frames, photometric="minisblack", metadata=metadata)
    import_files(tmp_path / "s.marrow", [tmp_path / "many.ome.tif"], frame_interval_h=1, position="D04_f00")
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["D04_f00", "D04_f01", "D04_f02"]
    for n, frames in enumerate(fields):
        np.testing.assert_array_equal(study.image(f"D04_f{n:02d}", 0).read(1), frames[1])


def write_ome_set(folder: Path, frames: np.ndarray) -> list[Path]:
    """Write one image over several files, a frame each; the XML of each file names all of them."""
    uuids = [f"urn:uuid:0000000{t}-0000-4000-8000-000000000000" for t in range(len(frames))]
    data = "".join(
        f'<TiffData FirstT="{t}" FirstC="0" FirstZ="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="set_{t}.ome.tif">{uuid}</UUID></TiffData>'
        for t, uuid in enumerate(uuids)
    )
    for t, uuid in enumerate(uuids):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuid}"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="22" SizeY="20" SizeZ="1" SizeC="1" '
            f'SizeT="{len(frames)}" PhysicalSizeX="0.5" PhysicalSizeY="0.5" TimeIncrement="2" TimeIncrementUnit="min">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1" Name="nuclei"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            folder / f"set_{t}.ome.tif", frames[t], photometric="minisblack", metadata=None, description=xml
        )
    return [folder / f"set_{t}.ome.tif" for t in range(len(frames))]


def test_an_ome_tiff_that_was_renamed(tmp_path):
    (written,) = write_ome_set(tmp_path, pixels(1, 20, 22))
    written.rename(tmp_path / "D05_f00_session02.ome.tif")
    import_files(tmp_path / "s.marrow", [tmp_path / "D05_f00_session02.ome.tif"])
    assert Study.open(tmp_path / "s.marrow").image("D05_f00", 2).spacing[1:] == (0.5, 0.5)


def test_an_ome_set_of_which_a_file_is_missing(tmp_path):
    files = write_ome_set(tmp_path, pixels(3, 20, 22))
    files[1].unlink()
    with pytest.raises(InputFileError, match=r"set_0\.ome\.tif"):
        import_files(tmp_path / "s.marrow", [files[0]])
    assert not (tmp_path / "s.marrow").exists()


def test_an_ome_set_of_several_files(tmp_path):
    """The set is one image, whether one or all of its files are given."""
    frames = pixels(2, 20, 22)
    files = write_ome_set(tmp_path, frames)
    import_files(tmp_path / "s.marrow", files)
    study = Study.open(tmp_path / "s.marrow")
    assert (study.positions, study.sessions()) == (["A01_f00"], [0])
    image = study.image("A01_f00", 0)
    np.testing.assert_array_equal(np.stack([image.read(t)[0, 0] for t in range(2)]), frames)
    assert list(image.time_s) == [0.0, 120.0]


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({}, "--axes"),
        ({"axes": "TYX"}, "--pixel-size"),
        ({"axes": "TYX", "pixel_size": 0.5}, "--frame-interval"),
        ({"axes": "ZYX"}, "--pixel-size"),
        ({"axes": "ZYX", "pixel_size": (0.5, 0.5)}, "--pixel-size z,y,x"),
    ],
)
def test_what_is_missing_is_asked_for_by_name(tmp_path, given, option):
    tifffile.imwrite(tmp_path / "x.tif", pixels(3, 20, 20), photometric="minisblack")
    with pytest.raises(MissingMetadataError, match=option) as raised:
        import_files(tmp_path / "s.marrow", [tmp_path / "x.tif"], **given)
    assert "x.tif" in str(raised.value)
    assert not (tmp_path / "s.marrow").exists()


def test_everything_that_is_missing_is_asked_for_at_once(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", pixels(3, 20, 20), photometric="minisblack")
    with pytest.raises(MissingMetadataError) as raised:
        import_files(tmp_path / "s.marrow", [tmp_path / "x.tif"])
    assert all(option in str(raised.value) for option in ("--axes", "--pixel-size", "--frame-interval"))


def test_a_later_session_without_a_date_needs_its_start(tmp_path):
    options = {"axes": "TYX", "pixel_size": 0.5, "frame_interval_h": 1.0}
    for name in ("a", "b", "c"):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels(3, 20, 20), photometric="minisblack")
    import_files(tmp_path / "s.marrow", [tmp_path / "a.tif"], **options)
    with pytest.raises(MissingMetadataError, match="--start"):
        import_files(tmp_path / "s.marrow", [tmp_path / "b.tif"], **options)
    import_files(tmp_path / "s.marrow", [tmp_path / "b.tif"], start_h=168.0, **options)
    # Another field of the same mounting of the plate needs none.
    import_files(tmp_path / "s.marrow", [tmp_path / "c.tif"], position="A01_f01", session=1, **options)
    study = Study.open(tmp_path / "s.marrow")
    assert study.sessions("A01_f00") == [0, 1]
    assert [study.image("A01_f00", s).start_h for s in (0, 1)] == [0.0, 168.0]
    assert study.image("A01_f01", 1).start_h == 168.0


def test_options_that_cannot_be_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", pixels(3, 20, 20), photometric="minisblack")
    for given, word in (
        ({"pixel_size": 0.0}, "--pixel-size"),
        ({"pixel_size": (1, 2, 3, 4)}, "--pixel-size"),
        ({"frame_interval_h": -1.0}, "--frame-interval"),
        ({"start_h": float("nan")}, "--start"),
        ({"axes": "YXT"}, "--axes"),
        ({"axes": "TTYX"}, "--axes"),
        ({"axes": "SYX"}, "--axes"),
        ({"axes": "TCYX"}, "--axes"),
        ({"axes": "TYX", "pixel_size": 1, "frame_interval_h": 1, "channel_names": ["a", "b"]}, "--channels"),
        ({"axes": "TYX", "pixel_size": 1, "frame_interval_h": 1, "position": "../x"}, "no position"),
    ):
        with pytest.raises(ValueError, match=word):
            import_files(tmp_path / "s.marrow", [tmp_path / "x.tif"], **given)
        assert not (tmp_path / "s.marrow").exists()


def test_times_that_go_backwards_are_refused_unless_stated(tmp_path):
    metadata = {"axes": "TYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "Plane": {"DeltaT": [0.0, 60.0, 30.0]}}
    tifffile.imwrite(tmp_path / "x.ome.tif", pixels(3, 20, 20), ome=True, photometric="minisblack", metadata=metadata)
    with pytest.raises(ValueError, match="backwards at frame 2"):
        import_files(tmp_path / "s.marrow", [tmp_path / "x.ome.tif"])
    import_files(tmp_path / "s.marrow", [tmp_path / "x.ome.tif"], frame_interval_h=0.5)


def test_importing_again_adds_nothing_and_another_file_in_its_place_is_refused(tmp_path):
    write_ome(tmp_path / "B02_f00_session01.ome.tif", pixels(2, 1, 1, 20, 20))
    plain = {"axes": "TYX", "pixel_size": 0.5, "frame_interval_h": 1.0, "start_h": 0.0}
    tifffile.imwrite(tmp_path / "x.tif", pixels(3, 20, 20), photometric="minisblack")
    for _ in range(2):
        first = import_files(tmp_path / "s.marrow", [tmp_path / "B02_f00_session01.ome.tif"])
        second = import_files(tmp_path / "s.marrow", [tmp_path / "x.tif"], **plain)
    assert (first.frames, second.frames) == (0, 0)
    study = Study.open(tmp_path / "s.marrow")
    assert study.sessions() == [0, 1]
    tifffile.imwrite(tmp_path / "y.tif", pixels(3, 20, 20), photometric="minisblack")
    with pytest.raises(PathExistsError, match=r"another file than 'y\.tif'"):
        import_files(tmp_path / "s.marrow", [tmp_path / "y.tif"], session=0, **plain)
    with pytest.raises(PathExistsError, match=r"another file than 'y\.tif'"):
        import_files(
            tmp_path / "s.marrow", [tmp_path / "x.tif", tmp_path / "y.tif"], position="A01_f09", session=7, **plain
        )
    twice = import_files(tmp_path / "s.marrow", [tmp_path / "y.tif"] * 2, session=7, **plain)
    assert twice.frames == 3
    with pytest.raises(PathMissingError, match=r"nothing\.tif"):
        import_files(tmp_path / "s.marrow", [tmp_path / "nothing.tif"])


def test_preview_writes_nothing(tmp_path):
    write_ome(tmp_path / "B02_f00_session01.ome.tif", pixels(2, 1, 1, 20, 20))
    before = sorted(tmp_path.rglob("*"))
    (planned,) = preview(tmp_path / "s.marrow", [tmp_path / "B02_f00_session01.ome.tif"])
    assert sorted(tmp_path.rglob("*")) == before
    assert (planned.position, planned.session, planned.shape) == ("B02_f00", 1, (2, 1, 1, 20, 20))
    assert "B02_f00 session 1" in str(planned)


def test_a_cancelled_import_goes_on_where_it_stopped(tmp_path):
    frames = pixels(8, 1, 1, 20, 20)
    write_ome(tmp_path / "B02_f00_session01.ome.tif", frames)
    token, seen = CancelToken(), []

    def stop_at_three(done: int, total: int, message: str) -> None:
        seen.append((done, total))
        if done == 3:
            token.cancel()

    arguments = (tmp_path / "s.marrow", [tmp_path / "B02_f00_session01.ome.tif"])
    with pytest.raises(Cancelled):
        import_files(*arguments, progress=stop_at_three, cancel=token)
    assert seen == [(1, 8), (2, 8), (3, 8)]
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == []
    written = {p: p.stat().st_mtime_ns for p in study.path.rglob("c.*.0.0.0.0")}
    assert len(written) == 3
    import_files(*arguments)
    assert {p: p.stat().st_mtime_ns for p in written} == written
    image = study.image("B02_f00", 1)
    np.testing.assert_array_equal(np.stack([image.read(t) for t in range(8)]), frames)
    assert study.verify() == []


def shared_data() -> Path:
    place = os.environ.get("NAPARI_MARROW_SHARED_DATA")
    return Path(place) if place else Path(__file__).parents[3] / "shared" / "data"


def test_real_frames_of_hela_nuclei(tmp_path):
    source = shared_data() / "tracking" / "hela02_first10" / "img.tif"
    if not source.is_file():
        pytest.skip(f"the shared data are not at {source}: set NAPARI_MARROW_SHARED_DATA")
    import_files(tmp_path / "hela.marrow", [source], pixel_size=0.645, frame_interval_h=0.5)
    image = Study.open(tmp_path / "hela.marrow").image("A01_f00", 0)
    truth = tifffile.imread(source)
    assert image.shape == (10, 1, 1, 700, 1100)
    np.testing.assert_array_equal(np.stack([image.read(t)[0, 0] for t in range(10)]), truth)
    np.testing.assert_allclose(image.times_h, 0.5 * np.arange(10))
    assert image.spacing == (1.0, 0.645, 0.645)


def test_unicode_spaces_and_a_study_in_a_new_folder(tmp_path):
    folder = tmp_path / "données du 5 janvier" / "Ωμέγα"
    folder.mkdir(parents=True)
    write_ome(folder / "B02_f00_session01.ome.tif", pixels(2, 1, 1, 20, 20))
    import_files(tmp_path / "neue Studie" / "größe 😀.marrow", [folder])
    assert Study.open(tmp_path / "neue Studie" / "größe 😀.marrow").name == "größe 😀"
