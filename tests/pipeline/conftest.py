"""A study that the recipe was run on, made once for all tests of the pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from napari_marrow.pipeline import Recipe, RunSummary, parse_recipe, run


@pytest.fixture(scope="session")
def quick_recipe() -> Recipe:
    """Every step, with few simulations."""
    return parse_recipe({"niche": {"n_simulations": 39, "every_h": 1000}, "lineage": {"n_bootstrap": 99}})


@pytest.fixture(scope="session")
def whole_run(
    imported_tiny_study: Path, quick_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary]:
    """A finished study and the summary of its run; do not change it (take `finished_copy`)."""
    path = Path(shutil.copytree(imported_tiny_study, tmp_path_factory.mktemp("whole") / "tiny.marrow"))
    return path, run(path, quick_recipe)


@pytest.fixture
def finished_copy(whole_run: tuple[Path, RunSummary], tmp_path: Path) -> Path:
    """A copy of a finished study."""
    return Path(shutil.copytree(whole_run[0], tmp_path / "finished.marrow"))
