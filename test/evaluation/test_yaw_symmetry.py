"""Which yaws of the library's objects can be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kyvo_ros.data.assets import make_asset
from kyvo_ros.evaluation.yaw_symmetry import yaw_period_rad
from kyvo_ros.scene.mesh import Mesh, MeshError


@pytest.mark.parametrize(("names", "period"), [
    (("mug", "teacup", "pan", "chair", "duck", "teapot"), 2 * math.pi),
    (("banana", "dumbbell", "book", "bucket", "table_tennis_bat"), math.pi),
    (("bottle", "bowl", "vase", "apple", "egg", "pawn"), None)])
def test_the_library(names: tuple[str, ...], period: float | None) -> None:
    found = {(name, index): yaw_period_rad(make_asset(name, index)) for name in names for index in (0, 1, 2)}
    assert set(found.values()) == {period}, found


def test_the_size_does_not_matter() -> None:
    mug = make_asset("mug", 3)
    assert yaw_period_rad(mug.with_vertices(mug.vertices * 0.01)) == yaw_period_rad(mug) == 2 * math.pi


def test_a_mesh_without_a_surface_is_refused() -> None:
    with pytest.raises(MeshError, match="no surface"):
        yaw_period_rad(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((3, 3), np.uint8)))
