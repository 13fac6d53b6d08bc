"""Scenes on images: projected boxes with labels, and contact sheets (numpy and OpenCV).

Knows cameras and scenes, not where either comes from. Boxes are drawn where the raw image shows them, so lens
distortion and roll are followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from kyvo_ros.scene import CameraView, Scene, SceneObject
from kyvo_ros.scene.distortion import distort
from kyvo_ros.scene.types import BOX_CORNERS

RIGHT_RGB = (70, 220, 90)
WRONG_RGB = (255, 70, 70)
MISSED_RGB = (255, 190, 40)
#: Line colours of CLEVR's colour words, lighter than the objects so that they show on them.
WORD_RGB = {
    "gray": (200, 200, 200), "red": (255, 90, 90), "blue": (110, 150, 255), "green": (80, 210, 80),
    "brown": (215, 150, 90), "purple": (200, 120, 255), "cyan": (90, 240, 240), "yellow": (255, 238, 60),
}
_OTHER_RGB = (240, 240, 240)
#: Extents of a box whose object does not know its size.
_UNKNOWN_SIZE_M = (0.1, 0.1, 0.1)
#: Images are enlarged by a whole factor to about this width before anything is drawn.
_READABLE_WIDTH = 640
_EDGE_POINTS = 9  # along an edge, since a lens with distortion bends it
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(BOX_CORNERS[a] - BOX_CORNERS[b]).sum() == 1.0]


@dataclass(frozen=True)
class Mark:
    """How one object is drawn."""

    color_rgb: tuple[int, int, int]
    label: str = ""  # written above the box; empty for none
    thin: bool = False  # lines without an outline, for what should stay in the background


def default_mark(scene_object: SceneObject) -> Mark:
    """The colour that the object's `color` word names; its label with id and confidence."""
    color = WORD_RGB.get(scene_object.attributes.get("color", ""), _OTHER_RGB)
    name = f"{scene_object.id}: {scene_object.label}" if scene_object.id else scene_object.label
    return Mark(color, name if scene_object.confidence >= 1.0 else f"{name} {scene_object.confidence:.2f}")


def box_corners(scene_object: SceneObject) -> np.ndarray:
    """(8, 3) corners of the box that an object is drawn with, in the scene's frame."""
    return replace(scene_object, size_m=_drawn_size_m(scene_object)).box_corners_m()


def _drawn_size_m(scene_object: SceneObject) -> np.ndarray:
    """(3,) extents that an object is drawn with, also where its own are not known."""
    return np.array(_UNKNOWN_SIZE_M if scene_object.size_m is None else scene_object.size_m)


def enlarged(image_rgb: np.ndarray, scale: int) -> np.ndarray:
    """A copy (scale * H, scale * W, 3) of an image (H, W, 3) uint8 RGB."""
    return image_rgb.copy() if scale == 1 else cv2.resize(
        image_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def draw_scene(image_rgb: np.ndarray, scene: Scene, view: CameraView, *, marks: Sequence[Mark] | None = None,
               scale: int | None = None) -> np.ndarray:
    """A copy of an image (H, W, 3) uint8 RGB, enlarged by `scale`, with the boxes and labels of a scene.

    `scene` is in PLANE_FRAME and `view` the image's camera with its plane. `marks`, one an object, default to
    `default_mark`; `scale` to the whole factor that makes the image readable. Boxes that reach behind the camera are
    drawn as far as they are seen. Raises PlaneNotVisibleError where the view has no plane.
    """
    scale = scale or max(1, round(_READABLE_WIDTH / image_rgb.shape[1]))
    image = enlarged(image_rgb, scale)
    marks = [default_mark(o) for o in scene.objects] if marks is None else marks
    optical_T_plane = view.plane_T_optical().inverse()
    depth = optical_T_plane.apply(scene.positions_m())[:, 2]
    taken: list[tuple[int, int, int, int]] = []
    far_to_near = np.argsort(-depth, kind="stable")
    boxes = {i: optical_T_plane.apply(box_corners(scene.objects[i])) for i in far_to_near}
    for i in far_to_near:
        _draw_box(image, boxes[i], view, scale, marks[i])
    for i in far_to_near[::-1]:  # near labels get the best places
        _draw_label(image, distort(boxes[i], view.intrinsics) * scale, marks[i], taken)
    return image


def _draw_box(image: np.ndarray, corners_optical: np.ndarray, view: CameraView, scale: int, mark: Mark) -> None:
    """Twelve edges; those at the farthest corner are hidden by the object and drawn thinner."""
    hidden = int(np.argmax(np.linalg.norm(corners_optical, axis=1)))
    steps = np.linspace(0.0, 1.0, _EDGE_POINTS)[:, None]
    for a, b in sorted(_EDGES, key=lambda edge: hidden not in edge):
        points = distort(corners_optical[a] + steps * (corners_optical[b] - corners_optical[a]), view.intrinsics)
        points = points[np.isfinite(points).all(axis=1)] * scale
        if len(points) < 2 or np.abs(points).max() > 20 * max(image.shape):
            continue
        fixed = np.rint((points - 0.5) * 8).astype(np.int32)  # pixel centres are at 0.5; three bits of sub-pixels
        if hidden in (a, b) or mark.thin:
            pieces = fixed.reshape(1, -1, 2) if hidden not in (a, b) else np.stack([fixed[:-1:2], fixed[1::2]], axis=1)
            cv2.polylines(image, list(pieces), False, mark.color_rgb, 1, cv2.LINE_AA, 3)
        else:
            cv2.polylines(image, [fixed], False, (20, 20, 20), 3, cv2.LINE_AA, 3)
            cv2.polylines(image, [fixed], False, mark.color_rgb, 1, cv2.LINE_AA, 3)


def _draw_label(image: np.ndarray, corners: np.ndarray, mark: Mark, taken: list[tuple[int, int, int, int]]) -> None:
    """The label above the box or, where another label stands, as little higher or lower as finds room."""
    corners = corners[np.isfinite(corners).all(axis=1)]
    if not mark.label or not len(corners):
        return
    (width, height), _ = cv2.getTextSize(mark.label, _FONT, _FONT_SCALE, 1)
    width, height = width + 4, height + 6
    left = int(np.clip((corners[:, 0].min() + corners[:, 0].max() - width) / 2, 0, max(0, image.shape[1] - width)))
    best = int(corners[:, 1].min()) - height - 1
    lowest = max(0, image.shape[0] - height)
    tops = {min(max(0, best + d), lowest) for d in range(-5 * height, 9 * height, 3)}
    tops = sorted(tops, key=lambda top: abs(top - best))
    free = (top for top in tops if not any(_overlap((left, top, width, height), other) for other in taken))
    top = next(free, min(max(0, best), lowest))
    taken.append((left, top, width, height))
    patch = image[top:top + height, left:left + width]
    patch[:] = patch // 3
    cv2.putText(image, mark.label, (left + 2, top + height - 4), _FONT, _FONT_SCALE, mark.color_rgb, 1, cv2.LINE_AA)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return (one[0] < other[0] + other[2] and other[0] < one[0] + one[2]
            and one[1] < other[1] + other[3] and other[1] < one[1] + one[3])


def draw_plan(scene: Scene, marks: Sequence[Mark] | None = None, size: int = 320) -> np.ndarray:
    """A scene from above, (size, size, 3) uint8 RGB: x to the right and y up, discs as wide as the objects.

    Thin marks are outlines. `marks`, one an object, default to `default_mark`. Everything is shown, whatever its size.
    """
    marks = [default_mark(o) for o in scene.objects] if marks is None else marks
    places = scene.positions_m()[:, :2]
    extents = np.array([_drawn_size_m(o) for o in scene.objects]).reshape(-1, 3)
    low, high = ((f(places + sign * extents[:, :2]) if len(scene) else np.array([sign, sign]))
                 for f, sign in ((lambda p: p.min(axis=0), -1.0), (lambda p: p.max(axis=0), 1.0)))
    scale = size / (high - low).max()
    offset = (size / scale - (high - low)) / 2 - low
    image = np.full((size, size, 3), 70, np.uint8)
    for item, place, extent, mark in zip(scene.objects, places, extents, marks):
        u, v = np.rint((place + offset) * scale).astype(int).tolist()
        radius = max(2, round(float(extent[:2].max()) / 2 * scale))
        fill = WORD_RGB.get(item.attributes.get("color", ""), _OTHER_RGB)
        cv2.circle(image, (u, size - v), radius, fill, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(image, (u, size - v), radius, mark.color_rgb, 1 if mark.thin else 4, cv2.LINE_AA)
        above = max(0, u - radius), max(10, size - v - radius - 4)
        cv2.putText(image, mark.label, above, _FONT, _FONT_SCALE, _OTHER_RGB, 1, cv2.LINE_AA)
    return image


def contact_sheet(images: Sequence[np.ndarray], captions: Sequence[str], columns: int = 4) -> np.ndarray:
    """Images (H, W, 3) uint8 of one size in a grid, each under its caption, as one image.

    Raises ValueError without images or where their sizes or the number of captions differ.
    """
    if not images or len(captions) != len(images) or len({image.shape for image in images}) != 1:
        raise ValueError(f"expected images of one size with a caption each, got {len(images)} images in sizes "
                         f"{ {image.shape for image in images} } and {len(captions)} captions")
    bar, (height, width) = 18, images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + bar), columns * width, 3), 30, np.uint8)
    for i, (image, caption) in enumerate(zip(images, captions)):
        top, left = (i // columns) * (height + bar), (i % columns) * width
        cv2.putText(sheet, caption, (left + 4, top + bar - 5), _FONT, _FONT_SCALE, (235, 235, 235), 1, cv2.LINE_AA)
        sheet[top + bar:top + bar + height, left:left + width] = image
    return sheet
