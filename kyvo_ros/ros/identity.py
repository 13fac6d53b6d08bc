"""Names for objects that last from frame to frame.

An object keeps its id while something like it stands near where it stood. This is bookkeeping between consecutive
frames, so that markers neither blink nor swap; it is no memory of a place (that is the scene graph, `graph.py`, which
has names of its own). Positions must be given in a frame in which the objects stand still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene import SceneObject

#: Frames for which an unseen object keeps its name.
PATIENCE_FRAMES = 10


@dataclass
class _Known:
    name: str
    attributes: dict[str, str]
    position_m: np.ndarray
    last_frame: int


class IdentityKeeper:
    """Assigns ids `object_0`, `object_1`, ... greedily, the cheapest pair first.

    The cost of a pair is its distance plus `radius_m` / 2 for each attribute that differs; pairs of `radius_m` or more
    never match, so that at most one attribute may change in a frame.
    """

    def __init__(self, radius_m: float = 0.5) -> None:
        if not radius_m > 0:
            raise ValueError(f"the radius must be positive metres, got {radius_m}")
        self.radius_m = radius_m
        self._known: list[_Known] = []
        self._frame = 0
        self._next = 0

    def reset(self) -> None:
        """Forget all objects; names are not used again."""
        self._known.clear()

    def assign(self, objects: list[SceneObject] | tuple[SceneObject, ...], positions_m: np.ndarray,
               radius_m: float | None = None) -> list[str]:
        """One name for each object; `positions_m` (N, 3) stand in a frame that does not move with the camera.

        `radius_m` is the farthest a match may be for this frame (the keeper's own by default).
        """
        self._frame += 1
        names: list[str | None] = [None] * len(objects)
        for row, column in self._pairs(objects, positions_m, radius_m or self.radius_m):
            known = self._known[column]
            names[row] = known.name
            known.attributes, known.position_m = dict(objects[row].attributes), positions_m[row]
            known.last_frame = self._frame
        for row, name in enumerate(names):
            if name is None:
                names[row] = self._introduce(objects[row], positions_m[row])
        self._known = [k for k in self._known if self._frame - k.last_frame <= PATIENCE_FRAMES]
        return [name for name in names if name is not None]

    def _pairs(self, objects, positions_m: np.ndarray, radius_m: float) -> list[tuple[int, int]]:
        """Pairs (new, known) with a cost within the radius, greedily by cost."""
        known_m = np.array([known.position_m for known in self._known]).reshape(-1, 3)
        distances_m = np.linalg.norm(positions_m[:, None] - known_m, axis=-1)  # (N, known)
        candidates = []
        for row, column in np.argwhere(distances_m < radius_m).tolist():
            attributes = self._known[column].attributes
            differing = sum(attributes.get(k) != v for k, v in objects[row].attributes.items())
            cost = float(distances_m[row, column]) + differing * radius_m / 2
            if cost < radius_m:
                candidates.append((cost, row, column))
        rows, columns, pairs = set(), set(), []
        for _, row, column in sorted(candidates):
            if row not in rows and column not in columns:
                rows.add(row)
                columns.add(column)
                pairs.append((row, column))
        return pairs

    def _introduce(self, item: SceneObject, position_m: np.ndarray) -> str:
        name = f"object_{self._next}"
        self._next += 1
        self._known.append(_Known(name, dict(item.attributes), np.array(position_m), self._frame))
        return name
