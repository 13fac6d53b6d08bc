"""Markers of an answer: hulls round the objects that it rests on, and what it says above them."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from kyvo_ros.questions import Answer
from kyvo_ros.ros.conversions.markers import shown_size_m
from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.conversions.poses import pose_to_msg
from kyvo_ros.ros.conversions.prototypes import maker

HULLS, TEXT = "rests_on", "says"
#: A hull is so much larger than its object, and is shown so long.
_MARGIN, _LIFETIME = 1.15, Duration(sec=20)
_ANSWERED, _REFUSED = (1.0, 0.9, 0.1), (1.0, 0.2, 0.2)
_marker = maker(Marker)


def answer_markers(answer: Answer, objects: Sequence[PlacedObject], header: Header) -> MarkerArray:
    """What shows an answer on the scene's objects, in place of the answer before it.

    `objects` are all of the scene that was asked about, in the frame of `header`. An answer that rests on no object
    only takes back the one before.
    """
    markers = [_marker(header=header, action=Marker.DELETEALL)]
    red, green, blue = _REFUSED if answer.refusal else _ANSWERED
    chosen = [objects[index] for index in answer.indices]
    for number, placed in enumerate(chosen):
        x, y, z = shown_size_m(placed)
        markers.append(_marker(
            header=header, ns=HULLS, id=number, type=Marker.CUBE, action=Marker.ADD, pose=pose_to_msg(placed),
            scale=Vector3(x=_MARGIN * x, y=_MARGIN * y, z=_MARGIN * z),
            color=ColorRGBA(r=red, g=green, b=blue, a=0.35), lifetime=_LIFETIME))
    if chosen:
        height = shown_size_m(chosen[0])[2]
        x, y, z = (chosen[0].position_m + 1.3 * height * chosen[0].up()).tolist()
        markers.append(_marker(
            header=header, ns=TEXT, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD, text=answer.text,
            pose=Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0)), scale=Vector3(z=0.4 * height),
            color=ColorRGBA(r=red, g=green, b=blue, a=1.0), lifetime=_LIFETIME))
    return MarkerArray(markers=markers)
