"""Position and size of recognised objects, refined by the points that stand over the support plane.

Points show only the side of an object that faces the camera. Where its shape is known, that solid is fitted to them;
of any other shape the front and the width are measured, and the depth behind is half of what the model says, or of the
width. What depth does not support stays as the model said it; no object is added, dropped, or moved far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kyvo_ros.depth.fitting import Fit, fit
from kyvo_ros.depth.points import thinned
from kyvo_ros.depth.solids import SOLIDS, Solid
from kyvo_ros.scene import PLANE_FRAME, CameraView, Scene, SceneError, SceneObject

#: Rounds of telling which point belongs to which object and fitting them.
_ROUNDS = 2
#: Standard deviation of a position of which the model gives none, as a share of the object's width.
_UNKNOWN_POSITION = 0.3
_YAW_SIGMA_RAD = 0.2
#: Percentiles of an object's points that are taken for its front, and for its sides and top.
_FOREMOST, _OUTERMOST = 5.0, 98.0
#: By what share the extents of what is called a cube may differ.
_SAME_EXTENT = 0.1


@dataclass(frozen=True)
class RefineConfig:
    """When depth is believed about an object."""

    noise: float = 0.005  # standard deviation of depth, as a share of the range
    least_noise_m: float = 0.001  # the same, for points that are near
    bias: float = 0.002  # error that all points of an image share, as a share of the range; enters the covariance
    min_points: int = 25  # on the object's surface
    max_points: int = 400  # of an object that are computed with
    min_on_surface: float = 0.6  # share of an object's points that must lie on the fitted surface
    max_rms: float = 3.0  # of their distances from it, in standard deviations of the expected noise
    max_move: float = 1.0  # how far an object may be moved, in its largest width
    max_growth: float = 1.6  # by what factor its size may change, up or down
    size_sigma: float = 0.2  # standard deviation of the model's sizes, as a share of them
    shape_attribute: str = "shape"  # whose words name solids

    def __post_init__(self) -> None:
        for name in ("noise", "least_noise_m", "max_rms", "max_move", "size_sigma"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0.0 < self.min_on_surface <= 1.0 or not self.max_growth > 1.0 or not self.bias >= 0.0:
            raise ValueError("min_on_surface must be in (0, 1], max_growth more than 1 and bias not negative, got "
                             f"{self.min_on_surface}, {self.max_growth} and {self.bias}")
        if not 3 <= self.min_points <= self.max_points:
            raise ValueError(f"min_points must be from 3 to max_points, got {self.min_points} and {self.max_points}")


@dataclass(frozen=True)
class Refinement:
    """What depth did to one object."""

    points: int = 0  # on its surface; 0: the object is as it was
    moved_m: float = 0.0
    rms_m: float = 0.0  # of the points' distances from the surface
    why_not: str = ""  # in words, where the object is as it was


@dataclass(frozen=True, eq=False)
class RefinedScene:
    """A scene and what depth did to its objects, in their order."""

    scene: Scene
    refinements: tuple[Refinement, ...]

    @property
    def refined(self) -> int:
        """Number of objects that were refined."""
        return sum(r.points > 0 for r in self.refinements)


class _Doubt(ValueError):
    """Depth does not support an object as the model saw it; the message says why."""


@dataclass(frozen=True, eq=False)
class _Cloud:
    """Points over the plane."""

    points: np.ndarray  # (N, 3) in the support-plane frame
    noise_m: np.ndarray  # (N,)
    eye_m: np.ndarray  # (3,) optical centre

    def take(self, rows: np.ndarray) -> _Cloud:
        return _Cloud(self.points[rows], self.noise_m[rows], self.eye_m)


def refine(scene: Scene, view: CameraView, points: np.ndarray, config: RefineConfig = RefineConfig()) -> RefinedScene:
    """The scene with what depth says of its objects: position, size, a cube's yaw, covariance, `depth_points`.

    Args:
        scene: in PLANE_FRAME; view: of its image, with a plane; points: (N, 3) in the optical frame, metres.

    Raises SceneError for a scene in another frame, PlaneNotVisibleError for a view without a plane.
    """
    if scene.frame_id != PLANE_FRAME:
        raise SceneError(f"depth refines scenes in {PLANE_FRAME}, got one in {scene.frame_id}")
    cloud = _over_the_plane(view, points, config)
    outcomes = [(item, Refinement(why_not="not looked at")) for item in scene.objects]
    for _ in range(_ROUNDS):
        owners = _owners([item for item, _ in outcomes], scene.objects, cloud, config)
        outcomes = [_refined(item, cloud.take(np.flatnonzero(owners == i)), config)
                    for i, item in enumerate(scene.objects)]
    return RefinedScene(replace(scene, objects=tuple(item for item, _ in outcomes)), tuple(r for _, r in outcomes))


def _over_the_plane(view: CameraView, points: np.ndarray, config: RefineConfig) -> _Cloud:
    """The points that are over the plane by more than noise makes them."""
    pose = view.plane_T_optical()
    noise = np.maximum(config.noise * np.linalg.norm(points, axis=-1), config.least_noise_m)
    placed = pose.apply(points)
    over = placed[:, 2] > 3.0 * noise
    return _Cloud(placed[over], noise[over], pose.translation)


def _width_m(item: SceneObject) -> float:
    return float(item.size_m[:2].max())


def _owners(current: Sequence[SceneObject], before: Sequence[SceneObject], cloud: _Cloud,
            config: RefineConfig) -> np.ndarray:
    """(N,) index of the object that each point belongs to, -1: none. The nearest outline, within reach of where the
    model saw the object.
    """
    owners, nearest = np.full(len(cloud.points), -1), np.full(len(cloud.points), np.inf)
    for i, (now, then) in enumerate(zip(current, before)):
        if now.size_m is None:
            continue
        gap = np.linalg.norm(cloud.points[:, :2] - now.position_m[:2], axis=-1) - _width_m(now) / 2
        reach = np.linalg.norm(cloud.points[:, :2] - then.position_m[:2], axis=-1) - _width_m(then) / 2
        mine = (gap < nearest) & (reach < config.max_move * _width_m(then))
        mine &= cloud.points[:, 2] < config.max_growth * then.size_m[2] + 3.0 * cloud.noise_m
        owners[mine], nearest[mine] = i, gap[mine]
    return owners


def _refined(item: SceneObject, cloud: _Cloud, config: RefineConfig) -> tuple[SceneObject, Refinement]:
    """The object by its points, or as it was."""
    try:
        if item.size_m is None or not (item.size_m > 0).all():
            raise _Doubt("its size is not known")
        if len(cloud.points) < config.min_points:
            raise _Doubt(f"{len(cloud.points)} depth points show it, {config.min_points} are needed")
        few = cloud.take(thinned(np.arange(len(cloud.points))[:, None], config.max_points)[:, 0])
        solid = _solid_of(item, config)
        measured, rms_m, count = _measured(item, few, config) if solid is None else _fitted(item, solid, few, config)
        _check(item, measured, config)
    except _Doubt as doubt:
        return item, Refinement(why_not=str(doubt))
    count = max(1, count * len(cloud.points) // len(few.points))
    moved_m = float(np.linalg.norm(measured.position_m - item.position_m))
    return replace(measured, depth_points=count), Refinement(count, moved_m, rms_m)


def _solid_of(item: SceneObject, config: RefineConfig) -> Solid | None:
    """The solid that the object's shape names and its extents fit; None where there is none."""
    solid = SOLIDS.get(item.attributes.get(config.shape_attribute, ""))
    fits = solid is not None and np.allclose(solid.size_m(solid.numbers(item)), item.size_m, rtol=_SAME_EXTENT)
    return solid if fits else None


def _fitted(item: SceneObject, solid: Solid, cloud: _Cloud, config: RefineConfig) -> tuple[SceneObject, float, int]:
    """The object with its solid fitted, the points' rms distance from it, and how many lie on it."""
    prior, sigma = solid.numbers(item), np.empty(len(solid.numbers(item)))
    sigma[:2] = _position_sigma_m(item)
    sigma[list(solid.lengths)] = config.size_sigma * prior[list(solid.lengths)]
    sigma[list(solid.angles)] = _YAW_SIGMA_RAD
    found = _likely_fit(item, solid, cloud, prior, sigma, config)
    covariance = solid.centre @ found.covariance @ solid.centre.T
    yaw = {"yaw_rad": float(found.numbers[solid.angles[0]])} if solid.angles and item.yaw_rad is not None else {}
    return replace(
        item, position_m=solid.centre @ found.numbers, size_m=solid.size_m(found.numbers),
        position_covariance_m2=covariance + _bias_m2(cloud, config), **yaw), found.rms_m, int(found.on_surface.sum())


def _likely_fit(item: SceneObject, solid: Solid, cloud: _Cloud, prior: np.ndarray, sigma: np.ndarray,
                config: RefineConfig) -> Fit:
    """The fit that begins where the points are, or where the model saw the object. Raises _Doubt where neither looks
    like the side of the solid that faces the camera.
    """
    doubt = ""
    for shift in (_to_front_m(item, cloud), np.zeros(2)):
        start = prior.copy()
        start[:2] += shift
        found = fit(solid.distances_m, cloud.points, cloud.noise_m, start, prior, sigma)
        doubt = _surface_doubt(found, solid, cloud, item.attributes[config.shape_attribute], config)
        if not doubt:
            return found
    raise _Doubt(doubt)


def _to_front_m(item: SceneObject, cloud: _Cloud) -> np.ndarray:
    """(2,) shift along the line of sight that brings the object's front to the foremost points: those that the camera
    sees are never on its back.
    """
    along = _sight(item, cloud)
    front = np.percentile(cloud.points[:, :2] @ along, _FOREMOST)
    return (front + _half_depth_m(item, along) - item.position_m[:2] @ along) * along


def _surface_doubt(found: Fit, solid: Solid, cloud: _Cloud, shape: str, config: RefineConfig) -> str:
    """Why the points do not look like the side of a solid that faces the camera; empty where they do."""
    share = found.on_surface.mean()
    if share < config.min_on_surface:
        return f"only {share:.0%} of its depth points lie on a {shape}"
    if found.rms_m > config.max_rms * float(np.median(cloud.noise_m)):
        return f"its depth points are {found.rms_m:.3f} m off the surface of a {shape}"
    centre = (solid.centre @ found.numbers)[:2]
    sight = centre - cloud.eye_m[:2]
    behind = (cloud.points[found.on_surface, :2].mean(axis=0) - centre) @ sight / np.linalg.norm(sight)
    on_its_back = behind > 0.1 * solid.size_m(found.numbers)[:2].max()
    return f"its depth points lie on the far side of a {shape}" if on_its_back else ""


def _measured(item: SceneObject, cloud: _Cloud, config: RefineConfig) -> tuple[SceneObject, float, int]:
    """As `_fitted`, of an object of any shape: its front and its width as seen from the camera, and its top."""
    along = _sight(item, cloud)
    across = np.array([-along[1], along[0]])
    left, right = np.percentile(cloud.points[:, :2] @ across, [100.0 - _OUTERMOST, _OUTERMOST])
    front, top = np.percentile(cloud.points[:, :2] @ along, _FOREMOST), np.percentile(cloud.points[:, 2], _OUTERMOST)
    width, behind = right - left, _half_depth_m(item, along)
    before = 2 * _half_depth_m(item, across)
    if width * config.max_growth < before:
        raise _Doubt(f"only {width:.3f} m of its {before:.3f} m are seen")
    grown = width / before
    centre = (left + right) / 2 * across + (front + grown * behind) * along
    noise = float(np.median(cloud.noise_m))
    axes = np.stack([across, along])
    spread = axes.T @ np.diag([noise**2, noise**2 + (config.size_sigma * behind) ** 2]) @ axes
    covariance = np.zeros((3, 3))
    covariance[:2, :2], covariance[2, 2] = spread, noise**2 / 4
    return replace(
        item, position_m=np.append(centre, top / 2), size_m=np.append(grown * item.size_m[:2], top),
        position_covariance_m2=covariance + _bias_m2(cloud, config)), noise, len(cloud.points)


def _sight(item: SceneObject, cloud: _Cloud) -> np.ndarray:
    """(2,) horizontal direction from the camera to the object."""
    sight = item.position_m[:2] - cloud.eye_m[:2]
    return sight / max(float(np.linalg.norm(sight)), 1e-9)


def _half_depth_m(item: SceneObject, direction: np.ndarray) -> float:
    """Half of the extent of the object's box along a horizontal direction (2,)."""
    c, s = math.cos(item.yaw_rad or 0.0), math.sin(item.yaw_rad or 0.0)
    own = np.array([c * direction[0] + s * direction[1], c * direction[1] - s * direction[0]])
    return float(np.abs(own) @ item.size_m[:2]) / 2


def _check(before: SceneObject, after: SceneObject, config: RefineConfig) -> None:
    """Raises _Doubt where an object would be moved or resized further than depth is believed."""
    moved, most = np.linalg.norm(after.position_m[:2] - before.position_m[:2]), config.max_move * _width_m(before)
    if moved > most:
        raise _Doubt(f"depth has it {moved:.3f} m away, more than {most:.3f} m")
    growth = after.size_m / before.size_m
    if not ((growth > 1 / config.max_growth) & (growth < config.max_growth)).all():
        raise _Doubt(f"depth has it {growth.min():.2f} to {growth.max():.2f} times as large")


def _position_sigma_m(item: SceneObject) -> np.ndarray:
    """(2,) standard deviation of x and y before depth; never so small that depth could not correct it."""
    least = _UNKNOWN_POSITION * _width_m(item)
    if item.position_covariance_m2 is None:
        return np.full(2, least)
    return np.maximum(np.sqrt(np.diag(item.position_covariance_m2)[:2]), least)


def _bias_m2(cloud: _Cloud, config: RefineConfig) -> np.ndarray:
    """Covariance (3, 3) of the error that all depth shares: along the line of sight."""
    sight = cloud.points.mean(axis=0) - cloud.eye_m
    return config.bias**2 * np.outer(sight, sight)
