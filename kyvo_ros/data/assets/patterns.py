"""Colours of procedural objects: plain paints, materials, and patterns over the vertices of a part."""

from __future__ import annotations

import colorsys

import numpy as np

from kyvo_ros.scene.mesh import Mesh

Color = tuple[float, float, float]  # sRGB in [0, 1]

METALS: tuple[Color, ...] = ((0.75, 0.76, 0.78), (0.55, 0.56, 0.58), (0.83, 0.69, 0.22), (0.72, 0.45, 0.20))
WOODS: tuple[Color, ...] = ((0.52, 0.33, 0.17), (0.71, 0.51, 0.31), (0.36, 0.22, 0.13), (0.82, 0.68, 0.47))
PATTERNS = ("plain", "bands", "stripes", "checks", "dots", "gradient")


def paint(mesh: Mesh, color: Color) -> Mesh:
    """A part in one colour."""
    return _colored(mesh, np.broadcast_to(color, mesh.vertices.shape))


def decorated(mesh: Mesh, rng: np.random.Generator, first: Color, second: Color | None = None) -> Mesh:
    """A part in one of PATTERNS, half of the time plain; without a second colour, one that stands out is drawn."""
    second = contrasting(first, rng) if second is None else second
    name = str(rng.choice(PATTERNS, p=[0.5, 0.12, 0.1, 0.08, 0.08, 0.12]))
    share = _share(name, mesh.vertices, rng)[:, None]
    return _colored(mesh, np.asarray(first) * (1 - share) + np.asarray(second) * share)


def grained(mesh: Mesh, rng: np.random.Generator, color: Color) -> Mesh:
    """A part of wood: the grain runs along its longest axis."""
    across = mesh.vertices[:, np.argsort(np.ptp(mesh.vertices, axis=0))[:2]]
    radius = np.linalg.norm(across - rng.uniform(-0.3, 0.3, 2), axis=1)
    shade = 1 + 0.12 * np.sin(2 * np.pi * radius / rng.uniform(0.03, 0.07))
    return _colored(mesh, np.asarray(color) * shade[:, None])


def vivid(rng: np.random.Generator) -> Color:
    """Any hue, strong."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.95))


def neutral(rng: np.random.Generator) -> Color:
    """White to black with a touch of colour."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.12), rng.uniform(0.15, 0.95))


def any_color(rng: np.random.Generator) -> Color:
    return vivid(rng) if rng.random() < 0.7 else neutral(rng)


def choice(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    """One of a material's colours, a little lighter or darker."""
    shade = rng.uniform(0.85, 1.12)
    return tuple(min(1.0, shade * value) for value in colors[rng.integers(len(colors))])


def near(rng: np.random.Generator, hue: tuple[float, float], saturation: float = 0.8, value: float = 0.8) -> Color:
    """A colour whose hue lies between two, as fruit has; saturation and value vary by a tenth."""
    return colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, *np.clip([saturation, value] + rng.uniform(-0.1, 0.1, 2), 0, 1))


def contrasting(color: Color, rng: np.random.Generator) -> Color:
    """Another hue, or black or white against a dull colour."""
    hue, saturation, value = colorsys.rgb_to_hsv(*color)
    if saturation < 0.2:
        return vivid(rng)
    return colorsys.hsv_to_rgb((hue + rng.uniform(0.25, 0.75)) % 1, saturation, 1.0 if value < 0.7 else 0.45)


def _share(name: str, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(V,) share of the second colour in [0, 1]."""
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - low) / np.maximum(high - low, 1e-9)
    if name == "plain":
        return np.zeros(len(points))
    if name == "gradient":
        return unit[:, 2]
    if name == "bands":
        start, width = rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.3)
        return ((unit[:, 2] > start) & (unit[:, 2] < start + width)).astype(float)
    angle = np.arctan2(points[:, 1] - points[:, 1].mean(), points[:, 0] - points[:, 0].mean()) / (2 * np.pi)
    around, up = angle * rng.integers(4, 9), unit[:, 2] * rng.integers(2, 6)
    if name == "stripes":
        return (around % 1 < 0.5).astype(float)
    if name == "checks":
        return ((around % 1 < 0.5) ^ (up % 1 < 0.5)).astype(float)
    return (np.hypot(around % 1 - 0.5, up % 1 - 0.5) < 0.3).astype(float)  # dots


def _colored(mesh: Mesh, colors: np.ndarray) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, np.round(255 * np.clip(colors, 0, 1)).astype(np.uint8))
