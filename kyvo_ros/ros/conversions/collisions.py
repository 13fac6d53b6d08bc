"""The scene graph for MoveIt: snapshots -> a difference to the planning scene, of shape_msgs primitives, and meshes
where the graph knows shapes.

moveit_msgs is imported when it is needed, since a robot without an arm has none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from kyvo_ros.ros.conversions.graphs import placed_objects, snapshot_header
from kyvo_ros.ros.conversions.meshes import mesh_to_msg
from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.conversions.poses import pose_to_msg
from kyvo_ros.scene.memory import Snapshot


class MoveItMissingError(ImportError):
    """moveit_msgs is not installed."""


def moveit_messages() -> Any:
    """The module moveit_msgs.msg. Raises MoveItMissingError."""
    try:
        import moveit_msgs.msg
    except ImportError as error:
        raise MoveItMissingError("moveit_msgs is not installed for the Python that runs this node; install the package "
                                 "ros-<distribution>-moveit-msgs, or export as graphml") from error
    return moveit_msgs.msg


def planning_scene_diff(snapshot: Snapshot, gone: Collection[str], messages: Any) -> Any:
    """moveit_msgs/PlanningScene that adds or moves the graph's objects and removes those of the ids `gone`.

    Objects of unknown size and shape are left out. `messages` is the module moveit_msgs.msg.
    """
    header = snapshot_header(snapshot)
    known = [item for item in placed_objects(snapshot) if item.object.size_m is not None or item.object.mesh]
    scene = messages.PlanningScene(is_diff=True)
    scene.robot_state.is_diff = True  # else the robot's state is taken to be the empty one
    scene.world.collision_objects = [
        *(_removal(name, header, messages) for name in sorted(gone)),
        *(_collision_object(item, header, messages) for item in known)]
    return scene


def _collision_object(placed: PlacedObject, header: Header, messages: Any) -> Any:
    pose = [pose_to_msg(placed)]
    if placed.object.mesh is not None:
        body = {"meshes": [mesh_to_msg(placed.object.mesh)], "mesh_poses": pose}
    else:
        body = {"primitives": [_primitive(placed)], "primitive_poses": pose}
    return messages.CollisionObject(header=header, id=placed.object.id, operation=messages.CollisionObject.ADD, **body)


def _removal(name: str, header: Header, messages: Any) -> Any:
    return messages.CollisionObject(header=header, id=name, operation=messages.CollisionObject.REMOVE)


def _primitive(placed: PlacedObject) -> SolidPrimitive:
    """The shape by the word for it; a box where there is no primitive for the word."""
    x, y, z = placed.object.size_m.tolist()
    shape = placed.object.attributes.get("shape", "")
    if shape == "sphere":
        return SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[max(x, y, z) / 2])
    if shape == "cylinder":
        return SolidPrimitive(type=SolidPrimitive.CYLINDER, dimensions=[z, max(x, y) / 2])  # height, radius
    return SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[x, y, z])
