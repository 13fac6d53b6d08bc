"""What a published model sees with, and where the scenes that it says lie.

The published code stretches an image of any aspect to a square, so that the canonical camera has pixels that are not
square. It writes the scenes of CLEVR and ObjaWorld in their world, where a robot's camera has no place: they are taken
to be seen by CLEVR's camera in its nominal place, whose turn about the vertical the data set varies by some degrees.
Objectron's scenes are in the camera's own frame, and lie in the support-plane frame as the camera does.
Source: the published code's preparation of images (AadSah/kyvo, commit be438d3); CLEVR's public base scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.model.published import PublishedCheckpointError
from kyvo_ros.scene import PLANE_FRAME, PlaneCamera, Scene, Transform
from kyvo_ros.tokens.published_schemas import CAMERA_FRAME, CLEVR, WORLD_FRAME, objaworld, objectron
from kyvo_ros.tokens.schema import SceneSchema

#: CLEVR's camera: focal length in image widths (lens over sensor), and how its place looks along the plane.
FOCAL_WIDTHS = 35.0 / 32.0
_TOWARDS_ORIGIN = (-7.48113, 6.50764)
#: From the support-plane frame to CLEVR's world, about z.
WORLD_YAW_RAD = math.atan2(_TOWARDS_ORIGIN[1], _TOWARDS_ORIGIN[0]) - math.pi / 2


def published_schema(layout: str, names: Sequence[str] = ()) -> SceneSchema:
    """What scenes of a layout are made of; `names` are ObjaWorld's shapes or Objectron's categories, none for CLEVR's.

    Raises PublishedCheckpointError for Objectron without names.
    """
    if layout == "clevr":
        return objaworld(names) if names else CLEVR
    if not names:
        raise PublishedCheckpointError("the scenes of Objectron need the names of its categories (--names), each a "
                                       "single token of the text tokenizer")
    return objectron(names)


def stretched_camera(resolution: int, image_size: tuple[int, int]) -> CanonicalCamera:
    """The camera of images (width, height) of CLEVR's lens after they were stretched to a square, in pixels."""
    width, height = image_size
    focal = FOCAL_WIDTHS * resolution
    return CanonicalCamera(resolution, resolution, focal, focal * width / height, resolution / 2, resolution / 2)


def in_plane_frame(scene: Scene, plane: PlaneCamera) -> Scene:
    """A scene as a model says it, in PLANE_FRAME; `plane` is where the camera of its image stands.

    How a box of Objectron is turned nobody knows, so that it has no yaw; it stands upright, its (width, height, length)
    become extents x y z with z up. Scenes in other frames than the published ones stay.
    """
    if scene.frame_id == WORLD_FRAME:
        return scene.transformed(Transform.from_yaw(-WORLD_YAW_RAD), PLANE_FRAME)
    if scene.frame_id != CAMERA_FRAME:
        return scene
    return _moved(scene, plane.plane_T_optical(), (2, 0, 1), PLANE_FRAME)


def from_plane_frame(scene: Scene, frame_id: str, plane: PlaneCamera) -> Scene:
    """A scene in PLANE_FRAME in the frame `frame_id` of a model's schema; inverse of `in_plane_frame`.

    In the frame of Objectron objects lose their yaw. Scenes in other frames, and for other schemas than the published
    ones, stay.
    """
    if scene.frame_id != PLANE_FRAME:
        return scene
    if frame_id == WORLD_FRAME:
        return scene.transformed(Transform.from_yaw(WORLD_YAW_RAD), WORLD_FRAME)
    if frame_id != CAMERA_FRAME:
        return scene
    moved = _moved(scene, plane.plane_T_optical().inverse(), (1, 2, 0), CAMERA_FRAME)
    return replace(moved, objects=tuple(replace(o, yaw_rad=None) for o in moved.objects))


def _moved(scene: Scene, pose: Transform, axes: tuple[int, int, int], frame_id: str) -> Scene:
    """A scene in a frame that is tilted against its own; entry n of an extent becomes that of `axes[n]`."""
    objects = [replace(o, position_m=pose.apply(o.position_m),
                       size_m=None if o.size_m is None else o.size_m[list(axes)],
                       position_covariance_m2=None if o.position_covariance_m2 is None
                       else pose.rotate_covariance(o.position_covariance_m2)) for o in scene.objects]
    return replace(scene, objects=tuple(objects), frame_id=frame_id)
