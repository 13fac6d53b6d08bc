"""Images that show no scene: noise, patterns, text, clutter, furniture. Without them a model finds cubes in all.

Everything is drawn here; nothing is photographed. Knows sizes and pixels, neither cameras nor scenes.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_LETTERS = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?")
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX,
          cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)


def background_images(rng: np.random.Generator, count: int, width: int, height: int) -> np.ndarray:
    """(count, height, width, 3) uint8 RGB, every kind equally often."""
    kinds = list(KINDS.values())
    images = np.zeros((count, height, width, 3), np.uint8)
    for i in range(count):
        image = kinds[int(rng.integers(len(kinds)))](rng, width, height)
        images[i] = np.clip(_developed(image, rng), 0, 255).astype(np.uint8)
    return images


def _developed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera adds: shading across the image, blur, noise; float (h, w, 3)."""
    height, width = image.shape[:2]
    direction = rng.uniform(0, 2 * np.pi)
    v, u = np.mgrid[0:height, 0:width] / max(width, height) - 0.5
    shade = 1 + rng.uniform(0, 0.5) * (u * np.cos(direction) + v * np.sin(direction))
    image = image.astype(np.float32) * shade[..., None].astype(np.float32)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 2.0))
    return image + rng.uniform(0, 8) * rng.standard_normal(image.shape, dtype=np.float32)


def _color(rng: np.random.Generator) -> tuple[float, float, float]:
    return tuple(rng.uniform(0, 255, 3).tolist())


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    return tuple((rng.uniform(30, 230) + rng.uniform(-25, 25, 3)).tolist())


def _canvas(color: tuple[float, float, float], width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), color, np.float32)


def flat(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """One colour; black and white, as of a covered or blinded lens, more often than the others."""
    color = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), _color(rng), _muted(rng))[int(rng.integers(4))]
    return _canvas(color, width, height)


def noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of one coarseness or of several together, grey or coloured."""
    image = np.zeros((height, width, 3), np.float32)
    channels = 3 if rng.random() < 0.5 else 1
    for cell in rng.choice([1, 2, 4, 8, 16, 32, 64], size=int(rng.integers(1, 5)), replace=False):
        shape = (max(2, height // int(cell)), max(2, width // int(cell)), channels)
        grain = cv2.resize(rng.standard_normal(shape, dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        image += rng.uniform(10, 60) * grain.reshape(height, width, channels)
    return image + np.array(_muted(rng), np.float32)


def pattern(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Stripes or a chequerboard in perspective: curtains, tiles, calibration targets."""
    size = 2 * max(width, height)
    v, u = np.mgrid[0:size, 0:size]
    cell = int(rng.integers(6, 60))
    marks = (u // cell + (v // cell if rng.random() < 0.6 else 0)) % 2
    colors = np.array([_muted(rng), _color(rng)], np.float32)
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    spread = rng.uniform(-0.5, 0.5, (4, 2)).astype(np.float32) * [width, height]
    grown = (frame - frame.mean(0)) * 2.2 + frame.mean(0) + spread
    matrix = cv2.getPerspectiveTransform(corners, grown.astype(np.float32))
    return cv2.warpPerspective(colors[marks], matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def text(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Lines of letters on paper or on a screen."""
    dark = rng.random() < 0.3
    paper = int(rng.uniform(0, 50) if dark else rng.uniform(190, 255))
    image = np.full((height, width, 3), paper, np.uint8)  # OpenCV 5 writes on no other type
    ink = float(rng.uniform(180, 255) if dark else rng.uniform(0, 90))
    scale, font = rng.uniform(0.2, 1.6), _FONTS[int(rng.integers(len(_FONTS)))]
    step = max(6, int(34 * scale))
    for top in range(step, height + step, step):
        line = "".join(rng.choice([*_LETTERS, " ", " "], size=int(rng.integers(4, 60))))
        cv2.putText(image, line, (int(rng.integers(-10, 30)), top), font, scale, (ink,) * 3, 1, cv2.LINE_AA)
    return image.astype(np.float32)


def clutter(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Flat polygons, lines and ellipses of any colour: posters, boxes seen too near, things without a ground."""
    image = gradient(rng, width, height)
    for _ in range(int(rng.integers(2, 25))):
        centre = rng.uniform(0, 1, 2) * [width, height]
        size = rng.uniform(0.03, 0.5) * width
        points = (centre + size * rng.uniform(-1, 1, (int(rng.integers(3, 7)), 2))).astype(np.int32)
        kind = rng.random()
        if kind < 0.5:
            cv2.fillPoly(image, [cv2.convexHull(points)], _color(rng), cv2.LINE_AA)
        elif kind < 0.75:
            cv2.polylines(image, [points], rng.random() < 0.5, _color(rng), int(rng.integers(1, 6)), cv2.LINE_AA)
        else:
            axes = (int(size * rng.uniform(0.2, 1)) + 1, int(size * rng.uniform(0.05, 0.5)) + 1)
            cv2.ellipse(image, tuple(int(c) for c in centre), axes, rng.uniform(0, 180), 0, 360, _color(rng), -1)
    return image


def gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A smooth passage between four colours: walls, skies, lenses out of focus."""
    corners = np.array([[_muted(rng), _muted(rng)], [_muted(rng), _muted(rng)]], np.float32)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)


def desk(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A table in front of a wall with a screen, a keyboard, books and papers on it."""
    image = gradient(rng, width, height)
    edge = int(height * rng.uniform(0.25, 0.6))
    wood = np.array(_muted(rng), np.float32) * [1.1, 0.9, 0.7]
    grain = cv2.resize(rng.standard_normal((height - edge, 6), dtype=np.float32), (width, height - edge))
    image[edge:] = wood + 8 * grain[..., None]
    for _ in range(int(rng.integers(2, 7))):
        _slab(image, rng, edge)
    if rng.random() < 0.7:
        _screen(image, rng, edge)
    if rng.random() < 0.7:
        _keyboard(image, rng, edge)
    return image


def _slab(image: np.ndarray, rng: np.random.Generator, edge: int) -> None:
    """A book or a sheet of paper lying on the table, with a visible thickness."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(edge, height)
    long, deep, skew = rng.uniform(0.1, 0.4) * width, rng.uniform(0.05, 0.2) * height, rng.uniform(-0.2, 0.2) * width
    top = np.array([[x, y], [x + long, y + rng.uniform(-8, 8)], [x + long + skew, y - deep], [x + skew, y - deep]])
    thick, color = rng.choice([0.0, 3.0, 8.0]), np.array(_muted(rng))
    side = np.array([top[0], top[1], top[1] + [0, thick], top[0] + [0, thick]])
    cv2.fillPoly(image, [side.astype(np.int32)], tuple((0.6 * color).tolist()), cv2.LINE_AA)
    cv2.fillPoly(image, [top.astype(np.int32)], tuple(color.tolist()), cv2.LINE_AA)


def _screen(image: np.ndarray, rng: np.random.Generator, edge: int) -> None:
    width = image.shape[1]
    left, wide = int(rng.uniform(-0.1, 0.7) * width), int(rng.uniform(0.25, 0.6) * width)
    top, bottom = int(edge - rng.uniform(0.3, 0.9) * edge), int(edge * rng.uniform(0.9, 1.1))
    cv2.rectangle(image, (left, top), (left + wide, bottom), (25.0, 25.0, 28.0), -1)
    cv2.rectangle(image, (left + 4, top + 4), (left + wide - 4, bottom - 4), _color(rng), -1)
    middle = left + wide // 2
    cv2.rectangle(image, (middle - 6, bottom), (middle + 6, bottom + 12), (30.0, 30.0, 30.0), -1)


def _keyboard(image: np.ndarray, rng: np.random.Generator, edge: int) -> None:
    height, width = image.shape[:2]
    key = int(rng.integers(3, 9))
    left, top = int(rng.uniform(0, 0.7) * width), int(rng.uniform(edge, max(edge + 1, height - 5 * key)))
    body, cap = rng.uniform(20, 80), rng.uniform(100, 220)
    cv2.rectangle(image, (left - 3, top - 3), (left + 14 * (key + 1), top + 4 * (key + 1)), (body,) * 3, -1)
    for row in range(4):
        for column in range(14):
            x, y = left + column * (key + 1), top + row * (key + 1)
            cv2.rectangle(image, (x, y), (x + key - 1, y + key - 1), (cap,) * 3, -1)


#: The kinds by name; each (rng, width, height) -> (height, width, 3) float32 in about 0..255.
KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    f.__name__: f for f in (flat, noise, pattern, text, clutter, gradient, desk)
}
