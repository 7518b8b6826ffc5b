"""Part files as commit records, active results, layout, run records."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_marrow import schemas
from napari_marrow.errors import PathExistsError, PathMissingError, SettingsError, StudyError, TableError
from napari_marrow.study import Study
from napari_marrow.study.naming import part_path, unit_of


def cells(t: int, n: int, position: str = "B02_f00") -> pd.DataFrame:
    rng = np.random.default_rng(t)
    rows = {c.name: rng.random(n) for c in schemas.CELLS.columns if c.dtype == "float64"}
    rows |= {"position": [position] * n, "session": 0, "t": t, "label": np.arange(1, n + 1), "touches_border": False}
    return schemas.CELLS.conform(pd.DataFrame(rows)).assign(intensity_CD31=rng.random(n))


def test_rows_come_back_in_the_order_of_their_units(study):
    tables = {t: cells(t, n) for t, n in ((11, 3), (2, 0), (100000, 2), (0, 4))}
    for t, rows in tables.items():
        study.commit("cells", "k1", {"position": "B02_f00", "session": 0, "t": t}, rows)
    study.set_active({"measure": "k1"}, tables={"cells": "k1"})
    expected = pd.concat([tables[t] for t in (0, 11, 100000)], ignore_index=True)
    pd.testing.assert_frame_equal(study.table("cells"), expected)
    pd.testing.assert_frame_equal(study.table("cells", unit={"t": 11}), tables[11])
    assert study.committed("cells", "k1") == [{"position": "B02_f00", "session": 0, "t": t} for t in (0, 2, 11, 100000)]
    assert study.is_committed("cells", "k1", {"position": "B02_f00", "session": 0, "t": 2})
    assert not study.is_committed("cells", "k1", {"position": "B02_f00", "session": 0, "t": 3})


def test_the_footer_says_which_unit_and_how_many_rows(study):
    unit = {"position": "B02_f00", "session": 4, "t": 12}
    study.commit("cells", "k1", unit, cells(12, 5), extra={"diameter": np.float32(9.5), "seed": np.int64(3)})
    path = study.path / "tables" / "cells" / "k1" / "position=B02_f00" / "part-s04-t00012.parquet"
    record = json.loads(pq.read_metadata(path).metadata[b"marrow"])
    assert (record["table"], record["key"], record["unit"], record["rows"]) == ("cells", "k1", unit, 5)
    assert record["extra"] == {"diameter": 9.5, "seed": 3}
    assert len(record["crc32c"]) == 8
    assert record["crc32c"] != "00000000"
    assert study.commit_record("cells", "k1", unit)["extra"] == record["extra"]


def test_a_second_commit_replaces_the_first(study):
    unit = {"position": "B02_f00", "session": 0, "t": 0}
    study.commit("cells", "k1", unit, cells(0, 3))
    study.commit("cells", "k1", unit, cells(1, 2))
    pd.testing.assert_frame_equal(study.table("cells", "k1"), cells(1, 2))


def test_tables_of_no_schema_and_text_without_rows_are_kept(study):
    study.commit("notes", "k", {}, pd.DataFrame({"who": ["Ada", "Émile 🙂"], "n": [1, 2], "x": [np.nan, 2.0]}))
    study.commit("notes", "k", {"position": "B02_f00"}, pd.DataFrame({"who": pd.Series([], dtype=object)}))
    back = study.table("notes", "k")
    assert list(back["who"]) == ["Ada", "Émile 🙂"]
    assert math.isnan(back["x"][0])


def test_wrong_rows_are_refused(study):
    with pytest.raises(TableError, match="lacks"):
        study.commit("cells", "k", {}, pd.DataFrame({"position": ["B02_f00"]}))
    with pytest.raises(TableError, match="cannot be stored"):
        study.commit("notes", "k", {}, pd.DataFrame({"x": [1, "a"]}))
    for table, key, unit in (
        ("../x", "k", {}), ("cells", "../k", {}), ("cells", "k", {"position": "../.."}),
        ("cells", "k", {"organoid": 1}), ("cells", "k", {"t": -1}),
    ):  # fmt: skip
        with pytest.raises(SettingsError):
            study.commit(table, key, unit, cells(0, 1))
    assert not (study.path / "tables").exists()


def test_a_table_that_was_not_computed_says_so_and_one_that_found_nothing_is_empty(study):
    with pytest.raises(StudyError, match="marrow run"):
        study.table("cells")
    assert not study.has_table("cells")
    with pytest.raises(StudyError, match="'k9'"):
        study.table("cells", "k9")
    study.set_active({"track": "k2"}, tables={"tracks": "k2"})
    pd.testing.assert_frame_equal(study.table("tracks"), schemas.TRACKS.empty())
    assert len(study.table("frames")) == 0


def test_active_keys_change_together_and_another_handle_sees_them(study):
    other = Study.open(study.path)
    study.commit("cells", "k1", {}, cells(0, 1))
    study.commit("cells", "k2", {}, cells(0, 2))
    study.set_active({"segment": "s1", "measure": "k1"}, tables={"cells": "k1"})
    assert (other.active, other.active_tables) == ({"segment": "s1", "measure": "k1"}, {"cells": "k1"})
    study.set_active({"measure": "k2"}, tables={"cells": "k2"})
    assert other.active == {"segment": "s1", "measure": "k2"}
    assert len(other.table("cells")) == 2
    assert len(other.table("cells", "k1")) == 1


def test_runs_are_kept_in_order_with_what_json_cannot_say_made_plain(study):
    first = study.record_run("segment", "k1", {"seed": np.int64(3), "loss": math.nan, "weights": study.path})
    second = study.record_run("segment", "k1", {"seed": 4})
    assert first != second
    runs = study.runs()
    assert [r["info"]["seed"] for r in runs] == [3, 4]
    assert runs[0]["info"]["loss"] is None
    assert (runs[0]["step"], runs[0]["key"]) == ("segment", "k1")
    with pytest.raises(SettingsError):
        study.record_run("../segment", "k1", {})


def test_layout_names_what_is_known_and_fills_the_rest(study, fill):
    fill(study, "B02_f00")
    fill(study, "C05_f01")
    assert list(study.layout["condition"]) == ["unknown", "unknown"]
    assert list(study.layout["organoid"]) == ["B02", "C05"]
    study.set_layout(
        pd.DataFrame(
            {
                "position": ["B02_f00", "D01_f00"], "well": ["B02", "D01"], "organoid": ["o1", "o2"], "donor": "d",
                "batch": "b", "condition": ["drug", "control"], "dose": [1.5, math.nan], "replicate": [1, 2],
            }
        )
    )  # fmt: skip
    layout = Study.open(study.path).layout
    assert list(layout["position"]) == ["B02_f00", "C05_f01", "D01_f00"]
    assert list(layout["condition"]) == ["drug", "unknown", "control"]
    assert layout["dose"][0] == 1.5
    assert math.isnan(layout["dose"][2])
    with pytest.raises(TableError, match="twice"):
        study.set_layout(pd.concat([layout, layout]))
    with pytest.raises(TableError, match="positions look like"):
        study.set_layout(layout.assign(position=["a", "b", "c"]))


def test_summary_says_what_there_is(study, fill):
    fill(study, start_h=24)
    study.commit("cells", "k1", {}, cells(0, 7))
    study.set_active({"measure": "k1"}, tables={"cells": "k1"})
    summary = study.summary()
    assert (summary["name"], summary["n_frames"], summary["tables"]) == ("weeks", 3, {"cells": 7})
    assert summary["sessions"][0]["channels"] == ["nuclei", "marker1"]
    assert summary["sessions"][0]["start_h"] == 24.0
    assert summary["bytes"] == sum(p.stat().st_size for p in study.path.rglob("*") if p.is_file())
    json.dumps(summary)


def test_opening_says_what_is_wrong(tmp_path, study):
    with pytest.raises(PathMissingError, match="no study"):
        Study.open(tmp_path / "nothing")
    with pytest.raises(StudyError, match=r"study\.json"):
        Study.open(tmp_path)
    with pytest.raises(PathExistsError, match="exists already"):
        Study.create(study.path)
    with pytest.raises(SettingsError, match="ISO 8601"):
        Study.create(tmp_path / "y", t0="soon")
    assert not (tmp_path / "y").exists()
    with pytest.raises(SettingsError, match="mode"):
        Study.open(study.path, mode="w")  # type: ignore[arg-type]


def test_a_study_of_a_newer_schema_is_refused_with_both_versions(study):
    from napari_marrow.study.durable import write_document

    document = json.loads((study.path / "study.json").read_text())
    write_document(study.path / "study.json", {**document, "schema_version": 7})
    with pytest.raises(StudyError, match=r"schema 7.*up to 2.*update napari-marrow"):
        Study.open(study.path)


def test_a_study_opened_for_reading_refuses_to_write(study, fill):
    fill(study)
    reader = Study.open(study.path)
    before = {p: p.stat().st_mtime_ns for p in study.path.rglob("*")}
    for write in (
        lambda: fill(reader, session=1),
        lambda: reader.commit("cells", "k", {}, cells(0, 1)),
        lambda: reader.write_labels("cells", "k", "B02_f00", 0, 0, np.zeros((40, 52), int)),
        lambda: reader.set_active({"segment": "k"}),
        lambda: reader.set_t0("2026-01-01"),
        lambda: reader.record_run("segment", "k", {}),
        lambda: reader.remove_session("B02_f00", 0),
    ):
        with pytest.raises(StudyError, match="opened for reading"):
            write()
    reader.verify()
    assert {p: p.stat().st_mtime_ns for p in study.path.rglob("*")} == before


def test_t0_is_fixed_once_there_are_sessions(study, fill):
    study.set_t0("2026-01-01T00:00:00+00:00")
    fill(study)
    with pytest.raises(StudyError, match="cannot change"):
        study.set_t0("2026-02-01T00:00:00+00:00")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "position": st.from_regex(r"[A-Z]{1,2}[0-9]{2}_f[0-9]{2,4}", fullmatch=True),
            "session": st.integers(0, 9999),
            "t": st.integers(0, 10**7),
        },
    )
)
def test_a_units_path_and_back(unit):
    assert unit_of(part_path(unit)) == unit
