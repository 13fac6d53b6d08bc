"""Virtual turns of a camera about its optical centre: new views of a real image with exact ground truth.

A camera that only turns sees the same rays elsewhere, so the turned image is a homography of the original and needs
no depth. Small pans and tilts move every object against the token grid and the origin of the support-plane frame with
it, longer and shorter lenses its size; thus a few thousand renders become many examples.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.scene import CameraView, Scene, Transform
from kyvo_ros.scene.turns import levelled, turn_transform, turned_view
from kyvo_ros.scene.visibility import is_seen


def turned_example(image_rgb: np.ndarray, scene: Scene, view: CameraView, canonical: CanonicalCamera,
                   pan_rad: float, tilt_rad: float) -> tuple[np.ndarray, Scene, CameraView]:
    """Image (h, w, 3), scene and level canonical view as if the camera had been turned.

    `image_rgb` (H, W, 3) comes from the camera of `view`, whose pose and world are known; what it does not show repeats
    its border. Objects whose centres lie outside the new view are left out.
    """
    turn = turn_transform(pan_rad, tilt_rad)
    turned = turned_view(view, turn)
    level_T_optical = view.plane.plane_T_optical().rotation.T @ view.plane_T_optical().rotation
    level_T_turned = Transform(level_T_optical @ levelled(view, turn, turned).rotation, np.zeros(3))
    image = to_canonical(image_rgb, view, canonical, level_T_turned)
    turned_T_view = turned.world_T_plane.inverse() @ view.world_T_plane
    new_view = CameraView(canonical.intrinsics(), turned.plane, 0.0, turned.world_T_plane)
    scene = scene.transformed(turned_T_view, scene.frame_id)
    shown = tuple(item for item in scene.objects if is_seen(item.position_m[None], new_view))
    return image, replace(scene, objects=shown), new_view
