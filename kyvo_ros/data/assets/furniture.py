"""Furniture and lamps, most from boxes and tubes. The longest side is around 1; z is up."""

from __future__ import annotations

import numpy as np

from kyvo_ros.data.assets.patterns import METALS, WOODS, any_color, choice, decorated, grained, neutral, paint
from kyvo_ros.data.assets.placing import around, at_corners, at_each, moved, turned
from kyvo_ros.data.assets.solids import lathe, rounded_box, superquadric, sweep
from kyvo_ros.scene.mesh import Mesh

Rng = np.random.Generator


def _leg(height: float, thickness: float, square: bool) -> Mesh:
    """From z = 0 up."""
    if square:
        return moved(rounded_box((thickness, thickness, height), 0.01), z=height / 2)
    return lathe([(0, 0), (thickness * 0.4, 0), (thickness * 0.55, height), (0, height)], segments=20)


def _material(rng: Rng):
    """A painter for all wooden, or all painted, parts of one piece."""
    if rng.random() < 0.6:
        wood = choice(rng, WOODS)
        return lambda part: grained(part, rng, wood)
    color = any_color(rng)
    return lambda part: paint(part, color)


def chair(rng: Rng) -> list[Mesh]:
    width, seat, back = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.55)
    finish, square = _material(rng), rng.random() < 0.5
    legs = at_corners(_leg(seat, 0.065, square), width / 2 - 0.045, width / 2 - 0.045)
    top = moved(rounded_box((width, width, 0.06), 0.015), z=seat)
    if rng.random() < 0.5:
        rest = [moved(rounded_box((width, 0.055, back), 0.02), y=width / 2 - 0.03, z=seat + back / 2)]
    else:
        posts = at_each(moved(rounded_box((0.06, 0.06, back), 0.01), z=seat + back / 2),
                        [(x, width / 2 - 0.035, 0) for x in np.linspace(-1, 1, 3) * (width / 2 - 0.04)])
        rest = [*posts, moved(rounded_box((width, 0.065, 0.12), 0.02), y=width / 2 - 0.035, z=seat + back - 0.04)]
    return [finish(part) for part in (*legs, top, *rest)]


def table(rng: Rng) -> list[Mesh]:
    length, width, height = rng.uniform(0.8, 1.1), rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.65)
    finish, square = _material(rng), rng.random() < 0.6
    if rng.random() < 0.25:
        top = moved(lathe([(0, 0), (width * 0.75, 0), (width * 0.75, 0.06), (0, 0.06)]), z=height)
        foot = lathe([(0, 0), (0.25, 0), (0.22, 0.06), (0.06, 0.1), (0.05, height + 0.02), (0, height + 0.02)])
        return [finish(top), finish(foot)]
    legs = at_corners(_leg(height, 0.075, square), length / 2 - 0.06, width / 2 - 0.06)
    return [finish(part) for part in (moved(rounded_box((length, width, 0.06), 0.015), z=height), *legs)]


def stool(rng: Rng) -> list[Mesh]:
    height, radius = rng.uniform(0.6, 0.85), rng.uniform(0.24, 0.32)
    finish, legs = _material(rng), int(rng.integers(3, 5))
    seat = moved(lathe([(0, 0), (radius, 0), (radius + 0.02, 0.04), (radius, 0.08), (0, 0.08)]), z=height)
    leg = sweep([(radius * 1.05, 0, 0), (radius * 0.85, 0, height / 2), (radius * 0.6, 0, height + 0.03)], 0.035)
    ring = np.arange(32) * 2 * np.pi / 32
    reach = radius * 0.93
    path = np.column_stack([reach * np.cos(ring), reach * np.sin(ring), np.full(32, height * 0.32)])
    hoop = sweep(path, 0.028, closed=True)
    return [decorated(seat, rng, any_color(rng))] + [finish(part) for part in (*around(leg, legs), hoop)]


def shelf(rng: Rng) -> list[Mesh]:
    width, depth, boards = rng.uniform(0.5, 0.8), rng.uniform(0.22, 0.32), int(rng.integers(3, 6))
    finish = _material(rng)
    sides = at_each(moved(rounded_box((0.05, depth, 1.0), 0.008), z=0.5), [(width / 2, 0, 0), (-width / 2, 0, 0)])
    levels = [moved(rounded_box((width, depth, 0.05), 0.008), z=z) for z in np.linspace(0.04, 0.96, boards)]
    back = [moved(rounded_box((width, 0.045, 1.0), 0.005), y=depth / 2, z=0.5)] if rng.random() < 0.5 else []
    return [finish(part) for part in (*sides, *levels, *back)]


def sofa(rng: Rng) -> list[Mesh]:
    length, depth, arm = rng.uniform(0.9, 1.1), rng.uniform(0.42, 0.52), rng.uniform(0.1, 0.15)
    color = any_color(rng)
    seats = int(rng.integers(1, 4))
    cushion = (length - 2 * arm) / seats
    parts = [moved(rounded_box((length, depth, 0.2), 0.03), z=0.16),
             moved(rounded_box((length, 0.14, 0.45), 0.05), y=depth / 2, z=0.3)]
    parts += at_each(rounded_box((arm, depth, 0.34), 0.05), [(side * (length - arm) / 2, 0, 0.25) for side in (-1, 1)])
    soft = [moved(rounded_box((cushion - 0.01, depth - 0.06, 0.12), 0.05), x=-length / 2 + arm + cushion * (i + 0.5),
                  y=-0.03, z=0.31) for i in range(seats)]
    feet = at_corners(_leg(0.08, 0.07, True), length / 2 - 0.06, depth / 2 - 0.06)
    shade = tuple(0.85 * value for value in color)
    return [paint(p, color) for p in parts] + [paint(p, shade) for p in soft] + [
        paint(p, choice(rng, WOODS)) for p in feet]


def bed(rng: Rng) -> list[Mesh]:
    width, head, foot = rng.uniform(0.55, 0.75), rng.uniform(0.4, 0.55), rng.uniform(0.22, 0.32)
    finish = _material(rng)
    frame = [moved(rounded_box((width, 1.0, 0.1), 0.01), z=0.17),
             moved(rounded_box((width + 0.04, 0.06, head), 0.02), y=0.5, z=head / 2),
             moved(rounded_box((width + 0.04, 0.06, foot), 0.02), y=-0.5, z=foot / 2)]
    mattress = moved(rounded_box((width - 0.03, 0.96, 0.13), 0.04), z=0.25)
    blanket = moved(rounded_box((width, 0.6, 0.14), 0.04), y=-0.17, z=0.26)
    pillow = moved(superquadric((width * 0.6, 0.2, 0.12), 0.6), y=0.35, z=0.34)
    return [finish(p) for p in frame] + [paint(mattress, (0.9, 0.9, 0.88)), decorated(blanket, rng, any_color(rng)),
                                         paint(pillow, (0.95, 0.95, 0.93))]


def lamp(rng: Rng) -> list[Mesh]:
    foot, low, high = rng.uniform(0.18, 0.25), rng.uniform(0.28, 0.36), rng.uniform(0.15, 0.25)
    start = rng.uniform(0.5, 0.62)
    stand = lathe([(0, 0), (foot, 0), (foot, 0.05), (0.04, 0.1), (0.035, start + 0.2), (0, start + 0.2)])
    shade = lathe([(0, start + 0.15), (low * 0.9, start), (low, start), (high, 1.0), (0, 1.0)])
    return [paint(stand, choice(rng, (*METALS, *WOODS))), decorated(shade, rng, any_color(rng))]


def desk_lamp(rng: Rng) -> list[Mesh]:
    bend, reach = rng.uniform(0.45, 0.6), rng.uniform(0.3, 0.45)
    base = lathe([(0, 0), (0.22, 0), (0.2, 0.06), (0, 0.06)])
    arm = sweep([(-0.05, 0, 0.04), (-0.12, 0, bend), (0, 0, bend + 0.25), (reach, 0, bend + 0.22)], 0.032)
    cone = lathe([(0, 0.2), (0.05, 0.2), (0.19, 0), (0.14, 0), (0.02, 0.14), (0, 0.14)][::-1])
    head = moved(turned(cone, "y", rng.uniform(-35, -5)), x=reach, z=bend + 0.06)
    color = any_color(rng)
    return [paint(base, color), paint(arm, neutral(rng)), paint(head, color)]


FURNITURE = {"chair": chair, "table": table, "stool": stool, "shelf": shelf, "sofa": sofa, "bed": bed, "lamp": lamp,
             "desk_lamp": desk_lamp}
