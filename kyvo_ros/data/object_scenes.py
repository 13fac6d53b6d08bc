"""Scenes of the library's objects on a ground: what stands where, seen by which camera, with meshes and true labels.

Like ObjaWorld of Kyvo (arXiv 2506.08002, section 4): 2 to 6 objects whose shapes are more than a word can say. Scenes
are in the support-plane frame, in units of the schema, which count as metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kyvo_ros.data.assets import categories, make_asset, split_index
from kyvo_ros.data.rasterizer import ObjectLook, draw_scene
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject
from kyvo_ros.scene.visibility import is_seen
from kyvo_ros.tokens.schema import (
    DimensionsAttribute, LocationAttribute, SceneSchema, ShapeAttribute, WordAttribute, YawAttribute)

#: Size of the image in which `ObjectSettings.min_visible_pixels` counts.
REFERENCE_PIXELS = 320 * 240
#: How often a scene is begun anew before its rules count as impossible, and how many spots an object tries.
_TRIES, _SPOTS = 200, 40
#: Meshes kept between scenes.
_KEPT = 256


class ObjectSceneError(ValueError):
    """The rules leave no room for the wanted objects."""


@dataclass(frozen=True)
class ObjectSettings:
    """How scenes are drawn at random; lengths in units of the schema."""

    min_objects: int = 2
    max_objects: int = 6
    longest_side: tuple[float, float] = (1.2, 2.2)  # of an object
    extent: float = 3.0  # x and y of the centres are uniform in [-extent, extent]
    min_gap: float = 0.1  # between the bounding circles of two objects
    distance_factor: tuple[float, float] = (0.93, 1.07)  # of the camera, against the canonical one's nominal distance
    elevation_deg: tuple[float, float] = (22.0, 38.0)  # of the camera
    min_visible_pixels: float = 250.0  # of every object, counted in a 320x240 image
    instances: int = 40  # different objects of each category
    categories: tuple[str, ...] = ()  # of the library's training split; none means all

    def __post_init__(self) -> None:
        for name in ("longest_side", "distance_factor", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not 0 < getattr(self, name)[0] <= getattr(self, name)[1]:
                raise ValueError(f"{name} must be two positive numbers in order, got {getattr(self, name)}")
        object.__setattr__(self, "categories", tuple(self.categories))
        unknown = set(self.categories) - set(categories("train"))
        if unknown:
            raise ValueError(f"no category of the library's training split: {', '.join(sorted(unknown))}")
        if not 1 <= self.min_objects <= self.max_objects or self.instances < 1:
            raise ValueError(f"expected 1 <= min_objects <= max_objects and an instance, got {self}")
        if min(self.extent, self.min_gap, self.min_visible_pixels) < 0:
            raise ValueError(f"extent, min_gap and min_visible_pixels must not be negative, got {self}")

    @property
    def names(self) -> tuple[str, ...]:
        """The categories that objects are drawn from."""
        return self.categories or categories("train")


@dataclass(frozen=True, eq=False)
class ObjectScene:
    """One scene and its picture."""

    scene: Scene  # objects with meshes, sizes and yaws, without codes
    assets: tuple[tuple[str, int], ...]  # category and index of each object
    camera: PlaneCamera
    image: np.ndarray  # (H, W, 3) uint8 RGB


def category_word(category: str) -> str:
    """A category as the one word of the language that it has to be."""
    return category.replace("_", "")


def objects_schema(settings: ObjectSettings = ObjectSettings(), length: int = 512) -> SceneSchema:
    """What is said of the library's objects: category, centre, yaw, extents, and a shape of so many codes."""
    return SceneSchema("objects", (
        WordAttribute("category", "[TYPE]", tuple(map(category_word, settings.names))),
        LocationAttribute(resting=False),
        YawAttribute(attribute=None, period_rad=2 * math.pi, centered=True),
        DimensionsAttribute(),
        ShapeAttribute(length=length)), extents=None, max_objects=settings.max_objects)


def place_asset(category: str, index: int, x: float, y: float, yaw_rad: float, longest_side: float) -> SceneObject:
    """An asset on the ground, with its mesh."""
    mesh = _asset(category, index)
    extents = (mesh.bounds[1] - mesh.bounds[0]) * longest_side
    centred = mesh.with_vertices(mesh.vertices * longest_side - (0.0, 0.0, extents[2] / 2))
    return SceneObject({"category": category_word(category)}, [x, y, extents[2] / 2], yaw_rad, extents, mesh=centred)


def sample_object_scene(rng: np.random.Generator, lens: PinholeCamera, nominal: PlaneCamera,
                        settings: ObjectSettings = ObjectSettings(), split: str = "train") -> ObjectScene:
    """A scene in which every object shows enough pixels; `nominal` is in units.

    `split` is `train` or `instances`, those held out. Raises ObjectSceneError.
    """
    enough = settings.min_visible_pixels * lens.width * lens.height / REFERENCE_PIXELS
    for _ in range(_TRIES):
        camera = PlaneCamera(nominal.distance_m * rng.uniform(*settings.distance_factor),
                             math.radians(rng.uniform(*settings.elevation_deg)))
        chosen = _choose(rng, settings, split)
        objects = _place(rng, chosen, camera, lens, settings)
        if objects is None:
            continue
        image, visible = draw_scene([item.placed_mesh() for item in objects], camera, lens, ObjectLook.varied(rng))
        if (visible >= enough).all():
            return ObjectScene(Scene(tuple(objects)), tuple(chosen), camera, image)
    raise ObjectSceneError(f"no scene of up to {settings.max_objects} objects shows {settings.min_visible_pixels} "
                           "pixels of each; ask for fewer objects, smaller ones, or fewer pixels")


def _choose(rng: np.random.Generator, settings: ObjectSettings, split: str) -> list[tuple[str, int]]:
    """Categories and indices; a category may come twice."""
    names, count = settings.names, int(rng.integers(settings.min_objects, settings.max_objects + 1))
    return [(names[rng.integers(len(names))], split_index(split, int(rng.integers(settings.instances))))
            for _ in range(count)]


def _place(rng: np.random.Generator, chosen: list[tuple[str, int]], camera: PlaneCamera, lens: PinholeCamera,
           settings: ObjectSettings) -> list[SceneObject] | None:
    """The assets where their centres are in the picture and they stand apart; None where one finds no spot."""
    placed, view = [], CameraView(lens, camera)
    for category, index in chosen:
        side, yaw = rng.uniform(*settings.longest_side), rng.uniform(-math.pi, math.pi)
        for x, y in rng.uniform(-settings.extent, settings.extent, (_SPOTS, 2)):
            item = place_asset(category, index, x, y, yaw, side)
            if is_seen(item.position_m[None], view) and all(_apart(item, other, settings.min_gap) for other in placed):
                placed.append(item)
                break
        else:
            return None
    return placed


def _apart(one: SceneObject, other: SceneObject, gap: float) -> bool:
    radii = sum(float(np.hypot(*item.size_m[:2])) / 2 for item in (one, other))
    return float(np.hypot(*(one.position_m - other.position_m)[:2])) >= radii + gap


@lru_cache(maxsize=_KEPT)
def _asset(category: str, index: int):
    return make_asset(category, index)
