"""The view that is kept with a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from napari_marrow.errors import CorruptDataError
from napari_marrow.study import Study
from napari_marrow.study.durable import write_document
from napari_marrow.study.saved_view import VIEW, SavedView, read_view, save_view
from napari_marrow.study.verify import verify

LOOK = SavedView(True, (12.0, 40.5, 41.0), 3.25, (10.0, -20.0, 75.0), 30.0, "y", 0.25, 0.75, True)


def test_a_view_is_kept_and_another_takes_its_place(tmp_path: Path) -> None:
    assert read_view(tmp_path) is None
    save_view(tmp_path, LOOK)
    assert read_view(tmp_path) == LOOK
    save_view(tmp_path, replace(LOOK, zoom=1.0))
    assert read_view(tmp_path) == replace(LOOK, zoom=1.0)
    assert [path.name for path in tmp_path.iterdir()] == [VIEW]


@pytest.mark.parametrize(
    "change",
    [{"zoom": 0.0}, {"centre": [1.0, 2.0]}, {"angles": "up"}, {"clip_axis": "t"}, {"clip_low": 0.9}, {"zoom": None}],
)
def test_a_file_that_holds_no_view_is_refused_with_its_name(tmp_path: Path, change: dict[str, object]) -> None:
    write_document(tmp_path / VIEW, {**LOOK.__dict__, **change})
    with pytest.raises(CorruptDataError, match=r"view\.json' holds no view: save the view again"):
        read_view(tmp_path)


def test_a_view_makes_nothing_stale_and_a_damaged_one_is_found(tiny_study: Path) -> None:
    study = Study.open(tiny_study)
    before = (tiny_study / "study.json").read_bytes()
    save_view(tiny_study, LOOK)
    assert verify(study) == []
    assert (tiny_study / "study.json").read_bytes() == before
    text = (tiny_study / VIEW).read_text()
    (tiny_study / VIEW).write_text(text.replace("3.25", "3.26"))
    with pytest.raises(CorruptDataError, match="fails its checksum"):
        read_view(tiny_study)
    (problem,) = verify(study)
    assert (problem.path, problem.kind) == (VIEW, "damaged")
    assert "save the view again" in problem.remedy
