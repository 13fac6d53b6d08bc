"""After which turn about its axis an object looks the same, seen from its surface."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from kyvo_ros.scene.mesh import Mesh
from kyvo_ros.scene.transforms import Transform

#: What two surfaces may differ by and look the same, as a share of an object's longest side: a handle is more.
TOLERANCE = 0.065
#: Points on a surface, and the share of them that must have the other surface near.
_POINTS, _SHARE = 4000, 0.99
#: A turn that maps nothing but round objects to themselves.
_ODD_TURN_RAD = 0.86


def yaw_period_rad(mesh: Mesh) -> float | None:
    """The period of the mesh's yaw about z of its own frame: a whole turn or half of one, in radians; None for a round
    one, whose yaw nobody sees. Squares count with their half turns. Colours are not looked at.

    Raises MeshError for a mesh without a surface.
    """
    points = mesh.sample(_POINTS, np.random.default_rng(0))[0]
    near, allowed = cKDTree(points), TOLERANCE * float(np.ptp(points, axis=0).max())

    def looks_the_same(turn_rad: float) -> bool:
        distance = near.query(Transform.from_yaw(turn_rad).apply(points))[0]
        return bool(np.quantile(distance, _SHARE) <= allowed)
    if not looks_the_same(math.pi):
        return 2 * math.pi
    return None if looks_the_same(_ODD_TURN_RAD) else math.pi
