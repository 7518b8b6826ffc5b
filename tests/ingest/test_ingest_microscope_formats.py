"""ND2, CZI and LIF through the real libraries: pixels, axes, sizes, times, dates, names and places arrive as meant."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from napari_marrow.errors import InputFileError, MissingExtraError, MissingMetadataError
from napari_marrow.ingest import import_files, preview
from napari_marrow.ingest.opening import open_source
from napari_marrow.study import Study

RNG = np.random.default_rng(5)
FILETIME_OF_1970 = 116444736000000000


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 4096, shape).astype(np.uint16)


def filetime(iso: str, seconds: float = 0.0) -> int:
    return int((datetime.fromisoformat(iso).timestamp() + seconds) * 1e7) + FILETIME_OF_1970


def stored(study: Study, position: str, session: int = 0) -> np.ndarray:
    image = study.image(position, session)
    return np.stack([image.read(t) for t in range(image.shape[0])])


# --- ND2


def nd2_film(write_nd2, path, *, times=True, **more):
    """Two wells, three time points, two planes, two channels; the sequence runs T, P, Z."""
    frames = pixels(3 * 2 * 2, 2, 21, 32)
    points = [("B2_0001", 10.0, 200.0, 300.0), ("C11_0001", 11.0, -5.0, 1000.0)]
    taken = [60_000.0 * t + 9_000.0 * p + 500.0 * z + 77.0 for t in (0, 1, 2.5) for p in range(2) for z in range(2)]
    write_nd2(
        path,
        frames,
        **{
            "loops": [("T", 3, 60_000.0), ("P", 2, points), ("Z", 2, 2.5)],
            "channels": ["DAPI", "CD31"],
            "pixel_um": 0.65,
            "times_ms": taken if times else None,
            "julian_day": 2440587.5 + datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp() / 86400.0,
            **more,
        },
    )
    return frames.reshape(3, 2, 2, 2, 21, 32).transpose(1, 0, 3, 2, 4, 5)  # P, T, C, Z, Y, X


def test_nd2_positions_become_fields_with_true_times(tmp_path, write_nd2):
    pytest.importorskip("nd2")
    truth = nd2_film(write_nd2, tmp_path / "week 1 ü.nd2")
    import_files(tmp_path / "s.marrow", [tmp_path / "week 1 ü.nd2"])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["B02_f00", "C11_f00"]
    for p, position in enumerate(study.positions):
        np.testing.assert_array_equal(stored(study, position), truth[p])
        image = study.image(position, 0)
        assert image.channel_names == ["DAPI", "CD31"]
        np.testing.assert_allclose(image.spacing, (2.5, 0.65, 0.65))
        np.testing.assert_allclose(image.time_s, [0.0, 60.0, 150.0])
    rows = study.frames().set_index(["position", "t"])
    assert rows.loc[("C11_f00", 0), "time_h"] - rows.loc[("B02_f00", 0), "time_h"] == pytest.approx(
        9.0 / 3600.0, abs=1e-6
    )
    assert datetime.fromisoformat(rows.loc[("B02_f00", 0), "utc"]).timestamp() == pytest.approx(
        datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp(), abs=0.1
    )
    assert rows.loc[("C11_f00", 2), "stage_x"] == 1000.0
    assert study.verify() == []


def test_nd2_without_a_list_of_times_takes_the_period(tmp_path, write_nd2):
    pytest.importorskip("nd2")
    nd2_film(write_nd2, tmp_path / "a.nd2", times=False)
    assert preview(tmp_path / "s.marrow", [tmp_path / "a.nd2"])[0].time_s == (0.0, 60.0, 120.0)


def test_nd2_that_was_stopped_early_keeps_its_whole_time_points(tmp_path, write_nd2):
    pytest.importorskip("nd2")
    truth = nd2_film(write_nd2, tmp_path / "a.nd2", stored=10)
    import_files(tmp_path / "s.marrow", [tmp_path / "a.nd2"])
    np.testing.assert_array_equal(stored(Study.open(tmp_path / "s.marrow"), "C11_f00"), truth[1, :2])


def test_nd2_without_calibration_is_asked_for(tmp_path, write_nd2):
    pytest.importorskip("nd2")
    write_nd2(
        tmp_path / "a.nd2",
        pixels(1, 1, 16, 16),
        loops=[],
        channels=["x"],
        pixel_um=0.0,
        times_ms=[0.0],
        julian_day=-1.0,
    )
    with pytest.raises(MissingMetadataError, match="--pixel-size"):
        import_files(tmp_path / "s.marrow", [tmp_path / "a.nd2"])
    (planned,) = preview(tmp_path / "s.marrow", [tmp_path / "a.nd2"], pixel_size=0.5)
    assert planned.utc == ""
    assert planned.position == "A01_f00"


def test_a_damaged_nd2_is_told(tmp_path, write_nd2):
    pytest.importorskip("nd2")
    nd2_film(write_nd2, tmp_path / "a.nd2")
    whole = (tmp_path / "a.nd2").read_bytes()
    for name, content in {"half.nd2": whole[: len(whole) // 2], "junk.nd2": b"ND2" * 5000, "empty.nd2": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputFileError, match=name):
            import_files(tmp_path / "s.marrow", [tmp_path / name])
    assert not (tmp_path / "s.marrow").exists()


def test_nd2_with_more_planes_than_bytes_is_refused_before_memory_is_taken(tmp_path, write_nd2):
    pytest.importorskip("nd2")
    loops = [("T", 4_000_000_000, 1000.0), ("Z", 4_000_000_000, 1.0)]
    write_nd2(
        tmp_path / "bomb.nd2",
        pixels(1, 1, 16, 16),
        loops=loops,
        channels=["x"],
        pixel_um=1.0,
        times_ms=[0.0],
        julian_day=0.0,
    )
    with pytest.raises(InputFileError, match=r"bomb\.nd2"):
        import_files(tmp_path / "s.marrow", [tmp_path / "bomb.nd2"])


# --- LIF


def lif_film(write_lif, path, **more):
    data = pixels(3, 2, 2, 17, 30)
    stamps = [filetime("2026-03-02T08:00:00+00:00", 600.0 * t**1.5 + 0.5 * k) for t in range(3) for k in range(4)]
    one = {
        "name": "B3 organoid",
        "pixels": data,
        "step_xy": 0.4e-6,
        "step_z": 3e-6,
        "step_t": 500.0,
        "dyes": ["DAPI", "CD31"],
        "stamps": stamps,
    }
    write_lif(path, {**one, **more})
    return data


def test_lif_series_become_fields_with_true_times(tmp_path, write_lif):
    pytest.importorskip("liffile")
    flat = pixels(1, 1, 1, 20, 24)
    first = lif_film(lambda path, one: None, None)
    stamps = [filetime("2026-03-02T08:00:00+00:00", 600.0 * t**1.5 + 0.5 * k) for t in range(3) for k in range(4)]
    write_lif(
        tmp_path / "a.lif",
        {"name": "B3", "pixels": first, "step_xy": 0.4e-6, "step_z": 3e-6, "dyes": ["DAPI", "CD31"], "stamps": stamps},
        {"name": "B3 again", "pixels": flat, "step_xy": 1e-6, "dyes": ["DAPI"], "stamps": stamps[:1]},
    )
    import_files(tmp_path / "s.marrow", [tmp_path / "a.lif"])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["B03_f00", "B03_f01"]
    np.testing.assert_array_equal(stored(study, "B03_f00"), first)
    np.testing.assert_array_equal(stored(study, "B03_f01"), flat)
    image = study.image("B03_f00", 0)
    np.testing.assert_allclose(image.spacing, (3.0, 0.4, 0.4))
    np.testing.assert_allclose(image.time_s, [0.0, 600.0, 600.0 * 2**1.5], atol=2e-3)
    assert image.channel_names == ["DAPI", "CD31"]
    rows = study.frames()
    assert rows["utc"].iloc[0] == "2026-03-02T08:00:00+00:00"
    assert rows["stage_x"].iloc[0] == pytest.approx(1500.0)


def test_lif_without_stamps_takes_the_interval(tmp_path, write_lif):
    pytest.importorskip("liffile")
    lif_film(write_lif, tmp_path / "a.lif", stamps=[])
    (planned,) = preview(tmp_path / "s.marrow", [tmp_path / "a.lif"])
    np.testing.assert_allclose(planned.time_s, [0.0, 500.0, 1000.0])


def test_a_lif_that_was_stopped_early_or_is_damaged_is_told(tmp_path, write_lif):
    pytest.importorskip("liffile")
    lif_film(write_lif, tmp_path / "stopped.lif", stored=4000)
    whole = (tmp_path / "stopped.lif").read_bytes()
    (tmp_path / "half.lif").write_bytes(whole[:2000])
    (tmp_path / "junk.lif").write_bytes(b"Leica" * 999)
    for name in ("stopped.lif", "half.lif", "junk.lif"):
        with pytest.raises(InputFileError, match=name):
            import_files(tmp_path / "s.marrow", [tmp_path / name])
    assert not (tmp_path / "s.marrow").exists()


# --- CZI


def plate_xml(xml: str) -> str:
    """Add what a plate acquisition of ZEN states: date, wells and centres of the scenes, interval."""
    scenes = (
        "<S><Scenes>"
        '<Scene Index="0" Name="P1"><CenterPosition>1500,20.5</CenterPosition><Shape Name="B2"/></Scene>'
        '<Scene Index="1" Name="P2"><CenterPosition>9000,21.5</CenterPosition><Shape Name="B3"/></Scene>'
        "</Scenes></S>"
        "<T><Positions><Interval><Start>0</Start><Increment>90</Increment></Interval></Positions></T>"
    )
    xml = xml.replace("</Dimensions>", f"{scenes}</Dimensions>")
    return xml.replace("<SizeX>", "<AcquisitionDateAndTime>2026-03-02T08:00:00.5Z</AcquisitionDateAndTime><SizeX>")


def test_czi_scenes_become_wells_with_true_times(tmp_path, write_czi):
    truth = pixels(2, 3, 2, 2, 32, 48)
    path = write_czi(
        tmp_path / "plate ä.czi",
        truth,
        names=["DAPI", "CD31"],
        pixel_m=0.5e-6,
        z_m=2e-6,
        xml=plate_xml,
        stamps=[5.0, 95.0, 200.0],
    )
    import_files(tmp_path / "s.marrow", [path])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["B02_f00", "B03_f00"]
    for s, position in enumerate(study.positions):
        np.testing.assert_array_equal(stored(study, position), truth[s])
    image = study.image("B03_f00", 0)
    np.testing.assert_allclose(image.spacing, (2.0, 0.5, 0.5))
    np.testing.assert_allclose(image.time_s, [0.0, 90.0, 195.0])
    assert image.channel_names == ["DAPI", "CD31"]
    assert study.t0 == "2026-03-02T08:00:00.500000+00:00"
    assert study.frames().query("position == 'B03_f00'")["stage_x"].iloc[0] == 9000.0


def test_czi_without_stamps_takes_the_interval_and_asks_where_there_is_none(tmp_path, write_czi):
    truth = pixels(1, 3, 1, 1, 16, 16)
    path = write_czi(tmp_path / "a.czi", truth, names=["x"], pixel_m=1e-6, xml=plate_xml)
    assert preview(tmp_path / "s.marrow", [path])[0].time_s == (0.0, 90.0, 180.0)
    bare = write_czi(tmp_path / "b.czi", truth)
    with pytest.raises(MissingMetadataError, match=r"--pixel-size \(µm\) and --frame-interval"):
        import_files(tmp_path / "s.marrow", [bare])


def test_a_czi_that_lacks_a_plane_or_is_damaged_is_told(tmp_path, write_czi):
    truth = pixels(1, 3, 2, 1, 16, 16)
    gap = write_czi(tmp_path / "gap.czi", truth, names=["a", "b"], pixel_m=1e-6, without=[(0, 1, 1, 0)])
    with pytest.raises(InputFileError, match=r"gap\.czi' has no pixels for frame 1, channel 1"):
        preview(tmp_path / "s.marrow", [gap])
    (tmp_path / "half.czi").write_bytes(gap.read_bytes()[:2000])
    (tmp_path / "junk.czi").write_bytes(b"Zeiss" * 999)
    for name in ("half.czi", "junk.czi"):
        with pytest.raises(InputFileError, match=name):
            preview(tmp_path / "s.marrow", [tmp_path / name])


def test_a_colour_czi_is_refused(tmp_path, write_czi):
    from pylibCZIrw import czi

    with czi.create_czi(str(tmp_path / "rgb.czi")) as file:
        file.write(data=RNG.integers(0, 255, (16, 16, 3)).astype(np.uint8), plane={"T": 0, "C": 0, "Z": 0})
        file.write_metadata("rgb")
    with pytest.raises(InputFileError, match="Bgr24"):
        preview(tmp_path / "s.marrow", [tmp_path / "rgb.czi"])


def test_a_czi_that_claims_too_many_time_stamps_falls_back_to_the_interval(tmp_path, write_czi):
    path = write_czi(
        tmp_path / "a.czi", pixels(1, 3, 1, 1, 16, 16), pixel_m=1e-6, xml=plate_xml, stamps=[0.0, 1.0, 2.0]
    )
    assert preview(tmp_path / "s.marrow", [path])[0].time_s == (0.0, 1.0, 2.0)
    data = bytearray(path.read_bytes())
    count = data.index(b"ZISRAWATTACH") + 32 + 256 + 4
    for claimed in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x90\x98\x00"):
        data[count : count + 4] = claimed
        path.write_bytes(data)
        assert preview(tmp_path / "s.marrow", [path])[0].time_s == (0.0, 90.0, 180.0)


# --- all of them


@pytest.mark.parametrize(("suffix", "package"), [("nd2", "nd2"), ("czi", "pylibCZIrw"), ("lif", "liffile")])
def test_a_missing_package_gets_a_sentence(tmp_path, monkeypatch, suffix, package):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / f"a.{suffix}").write_bytes(b"anything")
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install 'napari-marrow\[formats\]'"):
        open_source(tmp_path / f"a.{suffix}")


def test_a_folder_of_all_kinds_is_taken(tmp_path, write_nd2, write_lif, write_czi):
    folder = tmp_path / "day 1"
    folder.mkdir()
    nd2_film(write_nd2, folder / "a.nd2")
    lif_film(write_lif, folder / "b.lif")
    write_czi(folder / "c.czi", pixels(1, 1, 1, 1, 16, 16), pixel_m=1e-6)
    planned = preview(tmp_path / "s.marrow", [folder], start_h=0.0)
    assert [p.position for p in planned] == ["B02_f00", "C11_f00", "B03_f00", "A01_f00"]
