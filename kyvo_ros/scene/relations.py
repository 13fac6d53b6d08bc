"""Spatial relations between the objects of a scene, as CLEVR defines them, seen from the camera.

An object stands left of another when its offset along the camera's left direction in the ground plane exceeds
`epsilon_m`. In the support-plane frame right is +x and behind is +y. Source: CLEVR (arXiv 1612.06890), scene files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene.types import PLANE_FRAME, Scene, SceneError

#: Unit vectors (x, y) of the four relations in the support-plane frame.
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "front": (0.0, -1.0), "behind": (0.0, 1.0)}
RELATIONS = tuple(DIRECTIONS)
#: Offset from which on a relation holds, in model units (CLEVR's epsilon); a model unit is a metre unless scaled.
RELATION_EPSILON_UNITS = 0.2


@dataclass(frozen=True)
class Relation:
    """`objects[subject]` stands `predicate` of `objects[object]`."""

    subject: int
    predicate: str  # one of RELATIONS
    object: int


def relations_of(scene: Scene, epsilon_m: float = RELATION_EPSILON_UNITS) -> list[Relation]:
    """All relations of a scene in the support-plane frame, ordered by predicate, subject, object.

    Raises SceneError where the scene is in another frame, since left and behind depend on the viewpoint.
    """
    if scene.frame_id != PLANE_FRAME:
        raise SceneError(f"relations are seen from the camera: expected a scene in {PLANE_FRAME}, got {scene.frame_id}")
    ground = scene.positions_m()[:, :2]
    found = []
    for predicate, direction in DIRECTIONS.items():
        along = ground @ np.array(direction)
        holds = along[:, None] - along[None, :] > epsilon_m
        found += [Relation(int(i), predicate, int(j)) for i, j in np.argwhere(holds)]
    return found
