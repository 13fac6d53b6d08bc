"""What a memory tells: an immutable picture of its objects and relations, and questions to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from kyvo_ros.scene.memory.config import MemoryInputError
from kyvo_ros.scene.memory.relations import SUPPORT_PLANE_ID, NamedRelation
from kyvo_ros.scene.memory.track import Track
from kyvo_ros.scene.transforms import Transform
from kyvo_ros.scene.types import PLANE_FRAME, Scene, SceneObject


@dataclass(frozen=True, eq=False)
class KnownObject:
    """One object of the graph; `object.confidence` is the probability that it exists."""

    object: SceneObject  # with id, in the memory's frame; arrays are read-only
    yaw_sigma_rad: float | None  # standard deviation of the yaw; None where there is no yaw
    first_seen_ns: int
    last_seen_ns: int
    sightings: int
    moves: int  # times that it was missing in its place and turned up elsewhere

    @property
    def id(self) -> str:
        return self.object.id


@dataclass(frozen=True, eq=False)
class Query:
    """Which objects are asked for; all conditions must hold, and without any all objects do."""

    words: frozenset[str] = frozenset()  # each must be the believed word of some attribute, such as {"red", "cube"}
    attributes: Mapping[str, str] = field(default_factory=dict)  # words that must be the believed ones, by attribute
    region_m: tuple[np.ndarray, np.ndarray] | None = None  # lowest and highest corner (3,), in the memory's frame
    max_age_s: float | None = None  # time since the last sighting
    min_probability: float = 0.0  # of existence

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        for name, value, most in (("max_age_s", self.max_age_s or 0.0, np.inf),
                                  ("min_probability", self.min_probability, 1.0)):
            if not 0 <= value <= most:
                raise MemoryInputError(f"{name} must be from 0 to {most:g}, got {value}")
        if self.region_m is None:
            return
        low, high = (np.asarray(corner, dtype=np.float64) for corner in self.region_m)
        if low.shape != (3,) or high.shape != (3,) or not (low <= high).all():
            raise MemoryInputError(f"a region needs a lowest and a highest corner of three metres, got {self.region_m}")
        object.__setattr__(self, "region_m", (low, high))

    def admits(self, known: KnownObject, now_ns: int) -> bool:
        """Whether an object fits, at `now_ns`."""
        item = known.object
        low, high = self.region_m or (-np.inf, np.inf)
        young = self.max_age_s is None or (now_ns - known.last_seen_ns) / 1e9 <= self.max_age_s
        return (young and item.confidence >= self.min_probability and self.words <= set(item.attributes.values())
                and all(item.attributes.get(name) == word for name, word in self.attributes.items())
                and bool(((low <= item.position_m) & (item.position_m <= high)).all()))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The graph at one time: confirmed objects in the order in which they were first seen, and their relations."""

    frame_id: str
    stamp_ns: int | None  # of the newest frame; None before the first
    objects: tuple[KnownObject, ...]
    relations: tuple[NamedRelation, ...]
    viewpoint: str  # whose left and right the relations speak of, one of config.VIEWPOINTS
    behind_rad: float  # direction of "behind" in the ground plane, an angle from +x of the frame
    revision: int  # grows with every change that `Fusion.changed` tells

    def scene(self) -> Scene:
        """The objects as a Scene in the memory's frame."""
        return Scene(tuple(known.object for known in self.objects), self.frame_id, self.stamp_ns)

    def seen_from_viewpoint(self, plane_height_m: float = 0.0) -> tuple[Scene, Transform]:
        """The objects in PLANE_FRAME as the viewpoint has it, y being its "behind", and the pose of that frame in the
        memory's; its origin is that of the memory's frame, at the height of the support plane.
        """
        frame_T_plane = Transform.from_yaw(self.behind_rad - np.pi / 2, np.array([0.0, 0.0, plane_height_m]))
        return self.scene().transformed(frame_T_plane.inverse(), PLANE_FRAME), frame_T_plane

    def select(self, query: Query, now_ns: int | None = None) -> Snapshot:
        """The part that fits, with the relations among it; ages count back from `now_ns`, or the newest frame."""
        now_ns = now_ns if now_ns is not None else self.stamp_ns or 0
        objects = tuple(known for known in self.objects if query.admits(known, now_ns))
        ids = {known.id for known in objects} | {SUPPORT_PLANE_ID}
        relations = tuple(r for r in self.relations if r.subject_id in ids and r.object_id in ids)
        return Snapshot(self.frame_id, self.stamp_ns, objects, relations, self.viewpoint, self.behind_rad,
                        self.revision)


def known_object(track: Track) -> KnownObject:
    """What is told of a track."""
    item = SceneObject(
        track.beliefs.words(), _frozen(track.position.mean_m), track.yaw and track.yaw.yaw_rad,
        None if track.size_m is None else _frozen(track.size_m), track.id, track.probability,
        track.beliefs.confidence(), _frozen(track.position.covariance_m2), mesh=track.mesh)
    return KnownObject(item, track.yaw and track.yaw.sigma_rad, track.first_seen_ns, track.last_seen_ns,
                       track.sightings, track.moves)


def _frozen(values: np.ndarray) -> np.ndarray:
    copy = values.copy()
    copy.flags.writeable = False
    return copy
