"""Scenes: placed objects -> kyvo_msgs/SceneGraph and vision_msgs/Detection3DArray, and a SceneGraph back to a Scene."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import PoseWithCovariance, Vector3
from kyvo_msgs.msg import Attribute, SceneGraph
from kyvo_msgs.msg import Relation as RelationMsg
from kyvo_msgs.msg import SceneObject as SceneObjectMsg
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesis, ObjectHypothesisWithPose

from kyvo_ros.ros.conversions.meshes import meshes_of, object_meshes
from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.conversions.poses import pose_to_msg
from kyvo_ros.ros.conversions.prototypes import maker
from kyvo_ros.scene import Relation, Scene, SceneError, SceneObject, Transform

_detection_msg, _object_msg, _box = maker(Detection3D), maker(SceneObjectMsg), maker(BoundingBox3D)
_result, _pose_with_covariance = maker(ObjectHypothesisWithPose), maker(PoseWithCovariance)


def scene_to_graph_msg(objects: Sequence[PlacedObject], relations: Iterable[Relation], header: Header) -> SceneGraph:
    """kyvo_msgs/SceneGraph; relations refer to `objects` by index. Inverse of `scene_from_graph_msg`."""
    ids = [placed.object.id for placed in objects]
    return SceneGraph(
        header=header, objects=[_object_to_msg(placed) for placed in objects], viewpoint=SceneGraph.CAMERA,
        meshes=object_meshes(objects),
        relations=[RelationMsg(subject_id=ids[r.subject], predicate=r.predicate, object_id=ids[r.object])
                   for r in relations])


def scene_from_graph_msg(message: SceneGraph, target_T_frame: Transform | None = None, target: str = "") -> Scene:
    """The Scene of a SceneGraph, in the frame `target` that `target_T_frame` leads to; by default in the message's own.
    Inverse of `scene_to_graph_msg`.

    Raises SceneError where objects are tilted there, as in optical frames, since a yaw cannot hold such a pose, and
    where what the message says is no scene; MeshError for shapes that are none.
    """
    stamp = message.header.stamp
    transform = Transform.identity() if target_T_frame is None else target_T_frame
    meshes = meshes_of(message.meshes)
    objects = [replace(_object_from_msg(item, transform), mesh=meshes.get(item.id)) for item in message.objects]
    return Scene(objects, target or message.header.frame_id, stamp.sec * 1_000_000_000 + stamp.nanosec)


def scene_to_detections_msg(objects: Sequence[PlacedObject], header: Header) -> Detection3DArray:
    """vision_msgs/Detection3DArray; class_id is the object's label in words."""
    return Detection3DArray(header=header, detections=[_detection(placed, header) for placed in objects])


def _detection(placed: PlacedObject, header: Header) -> Detection3D:
    item, pose = placed.object, pose_to_msg(placed)
    result = _result(
        hypothesis=ObjectHypothesis(class_id=item.label, score=min(1.0, float(item.confidence))),
        pose=_pose_with_covariance(pose=pose, covariance=placed.covariance.ravel()))
    return _detection_msg(header=header, results=[result], bbox=_box(center=pose, size=_size(item)), id=item.id)


def _object_to_msg(placed: PlacedObject) -> SceneObjectMsg:
    item = placed.object
    attributes = [Attribute(name=name, value=value, score=float(item.attribute_confidence.get(name, 1.0)))
                  for name, value in item.attributes.items()]
    return _object_msg(
        id=item.id, label=item.label, attributes=attributes, score=min(1.0, float(item.confidence)),
        pose=_pose_with_covariance(pose=pose_to_msg(placed), covariance=placed.covariance.ravel()), size=_size(item),
        depth_points=item.depth_points)


def _object_from_msg(message: SceneObjectMsg, target_T_frame: Transform) -> SceneObject:
    pose = target_T_frame @ _pose_from_msg(message)
    if not np.allclose(pose.rotation[2], [0, 0, 1], atol=1e-3):
        raise SceneError(f"object '{message.id}' is tilted in its frame; ask the node for an output frame with z up")
    covariance = np.asarray(message.pose.covariance, dtype=np.float64).reshape(6, 6)
    position_covariance = target_T_frame.rotate_covariance(covariance[:3, :3])
    turn_covariance = target_T_frame.rotate_covariance(covariance[3:, 3:])
    size = np.array([message.size.x, message.size.y, message.size.z])
    return SceneObject(
        attributes={a.name: a.value for a in message.attributes}, position_m=pose.translation,
        yaw_rad=None if turn_covariance[2, 2] > 1.0 else math.atan2(pose.rotation[1, 0], pose.rotation[0, 0]),
        size_m=size if size.any() else None, id=message.id, confidence=message.score,
        attribute_confidence={a.name: a.score for a in message.attributes},
        position_covariance_m2=position_covariance if covariance.any() else None, depth_points=message.depth_points)


def _pose_from_msg(message: SceneObjectMsg) -> Transform:
    position, q = message.pose.pose.position, message.pose.pose.orientation
    try:
        return Transform.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([position.x, position.y, position.z]))
    except ValueError as error:
        raise SceneError(f"object '{message.id}' has no pose: {error}") from error


def _size(item: SceneObject) -> Vector3:
    return Vector3() if item.size_m is None else Vector3(**_xyz(item.size_m))


def _xyz(values: np.ndarray) -> dict[str, float]:
    return dict(zip("xyz", values.tolist()))
