"""Paths with spaces and letters of other alphabets, and clocks that jump, as microscopes leave them."""

import numpy as np
import pytest
import tifffile

from napari_marrow.errors import InputFileError
from napari_marrow.ingest import import_files
from napari_marrow.study import Study


def frames(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(100, 400, (count, 16, 20), dtype=np.uint16)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("Mikroskop Läufe", "Organoide µm 3.tif"),
        ("骨髄 類器官", "培地 交換.tif"),
        ("a 'quoted' & 100 % (copy)", "B02_f00 [1] #2.tif"),
        ("🦴 marrow", "e\u0301 decomposed.tif"),
    ],
)
def test_spaces_and_other_alphabets_in_paths(tmp_path, folder, file):
    source = tmp_path / folder / file
    source.parent.mkdir()
    stack = frames()
    tifffile.imwrite(source, stack, photometric="minisblack")
    path = source.parent / f"{source.stem}.marrow"
    import_files(path, [source], axes="TYX", pixel_size=0.5, frame_interval_h=1.0)
    study = Study.open(path)
    image = study.image(study.positions[0], 0)
    assert np.array_equal(image.read(2)[0, 0], stack[2])
    assert image.metadata["source_file"] == file
    assert study.verify() == []


def ome_tiff(path, seconds):
    planes = [{"DeltaT": s, "TheT": t, "TheC": 0, "TheZ": 0} for t, s in enumerate(seconds)]
    plane = {key: [p[key] for p in planes] for key in planes[0]}
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Plane": plane}
    tifffile.imwrite(path, frames(len(seconds)), photometric="minisblack", metadata=metadata)
    return path


def test_a_clock_that_goes_back_is_refused_by_name_and_times_can_be_stated(tmp_path):
    source = ome_tiff(tmp_path / "back.ome.tif", [0.0, 900.0, 300.0])
    with pytest.raises(InputFileError, match="go backwards at frame 2: give --frame-interval"):
        import_files(tmp_path / "study.marrow", [source])
    assert not (tmp_path / "study.marrow").exists()
    import_files(tmp_path / "study.marrow", [source], frame_interval_h=0.25)
    study = Study.open(tmp_path / "study.marrow")
    assert study.frames()["time_s"].tolist() == [0, 900, 1800]


def test_a_clock_that_jumps_ahead_keeps_its_true_times(tmp_path):
    seconds = [0.0, 900.0, 1800.0, 90_000.0, 90_900.0]
    source = ome_tiff(tmp_path / "ahead.ome.tif", seconds)
    import_files(tmp_path / "study.marrow", [source])
    study = Study.open(tmp_path / "study.marrow")
    assert study.frames()["time_s"].tolist() == seconds
