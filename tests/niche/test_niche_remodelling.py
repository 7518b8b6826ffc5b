"""Remodelling of networks whose lost, gained and stable lengths are known."""

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.niche import vessel_graph, vessel_remodelling


def network(segments, axes="yx"):
    rows = []
    for branch, (p, q) in enumerate(segments):
        for vertex, w in enumerate(np.linspace(0, 1, 12)):
            point = (1 - w) * np.asarray(p, float) + w * np.asarray(q, float)
            rows.append({"branch": branch, "vertex": vertex, **dict(zip(axes, point, strict=True))})
    return pd.DataFrame(rows)


TRUNK = ((50.0, 0.0), (50.0, 200.0))


@pytest.mark.parametrize("ndim", [2, 3])
def test_lengths_of_a_changed_network(ndim):
    lift = (lambda p: p) if ndim == 2 else (lambda p: (30.0, *p))
    axes = "yx" if ndim == 2 else "zyx"
    stay, gone, new = TRUNK, ((50.0, 60.0), (110.0, 60.0)), ((50.0, 140.0), (10.0, 140.0))
    before = network([tuple(map(lift, s)) for s in (stay, gone)], axes)
    after = network([tuple(map(lift, s)) for s in (stay, new)], axes)
    after["x"] += 1.5  # the registration's residual
    result = vessel_remodelling(before, after, tolerance=5.0)
    assert result.before == pytest.approx(260)
    assert result.after == pytest.approx(240)
    # The stump of the lost branch runs across the trunk, so it is lost up to the junction.
    assert result.lost == pytest.approx(60, abs=0.5)
    assert result.gained == pytest.approx(40, abs=0.5)
    assert result.stable + result.lost == pytest.approx(result.before)
    assert result.lost_share == pytest.approx(60 / 260, abs=0.003)
    assert np.isnan(result.lost_low)  # two branches are no sample
    assert set(result.before_pieces.columns) == {"branch", *axes, "length", "kept"}
    nothing_moved = vessel_remodelling(before, before, tolerance=1.0)
    assert (nothing_moved.lost, nothing_moved.gained) == (0, 0)
    everything = vessel_remodelling(before, before.assign(y=before["y"] + 70), tolerance=5.0)
    assert everything.stable == 0


def test_only_what_both_sessions_saw_counts():
    before, after = network([TRUNK]), network([((50.0, 100.0), (50.0, 200.0))])
    seen = vessel_remodelling(before.assign(compared=before["x"] > 100), after, tolerance=3.0)
    assert seen.lost == 0
    assert seen.before == pytest.approx(200 * 5 / 11)  # the vertices beyond 100 µm
    blind = vessel_remodelling(before.assign(compared=False), after, tolerance=3.0)
    assert np.isnan(blind.lost_share)
    assert "earlier session has no vessel" in blind.note
    empty = vessel_remodelling(before.iloc[:0], after.iloc[:0], tolerance=3.0)
    assert "earlier and the later" in empty.note


def test_interval_of_the_lost_share_covers_what_branches_lose():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        y = 20.0 * np.arange(25)
        length = rng.uniform(20, 60, 25)
        keep = rng.random(25) > 0.35
        every = network([((a, 0.0), (a, b)) for a, b in zip(y, length, strict=True)])
        left = network([((a, 0.0), (a, b)) for a, b, k in zip(y, length, keep, strict=True) if k])
        result = vessel_remodelling(every, left, tolerance=4.0)
        covered.append(result.lost_low <= 0.35 <= result.lost_high)
    assert 0.95 - 3.5 * np.sqrt(0.05 * 0.95 / 60) <= np.mean(covered) <= 1.0


def test_masks_of_two_sessions_from_end_to_end():
    yy, xx = np.mgrid[:160, :160]
    trunk, twig = np.abs(yy - 80) < 5, (np.abs(xx - 60) < 4) & (yy > 80) & (yy < 140)
    graphs = [vessel_graph(mask, (1.0, 1.0)).vertices for mask in (trunk | twig, trunk)]
    result = vessel_remodelling(*graphs, tolerance=6.0)
    assert result.lost == pytest.approx(60, abs=6)
    assert result.gained < 3


def test_bad_tables():
    with pytest.raises(TableError, match="lacks"):
        vessel_remodelling(network([TRUNK]).drop(columns="y"), network([TRUNK]), tolerance=2.0)
    with pytest.raises(TableError, match="axes"):
        vessel_remodelling(network([TRUNK]), network([TRUNK]).assign(z=0.0), tolerance=2.0)
    with pytest.raises(SettingsError, match="tolerance"):
        vessel_remodelling(network([TRUNK]), network([TRUNK]), tolerance=0.0)
