"""The scene graph that lasts as messages: snapshots -> kyvo_msgs/SceneGraph, and requests for parts of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from kyvo_msgs.msg import Relation as RelationMsg
from kyvo_msgs.msg import SceneGraph
from std_msgs.msg import Header

from kyvo_ros.ros.conversions.placing import PlacedObject, place
from kyvo_ros.ros.conversions.scenes import scene_to_graph_msg
from kyvo_ros.scene import Transform
from kyvo_ros.scene.memory import Query, Snapshot

_LATEST_NS = 2**31 * 10**9 - 1


def stamp_to_msg(stamp_ns: int | None) -> Time:
    """builtin_interfaces/Time of nanoseconds, the latest that it can hold at most; zero for None."""
    seconds, nanoseconds = divmod(min(stamp_ns or 0, _LATEST_NS), 10**9)
    return Time(sec=seconds, nanosec=nanoseconds)


def snapshot_header(snapshot: Snapshot) -> Header:
    """The graph's frame and the stamp of the newest image in it."""
    return Header(stamp=stamp_to_msg(snapshot.stamp_ns), frame_id=snapshot.frame_id)


def placed_objects(snapshot: Snapshot) -> list[PlacedObject]:
    """The objects with their poses in the graph's frame; the variance of a yaw that is known is filled in."""
    placed = place(snapshot.scene(), Transform.identity())
    for item, known in zip(placed, snapshot.objects):
        if known.yaw_sigma_rad is not None:
            item.covariance[5, 5] = known.yaw_sigma_rad**2
    return placed


def snapshot_to_msg(snapshot: Snapshot) -> SceneGraph:
    """kyvo_msgs/SceneGraph with all that only a graph that lasts has."""
    message = scene_to_graph_msg(placed_objects(snapshot), [], snapshot_header(snapshot))
    for item, known in zip(message.objects, snapshot.objects):
        item.first_seen, item.last_seen = stamp_to_msg(known.first_seen_ns), stamp_to_msg(known.last_seen_ns)
        item.sightings = min(known.sightings, 2**32 - 1)
    message.relations = [RelationMsg(subject_id=r.subject_id, predicate=r.predicate, object_id=r.object_id)
                         for r in snapshot.relations]
    message.viewpoint, message.behind_rad, message.revision = (
        snapshot.viewpoint, snapshot.behind_rad, snapshot.revision)
    return message


def query_from_msg(request: Any) -> Query:
    """What a request of kyvo_msgs/GetSceneGraph asks for. Raises MemoryInputError for numbers that cannot be meant."""
    low, high = (np.array([p.x, p.y, p.z]) for p in (request.region_min, request.region_max))
    return Query(
        words=frozenset(request.words.split()), attributes={a.name: a.value for a in request.attributes},
        region_m=(low, high) if low.any() or high.any() else None, max_age_s=request.max_age_s or None,
        min_probability=request.min_probability)
