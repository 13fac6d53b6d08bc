"""Synthetic scenes with depth: solids on a plane as a depth camera sees them, the truth, and what a recogniser says.

Depth is ray-cast exactly, then given the faults of a sensor: noise that grows with the range, pixels without depth, and
pixels at edges that fall between both surfaces. Lengths are in model units of `unit_m` metres, so that one setting is a
room of CLEVR's objects and another a table-top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject

SHAPES = ("cube", "sphere", "cylinder")
_EXTENT_UNITS = {"large": 1.4, "small": 0.7}
_CUBE_SHARE = 1 / math.sqrt(2)  # a cube's edge, of the extent of what is round
#: Half the sides of the field on the plane that objects stand in.
_FIELD_UNITS = np.array([2.6, 2.2])


@dataclass(frozen=True)
class DepthSettings:
    """One kind of scenes; the defaults are a table-top a metre away from a stereo camera."""

    unit_m: float = 0.1
    width: int = 320  # of the depth image, pixels
    height: int = 240
    objects: int = 5
    gap_units: float = 0.25  # least gap between two objects
    noise: float = 0.005  # standard deviation of depth, as a share of it
    missing: float = 0.05  # share of pixels without depth
    along_sigma_units: float = 0.2  # error of predicted positions along the line of sight, as seen from above
    across_sigma_units: float = 0.08  # and across it
    size_sigma: float = 0.08  # spread of true sizes about the one that the recogniser says, as a share
    yaw_sigma_rad: float = 0.1


@dataclass(frozen=True, eq=False)
class DepthScene:
    """One image's depth, the truth and a prediction with the same order of objects."""

    view: CameraView
    depth_m: np.ndarray  # (H, W) float32, NaN where there is none
    truth: Scene
    predicted: Scene


def depth_scene(seed: int, settings: DepthSettings = DepthSettings()) -> DepthScene:
    """A scene; the same seed and settings give the same one."""
    rng = np.random.default_rng(seed)
    view = random_view(rng, settings)
    objects: list[SceneObject] = []
    while len(objects) < settings.objects:
        item = _drawn(rng, settings)
        if all(_gap_m(item, other) >= settings.gap_units * settings.unit_m for other in objects):
            objects.append(item)
    depth = faulty(rng, cast_depth(view, objects), settings)
    predicted = tuple(_predicted(rng, item, view, settings) for item in objects)
    return DepthScene(view, depth, Scene(tuple(objects)), Scene(predicted))


def random_view(rng: np.random.Generator, settings: DepthSettings) -> CameraView:
    """A camera over the plane at about the distance and tilt of CLEVR's, with a little roll."""
    width, height = settings.width, settings.height
    lens = PinholeCamera(width, height, 1.1 * width, 1.1 * width, width / 2, height / 2)
    plane = PlaneCamera(settings.unit_m * rng.uniform(9.5, 12.5), rng.uniform(0.42, 0.75))
    return CameraView(lens, plane, roll_rad=float(rng.normal(0.0, 0.03)))


def cast_depth(view: CameraView, objects: Sequence[SceneObject]) -> np.ndarray:
    """(H, W) distance along the optical axis to the nearest surface, metres; NaN over the horizon."""
    lens, pose = view.intrinsics, view.plane_T_optical()
    pixels = np.stack(np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5), axis=-1)
    rays = lens.rays(pixels).reshape(-1, 3) @ pose.rotation.T
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = -pose.translation[2] / rays[:, 2]
        nearest = np.where(ground > 0, ground, np.inf)
        for item in objects:
            hit = {"sphere": _hit_sphere, "cylinder": _hit_cylinder}.get(item.attributes["shape"], _hit_box)
            nearest = np.fmin(nearest, hit(item, pose.translation - item.position_m, rays))
    return np.where(np.isfinite(nearest), nearest, np.nan).reshape(lens.height, lens.width)


def faulty(rng: np.random.Generator, depth_m: np.ndarray, settings: DepthSettings) -> np.ndarray:
    """(H, W) float32: exact depth as a sensor would give it."""
    seen = depth_m * (1.0 + rng.normal(0.0, settings.noise, depth_m.shape)) if settings.noise else depth_m.copy()
    beside = np.roll(depth_m, 1, axis=1)
    edges = np.abs(beside - depth_m) > 0.02 * depth_m
    mixed = rng.random(depth_m.shape)
    seen = np.where(edges, mixed * depth_m + (1 - mixed) * beside, seen)
    return np.where(rng.random(depth_m.shape) < settings.missing, np.nan, seen).astype(np.float32)


def _drawn(rng: np.random.Generator, settings: DepthSettings) -> SceneObject:
    """An object whose true size differs from what its words say."""
    words = {"size": str(rng.choice(list(_EXTENT_UNITS))), "shape": str(rng.choice(SHAPES))}
    extent = said_extent_m(words, settings.unit_m) * float(np.clip(rng.normal(1.0, settings.size_sigma), 0.8, 1.2))
    x, y = rng.uniform(-_FIELD_UNITS, _FIELD_UNITS) * settings.unit_m
    yaw = float(rng.uniform(0.0, math.pi / 2)) if words["shape"] == "cube" else None
    return SceneObject(words, [x, y, extent / 2], yaw, [extent] * 3)


def said_extent_m(words: dict[str, str], unit_m: float) -> float:
    """The extent that a recogniser says an object of these words has."""
    return _EXTENT_UNITS[words["size"]] * unit_m * (_CUBE_SHARE if words["shape"] == "cube" else 1.0)


def _predicted(rng: np.random.Generator, item: SceneObject, view: CameraView, settings: DepthSettings) -> SceneObject:
    """What a recogniser says of the object: the size of its words, a place with errors, and how large these are."""
    sight = item.position_m[:2] - view.plane_T_optical().translation[:2]
    sight /= np.linalg.norm(sight)
    axes = np.array([sight, [-sight[1], sight[0]]])
    sigma = settings.unit_m * np.array([settings.along_sigma_units, settings.across_sigma_units])
    place = item.position_m[:2] + rng.normal(0.0, sigma) @ axes
    extent = said_extent_m(dict(item.attributes), settings.unit_m)
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = axes.T @ np.diag(sigma**2) @ axes
    yaw = None if item.yaw_rad is None else item.yaw_rad + float(rng.normal(0.0, settings.yaw_sigma_rad))
    return replace(item, position_m=np.append(place, extent / 2), size_m=[extent] * 3, yaw_rad=yaw,
                   position_covariance_m2=covariance)


def _gap_m(one: SceneObject, other: SceneObject) -> float:
    """Between the outlines of two objects, as if they were round."""
    radius = sum(o.size_m[0] / 2 * (math.sqrt(2) if o.attributes["shape"] == "cube" else 1.0) for o in (one, other))
    return float(np.linalg.norm((one.position_m - other.position_m)[:2])) - radius


def _hit_sphere(item: SceneObject, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(N,) parameter at which rays (N, 3) from `origin` (3,) relative to the centre meet the surface; NaN: never."""
    a, b = (rays**2).sum(axis=-1), rays @ origin
    return (-b - np.sqrt(b * b - a * (origin @ origin - (item.size_m[0] / 2) ** 2))) / a


def _hit_cylinder(item: SceneObject, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    radius, half = item.size_m[0] / 2, item.size_m[2] / 2
    a, b = (rays[:, :2] ** 2).sum(axis=-1), rays[:, :2] @ origin[:2]
    side = (-b - np.sqrt(b * b - a * (origin[:2] @ origin[:2] - radius**2))) / a
    top = (half - origin[2]) / rays[:, 2]
    side = np.where(np.abs(origin[2] + side * rays[:, 2]) <= half, side, np.nan)
    inside = np.linalg.norm(origin[:2] + top[:, None] * rays[:, :2], axis=-1) <= radius
    return np.fmin(side, np.where(inside, top, np.nan))


def _hit_box(item: SceneObject, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    c, s = math.cos(item.yaw_rad or 0.0), math.sin(item.yaw_rad or 0.0)
    own = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    origin, rays = own @ origin, rays @ own.T
    ends = np.sort(np.stack([(-item.size_m / 2 - origin) / rays, (item.size_m / 2 - origin) / rays]), axis=0)
    near, far = ends[0].max(axis=-1), ends[1].min(axis=-1)
    return np.where((near < far) & (near > 0), near, np.nan)
