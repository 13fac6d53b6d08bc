"""Images from messages: layouts, padding, byte order, and errors that name what to do."""

from __future__ import annotations

import cv2
import fake_messages as messages
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyvo_ros.ros.conversions import ENCODINGS, ImageMessageError, image_from_compressed_msg, image_from_msg

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
ALPHA = np.full((6, 8, 1), 9, np.uint8)
GRAY = RGB[..., :1]


@pytest.mark.parametrize("encoding, pixels, expected", [
    ("rgb8", RGB, RGB), ("bgr8", RGB[..., ::-1], RGB), ("8UC3", RGB[..., ::-1], RGB),
    ("rgba8", np.dstack([RGB, ALPHA]), RGB), ("bgra8", np.dstack([RGB[..., ::-1], ALPHA]), RGB),
    ("8UC4", np.dstack([RGB[..., ::-1], ALPHA]), RGB),
    ("mono8", GRAY, np.repeat(GRAY, 3, 2)), ("8UC1", GRAY, np.repeat(GRAY, 3, 2)),
])
@pytest.mark.parametrize("padding", [0, 5])
def test_eight_bit_layouts(encoding: str, pixels: np.ndarray, expected: np.ndarray, padding: int) -> None:
    found = image_from_msg(messages.image(pixels, encoding, padding=padding))
    assert found.dtype == np.uint8 and found.shape == (6, 8, 3)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding, pixels, expected", [
    ("rgb16", RGB, RGB), ("bgr16", RGB[..., ::-1], RGB), ("mono16", GRAY, np.repeat(GRAY, 3, 2)),
    ("rgba16", np.dstack([RGB, ALPHA]), RGB), ("bgra16", np.dstack([RGB[..., ::-1], ALPHA]), RGB),
])
def test_sixteen_bit_layouts_in_both_byte_orders(encoding, pixels, expected, big_endian: bool) -> None:
    wide = pixels.astype(np.uint16) * 256 + 200
    found = image_from_msg(messages.image(wide, encoding, padding=4, big_endian=big_endian))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns_name_the_first_pixels(pattern: str, bits: int) -> None:
    colour = {"r": 200, "g": 100, "b": 30}
    tile = np.array([[colour[pattern[0]], colour[pattern[1]]], [colour[pattern[2]], colour[pattern[3]]]])
    mosaic = np.tile(tile, (8, 8)).astype(np.uint8 if bits == 8 else np.uint16) * (1 if bits == 8 else 256)
    found = image_from_msg(messages.image(mosaic, f"bayer_{pattern}{bits}"))
    assert np.array_equal(found[4:-4, 4:-4].reshape(-1, 3), np.tile([200, 100, 30], (64, 1)))


@pytest.mark.parametrize("encoding, order", [
    ("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")])
def test_yuv_layouts(encoding: str, order: str) -> None:
    y, u, v = 120, 90, 200
    pair = {"uyvy": [[u, y], [v, y]], "yuyv": [[y, u], [y, v]]}[order]
    found = image_from_msg(messages.image(np.tile(np.array(pair, np.uint8), (4, 4, 1)), encoding))
    red = 1.164 * (y - 16) + 1.596 * (v - 128)  # BT.601
    blue = 1.164 * (y - 16) + 2.018 * (u - 128)
    assert np.allclose(found[..., 0], red, atol=2) and np.allclose(found[..., 2], blue, atol=2)


@given(height=st.integers(1, 20), width=st.integers(1, 20), padding=st.integers(0, 9), seed=st.integers(0, 99))
def test_any_size_and_padding_survives(height: int, width: int, padding: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(image_from_msg(messages.image(pixels, padding=padding)), pixels)


@pytest.mark.parametrize("fields, reason", [
    ({"encoding": "nv12x"}, "unknown image encoding 'nv12x'; set the camera driver to one of rgb8"),
    ({"encoding": ""}, "unknown image encoding ''"),
    ({"encoding": "32FC1"}, "'32FC1' is a depth image; remap `image`"),
    ({"encoding": "16UC1"}, "depth image"),
    ({"step": 20}, r"step 20 is too small: 8 pixels of rgb8 take 24 bytes"),
    ({"data": b"12345"}, r"data has 5 bytes, expected step x height = 24 x 6 = 144"),
    ({"height": 7}, r"data has 144 bytes, expected step x height = 24 x 7"),
    ({"width": 0}, r"the image is empty: 0x6"),
])
def test_broken_images_are_refused_with_the_reason(fields: dict, reason: str) -> None:
    with pytest.raises(ImageMessageError, match=reason):
        image_from_msg(messages.image(RGB, **fields))


def test_every_encoding_is_listed_for_the_reader_of_the_error() -> None:
    with pytest.raises(ImageMessageError) as caught:
        image_from_msg(messages.image(RGB, "nonsense"))
    assert all(name in str(caught.value) for name in ENCODINGS)


@pytest.mark.parametrize("suffix, tolerance", [(".png", 0), (".jpg", 30)])
def test_compressed_images(suffix: str, tolerance: int) -> None:
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(suffix, smooth[..., ::-1])[1].tobytes()
    found = image_from_compressed_msg(messages.SimpleNamespace(format=suffix, data=data))
    assert np.abs(found.astype(int) - smooth).max() <= tolerance


@pytest.mark.parametrize("data", [b"", b"no picture at all"])
def test_compressed_data_that_is_no_picture(data: bytes) -> None:
    with pytest.raises(ImageMessageError, match=f"format 'jpeg' and {len(data)} bytes; JPEG and PNG are read"):
        image_from_compressed_msg(messages.SimpleNamespace(format="jpeg", data=data))
    with pytest.raises(ImageMessageError, match="depth image"):
        image_from_compressed_msg(messages.SimpleNamespace(format="16UC1; compressedDepth png", data=data))


def test_a_packed_mosaic_becomes_colours() -> None:
    mosaic = np.tile(np.array([[200, 100], [100, 30]], np.uint8), (8, 8))  # rggb
    data = cv2.imencode(".png", mosaic)[1].tobytes()
    found = image_from_compressed_msg(messages.SimpleNamespace(format="bayer_rggb8; png compressed ", data=data))
    assert np.array_equal(found[4:-4, 4:-4].reshape(-1, 3), np.tile([200, 100, 30], (64, 1)))
    grey = image_from_compressed_msg(messages.SimpleNamespace(format="png", data=data))
    assert np.array_equal(grey[..., 0], mosaic), "without its name it is a grey picture"


def test_packed_depth_is_no_picture() -> None:
    data = cv2.imencode(".png", np.full((8, 8), 700, np.uint16))[1].tobytes()
    with pytest.raises(ImageMessageError, match="'16UC1' is a depth image"):
        image_from_compressed_msg(messages.SimpleNamespace(format="16UC1; png compressed ", data=data))


@pytest.mark.parametrize("said", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr8; png compressed ", "", ";"])
def test_the_usual_formats_say_nothing_new(said: str) -> None:
    data = cv2.imencode(".png", RGB[..., ::-1])[1].tobytes()
    assert np.array_equal(image_from_compressed_msg(messages.SimpleNamespace(format=said, data=data)), RGB)
