"""marrow niche on plain files and on a study: what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.errors import InputFileError, PathExistsError, PathMissingError, SettingsError, TableError
from napari_marrow.niche import NicheSettings
from napari_marrow.pipeline.niche_files import niche_of_files, niche_of_study

FAST = NicheSettings(n_simulations=39, n_uniform=19, r_max=30, cross_r_max=30)
BANNER = "\nDetailed\n ==================== \n"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Two crossing vessels in a volume of 4:1 spacing, and cells near one of them."""
    zz, yy, xx = np.mgrid[:16, :60, :60] * np.array([4.0, 1, 1]).reshape(3, 1, 1, 1)
    vessel = (np.hypot(zz - 30, yy - 30) < 6) | (np.hypot(zz - 30, xx - 15) < 5)
    tifffile.imwrite(tmp_path / "vessel.tif", vessel.astype(np.uint8), metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "tissue.tif", np.ones(vessel.shape, np.uint8), metadata={"axes": "ZYX"})
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 59, (300, 3))
    near = np.hypot(points[:, 0] - 30, points[:, 1] - 30) < 16
    names = np.where(near & (rng.random(300) < 0.7), "stem", "mature")
    pd.DataFrame(points, columns=["z", "y", "x"]).assign(kind=names).to_csv(tmp_path / "cells.csv", index=False)
    return tmp_path


def test_masks_of_a_volume_give_tables_and_figures(volume):
    out = volume / "niche"
    notes = niche_of_files(
        {"": volume / "cells.csv"}, out, structures={"vessel": volume / "vessel.tif"}, tissue=volume / "tissue.tif",
        spacing=(4.0, 1.0, 1.0), class_column="kind", settings=FAST,
    )  # fmt: skip
    metrics = pd.read_csv(out / "metrics.csv").set_index(["metric", "subject"])
    assert metrics.loc[("proximity_effect_vessel", "stem"), "p_value"] == pytest.approx(1 / 40)
    assert metrics.loc[("vessel_branch_density", "tissue"), "value"] > 0
    assert any("stem and vessel" in note for note in notes)
    cells = pd.read_csv(out / "cells.csv")
    assert {"kind", "distance_vessel", "compartment", "local_density_stem"} <= set(cells.columns)
    drawn = {path.stem for path in (out / "figures").glob("*.png")}
    assert drawn == {"distance_to_vessel", "pair_correlation", "vessels_in_space"}
    assert all(path.stat().st_size > 10_000 for path in (out / "figures").glob("*.png"))
    niche_of_files(  # a second time in the same place, which is this command's own
        {"": volume / "cells.csv"}, out, structures={"vessel": volume / "vessel.tif"}, spacing=(4, 1, 1), settings=FAST
    )


def test_spots_with_a_banner_need_no_mask(volume):
    rng = np.random.default_rng(1)
    for name, n in (("bone", 40), ("a", 60), ("b", 60)):
        rows = "".join(f"{x:.2f},{y:.2f},{z:.2f},um,Spot,\n" for x, y, z in rng.uniform(-50, 150, (n, 3)))
        text = f"{BANNER}Position X,Position Y,Position Z,Unit,Category,\n{rows}"
        (volume / f"{name}.csv").write_text(text, encoding="utf-8")
    runner = CliRunner()
    classes = [f"{name}={volume / name}.csv" for name in "ab"]
    arguments = ["niche", *classes, "--structure", f"bone={volume / 'bone.csv'}"]
    done = runner.invoke(app, [*arguments, "--simulations", "19", "--out", str(volume / "spots")])
    assert done.exit_code == 0, done.output
    assert "guessed" in done.output
    metrics = pd.read_csv(volume / "spots" / "metrics.csv").set_index(["metric", "subject"])
    assert metrics.loc[("n_cells", "a"), "value"] == 60
    assert np.isfinite(metrics.loc[("proximity_effect_bone", "a"), "value"])


def test_bad_input_is_one_sentence(volume):
    cells, vessel = {"": volume / "cells.csv"}, {"vessel": volume / "vessel.tif"}
    (volume / "word.csv").write_text("x,y\n1,two\n", encoding="utf-8")
    (volume / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (volume / "full").mkdir()
    (volume / "full" / "mine.txt").write_text("keep", encoding="utf-8")
    cases = [
        (SettingsError, "--spacing", {"cells": cells, "structures": vessel}),
        (SettingsError, "spacing", {"cells": cells, "structures": vessel, "spacing": (0, 1, 1)}),
        (PathMissingError, "no file", {"cells": {"": volume / "none.csv"}, "structures": {}}),
        (TableError, "no number in column 'y', row 1", {"cells": {"": volume / "word.csv"}, "structures": {}}),
        (TableError, "no columns x and y", {"cells": {"": volume / "other.csv"}, "structures": {}}),
        (TableError, "no column 'lineage'", {"cells": cells, "structures": {}, "class_column": "lineage"}),
        (InputFileError, "cells.tif", {"cells": cells, "structures": {"vessel": volume / "cells.tif"}}),
    ]
    (volume / "cells.tif").write_bytes(b"no image")
    for kind, words, call in cases:
        with pytest.raises(kind, match=words):
            niche_of_files(out=volume / "never", settings=FAST, **call)
        assert not (volume / "never").exists()
    with pytest.raises(PathExistsError, match="holds no niche tables"):
        niche_of_files(cells, volume / "full", structures=vessel, spacing=(4, 1, 1), settings=FAST)
    assert (volume / "full" / "mine.txt").read_text() == "keep"
    one = str(volume / "cells.csv")
    for wrong in ([one, one], [f"a={one}", f"a={one}"], [one, "--spacing", "wide"], [one, "--coverage", "vessel"]):
        result = CliRunner().invoke(app, ["niche", *wrong, "--out", str(volume / "never")])
        assert isinstance(result.exception, SettingsError), wrong


def test_a_study_gives_every_table_and_figure(whole_run, tmp_path):
    notes = niche_of_study(whole_run[0], tmp_path / "out")
    assert any("organoids" in note for note in notes)
    for name in ("niche_by_organoid", "niche_by_condition", "niche_trends", "vessel_changes", "cell_surroundings"):
        assert (tmp_path / "out" / f"{name}.csv").stat().st_size > 50, name
    drawn = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert {"distance_to_vessel", "pair_correlation", "compartments"} <= drawn
