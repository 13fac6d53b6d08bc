"""Boxes sit where the camera sees them; sheets hold their panels."""

import math

import numpy as np
import pytest

from kyvo_ros.drawing import WORD_RGB, Mark, box_corners, contact_sheet, default_mark, draw_plan, draw_scene
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, Scene, SceneObject
from kyvo_ros.scene.distortion import distort

PLANE = PlaneCamera(11.0, 0.5)
VIEW = CameraView(PinholeCamera(320, 240, 350, 350, 160, 120), PLANE)
CUBE = SceneObject({"color": "red", "shape": "cube"}, np.array([1.0, 0.5, 0.5]), 0.4, np.array([1.0, 1.0, 1.0]))
MARK = Mark((255, 0, 0))


def bounds(image):
    """(left, top, right, bottom) of what is red."""
    rows, columns = np.nonzero((image[..., 0] > 100) & (image[..., 1] < 100))
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_corners_are_the_turned_box():
    corners = box_corners(CUBE)
    assert corners.mean(axis=0) == pytest.approx(CUBE.position_m)
    assert set(corners[:, 2].round(9)) == {0.0, 1.0}
    along = corners[4] - corners[0]
    assert math.atan2(along[1], along[0]) == pytest.approx(0.4) and np.linalg.norm(along) == pytest.approx(1.0)
    assert np.ptp(box_corners(SceneObject({}, np.zeros(3))), axis=0) == pytest.approx([0.1] * 3)  # size unknown


@pytest.mark.parametrize("view", [
    VIEW, CameraView(VIEW.intrinsics, PLANE, roll_rad=0.3),
    CameraView(PinholeCamera(320, 240, 350, 340, 150, 125, (-0.2, 0.05, 0, 0, 0)), PLANE),
], ids=["level", "rolled", "distorted"])
@pytest.mark.parametrize("scale", [1, 2])
def test_boxes_are_drawn_where_the_camera_sees_them(view, scale):
    image = draw_scene(np.zeros((240, 320, 3), np.uint8), Scene([CUBE]), view, marks=[MARK], scale=scale)
    assert image.shape == (240 * scale, 320 * scale, 3)
    pixels = distort(view.plane_T_optical().inverse().apply(box_corners(CUBE)), view.intrinsics) * scale
    assert bounds(image) == pytest.approx([*pixels.min(axis=0), *pixels.max(axis=0)], abs=1.6)


def test_the_image_is_kept_and_made_readable():
    image = np.full((240, 320, 3), 80, np.uint8)
    assert draw_scene(image, Scene(), VIEW).shape == (480, 640, 3)
    assert (draw_scene(image, Scene(), VIEW) == 80).all()
    draw_scene(image, Scene([CUBE]), VIEW, scale=1)
    assert (image == 80).all()


def test_boxes_off_the_image_or_behind_the_camera_do_no_harm():
    for y in (-30.0, -9.7, 40.0):
        far = SceneObject({"color": "red"}, np.array([0.0, y, 0.5]), None, np.array([5.0, 5.0, 1.0]))
        draw_scene(np.zeros((240, 320, 3), np.uint8), Scene([far]), VIEW)


def test_labels():
    assert default_mark(CUBE).label == "red cube"
    scored = SceneObject({"shape": "cube"}, np.zeros(3), id="7", confidence=0.5)
    assert default_mark(scored).label == "7: cube 0.50"
    bare, labelled = (
        draw_scene(np.zeros((240, 320, 3), np.uint8), Scene([CUBE] * 3), VIEW, marks=[Mark((255, 0, 0), text)] * 3)
        for text in ("", "a label"))
    assert (labelled != bare).any(axis=-1).sum() > 100


def test_a_view_without_a_plane_is_refused():
    with pytest.raises(PlaneNotVisibleError):
        draw_scene(np.zeros((240, 320, 3), np.uint8), Scene([CUBE]), CameraView(VIEW.intrinsics))


def test_contact_sheet():
    panels = [np.full((20, 30, 3), value, np.uint8) for value in (100, 150, 200)]
    sheet = contact_sheet(panels, ["a", "b", "c"], columns=2)
    assert sheet.shape == (2 * (20 + 18), 60, 3)
    assert (sheet[18:38, 30:] == 150).all() and (sheet[56:, :30] == 200).all()
    with pytest.raises(ValueError, match="one size"):
        contact_sheet([panels[0], panels[0][:10]], ["a", "b"])
    with pytest.raises(ValueError):
        contact_sheet([], [])


def test_a_plan_shows_every_object_where_it_stands() -> None:
    corners = [(-3.0, -2.0), (3.0, 2.0), (0.0, 0.0)]
    colors = ("red", "blue", "green")
    scene = Scene([SceneObject({"color": color}, [x, y, 0.5], size_m=[1.0, 1.0, 1.0])
                   for color, (x, y) in zip(colors, corners)])
    plan = draw_plan(scene, [Mark((255, 255, 255))] * 3, size=210)
    assert plan.shape == (210, 210, 3)
    for color, (x, y) in zip(colors, corners):
        u, v = round(105 + 210 / 8 * x), round(105 - 210 / 8 * y)  # a margin of an extent all round
        assert tuple(plan[v, u].tolist()) == WORD_RGB[color]
    assert (draw_plan(Scene([])) == 70).all()
