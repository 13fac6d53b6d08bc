"""Markers: placed objects -> visualization_msgs/MarkerArray with stable keys.

RViz keeps a marker by its namespace and id. An object keeps both while its own id lasts, and what vanished is deleted
by key; nothing is wiped and drawn anew, so nothing blinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from kyvo_ros.ros.conversions.meshes import as_triangles
from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.conversions.poses import pose_to_msg
from kyvo_ros.ros.conversions.prototypes import maker

BOXES, LABELS = "objects", "labels"
_SHAPES = {"cube": Marker.CUBE, "sphere": Marker.SPHERE, "cylinder": Marker.CYLINDER}
#: Colours by the words of the attribute `color`, red green blue in 0..1.
_COLOURS = {
    "gray": (0.34, 0.34, 0.34), "red": (0.68, 0.14, 0.14), "blue": (0.16, 0.29, 0.84), "green": (0.11, 0.41, 0.08),
    "brown": (0.51, 0.29, 0.10), "purple": (0.51, 0.15, 0.75), "cyan": (0.16, 0.82, 0.82), "yellow": (1.0, 0.93, 0.20),
}
_NO_COLOUR = (0.8, 0.8, 0.8)
_FALLBACK_SIZE_M = 0.1
_ALPHA = 0.7
_marker = maker(Marker)


class MarkerBook:
    """Remembers which markers are on display, so that vanished ones can be deleted."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = 0

    def update(self, objects: Sequence[PlacedObject], header: Header, lifetime_s: float) -> MarkerArray:
        """Markers of the objects and deletions of those that are no more."""
        vanished = set(self._numbers) - {placed.object.id for placed in objects}
        markers = [self._deletion(self._numbers[name], space, header) for name in sorted(vanished)
                   for space in (BOXES, LABELS)]
        for name in vanished:
            del self._numbers[name]
        lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
        for placed in objects:
            number = self._number(placed.object.id)
            markers += [_body(placed, number, header, lifetime), _label(placed, number, header, lifetime)]
        return MarkerArray(markers=markers)

    def clear(self, header: Header) -> MarkerArray:
        """Deletions of all that is on display."""
        markers = [self._deletion(number, space, header) for number in self._numbers.values()
                   for space in (BOXES, LABELS)]
        self._numbers.clear()
        return MarkerArray(markers=markers)

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = self._next
            self._next += 1
        return self._numbers[name]

    @staticmethod
    def _deletion(number: int, space: str, header: Header) -> Marker:
        return _marker(header=header, ns=space, id=number, action=Marker.DELETE)


def shown_size_m(placed: PlacedObject) -> list[float]:
    """Extents (x, y, z) that an object is drawn with, also where its own are not known."""
    return [_FALLBACK_SIZE_M] * 3 if placed.object.size_m is None else placed.object.size_m.tolist()


def _body(placed: PlacedObject, number: int, header: Header, lifetime: Duration) -> Marker:
    mesh = placed.object.mesh
    shown = _as_solid(placed) if mesh is None else as_triangles(mesh)
    return _marker(header=header, ns=BOXES, id=number, action=Marker.ADD, pose=pose_to_msg(placed), lifetime=lifetime,
                   **shown)


def _as_solid(placed: PlacedObject) -> dict[str, Any]:
    """The fields of a marker of an object whose shape is known by its word alone."""
    words, size = placed.object.attributes, shown_size_m(placed)
    red, green, blue = _COLOURS.get(words.get("color", ""), _NO_COLOUR)
    return {"type": _SHAPES.get(words.get("shape", ""), Marker.CUBE), "scale": Vector3(x=size[0], y=size[1], z=size[2]),
            "color": ColorRGBA(r=red, g=green, b=blue, a=_ALPHA)}


def _label(placed: PlacedObject, number: int, header: Header, lifetime: Duration) -> Marker:
    item = placed.object
    height = shown_size_m(placed)[2]
    x, y, z = (placed.position_m + 0.9 * height * placed.up()).tolist()
    pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
    return _marker(
        header=header, ns=LABELS, id=number, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD, pose=pose,
        scale=Vector3(z=0.3 * height), color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0), lifetime=lifetime,
        text=f"{item.label} {item.confidence:.2f}")
