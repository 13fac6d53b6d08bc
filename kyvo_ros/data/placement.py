"""Random CLEVR-like scenes as arrays: what stands where, which camera looks, where the lamps are.

Knows CLEVR's placement rules; knows nothing about pixels (whether every object can be seen is asked by
`kyvo_ros.data.stream`, which re-places what cannot). World frame: z up, support plane z = 0, scene units.

Source: Johnson et al. 2017, "CLEVR", section 3, and the camera, lamps and margins of its public base scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kyvo_ros.scene import Scene, Transform

SIZES = ("large", "small")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
MATERIALS = ("rubber", "metal")
#: What the ray caster draws; CLEVR has the first three.
SHAPES = ("cube", "sphere", "cylinder", "cone")

#: Radius of each of SIZES; a cube's half edge is this over sqrt(2).
RADII = np.array([0.7, 0.35], np.float32)
CAMERA_HOME = np.array([7.48113, -6.50764, 5.34367])
#: Key, back and fill lamp.
LAMP_HOMES = np.array([[6.44671, -2.90517, 4.25840], [-1.16850, 2.64602, 5.81574], [-4.67112, -4.01360, 3.01122]])
#: Spots tried for one object; when none fits, the scene is begun anew with the same number of objects.
SPOTS_PER_ROUND, ROUNDS_PER_OBJECT = 16, 8


class PlacementError(RuntimeError):
    """The rules leave no room for the wanted number of objects."""


@dataclass(frozen=True)
class PlacementSettings:
    """CLEVR's placement rules; distances in scene units (a large sphere has radius 0.7)."""

    min_objects: int = 3
    max_objects: int = 10
    shapes: tuple[str, ...] = SHAPES[:3]  # of SHAPES, all equally frequent
    extent: float = 3.0  # x and y of the centres are uniform in [-extent, extent]
    min_gap: float = 0.25  # between the bounding circles of two objects
    margin: float = 0.4  # between two centres along the camera's right and behind, so that relations are clear
    camera_jitter: float = 0.5  # uniform, each axis, around CAMERA_HOME
    aim_jitter: float = 0.0  # uniform, x and y of the point on the plane that the camera looks at, around the origin
    lamp_jitter: float = 1.0  # uniform, each axis, around LAMP_HOMES
    lamp_turn_rad: float = 0.0  # uniform to both sides, of all lamps together about the vertical
    elevation_deg: tuple[float, float] | None = None  # of the camera over the plane; None leaves what the jitter gives
    distance_factor: tuple[float, float] = (1.0, 1.0)  # scales the camera's distance from the origin
    min_visible_pixels: float = 200.0  # of every object, counted in a 320x240 image

    def __post_init__(self) -> None:
        if not 1 <= self.min_objects <= self.max_objects:
            raise ValueError("1 <= min_objects <= max_objects must hold, got "
                             f"{self.min_objects} and {self.max_objects}")
        if not self.shapes or not set(self.shapes) <= set(SHAPES):
            raise ValueError(f"shapes must be some of {SHAPES}, got {self.shapes}")
        for name in ("min_gap", "margin", "camera_jitter", "aim_jitter", "lamp_jitter", "lamp_turn_rad",
                     "min_visible_pixels"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.extent > 0:
            raise ValueError(f"extent must be positive, got {self.extent}")
        low, high = self.distance_factor
        if not 0 < low <= high:
            raise ValueError(f"distance_factor must be 0 < low <= high, got {self.distance_factor}")
        if self.elevation_deg is not None:
            low, high = self.elevation_deg
            if not 0 < low <= high < 90:
                raise ValueError(f"elevation_deg must be 0 < low <= high < 90, got {self.elevation_deg}")


@dataclass(frozen=True)
class SceneBatch:
    """B scenes of at most N objects, padded; world frame (z up), scene units, radians.

    Rows of a scene at or beyond its `count` are padding and hold zeros.
    """

    count: np.ndarray  # (B,) int64, objects in each scene
    position: np.ndarray  # (B, N, 3) float32, centres; objects stand on z = 0
    yaw_rad: np.ndarray  # (B, N) float32, about z
    size: np.ndarray  # (B, N) int64 into SIZES
    color: np.ndarray  # (B, N) int64 into COLORS
    material: np.ndarray  # (B, N) int64 into MATERIALS
    shape: np.ndarray  # (B, N) int64 into SHAPES
    world_T_optical: np.ndarray  # (B, 4, 4) float64, camera pose; optical frame x right, y down, z forward
    lights: np.ndarray  # (B, 3, 3) float32, key, back and fill lamp

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def of(cls, scenes: Sequence[Scene], world_T_optical: Sequence[Transform]) -> SceneBatch:
        """Scenes in world frames as they are, each through its camera, under lamps that stand in their homes.

        Raises ValueError for an attribute that cannot be drawn.
        """
        known = {"size": SIZES, "color": COLORS, "material": MATERIALS, "shape": SHAPES}
        shape = len(scenes), max(1, *(len(scene) for scene in scenes))
        words = {name: np.zeros(shape, np.int64) for name in known}
        position, yaw = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        for row, scene in enumerate(scenes):
            for column, item in enumerate(scene.objects):
                for name, values in known.items():
                    if item.attributes[name] not in values:
                        raise ValueError(f"a {name} must be one of {values} to be drawn, got {item.attributes[name]!r}")
                    words[name][row, column] = values.index(item.attributes[name])
                position[row, column], yaw[row, column] = item.position_m, item.yaw_rad or 0.0
        return cls(np.array([len(scene) for scene in scenes]), position, yaw, **words,
                   world_T_optical=np.stack([pose.matrix() for pose in world_T_optical]),
                   lights=np.tile(LAMP_HOMES, (len(scenes), 1, 1)).astype(np.float32))

    @property
    def mask(self) -> np.ndarray:
        """(B, N) bool, true where there is an object."""
        return np.arange(self.position.shape[1])[None] < self.count[:, None]

    def select(self, rows: np.ndarray) -> SceneBatch:
        """The scenes of these rows (indices, a slice, or a mask), as a new batch."""
        return SceneBatch(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def half_height(size: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Height of the centre over the plane, for indices into SIZES and SHAPES of any one shape."""
    radius = RADII[size]
    cube = np.asarray(shape) == SHAPES.index("cube")
    return np.where(cube, radius / math.sqrt(2), radius).astype(np.float32)


def look_at(camera: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """world_T_optical (B, 4, 4) of cameras at (B, 3) that look at points (B, 3) without roll."""
    forward = aim - camera
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    pose = np.tile(np.eye(4), (len(camera), 1, 1))
    pose[:, :3, 0], pose[:, :3, 1], pose[:, :3, 2], pose[:, :3, 3] = right, np.cross(forward, right), forward, camera
    return pose


def sample_scenes(rng: np.random.Generator, batch: int, *, settings: PlacementSettings = PlacementSettings()
                  ) -> SceneBatch:
    """Draw `batch` scenes by CLEVR's rules; every number of objects is equally frequent.

    Raises PlacementError when the rules leave no room.
    """
    n = settings.max_objects
    count = rng.integers(settings.min_objects, n + 1, batch)
    indices = {name: rng.integers(0, len(values), (batch, n)) for name, values in
               (("size", SIZES), ("color", COLORS), ("material", MATERIALS), ("shape", settings.shapes))}
    indices["shape"] = np.array([SHAPES.index(name) for name in settings.shapes])[indices["shape"]]
    scenes = SceneBatch(
        count=count, position=np.zeros((batch, n, 3), np.float32),
        yaw_rad=rng.uniform(0, 2 * math.pi, (batch, n)).astype(np.float32), **indices,
        world_T_optical=look_at(_sample_cameras(rng, batch, settings), _sample_aims(rng, batch, settings)),
        lights=_sample_lamps(rng, batch, settings))
    blank = {name: np.where(scenes.mask, getattr(scenes, name), 0) for name in ("yaw_rad", *indices)}
    return place_again(rng, replace(scenes, **blank), scenes.mask, settings=settings)


def place_again(rng: np.random.Generator, scenes: SceneBatch, move: np.ndarray, *, settings: PlacementSettings
                ) -> SceneBatch:
    """New places for the objects of mask `move` (B, N); the others stay unless a scene has no room left.

    Raises PlacementError when even empty scenes cannot be filled.
    """
    position, todo = scenes.position.copy(), move & scenes.mask
    for _ in range(200):
        stuck = _place(rng, scenes, position, todo, settings)
        if not stuck.any():
            return replace(scenes, position=position)
        todo = scenes.mask & stuck[:, None]  # these scenes are begun anew
    raise PlacementError(f"no room for {int(scenes.count[stuck].max())} objects within +-{settings.extent} with gap "
                         f"{settings.min_gap} and margin {settings.margin}; ask for fewer objects or more room")


def _place(rng: np.random.Generator, scenes: SceneBatch, position: np.ndarray, todo: np.ndarray,
           settings: PlacementSettings) -> np.ndarray:
    """Write places for `todo` (B, N) into `position`, object by object; (B,) bool, where one found no place."""
    standing, stuck = scenes.mask & ~todo, np.zeros(len(scenes), bool)
    axes = scenes.world_T_optical[:, :2, [0, 2]]  # right and forward on the plane: (B, 2, 2)
    axes = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).astype(np.float32)
    for k in range(todo.shape[1]):
        rows = np.flatnonzero(todo[:, k] & ~stuck)
        for _ in range(ROUNDS_PER_OBJECT):
            if not len(rows):
                break
            spots = rng.uniform(-settings.extent, settings.extent, (len(rows), SPOTS_PER_ROUND, 2)).astype(np.float32)
            free = _free(spots, position[rows], standing[rows], RADII[scenes.size[rows]], k, axes[rows], settings)
            found = free.any(axis=1)
            placed = rows[found]
            position[placed, k, :2] = spots[found, free[found].argmax(axis=1)]
            position[placed, k, 2] = half_height(scenes.size[placed, k], scenes.shape[placed, k])
            standing[placed, k] = True
            rows = rows[~found]
        stuck[rows] = True
    return stuck


def _free(spots: np.ndarray, position: np.ndarray, standing: np.ndarray, radius: np.ndarray, k: int, axes: np.ndarray,
          settings: PlacementSettings) -> np.ndarray:
    """Which spots (R, S, 2) object k could take beside the standing objects (R, N): (R, S) bool."""
    dx = spots[:, :, None, 0] - position[:, None, :, 0]  # (R, S, N)
    dy = spots[:, :, None, 1] - position[:, None, :, 1]
    apart = (settings.min_gap + radius + radius[:, k, None])[:, None]
    clear = dx * dx + dy * dy >= apart * apart
    for axis in (0, 1):
        x, y = axes[:, 0, axis, None, None], axes[:, 1, axis, None, None]
        clear &= np.abs(dx * x + dy * y) >= settings.margin
    return (clear | ~standing[:, None]).all(axis=2)


def _sample_aims(rng: np.random.Generator, batch: int, settings: PlacementSettings) -> np.ndarray:
    """Points on the plane (B, 3) that the cameras look at."""
    jitter = rng.uniform(-settings.aim_jitter, settings.aim_jitter, (batch, 2))
    return np.concatenate([jitter, np.zeros((batch, 1))], axis=1)


def _sample_lamps(rng: np.random.Generator, batch: int, settings: PlacementSettings) -> np.ndarray:
    """Key, back and fill lamp (B, 3, 3) float32."""
    lamps = LAMP_HOMES + settings.lamp_jitter * rng.uniform(-1, 1, (batch, 3, 3))
    if settings.lamp_turn_rad:
        turn = rng.uniform(-settings.lamp_turn_rad, settings.lamp_turn_rad, (batch, 1))
        x, y = lamps[..., 0].copy(), lamps[..., 1].copy()
        lamps[..., 0], lamps[..., 1] = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    return lamps.astype(np.float32)


def _sample_cameras(rng: np.random.Generator, batch: int, settings: PlacementSettings) -> np.ndarray:
    """Camera centres (B, 3)."""
    camera = CAMERA_HOME + rng.uniform(-settings.camera_jitter, settings.camera_jitter, (batch, 3))
    camera = camera * rng.uniform(*settings.distance_factor, (batch, 1))
    if settings.elevation_deg is not None:
        elevation = np.radians(rng.uniform(*settings.elevation_deg, batch))
        distance, azimuth = np.linalg.norm(camera, axis=1), np.arctan2(camera[:, 1], camera[:, 0])
        flat = distance * np.cos(elevation)
        camera = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=1)
    return camera
