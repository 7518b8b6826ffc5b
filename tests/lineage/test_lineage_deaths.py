from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import DeathSettings, death_probabilities, with_deaths


def watched_cells(make_tracks, *, n_alive=120, n_lost=40, n_dead=40, frames=14, seed=0, shrink=0.6):
    """Single cells in hourly frames: some live on, some vanish as they were, some shrink and brighten before."""
    rng = np.random.default_rng(seed)
    n = n_alive + n_lost + n_dead
    rows, nodes = [], []
    for i in range(n):
        last = frames - 1 if i < n_alive else int(rng.integers(6, frames - 1))
        rows.append((i + 1, 0, 0.0, float(last), "start", "end" if i < n_alive else "loss"))
        t = np.arange(last + 1)
        area = np.exp(rng.normal(4, 0.2) + rng.normal(0, 0.08, len(t)))
        light = np.exp(rng.normal(6, 0.2) + rng.normal(0, 0.08, len(t)))
        if i >= n_alive + n_lost:
            left = np.clip((last - t) / 4.0, 0, 1)
            area *= np.exp(-shrink * (1 - left))
            light *= np.exp(0.4 * (1 - left))
        nodes.append(pd.DataFrame({"t": t, "track_id": i + 1, "area": area, "intensity_nuclei": light}))
    table = pd.concat(nodes, ignore_index=True).assign(position="B02_f00", session=1, eccentricity=0.5)
    table["time_h"] = table["t"].astype(float)
    return make_tracks(rows), table, n_alive + n_lost


def test_dying_cells_are_told_from_lost_ones_and_their_number_is_right(make_tracks):
    tracks, nodes, first_dead = watched_cells(make_tracks)
    losses = death_probabilities(tracks, nodes)
    died = losses["track_id"] > first_dead
    assert len(losses) == 80
    assert (losses["evidence"] == "appearance").all()
    assert losses["death_probability"].sum() == pytest.approx(40, abs=3)
    assert losses.loc[died, "death_probability"].mean() > 0.9
    assert losses.loc[~died, "death_probability"].mean() < 0.1
    named = with_deaths(tracks, losses)
    right = (named["fate"] == "death") == (named["track_id"] > first_dead)
    assert right.mean() > 0.97


def test_no_death_is_invented_where_cells_are_only_lost(make_tracks):
    for seed in range(5):
        tracks, nodes, _ = watched_cells(make_tracks, n_dead=0, n_lost=60, seed=seed)
        losses = death_probabilities(tracks, nodes)
        assert losses["death_probability"].fillna(0).sum() < 2
        assert (with_deaths(tracks, losses)["fate"] == "death").sum() <= 1


def test_few_losses_are_left_undecided_with_a_reason(make_tracks):
    tracks, nodes, _ = watched_cells(make_tracks, n_dead=3, n_lost=2)
    losses = death_probabilities(tracks, nodes)
    assert losses["death_probability"].isna().all()
    assert losses["note"].str.contains("5 losses, 10 needed").all()
    assert (with_deaths(tracks, losses)["fate"] != "death").all()


def test_a_death_marker_decides_alone_and_annotations_stay(make_tracks):
    tracks, nodes, first_dead = watched_cells(make_tracks, n_dead=3, n_lost=2)
    tracks.loc[tracks["track_id"] == first_dead, "fate"] = "death"
    on = nodes["track_id"] == first_dead + 1
    nodes["intensity_annexin"] = np.where(on, 900.0, 20.0)
    settings = DeathSettings(death_channel="annexin", death_threshold=300.0)
    losses = death_probabilities(tracks, nodes, settings=settings).set_index("track_id")
    assert losses.loc[first_dead + 1, "death_probability"] == 1
    assert losses.loc[first_dead + 1, "evidence"] == "marker"
    assert losses.loc[first_dead, "evidence"] == "annotated"
    assert losses["death_probability"].sum() == 2


def test_bad_input_is_named(make_tracks):
    tracks, nodes, _ = watched_cells(make_tracks, n_dead=3, n_lost=2)
    with pytest.raises(TableError, match="area"):
        death_probabilities(tracks, nodes.drop(columns="area"))
    with pytest.raises(TableError, match="tracks table does not have"):
        death_probabilities(tracks[tracks["track_id"] > 1], nodes)
    with pytest.raises(SettingsError, match="dying_h is 0"):
        DeathSettings(dying_h=0)
    with pytest.raises(SettingsError, match="death_threshold"):
        DeathSettings(death_channel="annexin")
    with pytest.raises(SettingsError, match="least is 2"):
        with_deaths(tracks, death_probabilities(tracks, nodes), least=2)
