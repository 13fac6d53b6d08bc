"""The library of objects: sound meshes, distinct instances, splits that do not overlap."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from kyvo_ros.data.assets import CATEGORIES, HELD_OUT_CATEGORIES, AssetError, assets, categories, make_asset, solids
from kyvo_ros.scene.mesh import Mesh


def _volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.triangles, 1, 0)
    return float(np.einsum("nd,nd->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_makes_sound_and_distinct_objects(category):
    meshes = [make_asset(category, index) for index in (0, 1, 7)]
    for mesh in meshes:
        assert mesh.is_watertight
        low, high = mesh.bounds
        assert np.ptp(mesh.bounds, axis=0).max() == pytest.approx(1) and low[2] == pytest.approx(0, abs=1e-9)
        assert np.allclose((low + high)[:2], 0)
        assert _volume(mesh) > 1e-3
        assert len(mesh.faces) < 100_000
    shapes = {(len(mesh.faces), mesh.vertices.round(6).tobytes()) for mesh in meshes}
    assert len(shapes) == 3


def test_an_asset_is_the_same_for_ever():
    first, again = make_asset("mug", 5), make_asset("mug", 5)
    assert np.array_equal(first.vertices, again.vertices) and np.array_equal(first.colors, again.colors)
    with pytest.raises(AssetError, match="no category 'dragon'"):
        make_asset("dragon", 0)


def test_splits_do_not_overlap():
    parts = {split: set(assets(split, 1500)) for split in ("train", "instances", "categories")}
    assert all(len(part) == 1500 for part in parts.values())
    assert not parts["train"] & parts["instances"]
    assert {name for name, _ in parts["train"]} == {name for name, _ in parts["instances"]} == set(categories("train"))
    assert {name for name, _ in parts["categories"]} == set(HELD_OUT_CATEGORIES)
    assert len(categories("train")) >= 30
    with pytest.raises(AssetError, match="'test'"):
        categories("test")


@pytest.mark.parametrize("mesh, volume", [
    (solids.lathe([(0, 0), (1, 0), (1, 2), (0, 2)], segments=256), 2 * np.pi),
    (solids.lathe([(1, 0), (2, 0), (2, 1), (1, 1), (1, 0)], segments=256), 3 * np.pi),
    (solids.sweep([(0, 0, 0), (0, 0, 1), (0, 0, 3)], 0.5, segments=256), 0.75 * np.pi),
    (solids.rounded_box((1, 2, 3)), 6.0),
    (solids.rounded_box((1, 1, 1), 0.5, cells=61), np.pi / 6),
    (solids.superquadric((1, 2, 3), cells=61), np.pi),
    (solids.prism(solids.circle(1, 256), 2), 2 * np.pi),
    (solids.prism(solids.circle(1, 256), 2, solids.circle(0.5, 256)), 1.5 * np.pi)])
def test_solids_enclose_what_their_formulas_say(mesh, volume):
    assert mesh.is_watertight
    assert _volume(mesh) == pytest.approx(volume, rel=0.01)


def test_a_profile_that_is_open_is_refused():
    with pytest.raises(ValueError, match="begin and end on the axis"):
        solids.lathe([(0.5, 0), (1, 1)])


@pytest.mark.parametrize("category", ["mug", "pan", "chair", "sofa", "bed", "spoon", "desk_lamp", "pipe", "truck", "airplane",
                                      "duck"])
def test_like_sides_are_left_and_right(category):
    """So that a mirror image has the same front."""
    mesh = make_asset(category, 1)
    points = mesh.sample(2000, np.random.default_rng(0))[0] - mesh.bounds.mean(axis=0)
    left_right, front_back = (cKDTree(points).query(points * flip)[0].mean() for flip in ((1, -1, 1), (-1, 1, 1)))
    assert left_right < 0.75 * front_back


def test_fronts_look_along_x():
    for category in ("chair", "sofa", "bed"):  # backs and headboards are high
        mesh = make_asset(category, 2)
        high = mesh.vertices[mesh.vertices[:, 2] > 0.8 * mesh.bounds[1, 2]]
        assert high[:, 0].mean() < mesh.bounds[:, 0].mean() - 0.05, category
    duck = make_asset("duck", 0)
    bill = duck.vertices[np.abs(duck.colors[:, :3].astype(float) - (237, 110, 26)).max(axis=1) < 6]
    assert len(bill) and bill[:, 0].mean() > 0.2
