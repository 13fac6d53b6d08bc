"""Regions and masks: what is left of an image, and through which lens it is seen; no ROS."""

from __future__ import annotations

from pathlib import Path

import cv2
import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import FakePipeline

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.frames import Frame, FrameDropped
from kyvo_ros.ros.recognition import Recognizer
from kyvo_ros.ros.regions import Region, RegionError, check_mask, cut_lens, shown_points
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import Status
from kyvo_ros.ros.transforms import TransformBuffer
from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.distortion import undistort

HEIGHT, WIDTH = 24, 32
PICTURE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
#: The left half is looked at.
HALF = np.where(np.arange(WIDTH) < WIDTH // 2, 255, 0).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)


def _write(path: Path, picture: np.ndarray) -> str:
    assert cv2.imwrite(str(path), picture)
    return str(path)


def test_without_region_and_mask_nothing_changes() -> None:
    image, mask = Region().cut(PICTURE, Settings())
    assert image.base is PICTURE or image is PICTURE
    assert np.array_equal(image, PICTURE) and mask is None


@pytest.mark.parametrize("roi, rows, columns", [
    ((4, 2, 10, 8), slice(2, 10), slice(4, 14)), ((4, 2, 0, 0), slice(2, None), slice(4, None)),
    ((0, 0, 0, 6), slice(0, 6), slice(None)), ((22, 16, 10, 8), slice(16, 24), slice(22, 32))])
def test_a_region_is_cut_out(roi: tuple, rows: slice, columns: slice) -> None:
    assert np.array_equal(Region().cut(PICTURE, Settings(roi=roi))[0], PICTURE[rows, columns])


@pytest.mark.parametrize("roi", [(32, 0, 0, 0), (0, 0, 33, 0), (20, 0, 13, 4), (0, 24, 4, 0), (0, 20, 4, 5)])
def test_a_region_outside_the_image_is_named(roi: tuple) -> None:
    with pytest.raises(RegionError, match="does not lie in the image of 32x24 pixels"):
        Region().cut(PICTURE, Settings(roi=roi))


def test_a_cut_lens_sees_every_pixel_along_the_same_ray() -> None:
    lens = PinholeCamera(WIDTH, HEIGHT, 30.0, 31.0, 15.0, 11.0, (0.1, 0.0, 0.0, 0.0, 0.0))
    cut = cut_lens(lens, (4, 2, 10, 8))
    assert (cut.width, cut.height, cut.distortion) == (10, 8, lens.distortion)
    assert np.allclose(cut.rays(np.array([3.0, 5.0])), lens.rays(np.array([7.0, 7.0])))


def test_points_are_left_where_the_region_shows_them() -> None:
    lens = PinholeCamera(WIDTH, HEIGHT, 30.0, 31.0, 15.0, 11.0, (0.1, 0.0, 0.0, 0.0, 0.0))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    points = 2.0 * undistort(np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5, lens)
    points = np.vstack([points, -points])  # and behind the camera
    left = shown_points(points, cut_lens(lens, (4, 2, 20, 8)), None)
    inside = (columns >= 4) & (columns < 24) & (rows >= 2) & (rows < 10)
    assert np.array_equal(left, points[np.flatnonzero(inside)])
    mask = HALF[2:10, 4:24] > 0
    left = shown_points(points, cut_lens(lens, (4, 2, 20, 8)), mask)
    assert np.array_equal(left, points[np.flatnonzero(inside & (HALF > 0))])
    assert len(shown_points(points, lens, None)) == WIDTH * HEIGHT


def test_what_is_black_gets_the_mean_colour_of_the_rest(tmp_path: Path) -> None:
    settings = Settings(mask=_write(tmp_path / "half.png", HALF))
    image, mask = Region().cut(PICTURE, settings)
    assert np.array_equal(mask, HALF > 0) and np.array_equal(image[mask], PICTURE[mask])
    mean = PICTURE[HALF > 0].reshape(-1, 3).mean(axis=0)
    assert (image[~mask] == image[~mask][0]).all() and np.abs(image[~mask][0] - mean).max() <= 0.5


def test_region_and_mask_go_together(tmp_path: Path) -> None:
    mask = _write(tmp_path / "half.png", HALF)
    image, left = Region().cut(PICTURE, Settings(mask=mask, roi=(12, 0, 8, 4)))
    assert image.shape == (4, 8, 3) and left.sum() == 4 * 4
    assert np.array_equal(image[:, :4], PICTURE[:4, 12:16])
    with pytest.raises(RegionError, match="black everywhere in roi"):
        Region().cut(PICTURE, Settings(mask=mask, roi=(20, 0, 8, 4)))


def test_a_mask_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    path, region = tmp_path / "half.png", Region()
    settings = Settings(mask=_write(path, HALF))
    assert region.cut(PICTURE, settings)[1].sum() == HALF.astype(bool).sum()
    _write(path, np.full_like(HALF, 255))
    path.touch()
    assert region.cut(PICTURE, settings)[1].all()
    path.unlink()
    with pytest.raises(RegionError, match="cannot read the mask .*No such file"):
        region.cut(PICTURE, settings)


@pytest.mark.parametrize("picture, reason", [
    (np.zeros((4, 4, 3), np.uint8), "must be grey with 8 bits, got 3 channel"),
    (np.full((4, 4), 60000, np.uint16), "must be grey with 8 bits, got 1 channel.s. of 16 bits"),
    (np.full((4, 4), 100, np.uint8), "black everywhere"), (None, "no picture that can be read")])
def test_masks_that_cannot_be_used_are_refused(tmp_path: Path, picture: np.ndarray | None, reason: str) -> None:
    path = tmp_path / "mask.png"
    path.write_text("no picture") if picture is None else _write(path, picture)
    with pytest.raises(RegionError, match=reason):
        check_mask(Settings(mask=str(path)))


def test_names_of_masks_are_below_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "half.png", HALF)
    check_mask(Settings(mask="half.png", mask_folder=str(tmp_path)))
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "kyvo_masks").mkdir(parents=True)
    _write(tmp_path / "home" / "kyvo_masks" / "b.png", HALF)
    check_mask(Settings(mask="b.png"))
    for name in ("../half.png", "missing/../../../half.png"):
        with pytest.raises(RegionError, match="mask_folder names the folder"):
            check_mask(Settings(mask=name))
    with pytest.raises(RegionError, match="no picture"):
        check_mask(Settings(mask="gone.png"))


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match="has 4x2 pixels and the image 32x24; make it as large"):
        Region().cut(PICTURE, Settings(mask=_write(tmp_path / "small.png", np.full((2, 4), 255, np.uint8))))


def test_the_recogniser_looks_at_the_region_through_its_lens(tmp_path: Path) -> None:
    infos, pipeline, status = CameraInfoCache(), FakePipeline(), Status()
    infos.store(messages.camera_info())
    recognizer = Recognizer(infos, TransformBuffer(), status)
    frame = Frame(messages.image(np.full((240, 320, 3), 255, np.uint8)), 0.0)
    result = recognizer.recognize(frame, pipeline, Settings(roi=(100, 50, 200, 100)))
    assert result.image_rgb.shape == (100, 200, 3) and result.mask is None
    seen = pipeline.seen[-1][0].intrinsics
    assert (seen.width, seen.height, seen.cx, seen.cy) == (200, 100, 160.0 - 100, 120.0 - 50)
    mask = _write(tmp_path / "m.png", np.full((240, 320), 255, np.uint8))
    assert recognizer.recognize(frame, pipeline, Settings(mask=mask)).mask.all()
    for settings in (Settings(roi=(320, 0, 0, 0)), Settings(mask=_write(tmp_path / "s.png", HALF))):
        with pytest.raises(FrameDropped) as caught:
            recognizer.recognize(frame, pipeline, settings)
        assert caught.value.reason == "bad_region"
