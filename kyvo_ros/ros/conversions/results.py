"""What comes out of a frame: kyvo_ros.ros.frames.Recognition -> the messages that say all of it."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from kyvo_msgs.msg import SceneGraph
from std_msgs.msg import Header

from kyvo_ros.ros.conversions.scenes import scene_to_graph_msg
from kyvo_ros.ros.frames import Recognition
from kyvo_ros.ros.recognition import optical_T_plane


def graph_of(result: Recognition, stamp: Time) -> SceneGraph:
    """kyvo_msgs/SceneGraph of a recognition."""
    return scene_to_graph_msg(result.objects, result.relations, Header(stamp=stamp, frame_id=result.frame_id))


def plane_transform(result: Recognition, stamp: Time) -> TransformStamped:
    """optical_T_plane: the support-plane frame as a child of the camera's, at the image's stamp."""
    pose = optical_T_plane(result.view)
    x, y, z, w = pose.quaternion().tolist()
    return TransformStamped(
        header=Header(stamp=stamp, frame_id=result.camera_frame), child_frame_id=result.frame_id,
        transform=Transform(translation=Vector3(**dict(zip("xyz", pose.translation.tolist()))),
                            rotation=Quaternion(x=x, y=y, z=z, w=w)))
