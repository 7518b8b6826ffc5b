"""Vessels, outline and scaffold against geometry."""

from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.simulation import Geometry
from napari_marrow.simulation.raster import tube_distance
from napari_marrow.simulation.tissue import grow_tissue, sample_grid
from napari_marrow.simulation.vessels import VesselGraph, distance_to_vessels, grow_vessels


@pytest.fixture(scope="module")
def grown():
    geometry = Geometry(radius_um=250.0, vessel_density=9.0, porosity=0.7)
    rng = np.random.default_rng(4)
    tissue = grow_tissue(geometry, (250.0, 260.0), rng)
    return geometry, tissue, grow_vessels(geometry, tissue, rng)


def test_outline_has_its_closed_form_area(grown):
    _, tissue, _ = grown
    y, x = np.mgrid[0:620, 0:620].astype(float)
    assert (tissue.outline.depth(y - 50, x - 40) > 0).sum() == pytest.approx(tissue.outline.area, rel=0.002)


def test_scaffold_takes_the_share_that_porosity_leaves(grown):
    geometry, tissue, _ = grown
    inside = tissue.inside[0] > 0
    assert (tissue.scaffold[0][inside] < 0).mean() == pytest.approx(1 - geometry.porosity, abs=0.03)


def test_vessel_length_density_is_reached_and_is_the_sum_of_edges(grown):
    geometry, tissue, graph = grown
    starts, ends, _ = graph.pieces()
    total = np.linalg.norm(ends - starts, axis=1).sum()
    assert graph.edge_table()["length"].sum() == pytest.approx(total)
    assert total / tissue.outline.area * 1e3 == pytest.approx(geometry.vessel_density, rel=0.03)


def test_graph_is_consistent(grown):
    _, tissue, graph = grown
    for path, (a, b) in zip(graph.paths, graph.ends, strict=True):
        assert path[0] == pytest.approx(graph.nodes[a])
        assert path[-1] == pytest.approx(graph.nodes[b])
    degree = np.bincount(graph.ends.ravel())
    assert (degree >= 3).any()
    assert degree.min() >= 1
    points = graph.point_table()
    assert (tissue.outline.depth(points["y"].to_numpy(), points["x"].to_numpy()) > -5.0).all()
    assert tissue.sample(tissue.scaffold, points[["z", "y", "x"]].to_numpy()).min() > -1.0


def test_vessels_keep_their_diameters(grown):
    geometry, _, graph = grown
    diameter = 2 * np.array(graph.radii)
    thin = (diameter >= geometry.sprout_diameter_um[0]) & (diameter <= geometry.sprout_diameter_um[1])
    thick = (diameter >= geometry.sinusoid_diameter_um[0]) & (diameter <= geometry.sinusoid_diameter_um[1])
    assert (thin | thick).all()
    assert thin.any()
    assert thick.any()


def brute_distance(points, graph):
    starts, ends, radii = graph.pieces()
    axis = ends - starts
    along = np.clip(((points[:, None] - starts) * axis).sum(-1) / (axis**2).sum(-1), 0, 1)
    return (np.linalg.norm(points[:, None] - starts - along[..., None] * axis, axis=-1) - radii).min(axis=1)


def test_distance_field_agrees_with_brute_force(grown):
    _, tissue, graph = grown
    field = distance_to_vessels(graph, tissue.scaffold.shape, tissue.origin, tissue.spacing)
    points = np.zeros((400, 3))
    points[:, 1:] = np.random.default_rng(0).uniform(20, 480, (400, 2))
    # 2 µm grid, linear: worst at the ridge of a centreline.
    assert sample_grid(field, points, tissue.origin, tissue.spacing) == pytest.approx(
        brute_distance(points, graph), abs=1.1
    )
    error = sample_grid(field, points, tissue.origin, tissue.spacing) - brute_distance(points, graph)
    assert np.abs(error).mean() < 0.1


def test_tube_distance_in_three_dimensions():
    graph = VesselGraph((np.array([[5.0, 0, 0], [5.0, 0, 20.0]]),), (3.0,), np.array([[0, 1]]), np.zeros((2, 3)))
    starts, ends, radii = graph.pieces()
    field = np.full((11, 11, 21), 50.0, np.float32)
    tube_distance(starts, ends, radii, np.ones(3), np.zeros(3), 30.0, field)
    z, y, _ = np.mgrid[0:11, 0:11, 0:21]
    assert field == pytest.approx(np.hypot(z - 5, y) - 3.0, abs=1e-5)


def test_no_vessels_and_no_scaffold_are_possible():
    geometry = Geometry(vessel_density=0.0, porosity=1.0)
    rng = np.random.default_rng(0)
    tissue = grow_tissue(geometry, (130.0, 130.0), rng)
    graph = grow_vessels(geometry, tissue, rng)
    assert not tissue.has_scaffold
    assert len(graph.paths) == 0
    assert (distance_to_vessels(graph, tissue.scaffold.shape, tissue.origin, tissue.spacing) == 400.0).all()
