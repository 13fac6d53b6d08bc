"""What the memory holds of one object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from kyvo_ros.scene.memory.beliefs import AttributeBeliefs
from kyvo_ros.scene.memory.config import MemoryConfig
from kyvo_ros.scene.memory.filters import PositionFilter, YawFilter
from kyvo_ros.scene.mesh import Mesh
from kyvo_ros.scene.transforms import Transform
from kyvo_ros.scene.types import SceneObject

#: Log-odds of existence: before anything is known (1 in 5), at most (so that misses count soon), to enter the graph
#: (0.9), and to leave it (0.2).
PRIOR, MOST, CONFIRMED_FROM, DROPPED_BELOW = -1.4, 6.0, 2.2, -1.4
#: A sighting never says less or more than this, whatever the recogniser says of itself (log-odds).
_LEAST_SIGHTING, _SUREST_SIGHTING = 0.2, 2.5
#: Under this visible share a miss says nothing.
_LEAST_VISIBLE = 0.5
#: Standard deviation of the drift after a second, in `position_sigma_m`, and for how long an unseen object drifts.
_DRIFT, _DRIFT_LIMIT_S = 0.05, 60.0
#: Sightings over which a size is averaged.
_SIZE_MEMORY = 20


class Status(str, Enum):
    """How sure the memory is of an object."""

    TENTATIVE = "tentative"  # seen, not often enough
    CONFIRMED = "confirmed"  # in the graph
    LOST = "lost"  # missing where it stood; may turn up elsewhere


@dataclass(eq=False)
class Track:
    """One object: filtered pose, beliefs, existence, history. Positions and yaw in the memory's frame."""

    id: str
    position: PositionFilter
    beliefs: AttributeBeliefs
    first_seen_ns: int
    last_seen_ns: int
    drifted_to_ns: int  # time up to which the position has drifted
    yaw: YawFilter | None = None  # None where no sighting showed one
    size_m: np.ndarray | None = None  # (3,) full extents
    size_label: str = ""  # the words with which `size_m` was read; a wrong word brings a wrong size
    size_count: int = 0
    status: Status = Status.TENTATIVE
    existence: float = PRIOR  # log-odds
    sightings: int = 0
    misses: int = 0  # since the last sighting: frames in which it should have been visible and was not seen
    moves: int = 0  # times that it turned up elsewhere
    told_m: np.ndarray | None = None  # position last told as a change
    told_label: str = ""
    mesh: Mesh | None = None  # its shape, metres, in the object's own frame; None where no sighting brought one

    @property
    def label(self) -> str:
        """The believed words, such as `large red rubber cube`."""
        return " ".join(self.beliefs.words().values())

    @property
    def probability(self) -> float:
        """That the object exists."""
        return 1.0 / (1.0 + math.exp(-self.existence))

    def drift(self, stamp_ns: int, config: MemoryConfig) -> None:
        """Let the position's variance grow up to `stamp_ns`; what is unseen for long does not wander any farther."""
        start, end = (min(max(t - self.last_seen_ns, 0) / 1e9, _DRIFT_LIMIT_S) for t in (self.drifted_to_ns, stamp_ns))
        if end > start:
            self.position.drift((_DRIFT * config.position_sigma_m) ** 2 * (end - start))
        self.drifted_to_ns = max(self.drifted_to_ns, stamp_ns)

    def see(self, sighting: SceneObject, covariance_m2: np.ndarray, stamp_ns: int, config: MemoryConfig) -> None:
        """Take in a sighting; `covariance_m2` (3, 3) is that of its position, see `association.noise`."""
        if self.sightings:
            self.position.update(sighting.position_m, covariance_m2)
        self.beliefs.read(sighting.attributes, sighting.attribute_confidence)
        self._see_size(sighting)
        self._see_yaw(sighting, config)
        self.see_shape(sighting)
        p = sighting.confidence
        surprise = math.log(p / (1 - p)) if 0 < p < 1 else math.copysign(_SUREST_SIGHTING, p - 0.5)
        self.existence = min(MOST, self.existence + min(max(surprise, _LEAST_SIGHTING), _SUREST_SIGHTING))
        self.sightings += 1
        self.misses = 0
        self.first_seen_ns, self.last_seen_ns = min(self.first_seen_ns, stamp_ns), max(self.last_seen_ns, stamp_ns)

    def miss(self, visible_share: float, config: MemoryConfig) -> None:
        """The object was not seen in a frame in which `visible_share` of it should have been visible."""
        if visible_share < _LEAST_VISIBLE:
            return
        self.existence = max(-MOST, self.existence + math.log(1 - config.expected_recall) * visible_share)
        self.misses += 1

    def move_to(self, other: Track) -> None:
        """Turn out to be what stands where `other` does: take its place, keep the name."""
        self.position, self.drifted_to_ns = other.position, other.drifted_to_ns
        self.yaw = other.yaw or self.yaw
        self.mesh = other.mesh or self.mesh
        self.existence, self.status = max(self.existence, other.existence), Status.CONFIRMED
        self.last_seen_ns = max(self.last_seen_ns, other.last_seen_ns)
        self.sightings += other.sightings
        self.misses = 0
        self.moves += 1

    def see_shape(self, sighting: SceneObject) -> None:
        """Keep the mesh that a sighting brings; of the turns after which the object looks the same, the one that is
        believed.
        """
        mesh = sighting.mesh
        if mesh is None:
            return
        if self.yaw is not None and sighting.yaw_rad is not None:
            period = self.yaw.period_rad
            turns = round((sighting.yaw_rad - self.yaw.yaw_rad) / period)
            if turns % round(2 * math.pi / period):
                mesh = mesh.with_vertices(Transform.from_yaw(turns * period, np.zeros(3)).apply(mesh.vertices))
        self.mesh = mesh

    def tell(self, far_m: float) -> tuple[bool, bool]:
        """Whether position (by more than `far_m`) and label differ from what was last told; they count as told now."""
        moved = self.told_m is None or bool(np.linalg.norm(self.position.mean_m - self.told_m) > far_m)
        relabelled = self.label != self.told_label
        if moved:
            self.told_m = self.position.mean_m
        self.told_label = self.label
        return moved, relabelled

    def _see_size(self, sighting: SceneObject) -> None:
        """Average sizes that were read together with the believed words."""
        believed = self.label
        trusted = sighting.label == believed
        if sighting.size_m is None or (self.size_m is not None and not trusted):
            return
        if self.size_m is None or self.size_label != believed:
            self.size_m, self.size_count = sighting.size_m.copy(), 0
        self.size_label = sighting.label
        self.size_count = min(self.size_count + 1, _SIZE_MEMORY)
        self.size_m = self.size_m + (sighting.size_m - self.size_m) / self.size_count

    def _see_yaw(self, sighting: SceneObject, config: MemoryConfig) -> None:
        period = config.yaw.of(self.beliefs.words())
        if self.yaw is not None and self.yaw.period_rad != period:
            self.yaw = None  # another shape than was thought
        if sighting.yaw_rad is not None and config.yaw.of(sighting.attributes) == period:
            self.yaw = self.yaw or YawFilter(period)
            self.yaw.update(sighting.yaw_rad)
