"""Markers of the scene graph: its objects as `markers` draws them, and an arrow for each relation that says something.

An arrow leads from the subject to the object of a relation, in the namespace `relations/<predicate>`. Only left, behind
and near are drawn, without what follows from them (`scene.memory.essential`).
"""

from __future__ import annotations

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from kyvo_ros.ros.conversions.graphs import placed_objects, snapshot_header
from kyvo_ros.ros.conversions.markers import MarkerBook, shown_size_m
from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.conversions.prototypes import maker
from kyvo_ros.scene.memory import NamedRelation, Snapshot, essential_relations

_COLOURS = {"left": (0.95, 0.55, 0.1), "behind": (0.2, 0.6, 0.95), "near": (0.3, 0.8, 0.3)}
#: Diameters of shaft and head, in the size of the smaller object.
_SHAFT, _HEAD = 0.04, 0.12
_marker = maker(Marker)


class GraphMarkerBook:
    """Remembers what is on display, so that keys stay and what vanished can be deleted."""

    def __init__(self) -> None:
        self._objects = MarkerBook()
        self._arrows: dict[NamedRelation, int] = {}
        self._next = 0

    def update(self, snapshot: Snapshot) -> MarkerArray:
        """All markers of the graph, which stay until deleted, and deletions of those that are no more."""
        header, placed = snapshot_header(snapshot), placed_objects(snapshot)
        by_id = {item.object.id: item for item in placed}
        relations = essential_relations(snapshot.relations)
        gone = [r for r in self._arrows if r not in set(relations)]
        markers = [_marker(header=header, ns=_space(r), id=self._arrows.pop(r), action=Marker.DELETE) for r in gone]
        markers += self._objects.update(placed, header, 0.0).markers
        markers += [_arrow(r, self._number(r), by_id[r.subject_id], by_id[r.object_id], header) for r in relations]
        return MarkerArray(markers=markers)

    def clear(self, header: Header) -> MarkerArray:
        """Deletions of all that is on display."""
        arrows = [_marker(header=header, ns=_space(r), id=number, action=Marker.DELETE)
                  for r, number in self._arrows.items()]
        self._arrows.clear()
        return MarkerArray(markers=[*self._objects.clear(header).markers, *arrows])

    def _number(self, relation: NamedRelation) -> int:
        if relation not in self._arrows:
            self._arrows[relation] = self._next
            self._next += 1
        return self._arrows[relation]


def _space(relation: NamedRelation) -> str:
    return f"relations/{relation.predicate}"


def _arrow(relation: NamedRelation, number: int, subject: PlacedObject, target: PlacedObject, header: Header) -> Marker:
    size_m = min(min(shown_size_m(placed)) for placed in (subject, target))
    red, green, blue = _COLOURS[relation.predicate]
    ends = [Point(**dict(zip("xyz", p.position_m.tolist()))) for p in (subject, target)]
    return _marker(
        header=header, ns=_space(relation), id=number, type=Marker.ARROW, action=Marker.ADD, points=ends,
        pose=Pose(orientation=Quaternion(w=1.0)), scale=Vector3(x=_SHAFT * size_m, y=_HEAD * size_m),
        color=ColorRGBA(r=red, g=green, b=blue, a=0.8), lifetime=Duration())
