"""Looks at one image: what they show, and that what is seen in them comes back to where it is."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.autoencoders.looks import EFFORTS, Look, sights
from kyvo_ros.commands.common import add_effort
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject
from kyvo_ros.scene.camera import MIN_ELEVATION_RAD
from kyvo_ros.scene.distortion import distort

CANONICAL, GRID = CanonicalCamera(), (10, 16)
CAMERAS = {
    "CLEVR": (PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0), 0.0),
    "rolled": (PinholeCamera(400, 300, 380.0, 390.0, 190.0, 160.0), 0.3),
    "distorted": (PinholeCamera(640, 480, 600.0, 600.0, 320.0, 240.0, (-0.25, 0.08, 0.001, 0.0, 0.0)), -0.2),
}
NOMINAL = PlaneCamera(11.267, 0.4948)
TRUE = PlaneCamera(10.5, 0.55)
POINT = np.array([0.8, 0.9, 0.35])
LOOKS = (*EFFORTS["accurate"], Look(1.5, -1.0), Look(-1.0, 2.0, True), Look(zoom=0.8), Look(-0.5, 1.0, True, 1.3))


def blob(view: CameraView) -> np.ndarray:
    """A white spot where a view shows POINT."""
    camera = view.intrinsics
    u, v = distort(view.plane_T_optical().inverse().apply(POINT[None]), camera)[0]
    rows, columns = np.mgrid[:camera.height, :camera.width] + 0.5
    spot = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * (camera.width / 60) ** 2))
    return np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)


def looks_at(view, looks=LOOKS):
    return sights(view, CANONICAL, GRID, NOMINAL, looks)


@pytest.mark.parametrize("name", CAMERAS)
def test_what_is_seen_comes_back_to_where_it_is(name) -> None:
    """The spot's place in each look, taken to the plane of that look's camera and brought back, is the point."""
    camera, roll = CAMERAS[name]
    view = CameraView(camera, TRUE, roll)
    for look, sight in zip(LOOKS, looks_at(view), strict=True):
        weight = sight.picture(blob(view))[..., 0].astype(float)
        rows, columns = np.mgrid[:CANONICAL.height, :CANONICAL.width] + 0.5
        pixel = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        place = sight.plane.plane_points(sight.lens.intrinsics(), pixel, POINT[2])
        (seen,) = sight.brought_back(Scene((SceneObject({}, place),))).objects
        assert seen.position_m == pytest.approx(POINT, abs=0.02), look


def test_a_yaw_comes_back_through_turn_and_mirror() -> None:
    view = CameraView(CAMERAS["CLEVR"][0], TRUE)
    plain, turned, mirror = looks_at(view, (Look(), Look(2.0, 0.0), Look(mirror=True)))
    scene = Scene((SceneObject({}, POINT, yaw_rad=0.4),))
    assert plain.brought_back(scene).objects[0].yaw_rad == pytest.approx(0.4)
    assert mirror.brought_back(scene).objects[0].yaw_rad == pytest.approx(math.pi - 0.4)
    pan = math.atan(2 * 8 / 140)  # seen from above, a pan to the right turns what stands still to the left
    assert turned.brought_back(scene).objects[0].yaw_rad == pytest.approx(0.4 - pan, abs=0.02)


def test_the_plain_look_is_the_canonical_image_and_shifts_are_in_cells() -> None:
    view = CameraView(CAMERAS["CLEVR"][0], TRUE)
    image = blob(view)
    plain, shifted = looks_at(view, (Look(), Look(0.5, 0.0)))
    assert (plain.picture(image) == to_canonical(image, view, CANONICAL)).all() and plain.plane == TRUE
    peak = [int(s.picture(image)[..., 0].sum(0).argmax()) for s in (plain, shifted)]
    assert peak[0] - peak[1] in (4, 5)  # half a cell of 8 pixels, a little more away from the centre


def test_a_longer_lens_enlarges_and_its_turns_are_in_cells_too() -> None:
    view = CameraView(CAMERAS["CLEVR"][0], TRUE)
    plain, longer, shifted = looks_at(view, (Look(), Look(zoom=1.5), Look(0.5, 0.0, zoom=1.5)))
    assert [s.lens.fx / CANONICAL.fx for s in (plain, longer, shifted)] == [1.0, 1.5, 1.5]
    pictures = [s.picture(blob(view))[..., 0] for s in (plain, longer, shifted)]
    columns = [float((p.sum(0) * (np.arange(CANONICAL.width) + 0.5)).sum() / p.sum()) for p in pictures]
    assert columns[1] - CANONICAL.cx == pytest.approx(1.5 * (columns[0] - CANONICAL.cx), rel=0.02)
    assert columns[1] - columns[2] == pytest.approx(4, abs=0.5)
    with pytest.raises(ValueError, match="zoom must be positive"):
        Look(zoom=0.0)


def test_a_look_shows_what_is_well_in_its_picture() -> None:
    """A small ball inside, outside and across the border, mirrored or not."""
    view = CameraView(CAMERAS["CLEVR"][0], TRUE)
    plain, longer, aside, mirror = looks_at(view, (Look(), Look(zoom=2.0), Look(6.0, 0.0), Look(6.0, 0.0, True)))
    ball = SceneObject({}, POINT, size_m=[0.7] * 3)
    assert plain.shows(ball) and longer.shows(ball) and not aside.shows(replace(ball, position_m=[-4.0, 0.9, 0.35]))
    near = replace(ball, position_m=[0.0, -3.0, 0.35])
    assert plain.shows(near) and not longer.shows(near)
    right = replace(ball, position_m=[5.5, 0.9, 0.35])
    assert not plain.shows(right) and aside.shows(right) and mirror.shows(right)
    half_out = plain.lens.intrinsics().width / 2 / plain.lens.fx * 10.5  # at the origin's depth, the border
    assert not plain.shows(replace(ball, position_m=[half_out - 0.1, 0.0, 0.35]))
    assert plain.shows(replace(ball, position_m=[half_out - 0.4, 0.0, 0.35])), "a little of it is cut off"


def test_looks_quarter_the_cells() -> None:
    turns = {(look.right % 0.5, look.down % 0.5) for look in EFFORTS["accurate"][1:]}
    phases = {(look.right % 1, look.down % 1) for look in EFFORTS["accurate"][1:]}
    assert turns == {(0.25, 0.25)} and len(phases) == 4 and EFFORTS["accurate"][0] == Look()


def test_thorough_looks_make_quarters_of_cells_half_of_them_in_the_mirror_through_four_lenses() -> None:
    looks, far = EFFORTS["thorough"][:16], EFFORTS["thorough"][16:]
    assert {(look.right % 0.25, look.down % 0.25) for look in looks} == {(0.125, 0.125)}
    assert len({(look.right, look.down) for look in looks}) == 16 == 2 * sum(look.mirror for look in looks)
    assert sum(look.right for look in looks) == sum(look.down for look in looks) == 0, "turned to all sides alike"
    for across in ("right", "down"):
        assert len({(getattr(look, across), look.zoom) for look in looks}) == 16, "each lens in every row and column"
    assert len({(look.right, look.down) for look in far}) == 8 == 2 * sum(look.mirror for look in far)
    assert all(look.down < -1 and look.zoom > 1.2 for look in far)


@pytest.mark.parametrize("effort", EFFORTS)
def test_several_looks_show_all_that_the_plain_one_shows_and_most_what_is_far(effort: str) -> None:
    view = CameraView(CAMERAS["CLEVR"][0], TRUE)
    looks, (plain,) = looks_at(view, EFFORTS[effort]), looks_at(view, (Look(),))
    places = [SceneObject({}, (x, y, 0.35), size_m=[0.7] * 3)
              for x in np.arange(-5, 5.1, 0.5) for y in np.arange(-4, 5.1, 0.5)]
    shown = [item for item in places if plain.shows(item)]
    counts = {tuple(item.position_m): sum(look.shows(item) for look in looks) for item in shown}
    assert len(shown) > 150 and min(counts.values()) >= len(looks) / 6
    far = [count for (x, y, _), count in counts.items() if 0 < y < 4 and abs(x) < 3]
    assert len(far) > 40 and min(far) == len(looks)


def test_command_line_and_node_offer_the_efforts_that_there_are() -> None:
    """They name them, rather than import OpenCV to start."""
    parser = argparse.ArgumentParser()
    add_effort(parser)
    (option,) = (action for action in parser._actions if action.dest == "effort")
    (setting,) = (f for f in fields(Settings) if f.name == "effort")
    assert option.choices == setting.metadata["choices"] == tuple(EFFORTS)


def test_an_unknown_plane_stays_unknown_and_the_nominal_one_brings_back() -> None:
    camera = CAMERAS["CLEVR"][0]
    image = blob(CameraView(camera, NOMINAL))
    unknown, known = looks_at(CameraView(camera)), looks_at(CameraView(camera, NOMINAL))
    for a, b in zip(unknown, known, strict=True):
        assert a.plane is None and a.stands == b.plane and (a.picture(image) == b.picture(image)).all()
        assert np.allclose(a.plane_T_look.matrix(), b.plane_T_look.matrix())


def test_looks_that_cannot_be_are_left_out() -> None:
    camera = CAMERAS["CLEVR"][0]
    low = CameraView(camera, PlaneCamera(11.0, MIN_ELEVATION_RAD))
    assert len(looks_at(low, (Look(), Look(0, -0.25), Look(0, 0.25)))) == 2
    lopsided = CanonicalCamera(cx=60.0)
    view = CameraView(camera, TRUE)
    assert len(sights(view, lopsided, GRID, NOMINAL, (Look(), Look(mirror=True)))) == 1
