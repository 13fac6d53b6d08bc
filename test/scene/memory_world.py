"""Small worlds for the tests of the memory: things, a camera that looks at them, frames in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kyvo_ros.scene import PinholeCamera, Scene, SceneObject, Transform
from kyvo_ros.scene.memory import Fusion, MemoryConfig, SceneMemory, Viewpoint

MAP = "map"
LENS = PinholeCamera(320, 240, 300.0, 300.0, 160.0, 120.0)
PERIOD_NS = 100_000_000


def thing(color: str = "red", x: float = 0.0, y: float = 0.0, shape: str = "sphere", yaw: float | None = None,
          extent: float = 0.7, size: str = "small", confidence: float = 0.9) -> SceneObject:
    """An object on the plane z = 0, 0.7 m high unless said otherwise."""
    words = {"size": size, "color": color, "material": "rubber", "shape": shape}
    return SceneObject(words, [x, y, extent / 2], yaw, [extent] * 3, confidence=confidence,
                       attribute_confidence={name: 0.9 for name in words})


def looking_from(x: float, y: float, z: float, target: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Viewpoint:
    """An upright camera."""
    forward = np.array(target) - (x, y, z)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = Transform(np.stack([right, np.cross(forward, right), forward], axis=1), np.array([x, y, z]))
    return Viewpoint(LENS, pose)


#: In front of the table (at -y), seeing about 3 m to each side of its middle.
FRONT = looking_from(0.0, -6.0, 4.0)
#: The same place, with the back to the table.
AWAY = looking_from(0.0, -6.0, 4.0, target=(0.0, -12.0, 2.0))


class World:
    """A memory and a clock of ten frames a second."""

    def __init__(self, **settings: object) -> None:
        self.memory = SceneMemory(MAP, MemoryConfig(**settings))
        self.stamp_ns = 0

    def show(self, *things: SceneObject, frames: int = 1, viewpoint: Viewpoint | None = FRONT) -> Fusion:
        """The same scene for some frames; what the last one did."""
        for _ in range(frames):
            self.stamp_ns += PERIOD_NS
            fusion = self.memory.fuse(Scene(things, MAP), viewpoint, self.stamp_ns)
        return fusion

    def shake(self, things: Sequence[SceneObject], rng: np.random.Generator, sigma_m: float = 0.1,
              **options: object) -> Fusion:
        """One frame of the scene with noise on the places in the ground plane."""
        def moved(item: SceneObject) -> SceneObject:
            x, y = item.position_m[:2] + rng.normal(0, sigma_m, 2)
            return thing(item.attributes["color"], x, y, item.attributes["shape"])
        return self.show(*map(moved, things), **options)

    def ids(self) -> list[str]:
        return [known.id for known in self.memory.snapshot().objects]

    def by_color(self) -> dict[str, str]:
        """Ids of the graph's objects by their color."""
        return {k.object.attributes["color"]: k.id for k in self.memory.snapshot().objects}


