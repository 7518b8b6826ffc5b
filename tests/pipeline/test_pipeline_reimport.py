"""A session that comes again with another number of frames."""

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
