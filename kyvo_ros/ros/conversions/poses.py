"""Poses of placed objects -> geometry_msgs/Pose."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, Quaternion

from kyvo_ros.ros.conversions.placing import PlacedObject


def pose_to_msg(placed: PlacedObject) -> Pose:
    """geometry_msgs/Pose of an object's centre."""
    position, (x, y, z, w) = dict(zip("xyz", placed.position_m.tolist())), placed.quaternion_xyzw.tolist()
    return Pose(position=Point(**position), orientation=Quaternion(x=x, y=y, z=z, w=w))
