"""Images that come to a session after it was run: with another number of frames, or of another position."""

import numpy as np
import tifffile

from napari_marrow.ingest import import_files
from napari_marrow.pipeline import run
from napari_marrow.pipeline.session_changes import remove_session
from napari_marrow.study import Study


def test_a_session_may_come_again_with_more_frames(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "study.marrow"
    for count in (3, 5):
        source = tmp_path / f"frames{count}.tif"
        tifffile.imwrite(source, rng.integers(100, 400, (count, 48, 48), dtype=np.uint16), photometric="minisblack")
        if path.exists():
            remove_session(path, 0)
        import_files(path, [source], axes="TYX", pixel_size=1.0, frame_interval_h=1.0, session=0)
        steps = {step.name: step.computed for step in run(path, until="register").steps}
        assert (steps["correct"], steps["register"]) == (1, 1)
        study = Study.open(path)
        assert len(study.table("transforms")) == count
        assert len(study.table("corrections")["factors"].iloc[0]) == count
        assert study.verify() == []


def test_a_position_that_comes_later_is_corrected_like_the_others(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "study.marrow"
    for k, position in enumerate(("B02_f00", "B03_f00")):
        source = tmp_path / f"{position}.tif"
        tifffile.imwrite(source, rng.integers(100, 400, (4, 48, 48), dtype=np.uint16), photometric="minisblack")
        import_files(
            path, [source], axes="TYX", pixel_size=1.0, frame_interval_h=1.0, session=0, position=position, start_h=0.0
        )
        steps = {step.name: step.computed for step in run(path, until="register").steps}
        assert (steps["correct"], steps["register"]) == (1, 1)
        assert len(set(Study.open(path).table("corrections")["position"])) == k + 1
    assert {step.computed for step in run(path, until="register").steps} == {0}
