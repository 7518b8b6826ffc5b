"""TIFF series by pattern and the folders of high-content systems: every plane at its place, with what stands beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.errors import InputFileError, MissingMetadataError, SettingsError
from napari_marrow.ingest import import_files, preview
from napari_marrow.ingest.pattern import compile_pattern
from napari_marrow.study import Study

RNG = np.random.default_rng(6)
PIXEL = (18, 24)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 4096, (*shape, *PIXEL)).astype(np.uint16)


def save(path: Path, plane: np.ndarray, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, plane, photometric="minisblack", **{"metadata": None, **more})


def stored(study: Study, position: str, session: int = 0) -> np.ndarray:
    image = study.image(position, session)
    return np.stack([image.read(t) for t in range(image.shape[0])])


# --- patterns of one's own


def test_a_pattern_places_every_plane(tmp_path):
    truth = pixels(2, 3, 2, 2)  # well, time, channel, z
    folder = tmp_path / "weeks of müsli"
    for w, well in enumerate(("B2", "C10")):
        for t, c, z in np.ndindex(3, 2, 2):
            name = f"exp 1_{well}_site5_{'GFP' if c else 'DAPI'}_z{z + 1}_t{t * 7 + 3:03d}.tif"
            save(folder / name, truth[w, t, c, z])
    (folder / "notes.txt").write_text("not an image")
    options = {"pattern": "exp {*}_{well}_site{site}_{channel}_z{z}_t{time}.tif", "pixel_size": (2.0, 0.5, 0.5)}
    import_files(tmp_path / "s.marrow", [folder], frame_interval_h=0.5, **options)
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["B02_f05", "C10_f05"]
    for w, position in enumerate(study.positions):
        np.testing.assert_array_equal(stored(study, position), truth[w])
    image = study.image("C10_f05", 0)
    assert image.channel_names == ["DAPI", "GFP"]
    np.testing.assert_allclose(image.times_h, [0.0, 0.5, 1.0])
    assert [p.present for p in preview(tmp_path / "s.marrow", [folder], frame_interval_h=0.5, **options)] == [
        True,
        True,
    ]


def test_planes_inside_the_files_go_inside_what_the_names_say(tmp_path):
    truth = pixels(3, 2, 4)  # time in the names, channel and z in the files
    (tmp_path / "raw").mkdir()
    for t in range(3):
        metadata = {"axes": "CZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 3.0}
        metadata["AcquisitionDate"] = f"2026-01-0{t * 2 + 1}T08:00:00"
        tifffile.imwrite(
            tmp_path / "raw" / f"day{t}.ome.tif", truth[t], ome=True, photometric="minisblack", metadata=metadata
        )
    import_files(tmp_path / "s.marrow", [tmp_path / "raw"], pattern="day{time}.ome.tif")
    study = Study.open(tmp_path / "s.marrow")
    np.testing.assert_array_equal(stored(study, "A01_f00"), truth)
    image = study.image("A01_f00", 0)
    np.testing.assert_allclose(image.spacing, (3.0, 0.5, 0.5))
    np.testing.assert_allclose(image.times_h, [0.0, 48.0, 96.0])  # from each file's own date


def test_rows_and_columns_as_numbers_and_folders_and_sessions(tmp_path):
    for session, row, column in np.ndindex(2, 2, 2):
        save(tmp_path / f"s{session}" / f"r{row + 1:02d}c{column + 1}.tif", pixels()[()])
    planned = preview(tmp_path / "x.marrow", [tmp_path], pattern="s{session}/r{row}c{column}.tif", pixel_size=1.0)
    assert [(p.position, p.session) for p in planned] == [
        (f"{row}{column:02d}_f00", session) for row in "AB" for column in (1, 2) for session in (0, 1)
    ]


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("{wall}_t{time}.tif", r"'\{wall\}': it may hold \{well\}"),
        ("{time}_{time}.tif", "twice"),
        ("plain.tif", "no placeholder"),
        ("{row}_{time}.tif", r"both \{row\} and \{column\}"),
        ("{well}_{row}_{column}.tif", "either"),
    ],
)
def test_a_wrong_pattern_is_refused(pattern, word):
    with pytest.raises(SettingsError, match=word):
        compile_pattern(pattern)


def test_a_pattern_is_no_expression(tmp_path):
    """Characters that mean something in a regular expression stand for themselves."""
    save(tmp_path / "a+(1).tif", pixels()[()])
    save(tmp_path / "aa1.tif", pixels()[()])
    (planned,) = preview(tmp_path / "s.marrow", [tmp_path], pattern="a+({time}).tif", pixel_size=1.0)
    assert planned.shape[0] == 1
    with pytest.raises(InputFileError, match=r"No file .* matches --pattern .*the first file is 'a\+\(1\)\.tif'"):
        preview(tmp_path / "s.marrow", [tmp_path], pattern="b{time}.tif")


def test_a_series_with_a_hole_a_double_or_another_size_is_told(tmp_path):
    for t, c in [(0, 0), (0, 1), (1, 0)]:
        save(tmp_path / "hole" / f"c{c}t{t}.tif", pixels()[()])
    with pytest.raises(InputFileError, match="lacks the image of the series field 0, time 1, channel '1'"):
        preview(tmp_path / "s.marrow", [tmp_path / "hole"], pattern="c{channel}t{time}.tif")
    for name in ("t1.tif", "t01.tif"):
        save(tmp_path / "double" / name, pixels()[()])
    with pytest.raises(InputFileError, match=r"give --pattern with what tells them apart"):
        preview(tmp_path / "s.marrow", [tmp_path / "double"], pattern="t{time}.tif")
    save(tmp_path / "size" / "t0.tif", pixels()[()])
    save(tmp_path / "size" / "t1.tif", pixels()[:5, :5])
    with pytest.raises(InputFileError, match=r"t1\.tif' holds uint16 of the shape \(5, 5\)"):
        import_files(
            tmp_path / "s.marrow", [tmp_path / "size"], pattern="t{time}.tif", pixel_size=1.0, frame_interval_h=1.0
        )
    assert not (tmp_path / "s.marrow").exists()


def test_a_truncated_plane_in_the_middle_takes_the_whole_import_back(tmp_path):
    for t in range(3):
        save(tmp_path / "raw" / f"t{t}.tif", pixels()[()])
    broken = tmp_path / "raw" / "t2.tif"
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(InputFileError, match=r"t2\.tif"):
        import_files(
            tmp_path / "s.marrow", [tmp_path / "raw"], pattern="t{time}.tif", pixel_size=1.0, frame_interval_h=1.0
        )
    assert not (tmp_path / "s.marrow").exists()


# --- high-content systems


def harmony_index(names: dict[str, tuple[int, int, int, int, int, int]], *, maps: bool) -> str:
    """Write ``Index.idx.xml`` in the older way (facts with every image) or the newer one (once per channel)."""
    facts = '<ImageResolutionX Unit="m">5.9E-07</ImageResolutionX><ImageResolutionY Unit="m">6E-07</ImageResolutionY>'
    images = "".join(
        f"<Image><URL>{name}</URL><Row>{r}</Row><Col>{c}</Col><FieldID>{f}</FieldID><PlaneID>{p}</PlaneID>"
        f"<TimepointID>{t}</TimepointID><ChannelID>{ch}</ChannelID>"
        + ("" if maps else f"<ChannelName>{('DAPI', 'CD31')[ch - 1]}</ChannelName>{facts}")
        + f'<PositionX Unit="m">{-1e-4 * f}</PositionX><PositionY Unit="m">2E-05</PositionY>'
        f'<PositionZ Unit="m">{3e-6 * p}</PositionZ><MeasurementTimeOffset Unit="s">{1800.5 * t + ch}'
        f"</MeasurementTimeOffset><AbsTime>2026-03-02T09:0{t}:00+01:00</AbsTime></Image>"
        for name, (r, c, f, p, t, ch) in names.items()
    )
    entries = "".join(
        f'<Entry ChannelID="{ch}"><ChannelName>{("DAPI", "CD31")[ch - 1]}</ChannelName>{facts}</Entry>' for ch in (1, 2)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?><EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5">'
        f"{f'<Maps><Map>{entries}</Map></Maps>' if maps else ''}<Images>{images}</Images></EvaluationInputData>"
    )


@pytest.mark.parametrize("maps", [False, True])
def test_harmony(tmp_path, maps):
    truth = pixels(2, 3, 2, 2)  # field, time, channel, z
    names = {}
    for f, t, c, z in np.ndindex(2, 3, 2, 2):
        name = f"r02c03f0{f + 1}p0{z + 1}-ch{c + 1}sk{t + 1}fk1fl1.tiff"
        save(tmp_path / "plate" / "Images" / name, truth[f, t, c, z])
        names[name] = (2, 3, f + 1, z + 1, t, c + 1)
    (tmp_path / "plate" / "Images" / "Index.idx.xml").write_text(harmony_index(names, maps=maps), encoding="utf-8-sig")
    import_files(tmp_path / "s.marrow", [tmp_path / "plate"])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["B03_f01", "B03_f02"]
    for f, position in enumerate(study.positions):
        np.testing.assert_array_equal(stored(study, position), truth[f])
    image = study.image("B03_f02", 0)
    np.testing.assert_allclose(image.spacing, (3.0, 0.6, 0.59))
    assert image.channel_names == ["DAPI", "CD31"]
    np.testing.assert_allclose(image.time_s, [0.0, 1800.5, 3601.0])
    rows = study.frames().query("position == 'B03_f02'")
    assert rows["utc"].iloc[0] == "2026-03-02T08:00:00+00:00"
    assert rows["stage_x"].iloc[0] == pytest.approx(-200.0)


def test_a_hostile_index_of_harmony_is_refused(tmp_path):
    name = "r02c03f01p01-ch1sk1fk1fl1.tiff"
    for twin in (name, name.replace("f01", "f02")):
        save(tmp_path / twin, pixels()[()])
    index = tmp_path / "Index.idx.xml"
    index.write_text(harmony_index({"../../secret.tiff": (2, 3, 1, 1, 0, 1)}, maps=False))
    with pytest.raises(InputFileError, match="no file beside it"):
        preview(tmp_path / "s.marrow", [tmp_path])
    index.write_text('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>')
    with pytest.raises(InputFileError, match="declares entities"):
        preview(tmp_path / "s.marrow", [tmp_path])


METASERIES = """<MetaData><PlaneInfo>
<prop id="spatial-calibration-state" type="bool" value="on"/>
<prop id="spatial-calibration-x" type="float" value="0.65"/>
<prop id="spatial-calibration-y" type="float" value="0.66"/>
<prop id="spatial-calibration-units" type="string" value="um"/>
<prop id="stage-position-x" type="float" value="1234.5"/><prop id="stage-position-y" type="float" value="-2"/>
<prop id="_IllumSetting_" type="string" value="{wave}"/>
<prop id="acquisition-time-local" type="time" value="20260302 {hour:02d}:00:30.5"/></PlaneInfo></MetaData>"""


def test_imagexpress(tmp_path):
    truth = pixels(2, 3, 2)  # site, time, wavelength
    for s, t, w in np.ndindex(2, 3, 2):
        name = f"Plate A_B02_s{s + 1}_w{w + 1}8B2A3F10-1234-ABCD-9876-0123456789AB.tif"
        xml = METASERIES.format(wave=("DAPI", "Cy5")[w], hour=8 + t - (t == 0))
        save(tmp_path / "p" / f"TimePoint_{t + 1}" / name, truth[s, t, w], description=xml, software="MetaSeries")
        save(tmp_path / "p" / f"TimePoint_{t + 1}" / name.replace("_w", "_thumb_w"), truth[s, t, w, :4, :4])
    import_files(tmp_path / "s.marrow", [tmp_path / "p"])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["B02_f01", "B02_f02"]
    np.testing.assert_array_equal(stored(study, "B02_f02")[:, :, 0], truth[1])
    image = study.image("B02_f02", 0)
    assert image.channel_names == ["DAPI", "Cy5"]
    np.testing.assert_allclose(image.spacing[1:], (0.66, 0.65))
    np.testing.assert_allclose(image.times_h, [0.0, 2.0, 3.0])
    assert study.frames()["stage_x"].iloc[0] == 1234.5


def test_in_cell(tmp_path):
    truth = pixels(2, 2, 2)  # time, z, wave
    for t, z, w in np.ndindex(2, 2, 2):
        name = f"C - 11(fld 3 wv {('DAPI - DAPI', 'FITC - FITC')[w]} z {z + 1} time {t + 1} - 1200 ms).tif"
        save(tmp_path / "p" / name, truth[t, z, w])
    (tmp_path / "p" / "plate.xdce").write_text(
        "<ImageStack><AutoLeadAcquisitionProtocol>"
        '<ObjectiveCalibration pixel_height="0.33" pixel_width="0.32"/></AutoLeadAcquisitionProtocol></ImageStack>'
    )
    with pytest.raises(MissingMetadataError, match=r"--pixel-size z,y,x .* and --frame-interval"):
        import_files(tmp_path / "s.marrow", [tmp_path / "p"])
    import_files(tmp_path / "s.marrow", [tmp_path / "p"], pixel_size=(2.0, 0.33, 0.32), frame_interval_h=1.0)
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["C11_f03"]
    np.testing.assert_array_equal(stored(study, "C11_f03"), truth.transpose(0, 2, 1, 3, 4))
    assert study.image("C11_f03", 0).channel_names == ["DAPI - DAPI", "FITC - FITC"]


def test_cellvoyager(tmp_path):
    truth = pixels(2, 2, 2)  # time, z, channel
    records = ""
    for t, z, c in np.ndindex(2, 2, 2):
        name = f"AssayPlate_1_P24_T{t + 1:04d}F012L01A01Z{z + 1:02d}C{c + 1:02d}.tif"
        save(tmp_path / "p" / name, truth[t, z, c])
        records += (
            f'<bts:MeasurementRecord bts:Type="IMG" bts:Time="2026-03-02T0{8 + t}:15:00.5+01:00" bts:Row="16" '
            f'bts:Column="24" bts:FieldIndex="12" bts:TimePoint="{t + 1}" bts:Ch="{c + 1}" bts:X="-200.5" bts:Y="10" '
            f'bts:Z="{2.5 * z}">{name}</bts:MeasurementRecord>'
        )
    space = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    (tmp_path / "p" / "MeasurementData.mlf").write_text(f"<bts:MeasurementData {space}>{records}</bts:MeasurementData>")
    (tmp_path / "p" / "MeasurementDetail.mrf").write_text(
        f'<bts:MeasurementDetail {space}><bts:MeasurementChannel bts:Ch="1" bts:HorizontalPixelDimension="0.325" '
        'bts:VerticalPixelDimension="0.325"/></bts:MeasurementDetail>'
    )
    import_files(tmp_path / "s.marrow", [tmp_path / "p"])
    study = Study.open(tmp_path / "s.marrow")
    assert study.positions == ["P24_f12"]
    np.testing.assert_array_equal(stored(study, "P24_f12"), truth.transpose(0, 2, 1, 3, 4))
    image = study.image("P24_f12", 0)
    np.testing.assert_allclose(image.spacing, (2.5, 0.325, 0.325))
    np.testing.assert_allclose(image.times_h, [0.0, 1.0])
    assert study.frames()["stage_x"].iloc[0] == -200.5


def test_incucyte_times_come_from_the_names(tmp_path):
    truth = pixels(2, 3)  # channel, time
    for c, t in np.ndindex(2, 3):
        clock = ("00d00h00m", "00d06h30m", "12d01h00m")[t]
        save(tmp_path / "p" / f"{('Phase', 'Green')[c]}_B2_1_{clock}.tif", truth[c, t])
    import_files(tmp_path / "s.marrow", [tmp_path / "p"], pixel_size=1.24)
    study = Study.open(tmp_path / "s.marrow")
    np.testing.assert_array_equal(stored(study, "B02_f01")[:, :, 0], truth[::-1].transpose(1, 0, 2, 3))
    image = study.image("B02_f01", 0)
    assert image.channel_names == ["Green", "Phase"]
    np.testing.assert_allclose(image.times_h, [0.0, 6.5, 289.0])
    for t, clock in enumerate(("2026y01m31d_22h30m", "2026y02m01d_00h30m")):
        save(tmp_path / "dates" / f"VID7_C11_2_{clock}.tif", truth[0, t])
    (planned,) = preview(tmp_path / "d.marrow", [tmp_path / "dates"], pixel_size=1.24)
    assert planned.time_s == (0.0, 7200.0)
    assert planned.utc == "2026-01-31T22:30:00+00:00"


def test_a_folder_with_other_files_is_no_export_but_can_be_named_as_one(tmp_path):
    for t in range(2):
        save(tmp_path / "p" / f"x_B02_s1_w{t + 1}.tif", pixels()[()])
    save(tmp_path / "p" / "B02_f00_session01.tif", pixels()[()])
    assert len(preview(tmp_path / "s.marrow", [tmp_path / "p"], pixel_size=1.0, position="A01_f00")) == 3
    (planned,) = preview(tmp_path / "s.marrow", [tmp_path / "p"], pixel_size=1.0, pattern="imagexpress")
    assert (planned.position, planned.channels) == ("B02_f01", ("1", "2"))
    with pytest.raises(InputFileError, match="holds no TIFF files as CellVoyager"):
        preview(tmp_path / "s.marrow", [tmp_path / "p"], pattern="cellvoyager")
