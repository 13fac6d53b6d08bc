"""The scene graph that lasts: frames go in, objects with stable names and relations come out.

A SceneMemory lives in one frame with z up in which the objects stand still, such as `map`. It knows nothing of ROS,
images or models, and is not thread-safe: fuse in one thread, and hand `snapshot`s, which never change, to the others.

    memory = SceneMemory("map", MemoryConfig().scaled(metres_per_unit))
    fusion = memory.fuse(scene.transformed(map_T_plane, "map"), Viewpoint.of(view, map_T_plane), stamp_ns, "camera")
    if fusion.changed:
        publish(memory.snapshot())
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene.memory.association import alike, associate, noise, pair_noise
from kyvo_ros.scene.memory.beliefs import AttributeBeliefs
from kyvo_ros.scene.memory.checks import check_viewpoint, checked_sightings, checked_stamp
from kyvo_ros.scene.memory.config import MemoryConfig, MemoryInputError, MemoryTimeError
from kyvo_ros.scene.memory.filters import PositionFilter
from kyvo_ros.scene.memory.lifecycle import promote, retire
from kyvo_ros.scene.memory.relations import ON, PAIR_RELATIONS, SUPPORT_PLANE_ID, NamedRelation, RelationKeeper
from kyvo_ros.scene.memory.snapshot import Snapshot, known_object
from kyvo_ros.scene.memory.track import Status, Track
from kyvo_ros.scene.memory.visibility import Viewpoint, visible_share
from kyvo_ros.scene.types import Scene, SceneObject

#: Names are this and a number.
_NAME = "object_"
#: Direction of "behind" where the viewpoint is the frame's: along +y, so that right is +x.
FRAME_BEHIND_RAD = np.pi / 2
#: A position that changed by this many times `position_sigma_m` since it was last told is a change.
_TOLD_SIGMAS = 0.5
#: Cameras whose time is watched; the one silent for longest goes first.
_MAX_SOURCES = 64


@dataclass(frozen=True, eq=False)
class MemoryState:
    """All that a memory holds beside its settings and its cameras' clocks; see `records`."""

    tracks: list[Track]
    relations: tuple[NamedRelation, ...]
    next_number: int  # of the next name
    stamp_ns: int | None
    behind_rad: float
    revision: int

    def keeper(self, most: int) -> RelationKeeper:
        """The relations, ready to go on. Raises MemoryInputError for more than `most` objects, names that are not
        unique, and relations that no memory makes.
        """
        names = [t.id for t in self.tracks]
        confirmed = [t.id for t in self.tracks if t.status is Status.CONFIRMED]
        if len(names) > most:
            raise MemoryInputError(f"the memory may hold {most} objects, got {len(names)}; raise max_objects")
        if len(set(names)) < len(names) or not all(names):
            raise MemoryInputError(f"objects need names of their own, got {names}")
        known = set(confirmed)
        for r in self.relations:
            right = r.object_id == SUPPORT_PLANE_ID if r.predicate == ON else (
                r.predicate in PAIR_RELATIONS and r.object_id in known)
            if not right or r.subject_id not in known:
                raise MemoryInputError(f"not a relation between known objects: {r}")
        return RelationKeeper(confirmed, self.relations)


@dataclass(frozen=True)
class Fusion:
    """What a frame did to the graph."""

    ids: tuple[str, ...]  # of the object that each of the frame's objects was taken for, candidates included
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # or turned out to stand elsewhere than was told
    relabelled: tuple[str, ...] = ()
    relations_changed: bool = False
    duplicate: bool = False  # this camera's frame of this stamp was fused before; nothing was done

    @property
    def changed(self) -> bool:
        """Whether the graph is worth publishing again."""
        return bool(self.added or self.removed or self.moved or self.relabelled or self.relations_changed)


class SceneMemory:
    """A persistent scene graph in `frame_id`."""

    def __init__(self, frame_id: str, config: MemoryConfig | None = None) -> None:
        Scene((), frame_id)  # a frame must have a name
        self.frame_id = frame_id
        self.config = config or MemoryConfig()
        self._tracks: list[Track] = []
        self._relations = RelationKeeper()
        self._next = 0
        self._stamp_ns: int | None = None
        self._source_stamps_ns: dict[str, int] = {}
        self._behind_rad = FRAME_BEHIND_RAD
        self._revision = 0
        self._restored = False  # and no frame has come since

    def fuse(self, scene: Scene, viewpoint: Viewpoint | None, stamp_ns: int, source: str = "",
             relating: bool = True) -> Fusion:
        """Take in one frame's scene, in the memory's frame; its objects' own ids are not looked at.

        Args:
            viewpoint: what the recogniser looked at, from where. None: unknown; then nothing counts as missed.
            stamp_ns: time of the image. A camera's stamps must grow; cameras among each other may be out of order.
            source: name of the camera.
            relating: whether relations hold from this viewpoint from now on, where they hold from a camera's. Of
                several cameras let one say so, or left and right change with every frame.

        A stamp that this camera's last frame had is ignored and said so. Of more than `max_objects` sightings the most
        confident count. Raises MemoryInputError where the scene is in another frame, or scene or viewpoint have
        impossible numbers, and MemoryTimeError where this camera's time went backwards; the memory then stays as it
        was.
        """
        sightings = checked_sightings(scene, self.frame_id, self.config.max_objects)
        stamp_ns = checked_stamp(stamp_ns)
        if viewpoint is not None:
            check_viewpoint(viewpoint)
        if not self._is_new(stamp_ns, source):
            return Fusion(("",) * len(scene), duplicate=True)
        if self._restored and stamp_ns < (self._stamp_ns or 0):
            self._turn_back(stamp_ns)  # the record is of another run, whose clock was ahead
        self._restored = False
        self._stamp_ns = max(stamp_ns, self._stamp_ns or 0)
        for track in self._tracks:
            track.drift(stamp_ns, self.config)
        seen = self._sight(list(sightings.values()), stamp_ns)
        if viewpoint is not None:
            self._miss(viewpoint, {t.id for t in seen})
            if self.config.viewpoint != "camera":
                self._behind_rad = FRAME_BEHIND_RAD
            elif relating:
                self._behind_rad = viewpoint.behind_rad()
        before = {t.id for t in self._confirmed()}
        aliases = self._settle(stamp_ns)
        names = {row: aliases.get(track.id, track.id) for row, track in zip(sightings, seen)}
        return self._changes(before, tuple(names.get(row, "") for row in range(len(scene))))

    def see_shapes(self, scene: Scene) -> tuple[str, ...]:
        """Keep the meshes of a scene's objects, in the memory's frame, for the confirmed objects that they are; their
        names. Nothing else is learned of the scene, whatever its time. Raises MemoryInputError as `fuse` does.
        """
        tracks = self._confirmed()
        sightings = [*checked_sightings(scene, self.frame_id, self.config.max_objects).values()]
        shown = [(tracks[i], sightings[j]) for i, j in associate(tracks, sightings, self.config) if sightings[j].mesh]
        for track, sighting in shown:
            track.see_shape(sighting)
        self._revision += bool(shown)
        return tuple(track.id for track, _ in shown)

    def snapshot(self) -> Snapshot:
        """The confirmed objects and their relations now; it does not change when the memory does."""
        return Snapshot(self.frame_id, self._stamp_ns, tuple(known_object(t) for t in self._confirmed()),
                        self._relations.relations(), self.config.viewpoint, float(self._behind_rad), self._revision)

    def forget(self, object_id: str) -> bool:
        """Forget one object; False where there is none of this name. Seen again, it gets a new name."""
        kept = [t for t in self._tracks if t.id != object_id]
        known = len(kept) < len(self._tracks)
        if known:
            self._tracks = kept
            self._relate()
            self._revision += 1
        return known

    def reset(self) -> None:
        """Forget all objects and times; names are not used again."""
        self._tracks, self._source_stamps_ns, self._stamp_ns = [], {}, None
        self._relations, self._behind_rad = RelationKeeper(), FRAME_BEHIND_RAD
        self._revision += 1

    def rewind(self, stamp_ns: int) -> None:
        """Time goes on from `stamp_ns`, earlier than before (a bag that loops): keep the objects, none seen later."""
        self._source_stamps_ns = {}
        self._turn_back(checked_stamp(stamp_ns))

    def state(self) -> MemoryState:
        """What the memory holds; it shares the tracks, so write it down before the next frame."""
        return MemoryState(self._tracks, self._relations.relations(), self._next, self._stamp_ns, self._behind_rad,
                           self._revision)

    def restore(self, state: MemoryState) -> None:
        """Hold this state instead; names that either used are not used again. The next frame may be of any time.

        Raises MemoryInputError as `MemoryState.keeper` does.
        """
        relations = state.keeper(self.config.max_objects)
        numbers = [int(t.id[len(_NAME):]) + 1 for t in state.tracks if re.fullmatch(_NAME + r"\d{1,18}", t.id)]
        self._tracks, self._relations = state.tracks, relations
        self._next = max(self._next, state.next_number, *numbers)
        self._stamp_ns, self._source_stamps_ns, self._behind_rad = state.stamp_ns, {}, state.behind_rad
        self._revision = max(self._revision + 1, state.revision)
        self._restored = True

    def __len__(self) -> int:
        """Confirmed objects."""
        return len(self._confirmed())

    def _confirmed(self) -> list[Track]:
        return [t for t in self._tracks if t.status is Status.CONFIRMED]

    def _turn_back(self, stamp_ns: int) -> None:
        self._stamp_ns = stamp_ns
        seen_ns = max(stamp_ns - 1, 0)  # before what the frame of this stamp shows
        for track in self._tracks:
            track.first_seen_ns = min(track.first_seen_ns, seen_ns)
            track.last_seen_ns = min(track.last_seen_ns, seen_ns)
            track.drifted_to_ns = min(track.drifted_to_ns, seen_ns)

    def _is_new(self, stamp_ns: int, source: str) -> bool:
        """False for the stamp that the source's last frame had. Raises MemoryTimeError for an earlier one."""
        last = self._source_stamps_ns.pop(source, None)
        self._source_stamps_ns[source] = stamp_ns if last is None else max(stamp_ns, last)
        if len(self._source_stamps_ns) > _MAX_SOURCES:
            del self._source_stamps_ns[next(iter(self._source_stamps_ns))]
        if last is not None and stamp_ns < last:
            raise MemoryTimeError(
                f"time of camera '{source}' went back by {(last - stamp_ns) / 1e9:.3f} s, to {stamp_ns} ns; "
                "rewind the memory to keep its objects, or reset it")
        return stamp_ns != last

    def _sight(self, sightings: Sequence[SceneObject], stamp_ns: int) -> list[Track]:
        """The track of each sighting, updated: a confirmed one where one fits, then a candidate, then a new one."""
        seen: dict[int, Track] = {}
        for status in (Status.CONFIRMED, Status.TENTATIVE):
            tracks = [t for t in self._tracks if t.status is status]
            free = [j for j in range(len(sightings)) if j not in seen]
            for i, j in associate(tracks, [sightings[j] for j in free], self.config):
                seen[free[j]] = tracks[i]
        for j, sighting in enumerate(sightings):
            if j not in seen:
                seen[j] = self._introduced(sighting, stamp_ns)
            track = seen[j]
            track.see(sighting, pair_noise(track, sighting, self.config), stamp_ns, self.config)
        return [seen[j] for j in range(len(sightings))]

    def _introduced(self, sighting: SceneObject, stamp_ns: int) -> Track:
        position = PositionFilter(sighting.position_m.copy(), noise(sighting, self.config))
        track = Track(f"{_NAME}{self._next}", position, AttributeBeliefs(), stamp_ns, stamp_ns, stamp_ns)
        self._next += 1
        self._tracks.append(track)
        return track

    def _miss(self, viewpoint: Viewpoint, seen: set[str]) -> None:
        """Count against the tracks that should have been seen.

        What is in the graph, or was just seen, may hide what is in the graph: not a likeness just seen, though, which
        may be the same object put before its old place. Nothing excuses a candidate in view: false sightings fall
        behind objects, too.
        """
        solid = [t for t in self._tracks if t.id in seen or t.status is Status.CONFIRMED]
        for track in (t for t in self._tracks if t.id not in seen and t.status is not Status.LOST):
            others = [] if track.status is Status.TENTATIVE else [
                o for o in solid if o.status is Status.CONFIRMED or not alike(track, o)]
            track.miss(visible_share(track, others, viewpoint), self.config)

    def _settle(self, stamp_ns: int) -> dict[str, str]:
        """Confirm, move and retire tracks; gives the names under which merged candidates go on."""
        self._tracks, aliases = promote(self._tracks, self.config)
        self._tracks = retire(self._tracks, stamp_ns, self.config)
        return aliases

    def _relate(self) -> bool:
        return self._relations.update(self._confirmed(), self._behind_rad, self.config)

    def _changes(self, before: set[str], ids: tuple[str, ...]) -> Fusion:
        now = self._confirmed()
        told = {t.id: t.tell(_TOLD_SIGMAS * self.config.position_sigma_m) for t in now}
        fusion = Fusion(
            ids, added=tuple(i for i in told if i not in before), removed=tuple(sorted(before - set(told))),
            moved=tuple(i for i, (moved, _) in told.items() if moved and i in before),
            relabelled=tuple(i for i, (_, relabelled) in told.items() if relabelled and i in before),
            relations_changed=self._relate())
        self._revision += fusion.changed
        return fusion
