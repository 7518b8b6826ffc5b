"""The layout CSV."""

from __future__ import annotations

import math

import pytest

from napari_marrow import schemas
from napari_marrow.errors import InputFileError, PathMissingError, TableError
from napari_marrow.ingest import read_layout


def write(tmp_path, text: str, encoding: str = "utf-8"):
    (tmp_path / "layout.csv").write_bytes(text.encode(encoding))
    return tmp_path / "layout.csv"


def test_every_column_is_read(tmp_path):
    text = (
        "well,organoid,donor,batch,condition,dose,replicate\nb2,o1,D7,2026-01,JAK2 V617F,0.5,3\nC11,o2,D7,b,control,,\n"
    )
    layout = read_layout(write(tmp_path, text))
    assert list(layout.columns) == schemas.LAYOUT.names
    assert list(layout["position"]) == ["B02_f00", "C11_f00"]
    assert list(layout["well"]) == ["B02", "C11"]
    first = layout.iloc[0]
    assert (first["organoid"], first["donor"], first["condition"]) == ("o1", "D7", "JAK2 V617F")
    assert (first["dose"], first["replicate"]) == (0.5, 3)
    assert math.isnan(layout["dose"][1])
    assert layout["replicate"][1] == 1


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_byte_order_marks_capitals_and_missing_columns(tmp_path, separator, encoding):
    text = (
        separator.join(["Well ", "Organoid", "Condition"]) + "\r\n" + separator.join(["B02", "é", "drug"]) + "\r\n\r\n"
    )
    layout = read_layout(write(tmp_path, text, encoding))
    assert layout.iloc[0][["organoid", "donor", "batch", "condition", "replicate"]].tolist() == [
        "é", "unknown", "unknown", "drug", 1,
    ]  # fmt: skip


def test_a_well_speaks_for_all_its_fields_and_a_position_for_itself(tmp_path):
    positions = ["B02_f00", "B02_f01", "C03_f04"]
    layout = read_layout(write(tmp_path, "well,organoid,condition\nB02,o1,a\nC03,o2,b\nD04,o3,c\n"), positions)
    assert list(layout["position"]) == ["B02_f00", "B02_f01", "C03_f04", "D04_f00"]
    layout = read_layout(write(tmp_path, "position,organoid,condition\nB02_f01,o1,a\nB02_f00,o2,b\n"), positions)
    assert list(layout["organoid"]) == ["o2", "o1"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("organoid,condition\no,c\n", "well"),
        ("well,condition\nB02,c\n", "organoid"),
        ("well,organoid,condition\nB02,o,c\nB2,o,c\n", "row 3.*named before"),
        ("well,organoid,condition\nsecond,o,c\n", "row 2.*'SECOND' is no well|no well"),
        ("well,organoid,condition\nB02,,c\n", "row 2.*organoid is empty"),
        ("well,organoid,condition,dose\nB02,o,c,much\n", "row 2.*dose"),
        ("well,organoid,condition,dose\nB02,o,c,-1\n", "row 2.*dose"),
        ("well,organoid,condition,replicate\nB02,o,c,1.5\n", "row 2.*replicate"),
        ("position,organoid,condition\n../x,o,c\n", "no position"),
        ("position,well,organoid,condition\nB02_f00,C03,o,c\n", "does not lie"),
    ],
)
def test_what_cannot_be_is_named_with_its_row(tmp_path, text, word):
    with pytest.raises(TableError, match=word):
        read_layout(write(tmp_path, text))


def test_no_file_no_text_no_rows(tmp_path):
    with pytest.raises(PathMissingError):
        read_layout(tmp_path / "none.csv")
    with pytest.raises(InputFileError, match="no rows"):
        read_layout(write(tmp_path, "well,organoid,condition\n"))
    (tmp_path / "layout.csv").write_bytes(b"\xff\xfe\x00well")
    with pytest.raises(InputFileError, match="UTF-8"):
        read_layout(tmp_path / "layout.csv")
    with pytest.raises((InputFileError, TableError)):
        read_layout(write(tmp_path, ""))


def test_reasons_to_leave_organoids_out_are_kept(tmp_path):
    path = tmp_path / "layout.csv"
    path.write_text("well,organoid,condition,exclusion\nB02,a,control,\nB03,b,TPO, contaminated  on day 9 \n")
    table = read_layout(path)
    assert list(table["exclusion"]) == ["", "contaminated on day 9"]
    path.write_text("well,organoid,condition,exclusion\nB02,a,control,\n")
    assert "exclusion" not in read_layout(path).columns
