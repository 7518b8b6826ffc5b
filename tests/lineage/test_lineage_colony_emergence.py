from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import colony_emergence
from napari_marrow.schemas import COLONIES, EMERGENCE


def colonies_of(rows: list[tuple], position: str = "A01_f00") -> pd.DataFrame:
    """(colony_id, session, time_h, n_cells, fraction, founders) -> COLONIES table."""
    table = pd.DataFrame(rows, columns=["colony_id", "session", "time_h", "n_cells", "fraction_erythroid", "founders"])
    for name in ("y", "x", "y_reg", "x_reg", "area", "radius"):
        table[name] = 0.0
    return COLONIES.conform(table.assign(position=position, t=0, colony=table["colony_id"]))


def test_a_hand_made_set_of_colonies():
    """Looks at 24, 96 and 168 h. One has the lineage at once, one from 96 h, one never, one merges after 24 h."""
    table = colonies_of(
        [
            (1, 1, 24, 4, 0.5, "1"), (1, 2, 96, 9, 0.4, "1"), (1, 3, 168, 20, 0.4, "1"),
            (2, 1, 24, 3, 0.0, "2"), (2, 2, 96, 10, 0.1, "2"), (2, 3, 168, 20, 0.5, "2"),
            (3, 1, 24, 2, 0.0, "3"), (3, 2, 96, 4, 0.0, "3"), (3, 3, 168, 8, 0.0, "3;4"),
            (4, 1, 24, 2, 0.0, "4"), (4, 2, 96, 2, 0.0, "4"),
        ]
    )  # fmt: skip
    curve = colony_emergence(table, None)
    own = curve[curve["organoid"] == "A01_f00"].set_index("time_h")
    # Until 96 h nobody is censored: 1 of 4, then 2 of 4. Colonies 3 and 4 merge by 168 h: nobody is left without.
    np.testing.assert_allclose(own.loc[[24, 96], "cumulative_incidence"], [0.25, 0.5])
    assert own.loc[[24, 96], "at_risk"].tolist() == [4, 3]
    assert (own["low"] <= own["cumulative_incidence"]).all()
    assert own.loc[24, "low"] > 0
    assert own.loc[24, "high"] < 0.75
    assert curve[curve["organoid"] == "all"]["note"].str.contains("one organoid").all()
    assert list(curve.columns[: len(EMERGENCE.names)]) == EMERGENCE.names
    assert colony_emergence(table, None, min_cells=2)["cumulative_incidence"].iloc[1] == pytest.approx(0.25)


def test_simulated_onsets_are_met_with_looks_days_apart():
    """Onset of a colony's first erythroid cell is exponential with a mean of 150 h; looks every 72 h; 5 organoids."""
    rng = np.random.default_rng(0)
    looks = np.array([24.0, 96.0, 168.0, 240.0])
    parts, layout, came = [], [], []
    for k in range(5):
        onset = rng.exponential(150, 60)
        came.append((onset[:, None] <= looks).mean(axis=0))
        rows = [
            (c + 1, s + 1, t, 20, 0.5 * (onset[c] <= t), str(c + 1)) for c in range(60) for s, t in enumerate(looks)
        ]
        parts.append(colonies_of(rows, f"A0{k}_f00"))
        layout.append({"position": f"A0{k}_f00", "organoid": f"o{k}", "condition": "control"})
    curve = colony_emergence(pd.concat(parts), pd.DataFrame(layout))
    mean = curve[curve["organoid"] == "all"]
    # Nobody is censored before the last look: the estimate is the share itself.
    np.testing.assert_allclose(mean["cumulative_incidence"], np.mean(came, axis=0), atol=1e-6)
    np.testing.assert_allclose(mean["cumulative_incidence"], -np.expm1(-looks / 150), atol=0.07)
    assert (mean["high"] - mean["low"]).between(0.02, 0.25).all()
    assert (mean["n_units"] == 5).all()


def test_a_lineage_that_no_colony_has_is_bounded_and_bad_input_is_named():
    rows = [(c, s, t, 5, 0.0, str(c)) for c in range(1, 11) for s, t in ((1, 24.0), (2, 96.0))]
    curve = colony_emergence(colonies_of(rows), None)
    own = curve[curve["organoid"] == "A01_f00"]
    assert own["cumulative_incidence"].eq(0).all()
    assert own["high"].iloc[0] == pytest.approx(1 - 0.025**0.1)
    unknown = colonies_of([(1, 1, 24.0, 5, np.nan, "1")])
    assert "no colony" in colony_emergence(unknown, None)["note"].iloc[0]
    assert colony_emergence(COLONIES.empty(), None).empty
    with pytest.raises(SettingsError, match="min_cells is 0"):
        colony_emergence(unknown, None, min_cells=0)
