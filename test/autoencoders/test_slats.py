"""Slats: exact distances, both directions, broken meshes, and files of Trellis."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from kyvo_ros.autoencoders.slat_encoding import closest_points, encode_slat, inside_grid, occupancy
from kyvo_ros.autoencoders.slat_meshing import decode_slat, mesh_of_grid
from kyvo_ros.autoencoders.slats import (
    COLOR, DISTANCE, NORMAL, OPENNESS, TRUNCATION, CubeFrame, Slat, SlatError, from_grid, read_trellis, to_grid)
from kyvo_ros.data.assets import make_asset, solids
from kyvo_ros.scene.mesh import Mesh, MeshError, joined


def _mesh(shape: trimesh.Trimesh, color=(200, 100, 50)) -> Mesh:
    return Mesh(shape.vertices, shape.faces, np.tile(color, (len(shape.vertices), 1)))


def _agreement(first: Mesh, second: Mesh, frame: CubeFrame) -> float:
    a, b = occupancy(first, frame), occupancy(second, frame)
    return (a & b).sum() / (a | b).sum()


@pytest.fixture(scope="module")
def ball() -> Mesh:
    return _mesh(trimesh.creation.icosphere(5, radius=2.0))


def test_features_of_a_ball_are_those_of_the_formula(ball):
    slat = encode_slat(ball)
    points = slat.frame.from_grid(slat.coords)
    radius = np.linalg.norm(points, axis=1)
    voxel = slat.frame.edge_m / 64
    assert np.abs(slat.feats[:, DISTANCE] * TRUNCATION * voxel - (radius - 2.0)).max() < 0.1 * voxel
    cosine = np.einsum("nd,nd->n", slat.feats[:, NORMAL], points) / radius
    assert cosine.min() > 0.9 and cosine.mean() > 0.999
    assert np.allclose(slat.feats[:, COLOR] * 255, (200, 100, 50), atol=0.01)
    assert 0.25 < slat.feats[:, OPENNESS].min() and slat.feats[:, OPENNESS].max() < 0.85
    inside_a_ring = encode_slat(make_asset("ring", 0))
    assert inside_a_ring.feats[:, OPENNESS].min() < 0.9


@pytest.mark.parametrize("category", ["mug", "chair", "gear", "teacup"])
def test_meshes_come_back(category):
    mesh = make_asset(category, 4)
    slat = encode_slat(mesh)
    again = decode_slat(slat)
    a, b, c = np.moveaxis(again.triangles, 1, 0)
    assert again.is_watertight and np.einsum("nd,nd->", a, np.cross(b, c)) > 0
    assert _agreement(mesh, again, slat.frame) > 0.99
    assert np.abs(again.bounds - mesh.bounds).max() < slat.frame.edge_m / 64
    points, _, colors = again.sample(500, np.random.default_rng(0))
    truth, _, true_colors = mesh.sample(40_000, np.random.default_rng(1))
    distance, nearest = cKDTree(truth).query(points)
    assert distance.max() < 1.2 * slat.frame.edge_m / 64
    assert np.median(np.abs(colors - true_colors[nearest])) < 0.03


def test_the_cube_and_its_inverse(ball):
    frame = CubeFrame.around(ball.bounds + (1, 2, 3))
    points = np.random.default_rng(0).normal(size=(10, 3))
    assert np.allclose(frame.from_grid(frame.to_grid(points)), points)
    assert np.allclose(frame.to_grid(ball.bounds + (1, 2, 3)), [[1.5] * 3, [61.5] * 3])
    assert frame.center_m == (1.0, 2.0, 3.0)
    with pytest.raises(SlatError, match="positive edge"):
        CubeFrame(edge_m=0.0)


def test_the_grid_keeps_all_and_knows_the_inside():
    slat = encode_slat(make_asset("teacup", 0))
    grid = to_grid(slat)
    again = from_grid(grid, slat.frame)
    order = [np.lexsort(s.coords.T) for s in (slat, again)]
    assert np.array_equal(slat.coords[order[0]], again.coords[order[1]])
    assert np.array_equal(slat.feats[order[0]], again.feats[order[1]])
    ball_grid = to_grid(encode_slat(_mesh(trimesh.creation.icosphere(3))))
    assert ball_grid[DISTANCE, 32, 32, 32] == -1 and ball_grid[DISTANCE, 0, 0, 0] == 1


def test_overlapping_parts_are_one_solid():
    boxes = [_mesh(trimesh.creation.box((1, 1, 1)).apply_translation((x, 0, 0))) for x in (0, 0.5)]
    mesh = joined(boxes)
    whole = _mesh(trimesh.creation.box((1.5, 1, 1)).apply_translation((0.25, 0, 0)))
    frame = CubeFrame.around(mesh.bounds)
    assert np.array_equal(occupancy(mesh, frame), occupancy(whole, frame))
    slats = [encode_slat(m, frame=frame) for m in (mesh, whole)]
    assert len(slats[0].coords) < 1.1 * len(slats[1].coords)  # of what lies within, little is left


def test_a_hole_is_closed():
    ball = trimesh.creation.icosphere(4)
    whole = _mesh(ball)
    open_ball = Mesh(whole.vertices, whole.faces[ball.triangles_center[:, 2] < 0.8], whole.colors)
    slat = encode_slat(open_ball)
    mesh = decode_slat(slat)
    assert not open_ball.is_watertight and mesh.is_watertight
    assert _agreement(whole, mesh, CubeFrame.around(whole.bounds)) > 0.9


def test_a_sheet_becomes_a_shell():
    sheet = Mesh([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [(0, 1, 2), (0, 2, 3)], np.full((4, 3), 50))
    slat = encode_slat(sheet)
    mesh = decode_slat(slat)
    assert mesh.is_watertight and np.allclose(np.ptp(mesh.bounds, axis=0)[:2], 1, atol=0.05)
    assert 0 < np.ptp(mesh.bounds[:, 2]) < 3 * slat.frame.edge_m / 64


def test_odd_sizes():
    mesh = make_asset("egg", 0)
    coords = encode_slat(mesh, 32).coords
    for scale in (1e-6, 1e6):
        assert np.array_equal(encode_slat(mesh.with_vertices(mesh.vertices * scale), 32).coords, coords)


def test_a_million_triangles():
    drum = solids.lathe([(0, 0), (1, 0), (1, 1), (0, 1)], segments=1020, spacing=0.006)
    assert len(drum.faces) > 1_000_000
    slat = encode_slat(drum, 32)
    again = decode_slat(slat)
    assert again.is_watertight and np.abs(again.bounds - drum.bounds).max() < slat.frame.edge_m / 32


def test_a_mesh_without_faces_is_refused():
    with pytest.raises(MeshError, match="without faces"):
        encode_slat(Mesh(np.zeros((3, 3)), np.zeros((0, 3)), np.zeros((3, 3))))


def test_nearest_points_of_a_triangle():
    triangle = np.array([(0.0, 0, 0), (1, 0, 0), (0, 1, 0)])
    points = np.array([(0.2, 0.2, 3), (-1, -1, 0), (0.5, -2, 1), (2, 2, 0), (0.2, 0.2, 0)])
    expected = [(0.2, 0.2, 0), (0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0), (0.2, 0.2, 0)]
    assert np.allclose(closest_points(np.tile(triangle, (5, 1, 1)), points), expected)


def test_faces_that_look_inwards_enclose_as_well():
    box = trimesh.creation.box((8, 8, 8)).apply_translation((8, 8, 8)).triangles
    inside = inside_grid(box, 16)
    assert inside.sum() in (8**3, 9**3) and np.array_equal(inside, inside_grid(box[:, ::-1], 16))


def test_slats_refuse_what_they_are_not(tmp_path):
    for coords, feats, reason in (
            ([[0, 0]], [[1.0]], "coords"), ([[0, 0, 64]], [[1.0]], "must lie in"),
            ([[0, 0, 0]] * 2, [[1.0]] * 2, "twice"), ([[0, 0, 0]], [[np.nan]], "finite"),
            (np.zeros((0, 3)), np.zeros((0, 8)), "active voxel")):
        with pytest.raises(SlatError, match=reason):
            Slat(np.array(coords), np.array(feats))
    with pytest.raises(SlatError, match="another kind"):
        to_grid(Slat([[0, 0, 0]], np.zeros((1, 32))))
    with pytest.raises(SlatError, match="encloses nothing"):
        mesh_of_grid(np.ones((8, 4, 4, 4), np.float32), CubeFrame())


def test_slats_of_trellis(tmp_path):
    rng = np.random.default_rng(0)
    coords = np.unique(rng.integers(0, 64, (500, 3)), axis=0).astype(np.int32)
    feats = rng.normal(size=(len(coords), 8)).astype(np.float32)
    batched = np.column_stack([np.zeros(len(coords), np.int32), coords])
    np.savez(tmp_path / "one.npz", coords=batched, feats=feats)
    slat = read_trellis(tmp_path / "one.npz")
    assert np.array_equal(slat.coords, coords) and np.array_equal(slat.feats, feats)
    batched[0, 0] = 1
    np.savez(tmp_path / "two.npz", coords=batched, feats=feats)
    with pytest.raises(SlatError, match="2 objects"):
        read_trellis(tmp_path / "two.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    for name in ("text.npz", "missing.npz"):
        with pytest.raises(SlatError, match="no arrays coords and feats"):
            read_trellis(tmp_path / name)
