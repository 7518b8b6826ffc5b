"""Whatever a study lacks, the report says so and is written."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from napari_marrow import schemas
from napari_marrow.report import write_report
from napari_marrow.study import Study


def missing(page):
    return re.findall(r'<p class="missing">(.*?)</p>', page.read_text(encoding="utf-8"))


def test_a_study_without_images(tmp_path):
    study = Study.create(tmp_path / "empty.marrow")
    said = missing(write_report(study))
    assert "The study holds no images." in said
    assert "Colonies were not looked for." in said
    assert "There are no frames to judge." in said


def test_one_frame_and_nothing_computed(make_study):
    said = missing(write_report(make_study({1: 1}, {})))
    assert said == [
        "Colonies were not looked for.",
        "No vessel was traced, so there is no vessel map.",
        "No distance distribution was measured.",
        "There is no emergence curve: it needs a session with frames close enough to follow cells, and a lineage "
        "marker.",
        "No cell was followed over time, so there are no pedigrees.",
        "No endpoint could be compared: each condition needs at least two organoids with a value.",
        "Cells were not segmented.",
        "Cells were not tracked.",
    ]


def test_tables_without_a_row(make_study):
    names = [n for n in schemas.ALL if n not in ("layout", "frames")]
    page = write_report(make_study({1: 3}, {n: schemas.ALL[n].empty() for n in names}))
    said = missing(page)
    assert "No colony was found: there are no groups of cells to follow." in said
    text = page.read_text(encoding="utf-8")
    assert "No cell was found in any frame." in text
    assert "No cell was followed from frame to frame." in text


def test_sparse_sessions_only(make_study, full_study):
    """No dense session: colonies and vessels, but no tracks, onsets or emergence."""
    tables = {}
    for name in ("cells", "colonies", "colony_growth", "niche_metrics", "niche_curves", "vessels", "transforms"):
        table = full_study.table(name)
        kept = table[table["position"].isin(["B02_f00", "C02_f00"])]
        tables[name] = kept[kept["session"] > 1] if "session" in kept else kept
    page = write_report(make_study({2: 1, 3: 1, 4: 1}, tables))
    said = missing(page)
    assert any("There is no emergence curve" in s for s in said)
    assert {p.stem for p in page.parent.glob("figures/*.svg")} == {
        "overview", "colony_growth", "vessel_map", "distance_to_vessel", "frame_flags", "confidence",
    }  # fmt: skip


def test_tracks_without_a_division_or_a_marker(make_study, full_study):
    tracks = full_study.table("tracks")
    alone = tracks[(tracks["position"] == "B02_f00") & (tracks["generation"] == 0)].assign(fate="end")
    said = missing(write_report(make_study({1: 5}, {"tracks": alone, "onsets": schemas.ONSETS.empty()})))
    assert "No division was seen, so there are no pedigrees." in said


def test_a_division_whose_daughters_were_not_followed(make_study, full_study):
    tracks = full_study.table("tracks")
    mothers = tracks[(tracks["position"] == "B02_f00") & (tracks["generation"] == 0)].assign(fate="division")
    said = missing(write_report(make_study({1: 5}, {"tracks": mothers})))
    assert "No division was seen, so there are no pedigrees." in said


def test_pedigrees_are_drawn_without_onsets(make_study, full_study):
    tracks = full_study.table("tracks")
    page = write_report(make_study({1: 5}, {"tracks": tracks[tracks["position"].isin(["B02_f00", "C02_f00"])]}))
    assert (page.parent / "figures" / "pedigrees.svg").is_file()


def test_numbers_that_are_not_there(make_study, full_study):
    """NaN in every column that may hold it: no growth, no interval, no p, no residual."""
    names = ["colonies", "colony_growth", "niche_metrics", "niche_curves", "comparisons", "emergence", "transforms"]
    tables = {}
    for name in names:
        table = full_study.table(name).copy()
        for column in ("growth_rate", "doubling_time", "value", "low", "high", "null_mean", "p_value", "residual",
                       "smallest_p", "p_adjusted", "difference", "mean_a"):  # fmt: skip
            if column in table:
                table[column] = np.nan
        tables[name] = table
    page = write_report(make_study({1: 1, 2: 1}, tables))
    text = page.read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"<(svg|script).*?</\1>", "", text, flags=re.S).lower()


def test_one_condition_is_not_compared(make_study):
    study = make_study({1: 1}, {})
    with study.write_lock():
        study.set_layout(study.layout.assign(condition="control"))
    assert "The layout names one condition only: there is nothing to compare." in missing(write_report(study))


def test_images_that_say_nothing(make_study, tmp_path):
    """Black frames, a single bright-field channel, a single pixel row."""
    for i, (shape, channel) in enumerate([((1, 1, 1, 64, 64), "nuclei"), ((2, 1, 3, 40, 300), "brightfield")]):
        study = Study.create(tmp_path / f"dark{i}.marrow")
        with (
            study.write_lock(),
            study.add_session(
                "A01_f00", 1, channels=[channel], spacing=(2.0, 0.65, 0.65), shape=shape, dtype="uint16", start_h=0.0,
                time_s=np.arange(shape[0]) * 600.0,
            ) as writer,
        ):  # fmt: skip
            for t in range(shape[0]):
                writer.write(t, np.zeros(shape[1:], dtype=np.uint16))
        page = write_report(study)
        assert (page.parent / "figures" / "overview.svg").is_file()


@pytest.mark.parametrize("organoids", [1, 30])
def test_few_and_many_organoids(make_study, organoids):
    rng = np.random.default_rng(0)
    study = make_study({1: 1}, {})
    values = pd.DataFrame(
        {
            "organoid": [f"O{i}" for i in range(2 * organoids)],
            "condition": ["control"] * organoids + ["drug"] * organoids,
            "endpoint": "cells", "value": rng.poisson(100, 2 * organoids).astype(float), "unit": "",
        }
    )  # fmt: skip
    means = values.groupby("condition")["value"].mean()
    row = {
        "endpoint": "cells", "unit": "", "condition_a": "control", "condition_b": "drug", "n_a": organoids,
        "n_b": organoids, "mean_a": means["control"], "mean_b": means["drug"],
        "difference": means["drug"] - means["control"], "low": np.nan, "high": np.nan, "p_value": 1e-5,
        "smallest_p": 1e-9, "p_adjusted": 1e-5,
    }  # fmt: skip
    with study.write_lock():
        for name, table in (("comparisons", pd.DataFrame([row])), ("organoid_summary", values)):
            study.commit(name, "k2", {}, table)
        study.set_active({"lineage": "k2"}, tables={"comparisons": "k2", "organoid_summary": "k2"})
    text = write_report(study).read_text(encoding="utf-8")
    assert "1 of 1 comparison reach" in text or "1 of 1 comparison" in text
    assert "< .001" in text or "&lt; .001" in text
