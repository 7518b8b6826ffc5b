"""marrow niche on input that asks for trouble: a clear sentence, or no number and the reason for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.errors import SettingsError

SIDE = 60


@pytest.fixture
def sample(tmp_path: Path):
    """A function that writes a plane with a vessel, its tissue and cells, and asks `marrow niche` about them."""

    def ask(
        cells: np.ndarray, *, vessel: np.ndarray | None = None, tissue: np.ndarray | None = None,
        spacing: tuple[str, ...] = ("--spacing", "1,1"),
    ):  # fmt: skip
        plain = np.zeros((SIDE, SIDE), bool)
        plain[28:33] = True
        masks = {
            "vessel": plain if vessel is None else vessel, "tissue": np.ones_like(plain) if tissue is None else tissue
        }  # fmt: skip
        for name, mask in masks.items():
            tifffile.imwrite(tmp_path / f"{name}.tif", mask.astype(np.uint8))
        table = pd.DataFrame(cells, columns=["y", "x"]).assign(kind=np.where(np.arange(len(cells)) % 2, "a", "b"))
        table.to_csv(tmp_path / "cells.csv", index=False)
        out = tmp_path / "out"
        result = CliRunner().invoke(
            app,
            [
                "niche", str(tmp_path / "cells.csv"), "--class-column", "kind", "--structure",
                f"vessel={tmp_path / 'vessel.tif'}", "--tissue", str(tmp_path / "tissue.tif"), *spacing,
                "--r-max", "20", "--simulations", "19", "--out", str(out),
            ],
        )  # fmt: skip
        if result.exit_code:
            return result, None, None
        return result, pd.read_csv(out / "metrics.csv").set_index(["metric", "subject"]), pd.read_csv(out / "cells.csv")

    return ask


def some(n: int = 80) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, SIDE - 1, (n, 2))


def nothing_silent(metrics: pd.DataFrame) -> None:
    """Every value that is not there has its reason."""
    missing = metrics[metrics["value"].isna()]
    assert (missing["note"].fillna("") != "").all(), missing.index[missing["note"].isna()].tolist()


@pytest.mark.parametrize(("full", "words"), [(False, "empty"), (True, "fills")])
def test_a_structure_that_is_empty_or_fills_the_mask(sample, full, words):
    result, metrics, cells = sample(some(), vessel=np.full((SIDE, SIDE), full))
    assert result.exit_code == 0, result.output
    for metric, subject in (("vessel_length_density", "tissue"), ("proximity_effect_vessel", "a")):
        assert np.isnan(metrics.loc[(metric, subject), "value"])
        assert words in metrics.loc[(metric, subject), "note"]
    assert metrics.loc[("vessel_fraction", "tissue"), "value"] == float(full)
    assert "a and vessel: none" in result.output
    nothing_silent(metrics)
    if not full:
        assert cells["distance_vessel"].isna().all()


def test_one_cell(sample):
    result, metrics, cells = sample(np.array([[40.0, 20.0]]))
    assert result.exit_code == 0, result.output
    # The vessel's outermost row is centred at 32 and ends half a pixel further.
    assert cells["distance_vessel"].tolist() == pytest.approx([7.5])
    assert np.isnan(metrics.loc[("cross_l_all_all", "all-all"), "value"])
    assert "fewer than two" in metrics.loc[("cross_l_all_all", "all-all"), "note"]
    assert np.isfinite(metrics.loc[("vessel_length_density", "tissue"), "value"])
    nothing_silent(metrics)


def test_duplicate_points_stay_two_cells(sample):
    once = some()
    result, metrics, cells = sample(np.concatenate([once, once[:5]]))
    assert result.exit_code == 0, result.output
    assert metrics.loc[("n_cells", "all"), "value"] == len(cells) == 85
    twins = cells[["distance_vessel", "local_density"]].to_numpy()
    assert twins[80:] == pytest.approx(twins[:5], nan_ok=True)
    nothing_silent(metrics)


def test_points_outside_the_mask_are_counted_apart(sample):
    points = some()
    points[:3] = [[-200.0, 10.0], [10.0, 500.0], [SIDE + 40.0, 3.0]]
    result, metrics, cells = sample(points)
    assert result.exit_code == 0, result.output
    assert metrics.loc[("n_cells", "all"), "value"] == 77
    assert "3 more lie outside" in metrics.loc[("n_cells", "all"), "note"]
    assert not cells["in_tissue"].iloc[:3].any()
    assert cells["distance_vessel"].iloc[:3].isna().all()
    nothing_silent(metrics)


def test_a_mask_of_two_pieces_counts_both_and_not_the_gap(sample):
    tissue = np.ones((SIDE, SIDE), bool)
    tissue[:, 20:35] = False
    points = some(200)
    result, metrics, _ = sample(points, tissue=tissue)
    assert result.exit_code == 0, result.output
    inside = int((~((np.round(points[:, 1]) >= 20) & (np.round(points[:, 1]) < 35))).sum())
    assert metrics.loc[("n_cells", "all"), "value"] == inside
    # A vessel through both pieces: 45 of 60 columns of it lie in tissue, over 45 x 60 µm².
    assert metrics.loc[("vessel_length_density", "tissue"), "value"] == pytest.approx(1e3 / SIDE, rel=0.05)
    assert np.isfinite(metrics.loc[("cross_l_all_all", "all-all"), "p_value"])
    nothing_silent(metrics)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [((), "voxel size"), (("--spacing", "0,1"), "pacing"), (("--spacing", "1"), "pacing"),
     (("--spacing", "nan,1"), "pacing"), (("--spacing=-1,1",), "pacing"), (("--spacing", "one,1"), "one,1")],
)  # fmt: skip
def test_spacing_that_is_missing_or_impossible(sample, tmp_path, spacing, words):
    result, _, _ = sample(some(), spacing=spacing)
    assert isinstance(result.exception, SettingsError)
    assert words in str(result.exception)
    assert not (tmp_path / "out").exists()
