"""Synthetic sequences that a memory of a scene is measured on: a moving camera over a table, and what it detects.

Objects of CLEVR's sizes and words stand on a table; some are moved, added and removed, at any time, whether the camera
looks or not. The camera circles part of the way, looks from spot to spot, and away from the table for a while. An
object counts as visible where enough of it lies in the image and behind no other; it is then detected, with errors.
Visibility is worked out on spheres here, apart from the boxes that the memory uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from kyvo_ros.scene import PinholeCamera, Scene, SceneObject, Transform
from kyvo_ros.scene.memory import Viewpoint

FRAME = "map"
WORDS = {
    "size": ("small", "large"), "material": ("rubber", "metal"), "shape": ("cube", "sphere", "cylinder"),
    "color": ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
}
_EXTENT_M = {"small": 0.7, "large": 1.4}
_CUBE_EXTENT_M = {"small": 0.7 / math.sqrt(2), "large": 1.4 / math.sqrt(2)}
#: Of the camera of every sequence.
LENS = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
#: Share of an object that must be visible for it to be detected.
_SEEN_FROM = 0.3
#: Unit vectors evenly over a sphere (a Fibonacci lattice), (40, 3).
_TURN = np.arange(40) * math.pi * (3 - math.sqrt(5))
_HEIGHT = np.linspace(-0.95, 0.95, 40)
_SPHERE = np.stack([np.sqrt(1 - _HEIGHT**2) * np.cos(_TURN), np.sqrt(1 - _HEIGHT**2) * np.sin(_TURN), _HEIGHT], axis=-1)


@dataclass(frozen=True)
class SequenceSettings:
    """One sequence; the defaults are the standard one."""

    frames: int = 600
    rate_hz: float = 10.0
    objects: int = 10  # at the start
    moved: int = 4  # objects put elsewhere in the course of the sequence, up to `reach_m` away
    added: int = 3
    removed: int = 3
    reach_m: float = 2.0
    table_m: float = 4.0  # half the side of the square that objects stand on
    gap_m: float = 0.1  # least gap between two objects
    looks_away: bool = True  # for a tenth of the sequence the camera sees nothing of the table
    missed: float = 0.05  # share of visible objects that are not detected
    sigma_m: float = 0.1  # position noise, each axis
    false: float = 0.03  # false detections, in the visible objects
    flipped: float = 0.05  # share of words that are read wrongly
    yaw_sigma_rad: float = 0.1


@dataclass(frozen=True, eq=False)
class SequenceFrame:
    """One moment: the truth, and what a recogniser makes of it."""

    stamp_ns: int
    viewpoint: Viewpoint
    truth: Scene  # in FRAME, with ids; all that stands on the table
    visible: frozenset[str]  # ids of what can be seen in this frame
    detections: Scene  # in FRAME, without ids, in random order
    detected: tuple[str, ...]  # for each detection the true id, empty for a false one


def standard_sequence(seed: int, settings: SequenceSettings = SequenceSettings()) -> Iterator[SequenceFrame]:
    """A sequence of frames; the same seed and settings give the same one."""
    rng = np.random.default_rng(seed)
    names = (f"true_{i}" for i in range(settings.objects + settings.added))
    objects: list[SceneObject] = []
    for _ in range(settings.objects):
        objects.append(_placed(rng, objects, settings, _drawn(rng, next(names))))
    events = _events(rng, settings)
    for k in range(settings.frames):
        for event in events.get(k, ()):
            _happen(event, rng, objects, settings, names)
        viewpoint = _viewpoint(k / settings.frames, settings)
        visible = [o for o, share in zip(objects, _shares(objects, viewpoint)) if share >= _SEEN_FROM]
        found = _detections(rng, visible, settings, viewpoint)
        yield SequenceFrame(
            round(k * 1e9 / settings.rate_hz), viewpoint, Scene(tuple(objects), FRAME),
            frozenset(o.id for o in visible), Scene(tuple(d for d, _ in found), FRAME),
            tuple(name for _, name in found))


def _events(rng: np.random.Generator, settings: SequenceSettings) -> dict[int, list[str]]:
    """What happens before which frame; nothing in the first tenth."""
    kinds = ["moved"] * settings.moved + ["added"] * settings.added + ["removed"] * settings.removed
    events: dict[int, list[str]] = {}
    for kind in kinds:
        events.setdefault(int(rng.integers(settings.frames // 10, settings.frames)), []).append(kind)
    return events


def _happen(event: str, rng: np.random.Generator, objects: list[SceneObject], settings: SequenceSettings,
            names: Iterator[str]) -> None:
    if event == "added":
        objects.append(_placed(rng, objects, settings, _drawn(rng, next(names))))
        return
    item = objects.pop(int(rng.integers(len(objects))))
    if event == "moved":
        objects.append(_placed(rng, objects, settings, item, item.position_m))


def _drawn(rng: np.random.Generator, name: str) -> SceneObject:
    """An object of random words, not yet placed."""
    words = {key: str(rng.choice(values)) for key, values in WORDS.items()}
    extent = (_CUBE_EXTENT_M if words["shape"] == "cube" else _EXTENT_M)[words["size"]]
    yaw = float(rng.uniform(0, math.pi / 2)) if words["shape"] == "cube" else None
    return SceneObject(words, [0.0, 0.0, extent / 2], yaw, [extent] * 3, name)


def _placed(rng: np.random.Generator, others: list[SceneObject], settings: SequenceSettings, item: SceneObject,
            near_m: np.ndarray | None = None) -> SceneObject:
    """The object at a free spot: anywhere, or within `reach_m` of `near_m` but not where it was."""
    while True:
        spot = np.append(rng.uniform(-settings.table_m, settings.table_m, 2), item.position_m[2])
        apart = [np.linalg.norm((spot - o.position_m)[:2]) - _radius(o) - _radius(item) for o in others]
        fits = near_m is None or settings.sigma_m < np.linalg.norm(spot - near_m) <= settings.reach_m
        if fits and min(apart, default=np.inf) >= settings.gap_m:
            return replace(item, position_m=spot)


def _radius(item: SceneObject) -> float:
    """Of the outline on the table."""
    return item.size_m[0] / 2 * (math.sqrt(2) if item.attributes["shape"] == "cube" else 1.0)


def _viewpoint(progress: float, settings: SequenceSettings) -> Viewpoint:
    """The camera at `progress` 0 to 1: an arc around the table, eyes wandering over it."""
    azimuth = -math.pi / 2 + 0.9 * math.sin(2 * math.pi * 1.5 * progress)
    eye = np.array([9.0 * math.cos(azimuth), 9.0 * math.sin(azimuth), 5.5 + math.sin(2 * math.pi * 2 * progress)])
    target = np.array([2.0 * math.sin(2 * math.pi * 3 * progress), 2.0 * math.sin(2 * math.pi * 2.2 * progress), 0.0])
    if settings.looks_away and 0.5 <= progress < 0.6:
        target = 2.5 * eye * (1.0, 1.0, 0.0) + (0.0, 0.0, 1.0)
    return Viewpoint(LENS, looking_at(eye, target))


def looking_at(eye_m: np.ndarray, target_m: np.ndarray) -> Transform:
    """Pose `frame_T_optical` of an upright camera at `eye_m` (3,) whose axis passes through `target_m` (3,)."""
    forward = (target_m - eye_m) / np.linalg.norm(target_m - eye_m)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return Transform(np.stack([right, np.cross(forward, right), forward], axis=1), eye_m)


def _shares(objects: list[SceneObject], viewpoint: Viewpoint) -> list[float]:
    """Visible share of each object, as a sphere of its extent."""
    eye, shares = viewpoint.frame_T_optical.translation, []
    for item in objects:
        points = item.position_m + _SPHERE * item.size_m[0] / 2
        facing = (points - item.position_m) @ (eye - item.position_m) > 0
        seen = viewpoint.sees(points[facing])
        for other in objects:
            if other is not item:
                seen &= ~_sphere_blocks(other, eye, points[facing])
        shares.append(float(seen.mean()))
    return shares


def _sphere_blocks(item: SceneObject, eye: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether the lines from `eye` (3,) to `points` (N, 3) pass through the object's inscribed sphere."""
    along = points - eye
    nearest = np.clip(((item.position_m - eye) @ along.T) / (along**2).sum(axis=-1), 0.0, 1.0)
    return np.linalg.norm(eye + nearest[:, None] * along - item.position_m, axis=-1) < item.size_m[0] / 2


def _detections(rng: np.random.Generator, visible: list[SceneObject], settings: SequenceSettings,
                viewpoint: Viewpoint) -> list[tuple[SceneObject, str]]:
    """What the recogniser says, each with the true id, in random order."""
    found = [(_perturbed(rng, item, settings), item.id) for item in visible if rng.random() >= settings.missed]
    for _ in range(int(rng.binomial(len(visible), settings.false))):
        spot = rng.uniform(-settings.table_m, settings.table_m, 2)
        wrong = _drawn(rng, "")
        wrong = replace(wrong, position_m=np.append(spot, wrong.position_m[2]),
                        confidence=float(rng.uniform(0.5, 0.95)))
        if viewpoint.sees(wrong.position_m):
            found.append((wrong, ""))
    return [found[i] for i in rng.permutation(len(found))]


def _perturbed(rng: np.random.Generator, item: SceneObject, settings: SequenceSettings) -> SceneObject:
    """A detection of the object: noise on its place and yaw, some words wrong, whose extents it then has."""
    words = {key: str(rng.choice([w for w in WORDS[key] if w != word])) if rng.random() < settings.flipped else word
             for key, word in item.attributes.items()}
    extent = (_CUBE_EXTENT_M if words["shape"] == "cube" else _EXTENT_M)[words["size"]]
    yaw = item.yaw_rad if item.yaw_rad is not None else float(rng.uniform(0, math.pi / 2))
    yaw = yaw + float(rng.normal(0, settings.yaw_sigma_rad)) if words["shape"] == "cube" else None
    height = np.array([0.0, 0.0, extent / 2 - item.position_m[2]])  # what is taken for larger is taken to be higher
    return SceneObject(
        words, item.position_m + height + rng.normal(0, settings.sigma_m, 3), yaw, [extent] * 3,
        confidence=float(rng.uniform(0.6, 0.99)),
        attribute_confidence={k: float(rng.uniform(0.6, 0.99)) for k in words},
        position_covariance_m2=settings.sigma_m**2 * np.eye(3))
