"""Things that hold something, most from the lathe: cups, bottles, pots. Heights are around 1; z is up."""

from __future__ import annotations

import numpy as np

from kyvo_ros.data.assets.patterns import METALS, any_color, choice, decorated, neutral, paint, vivid
from kyvo_ros.data.assets.placing import moved, turned
from kyvo_ros.data.assets.solids import arc, lathe, rounded_box, superquadric, sweep
from kyvo_ros.scene.mesh import Mesh

Rng = np.random.Generator
WALL = 0.045  # thinner ones would vanish between the voxels


def _cup(outer: list[tuple[float, float]], wall: float = WALL, floor: float = 0.06) -> Mesh:
    """A hollow vessel with this outer profile (radius, height) from the bottom's rim to the lip."""
    outer = np.asarray(outer, float)
    height = outer[:, 1]
    inside = outer[(height > floor + 1e-6)]
    bottom = np.interp(floor, height, outer[:, 0])
    inner = np.concatenate([[(bottom, floor)], inside]) - (wall, 0)
    inner[:, 0] = np.maximum(inner[:, 0], 0.01)
    return lathe(np.concatenate([[(0, 0)], outer, inner[::-1], [(0, floor)]]))


def _handle(x: float, z: float, reach: float, height: float, thickness: float) -> Mesh:
    """An ear in the xz plane that begins and ends at x, inside the wall."""
    bow = arc(1.0, -np.pi / 2, np.pi / 2)
    path = np.column_stack([x + reach * bow[:, 0], np.zeros(len(bow)), z + height / 2 * bow[:, 1]])
    return sweep(path, thickness, segments=14)


def mug(rng: Rng) -> list[Mesh]:
    radius, height, taper = rng.uniform(0.32, 0.45), rng.uniform(0.75, 1.05), rng.uniform(0.85, 1.1)
    color = any_color(rng)
    body = _cup([(radius * taper, 0), (radius, height * 0.3), (radius, height)], wall=rng.uniform(0.045, 0.06))
    ear = _handle(radius - 0.02, height * rng.uniform(0.48, 0.56), rng.uniform(0.2, 0.32),
                  height * rng.uniform(0.5, 0.65), rng.uniform(0.04, 0.06))
    return [decorated(body, rng, color), paint(ear, color)]


def teacup(rng: Rng) -> list[Mesh]:
    radius, height = rng.uniform(0.4, 0.5), rng.uniform(0.45, 0.6)
    body = _cup([(radius * 0.5, 0), (radius * 0.55, 0.05), (radius * 0.9, height * 0.5), (radius, height)])
    saucer = lathe([(0, -0.06), (radius * 0.8, -0.06), (radius * 1.6, 0.05), (radius * 1.6, 0.1), (radius * 0.7, 0.01),
                    (0, 0.01)])
    ear = _handle(radius * 0.85, height * 0.6, 0.22, height * 0.5, 0.04)
    color = any_color(rng)
    return [decorated(body, rng, color), decorated(saucer, rng, color), paint(ear, color)]


def bottle(rng: Rng) -> list[Mesh]:
    radius, shoulder, neck = rng.uniform(0.16, 0.26), rng.uniform(0.5, 0.7), rng.uniform(0.055, 0.09)
    top = shoulder + rng.uniform(0.1, 0.25)
    waist = radius * rng.uniform(0.8, 1.0)
    glass = lathe([(0, 0), (radius, 0), (radius, 0.2), (waist, 0.35), (radius, shoulder), (neck, top), (neck, 1.0),
                   (0, 1.0)])
    label = lathe([(radius * 0.5, 0.18), (radius + 0.012, 0.18), (radius + 0.012, 0.42), (radius * 0.5, 0.42),
                   (radius * 0.5, 0.18)])
    cap = moved(lathe([(0, 0), (neck * 1.35, 0), (neck * 1.35, 0.1), (0, 0.1)]), z=0.97)
    return [paint(glass, vivid(rng)), decorated(label, rng, any_color(rng)), paint(cap, any_color(rng))]


def bowl(rng: Rng) -> list[Mesh]:
    radius, height, flare = rng.uniform(0.45, 0.6), rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.9)
    angles = np.linspace(0.35, 1.0, 10) * np.pi / 2
    curve = [(radius * np.sin(a) ** flare, height * (1 - np.cos(a)) + 0.02) for a in angles]
    return [decorated(_cup([(curve[0][0], 0), *curve], wall=0.055), rng, any_color(rng))]


def vase(rng: Rng) -> list[Mesh]:
    knots = np.array([rng.uniform(0.15, 0.25), rng.uniform(0.22, 0.36), rng.uniform(0.14, 0.36),
                      rng.uniform(0.08, 0.16), rng.uniform(0.12, 0.25)])
    heights = np.linspace(0, 1, 24)
    radii = np.interp(heights, np.linspace(0, 1, 5), knots)
    smooth = np.convolve(np.pad(radii, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    return [decorated(_cup(list(zip(smooth, heights))), rng, any_color(rng))]


def can(rng: Rng) -> list[Mesh]:
    radius, height, rim = rng.uniform(0.22, 0.32), rng.uniform(0.6, 0.95), 0.03
    body = lathe([(0, 0.03), (radius - rim, 0), (radius, rim), (radius, height - rim), (radius - rim, height),
                  (radius - 2 * rim, height), (radius - 2 * rim, height - 0.03), (0, height - 0.03)])
    lid = moved(lathe([(0, 0), (radius - rim, 0), (radius - rim, 0.02), (0, 0.02)]), z=height - 0.03)
    return [decorated(body, rng, vivid(rng)), paint(lid, METALS[0])]


def plate(rng: Rng) -> list[Mesh]:
    radius, depth, rim = rng.uniform(0.48, 0.6), rng.uniform(0.06, 0.14), rng.uniform(0.55, 0.75)
    body = lathe([(0, 0), (radius * rim, 0), (radius, depth), (radius, depth + 0.05), (radius * rim, 0.06), (0, 0.06)])
    return [decorated(body, rng, neutral(rng) if rng.random() < 0.6 else vivid(rng))]


def wine_glass(rng: Rng) -> list[Mesh]:
    foot, stem, bulb = rng.uniform(0.2, 0.28), rng.uniform(0.35, 0.5), rng.uniform(0.2, 0.3)
    lip = bulb * rng.uniform(0.7, 1.0)
    outer = [(foot, 0), (foot, 0.04), (0.04, 0.09), (0.035, stem), (bulb * 0.7, stem + 0.1), (bulb, stem + 0.25),
             (lip, 1.0)]
    inner = [(lip - WALL, 1.0), (bulb - WALL, stem + 0.25), (bulb * 0.7 - WALL, stem + 0.14), (0, stem + 0.08)]
    tint = choice(rng, ((0.8, 0.85, 0.9), (0.7, 0.85, 0.8), (0.85, 0.7, 0.75)))
    return [paint(lathe([(0, 0), *outer, *inner]), tint)]


def jar(rng: Rng) -> list[Mesh]:
    radius, height = rng.uniform(0.28, 0.4), rng.uniform(0.5, 0.75)
    body = lathe([(0, 0), (radius * 0.9, 0), (radius, 0.06), (radius, height * 0.8), (radius * 0.8, height),
                  (0, height)])
    lid = lathe([(0, 0), (radius * 0.88, 0), (radius * 0.88, 0.12), (radius * 0.8, 0.15), (0, 0.15)])
    lid = moved(lid, z=height - 0.01)
    return [decorated(body, rng, any_color(rng)), paint(lid, any_color(rng))]


def teapot(rng: Rng) -> list[Mesh]:
    width, height = rng.uniform(0.7, 0.85), rng.uniform(0.5, 0.65)
    body = moved(superquadric((width, width, height), rng.uniform(0.75, 1.05)), z=height / 2)
    path = [(0.25, 0, height * 0.35), (0.42, 0, height * 0.45), (0.52, 0, height * 0.75), (0.62, 0, height * 0.95)]
    spout = sweep(path, [0.1, 0.08, 0.06, 0.05])
    ear = turned(_handle(0.3, height * 0.5, 0.28, height * 0.6, 0.045), "z", 180)
    lid = lathe([(0, 0), (0.2, 0), (0.16, 0.06), (0.04, 0.08), (0.06, 0.13), (0.03, 0.17), (0, 0.17)])
    lid = moved(lid, z=height * 0.94)
    color = any_color(rng)
    return [decorated(body, rng, color), paint(spout, color), paint(ear, color), paint(lid, any_color(rng))]


def bucket(rng: Rng) -> list[Mesh]:
    low, high, height = rng.uniform(0.25, 0.32), rng.uniform(0.36, 0.45), rng.uniform(0.6, 0.8)
    body = _cup([(low, 0), (high, height), (high + 0.03, height + 0.001), (high + 0.03, height + 0.04)], wall=0.05)
    bow = arc(high, 0, np.pi)
    rise = bow[:, 1] * rng.uniform(0.7, 1.0)
    grip = sweep(np.column_stack([bow[:, 0], np.zeros(len(bow)), height - 0.05 + rise]), 0.03)
    return [decorated(body, rng, any_color(rng)), paint(grip, choice(rng, METALS))]


def barrel(rng: Rng) -> list[Mesh]:
    belly, end = rng.uniform(0.36, 0.42), rng.uniform(0.28, 0.33)
    heights = np.linspace(0, 1, 14)
    radii = end + (belly - end) * (1 - (2 * heights - 1) ** 2)
    color = choice(rng, ((0.5, 0.32, 0.17), (0.62, 0.42, 0.24), (0.25, 0.35, 0.5)))
    parts = [paint(lathe([(0, 0), *zip(radii, heights), (0, 1)]), color)]
    for z in (0.12, 0.3, 0.7, 0.88):
        r = end + (belly - end) * (1 - (2 * z - 1) ** 2) + 0.02
        hoop = [(r - 0.06, z - 0.03), (r, z - 0.03), (r, z + 0.03), (r - 0.06, z + 0.03), (r - 0.06, z - 0.03)]
        parts.append(paint(lathe(hoop), METALS[1]))
    return parts


def pan(rng: Rng) -> list[Mesh]:
    radius, depth, reach = rng.uniform(0.35, 0.45), rng.uniform(0.12, 0.22), rng.uniform(0.45, 0.65)
    body = _cup([(radius * 0.85, 0), (radius, depth)], wall=0.05)
    grip = moved(rounded_box((reach, 0.1, 0.06), 0.025), x=radius + reach / 2 - 0.05, z=depth * 0.75)
    color = choice(rng, ((0.12, 0.12, 0.13), (0.6, 0.2, 0.15), (0.62, 0.63, 0.65)))
    return [paint(body, color), paint(grip, neutral(rng))]


def carton(rng: Rng) -> list[Mesh]:
    width, height = rng.uniform(0.32, 0.42), rng.uniform(0.6, 0.75)
    body = moved(rounded_box((width, width, height), 0.02), z=height / 2)
    gable = rounded_box((width, width, 0.22), 0.0)
    share = gable.vertices[:, 2] / 0.22 + 0.5
    narrowing = np.column_stack([np.ones_like(share), 1 - 0.85 * share, np.ones_like(share)])
    gable = gable.with_vertices(gable.vertices * narrowing)
    fin = moved(rounded_box((width, 0.06, 0.1), 0.0), z=height + 0.25)
    color = any_color(rng)
    return [decorated(body, rng, color), paint(moved(gable, z=height + 0.1), color), paint(fin, color)]


VESSELS = {"mug": mug, "teacup": teacup, "bottle": bottle, "bowl": bowl, "vase": vase, "can": can, "plate": plate,
           "wine_glass": wine_glass, "jar": jar, "teapot": teapot, "bucket": bucket, "barrel": barrel, "pan": pan,
           "carton": carton}
