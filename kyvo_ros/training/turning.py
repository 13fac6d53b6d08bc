"""Virtual turns of a camera about its optical centre: new views of a real image with exact ground truth.

A camera that only turns sees the same rays elsewhere, so the turned image is a homography of the original and needs
no depth. Small pans and tilts move every object against the token grid and the origin of the support-plane frame with
it; thus a few thousand renders become many examples. Numpy and OpenCV only.
"""

from __future__ import annotations

import cv2
import numpy as np

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.scene import CameraView, PinholeCamera, Scene
from kyvo_ros.scene.turns import levelled, turn_transform, turned_view

#: The warp samples at this many times the canonical resolution before it averages.
_OVERSAMPLING = 2


def turned_example(image_rgb: np.ndarray, scene: Scene, view: CameraView, canonical: CanonicalCamera,
                   pan_rad: float, tilt_rad: float) -> tuple[np.ndarray, Scene, CameraView]:
    """Image (h, w, 3), scene and level canonical view as if the camera had been turned.

    `image_rgb` (H, W, 3) comes from the undistorted camera of `view`, whose pose and world are known; what it does
    not show repeats its border.
    """
    turn = turn_transform(pan_rad, tilt_rad)
    turned = turned_view(view, turn)
    level = levelled(view, turn, turned)
    large = canonical.intrinsics().resized(canonical.width * _OVERSAMPLING, canonical.height * _OVERSAMPLING)
    homography = _index_matrix(view.intrinsics) @ level.rotation @ np.linalg.inv(_index_matrix(large))
    sampled = cv2.warpPerspective(image_rgb, homography, (large.width, large.height),
                                  flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    image = cv2.resize(sampled, (canonical.width, canonical.height), interpolation=cv2.INTER_AREA)
    turned_T_view = turned.world_T_plane.inverse() @ view.world_T_plane
    return image, scene.transformed(turned_T_view, scene.frame_id), CameraView(
        canonical.intrinsics(), turned.plane, 0.0, turned.world_T_plane)


def _index_matrix(camera: PinholeCamera) -> np.ndarray:
    """K for indices of pixels (the first pixel's centre is 0) where `PinholeCamera` counts spans (it is 0.5)."""
    k = camera.matrix()
    k[:2, 2] -= 0.5
    return k
