"""What a run says of the identity of colonies and organoids over sessions."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from napari_marrow.pipeline import parse_recipe
from napari_marrow.pipeline.colony_identity import colony_notes, linked_colonies
from napari_marrow.pipeline.step import Context
from napari_marrow.schemas import COLONIES, COLONY_EDGES
from napari_marrow.study import Study
from napari_marrow.tracking import link_colonies

WELLS = ("B02_f00", "C02_f00")
KEY = "0123456789abcdef"


def well(seed: int, n: int, radius: float, side: float = 5000.0, step: float = 20.0) -> list[pd.DataFrame]:
    """Two sessions of colonies that move a little and grow."""
    rng = np.random.default_rng(seed)
    place, size = rng.uniform(0, side, (n, 2)), rng.lognormal(np.log(radius), 0.3, n)
    tables = []
    for session in range(2):
        place = place + session * rng.normal(0, step, place.shape)
        y, x = place.T
        r = size * 1.2**session
        order = rng.permutation(n)
        table = pd.DataFrame(
            {"y": y, "x": x, "y_reg": y, "x_reg": x, "radius": r, "area": np.pi * r**2, "who": range(n)}
        )
        tables.append(table.iloc[order].reset_index(drop=True).assign(colony=range(1, n + 1), n_cells=10))
    return tables


def kept(study: Study, wells: dict[str, list[pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Link and commit the colonies of both wells as the step does; return them."""
    out = {}
    for position, tables in wells.items():
        for session, table in enumerate(tables):
            table.attrs.update(session=session, time_h=168.0 * session)
        rows = [
            t.assign(position=position, session=s, t=0, time_h=168.0 * s) for s, t in enumerate(tables)
        ]  # fmt: skip
        for row, table in zip(rows, tables, strict=True):
            row.attrs.update(table.attrs)
        linked = linked_colonies(study, position, rows, Context(parse_recipe({})))
        unit = {"position": position}
        study.commit("colony_edges", KEY, unit, COLONY_EDGES.conform(linked.edges))
        study.commit("session_links", KEY, unit, linked.session_links)
        study.commit("colonies", KEY, unit, COLONIES.conform(linked.colonies), extra={"notes": linked.notes})
        out[position] = linked.colonies
    return out


@pytest.fixture
def study(imported_tiny_study, tmp_path) -> Study:
    return Study.open(shutil.copytree(imported_tiny_study, tmp_path / "tiny.marrow"), mode="a")


def test_a_run_says_that_two_wells_were_probably_swapped(study):
    wells = {name: well(k, 40, 66.0) for k, name in enumerate(WELLS)}
    kept(study, wells)
    assert not any("fits the past" in note for note in colony_notes(study, KEY, 0))
    (a, b), (c, d) = wells.values()
    mixed = Study.open(study.path, mode="a")
    kept(mixed, dict(zip(WELLS, ([a, d], [c, b]), strict=True)))
    said = [note for note in colony_notes(mixed, KEY, 0) if "fits the past" in note]
    assert len(said) == 2
    assert "B02_f00 in session 1 fits the past of C02_f00" in said[0]
    assert "the two were probably swapped" in said[0]


@pytest.mark.parametrize("seed", range(4))
def test_eight_organoids_that_the_stage_returned_are_known_again_and_those_of_another_well_are_not(seed):
    """Few objects hold few nats of evidence: where no map had to be searched for, less is enough."""
    first, second = well(20 + seed, 8, 300.0, side=12_000.0, step=450.0)
    other = well(40 + seed, 8, 300.0, side=12_000.0)[1]
    linked = link_colonies([first, second])
    assert linked.sessions[0].accepted
    assert linked.sessions[0].evidence < 25
    assert len(linked.edges) == 8
    assert not link_colonies([first, other]).sessions[0].accepted


def test_organoids_of_a_well_keep_their_identity(study):
    """Twelve large organoids in each well."""
    wells = {name: well(10 + k, 12, 300.0, side=12_000.0) for k, name in enumerate(WELLS)}
    for found in kept(study, wells).values():
        assert found.groupby("who")["colony_id"].nunique().eq(1).all()
        assert found["colony_id"].nunique() == 12
