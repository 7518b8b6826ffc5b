"""A session is imported anew in one step; what fails or is killed on the way loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_marrow.__main__ import main
from napari_marrow.errors import InputFileError, StudyError
from napari_marrow.ingest import import_files
from napari_marrow.pipeline.session_replacing import replace_session
from napari_marrow.study import Study

FACTS = {"axes": "TYX", "pixel_size": (0.5, 0.5), "frame_interval_h": 0.5, "channel_names": ["nuclei"]}


def film(path, seed, frames=4):
    pixels = np.random.default_rng(seed).poisson(150, (frames, 40, 40)).astype(np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "TYX"})
    return pixels


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "s.marrow"
    for session in (0, 1, 2):
        film(tmp_path / "B02_f00.tif", session)
        import_files(path, [tmp_path / "B02_f00.tif"], session=session, start_h=24.0 * session, **FACTS)
    return path


def files_of(study, session):
    folder = Study.open(study).image("B02_f00", session).path
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pixels_of(study, session):
    image = Study.open(study).image("B02_f00", session)
    return np.stack([image.read(t)[0, 0] for t in range(image.shape[0])])


def test_new_images_take_the_place_and_the_start_of_the_old_ones(study, tmp_path, capsys):
    others = {s: files_of(study, s) for s in (0, 2)}
    new = film(tmp_path / "B02_f00.tif", 77, frames=5)
    given = ["--axes", "TYX", "--pixel-size", "0.5", "--frame-interval", "0.5", "--channels", "nuclei", "--yes"]
    assert main(["sessions", "replace", str(study), str(tmp_path / "B02_f00.tif"), "--session", "1", *given]) == 0
    assert "Replaced B02_f00 session 1" in capsys.readouterr().out
    assert Study.open(study).stored_sessions() == [("B02_f00", s) for s in (0, 1, 2)]
    assert (pixels_of(study, 1) == new).all()
    assert Study.open(study).image("B02_f00", 1).start_h == 24.0
    assert {s: files_of(study, s) for s in (0, 2)} == others
    assert Study.open(study).verify() == []


def test_images_that_cannot_be_read_leave_the_old_ones(study, tmp_path):
    before = {s: files_of(study, s) for s in (0, 1, 2)}
    broken = tmp_path / "B02_f00.tif"
    film(broken, 5, frames=9)
    broken.write_bytes(broken.read_bytes()[:-9000])
    with pytest.raises(InputFileError):
        replace_session(study, 1, [broken], **FACTS)
    assert {s: files_of(study, s) for s in (0, 1, 2)} == before
    assert Study.open(study).stored_sessions() == [("B02_f00", s) for s in (0, 1, 2)]


@pytest.mark.parametrize("step", ["remove_session", "move_sessions"])
def test_what_was_cut_short_is_finished_by_the_same_call(study, tmp_path, monkeypatch, step):
    new = film(tmp_path / "B02_f00.tif", 78)

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Study, step, killed)
        with pytest.raises(KeyboardInterrupt):
            replace_session(study, 1, [tmp_path / "B02_f00.tif"], **FACTS)
    assert replace_session(study, 1, [tmp_path / "B02_f00.tif"], **FACTS) == [("B02_f00", 1)]
    assert Study.open(study).stored_sessions() == [("B02_f00", s) for s in (0, 1, 2)]
    assert (pixels_of(study, 1) == new).all()
    assert Study.open(study).image("B02_f00", 1).start_h == 24.0


def test_what_is_not_there_is_not_replaced(study, tmp_path):
    film(tmp_path / "B02_f00.tif", 3)
    with pytest.raises(StudyError, match=r"has no session 7 to be replaced \(it has: 0, 1, 2\)"):
        replace_session(study, 7, [tmp_path / "B02_f00.tif"], **FACTS)
    film(tmp_path / "C05_f00.tif", 3)
    with pytest.raises(StudyError, match="is C05_f00, which has no session 1"):
        replace_session(study, 1, [tmp_path / "C05_f00.tif"], **FACTS)
    assert len(Study.open(study).stored_sessions()) == 3
