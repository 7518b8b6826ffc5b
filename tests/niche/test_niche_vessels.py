"""Vessel graphs of shapes whose length, radius, branching and loops are known."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError
from napari_marrow.niche import VesselSettings, isotropic_band, orientation_tensor, vessel_graph


def tubes(shape, spacing, segments, radius):
    """Mask of round tubes of a radius around straight segments (p, q) in µm."""
    axes = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    where = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    mask = np.zeros(shape, dtype=bool)
    for p, q in segments:
        p, q = np.asarray(p, float), np.asarray(q, float)
        d = q - p
        t = np.clip(((where - p) @ d) / (d @ d), 0, 1)
        mask |= np.linalg.norm(where - p - t[..., None] * d, axis=-1) <= radius
    return mask


@pytest.mark.parametrize("angle", [0.0, 7.0, 20.0, 33.0, 45.0, 61.0, 90.0])
def test_length_of_a_line_at_any_angle_2d(angle):
    u = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    centre = np.array([100.3, 100.7])
    mask = tubes((200, 200), (1.0, 1.0), [(centre - 80 * u, centre + 80 * u)], 4.0)
    graph = vessel_graph(mask, (1.0, 1.0))
    assert graph.length == pytest.approx(160.0, rel=0.02)
    assert (graph.n_tips, graph.n_branch_points, graph.n_loops, graph.n_components) == (2, 0, 0, 1)
    assert graph.mean_tortuosity == pytest.approx(1.0, abs=0.005)
    assert graph.length_density == pytest.approx(graph.length / 200**2 * 1e3)  # µm/µm² -> mm/mm²
    assert graph.length_density_unit == "mm/mm²"


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0)])
def test_tubes_through_a_volume_have_their_length_and_radius(spacing):
    rng = np.random.default_rng(2)
    shape = tuple(int(80 / s) for s in spacing)
    size = np.array(shape) * spacing
    lengths, radii = [], []
    for _ in range(4):
        u = rng.normal(size=3)
        u /= np.linalg.norm(u)
        centre = (size - np.asarray(spacing)) / 2
        mask = tubes(shape, spacing, [(centre - 300 * u, centre + 300 * u)], 6.0)
        graph = vessel_graph(mask, spacing)
        truth = 2 * np.min(size / 2 / np.abs(u))  # chord of the box through its centre
        lengths.append(graph.length / truth)
        radii.append(graph.mean_radius)
        assert (graph.n_tips, graph.n_branch_points) == (0, 0)
        assert set(graph.nodes["kind"]) == {"cut"}
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.03)
    assert np.mean(radii) == pytest.approx(6.0, abs=0.15 * max(spacing) + 0.4)


def test_helix_length_and_tortuosity():
    radius, pitch, turns = 20.0, 45.0, 2.0
    t = np.linspace(0, 2 * np.pi * turns, 120)
    curve = np.column_stack([pitch * t / (2 * np.pi) + 10, 40 + radius * np.sin(t), 40 + radius * np.cos(t)])
    dense = np.column_stack([np.interp(np.linspace(0, 1, 2000), np.linspace(0, 1, 120), c) for c in curve.T])
    where = np.stack(np.mgrid[:110, :80, :80], axis=-1).reshape(-1, 3)
    mask = np.isfinite(cKDTree(dense).query(where, distance_upper_bound=4.0)[0]).reshape(110, 80, 80)
    graph = vessel_graph(mask, (1.0, 1.0, 1.0))
    length = turns * np.hypot(2 * np.pi * radius, pitch)
    assert graph.length == pytest.approx(length, rel=0.03)
    assert graph.mean_tortuosity == pytest.approx(length / (pitch * turns), rel=0.03)
    assert graph.length_density == pytest.approx(graph.length / mask.size * 1e6)  # mm/mm³
    assert graph.length_density_unit == "mm/mm³"


def test_radius_of_tubes_in_the_plane():
    for radius in (3.0, 5.0, 9.0):
        mask = tubes((120, 220), (1.0, 1.0), [((30.2, 20.0), (80.7, 200.0))], radius)
        assert vessel_graph(mask, (1.0, 1.0)).mean_radius == pytest.approx(radius, abs=0.35)


def test_a_ladder_has_its_branch_points_tips_and_loops():
    # Two rails and three rungs: 6 junctions, 4 tips, 2 loops.
    rails = [((60, 20), (60, 180)), ((120, 20), (120, 180))]
    rungs = [((60, x), (120, x)) for x in (60, 100, 140)]
    mask = tubes((180, 200), (1.0, 1.0), rails + rungs, 4.0)
    graph = vessel_graph(mask, (1.0, 1.0))
    assert (graph.n_branch_points, graph.n_tips, graph.n_loops, graph.n_components) == (6, 4, 2, 1)
    assert graph.length == pytest.approx(2 * 160 + 3 * 60, rel=0.02)
    assert graph.branch_density == pytest.approx(6 / (180 * 200) * 1e6)
    assert (graph.branches["kind"] == "tip").sum() == 4


def test_ring_is_one_loop_without_branch_points():
    yy, xx = np.mgrid[:120, :120]
    ring = np.abs(np.hypot(yy - 60, xx - 60) - 40) < 4
    graph = vessel_graph(ring, (1.0, 1.0))
    assert (graph.n_branch_points, graph.n_tips, graph.n_loops) == (0, 0, 1)
    assert graph.length == pytest.approx(2 * np.pi * 40, rel=0.02)
    assert np.isnan(graph.mean_tortuosity)  # a loop has no arc over chord
    assert graph.branches["kind"].tolist() == ["loop"]


def test_crossing_in_3d_merges_its_junction_cluster():
    c = np.array([40.0, 40, 40])
    one, two = np.array([0, 30, 18]), np.array([25, 0, 15])
    arms = [(c - one, c + one), (c - two, c + two)]
    mask = tubes((80, 80, 80), (1.0, 1.0, 1.0), arms, 4.0)
    graph = vessel_graph(mask, (1.0, 1.0, 1.0))
    assert graph.n_tips == 4
    assert graph.n_components == 1
    assert graph.n_loops == 0
    assert graph.n_branch_points in (1, 2)  # a flat crossing may keep a short bridge
    assert graph.nodes.loc[graph.nodes["kind"] == "junction", "degree"].sum() in (4, 6)


def test_bumps_are_pruned_and_the_length_stays():
    rng = np.random.default_rng(0)
    mask = tubes((80, 260), (1.0, 1.0), [((40, 20), (40, 240))], 6.0)
    for x in range(30, 230, 8):
        side = 1 if rng.random() < 0.5 else -1
        mask |= tubes(mask.shape, (1.0, 1.0), [((40 + 5 * side, x), (40 + 8 * side, x))], 1.5)
    graph = vessel_graph(mask, (1.0, 1.0))
    assert graph.n_branch_points == 0
    assert graph.length == pytest.approx(220, rel=0.03)
    unpruned = vessel_graph(
        mask, (1.0, 1.0), settings=VesselSettings(prune_um=0.0, radius_factor=0.0, merge_factor=0.0)
    )
    assert unpruned.n_branch_points > 3


def test_vessel_cut_by_an_organoid_is_no_tip_and_counts_to_its_edge():
    yy, xx = np.mgrid[:200, :200]
    tissue = np.hypot(yy - 100, xx - 100) < 80
    mask = tubes((200, 200), (1.0, 1.0), [((100, -50), (100, 250))], 5.0) & tissue
    graph = vessel_graph(mask, (1.0, 1.0), tissue=tissue)
    assert graph.n_tips == 0
    assert graph.length == pytest.approx(159, abs=3)
    assert graph.length_density == pytest.approx(graph.length / tissue.sum() * 1e3)
    assert np.isclose(graph.branches["length"].sum(), graph.length, rtol=0.02)


def test_two_pieces_and_tables():
    mask = tubes((100, 200), (2.0, 0.5), [((40, 10), (40, 90)), ((120, 10), (150, 80))], 5.0)
    graph = vessel_graph(mask, (2.0, 0.5))
    assert graph.n_components == 2
    assert len(graph.branches) == 2
    assert graph.length == pytest.approx(80 + np.hypot(30, 70), rel=0.04)
    assert {"branch", "y", "x", "radius", "inside"} <= set(graph.vertices.columns)
    first = graph.vertices[graph.vertices["branch"] == 0]
    arc = np.hypot(np.diff(first["y"]), np.diff(first["x"])).sum()
    assert arc == pytest.approx(graph.branches["length"][0])


def test_empty_full_and_single_voxel_masks():
    for mask in (np.zeros((30, 30), bool), np.eye(30, dtype=bool) & False):
        graph = vessel_graph(mask, (1.0, 1.0))
        assert graph.length == 0
        assert graph.branches.empty
        assert graph.n_loops == 0
        assert np.isnan(graph.mean_radius)
    dot = np.zeros((30, 30), bool)
    dot[10, 10] = True
    assert vessel_graph(dot, (1.0, 1.0)).branches.empty
    vessel_graph(np.ones((30, 30), bool), (1.0, 1.0))
    vessel_graph(np.ones((6, 30, 30), bool), (4.0, 1.0, 1.0))
    with pytest.raises(SettingsError, match="shape"):
        vessel_graph(dot, (1.0, 1.0), tissue=np.ones((5, 5), bool))
    with pytest.raises(SettingsError, match="negative"):
        VesselSettings(prune_um=-1)


def test_length_agrees_with_skan_on_a_thin_skeleton():
    """skan's own length of the same skeleton is longer by the voxel steps (about 5 to 9 %), and never shorter."""
    from skan import Skeleton, summarize
    from skimage.morphology import skeletonize

    mask = tubes((200, 200), (1.0, 1.0), [((20, 30), (180, 90)), ((20, 160), (170, 140))], 3.0)
    reference = summarize(Skeleton(skeletonize(mask)), separator="-")["branch-distance"].sum()
    graph = vessel_graph(mask, (1.0, 1.0))
    truth = np.hypot(160, 60) + np.hypot(150, 20)
    assert abs(graph.length - truth) < abs(reference - truth)
    assert graph.length == pytest.approx(truth, rel=0.02)


def test_orientation_of_parallel_and_of_isotropic_segments():
    assert orientation_tensor(np.tile([[3.0, 4.0, 0.0]], (10, 1))).anisotropy == pytest.approx(1.0)
    tensor = orientation_tensor([[2.0, 0.0], [0.0, 1.0]])
    assert tensor.tensor == pytest.approx(np.diag([2 / 3, 1 / 3]))
    assert tensor.anisotropy == pytest.approx(0.5)
    v = np.random.default_rng(0).normal(size=(20000, 3))
    assert orientation_tensor(v / np.linalg.norm(v, axis=1, keepdims=True)).anisotropy < 0.04
    assert np.isnan(orientation_tensor(np.zeros((0, 3))).anisotropy)
    mean, low, high = isotropic_band(np.ones(20), 3, n_simulations=200)
    assert 0 < low < mean < high < 1
    assert np.isnan(isotropic_band([], 3)[0])
