"""Toys, boxes and other things of a household. Sizes are around 1; z is up."""

from __future__ import annotations

import numpy as np

from kyvo_ros.data.assets.patterns import METALS, any_color, choice, decorated, neutral, paint, vivid
from kyvo_ros.data.assets.placing import around, at_corners, moved, turned
from kyvo_ros.data.assets.solids import lathe, prism, rounded_box, superquadric, sweep
from kyvo_ros.scene.mesh import Mesh

Rng = np.random.Generator


def box(rng: Rng) -> list[Mesh]:
    size = rng.uniform(0.35, 1.0, 3)
    body = rounded_box(tuple(size), rng.uniform(0, 0.06), cells=13)
    parts = [decorated(body, rng, any_color(rng))]
    if rng.random() < 0.4:
        parts.append(paint(rounded_box((size[0] * 1.02, size[1] * 0.18, size[2] * 1.02), 0.0), neutral(rng)))
    return parts


def book(rng: Rng) -> list[Mesh]:
    width, height, thick = rng.uniform(0.6, 0.75), 1.0, rng.uniform(0.14, 0.28)
    color = any_color(rng)
    cover = [moved(rounded_box((width, height, 0.05), 0.01), z=z) for z in (0.0, thick)]
    spine = moved(rounded_box((0.06, height, thick + 0.05), 0.02), x=-width / 2, z=thick / 2)
    pages = moved(rounded_box((width - 0.05, height - 0.08, thick), 0.0), z=thick / 2)
    return [decorated(part, rng, color) for part in cover] + [paint(spine, color), paint(pages, (0.94, 0.92, 0.85))]


def house(rng: Rng) -> list[Mesh]:
    width, depth = rng.uniform(0.6, 0.8), rng.uniform(0.6, 0.95)
    wall, roof = rng.uniform(0.35, 0.5), rng.uniform(0.25, 0.4)
    body = moved(rounded_box((width, depth, wall), 0.0, cells=15), z=wall / 2)
    corners = [(0.57 * width, -0.4 * roof), (0, 0.6 * roof), (-0.57 * width, -0.4 * roof)]
    gable = prism(_polygon_outline(corners), depth * 1.1)
    gable = moved(turned(gable, "x", 90), y=depth * 0.55, z=wall + 0.4 * roof)
    chimney = moved(rounded_box((0.1, 0.1, 0.3), 0.0), x=width * 0.22, y=depth * 0.2, z=wall + roof * 0.7)
    door = moved(rounded_box((width * 0.22, 0.06, wall * 0.6), 0.0), y=-depth / 2, z=wall * 0.3)
    return [paint(body, neutral(rng) if rng.random() < 0.5 else vivid(rng)), paint(gable, vivid(rng)),
            paint(chimney, (0.6, 0.3, 0.25)), paint(door, any_color(rng))]


def _polygon_outline(corners: list[tuple[float, float]], points: int = 16) -> np.ndarray:
    """Points along the edges of a polygon, so many an edge."""
    edges = zip(corners, corners[1:] + corners[:1])
    return np.concatenate([np.linspace(a, b, points, endpoint=False) for a, b in edges])


def _wheel(radius: float, width: float) -> Mesh:
    """Its axle along y."""
    profile = [(0, -width / 2), (radius, -width / 2), (radius, width / 2), (0, width / 2)]
    return turned(lathe(profile, segments=32), "x", 90)


def car(rng: Rng) -> list[Mesh]:
    width, hood, cabin = rng.uniform(0.4, 0.48), rng.uniform(0.16, 0.22), rng.uniform(0.16, 0.24)
    wheel = rng.uniform(0.1, 0.13)
    color = vivid(rng)
    body = moved(rounded_box((1.0, width, hood), 0.06), z=wheel + hood / 2)
    top = rounded_box((rng.uniform(0.42, 0.6), width * 0.9, cabin), 0.06)
    taper = 1 - 0.3 * (top.vertices[:, 2:] / cabin + 0.5)
    top = moved(top.with_vertices(top.vertices * np.column_stack([taper, np.ones_like(taper), np.ones_like(taper)])),
                x=rng.uniform(-0.1, 0.05), z=wheel + hood + cabin / 2 - 0.02)
    wheels = at_corners(_wheel(wheel, 0.1), 0.3, width / 2, wheel)
    return [paint(body, color), paint(top, (0.75, 0.85, 0.92) if rng.random() < 0.5 else color)] + [
        paint(part, (0.12, 0.12, 0.13)) for part in wheels]


def truck(rng: Rng) -> list[Mesh]:
    width, load, wheel = rng.uniform(0.34, 0.42), rng.uniform(0.32, 0.45), rng.uniform(0.08, 0.11)
    frame = moved(rounded_box((1.0, width * 0.9, 0.07), 0.01), z=wheel + 0.03)
    cab = moved(rounded_box((0.25, width, 0.32), 0.04), x=-0.37, z=wheel + 0.2)
    cargo = moved(rounded_box((0.68, width, load), 0.015), x=0.14, z=wheel + 0.05 + load / 2)
    wheels = [moved(_wheel(wheel, 0.09), x, y, wheel) for x in (-0.36, 0.18, 0.38) for y in (-width / 2, width / 2)]
    return [paint(frame, (0.2, 0.2, 0.22)), paint(cab, vivid(rng)), decorated(cargo, rng, any_color(rng))] + [
        paint(part, (0.12, 0.12, 0.13)) for part in wheels]


def airplane(rng: Rng) -> list[Mesh]:
    thick, span, chord = rng.uniform(0.08, 0.11), rng.uniform(0.85, 1.1), rng.uniform(0.18, 0.25)
    profile = [(0, -0.5), (thick * 0.6, -0.46), (thick, -0.3), (thick, 0.2), (thick * 0.4, 0.5), (0, 0.52)]
    body = turned(lathe(profile), "y", 90)
    wing = moved(rounded_box((chord, span, 0.055), 0.02), x=-0.05)
    tail = moved(rounded_box((0.12, span * 0.38, 0.05), 0.015), x=0.45)
    fin = moved(rounded_box((0.14, 0.05, 0.2), 0.02), x=0.45, z=0.12)
    color, accent = any_color(rng), any_color(rng)
    return [paint(body, color), paint(wing, accent), paint(tail, accent), paint(fin, accent)]


def rocket(rng: Rng) -> list[Mesh]:
    thick, nose, fins = rng.uniform(0.12, 0.18), rng.uniform(0.25, 0.4), int(rng.integers(3, 5))
    body = lathe([(0, 0.08), (thick * 0.8, 0.08), (thick, 0.3), (thick, 1 - nose), (0, 1 - nose)])
    tip = lathe([(0, 1 - nose), (thick, 1 - nose), (thick * 0.7, 1 - nose * 0.4), (0, 1.0)])
    fin = moved(rounded_box((0.2, 0.05, 0.28), 0.015), x=thick + 0.06, z=0.15)
    color = vivid(rng)
    return [decorated(body, rng, neutral(rng)), paint(tip, color)] + [paint(part, color) for part in around(fin, fins)]


def robot(rng: Rng) -> list[Mesh]:
    width, tall = rng.uniform(0.32, 0.42), rng.uniform(0.34, 0.44)
    color, accent = any_color(rng), any_color(rng)
    body = moved(rounded_box((width, 0.24, tall), 0.04), z=0.25 + tall / 2)
    head = moved(rounded_box((width * 0.7, 0.2, 0.2), 0.04), z=0.25 + tall + 0.12)
    limbs = [moved(rounded_box((0.085, 0.1, 0.28), 0.03), x=x, z=0.14) for x in (-width / 4, width / 4)]
    limbs += [moved(rounded_box((0.085, 0.1, tall), 0.03), x=x, z=0.23 + tall / 2)
              for x in (-width / 2 - 0.05, width / 2 + 0.05)]
    eyes = [moved(superquadric((0.08, 0.08, 0.08), cells=7), x=x, y=-0.1, z=0.25 + tall + 0.14) for x in (-0.07, 0.07)]
    horn = lathe([(0, 0), (0.028, 0), (0.028, 0.1), (0.045, 0.12), (0, 0.16)], segments=16)
    return [paint(body, color), paint(head, color), paint(moved(horn, z=0.25 + tall + 0.2), METALS[0])] + [
        paint(p, accent) for p in limbs] + [paint(p, (0.1, 0.1, 0.1)) for p in eyes]


def snowman(rng: Rng) -> list[Mesh]:
    sizes = np.array([rng.uniform(0.42, 0.5), rng.uniform(0.3, 0.36), rng.uniform(0.2, 0.26)])
    heights = np.array([0.5, 1.28, 1.95]) * sizes[0] * 0.95 + (0, -0.03, -0.06)
    balls = [moved(superquadric((s, s, s)), z=z) for s, z in zip(sizes, heights)]
    hat = lathe([(0, 0), (0.15, 0), (0.15, 0.04), (0.09, 0.04), (0.09, 0.16), (0, 0.16)])
    hat = moved(hat, z=heights[2] + sizes[2] * 0.4)
    nose = moved(turned(lathe([(0, 0), (0.035, 0), (0, 0.16)]), "x", 90), y=-sizes[2] * 0.45, z=heights[2])
    scarf = moved(lathe([(0.06, 0), (0.12, 0), (0.12, 0.06), (0.06, 0.06), (0.06, 0)]), z=heights[2] - sizes[2] * 0.5)
    return [paint(p, (0.93, 0.94, 0.97)) for p in balls] + [paint(hat, neutral(rng)), paint(nose, (0.9, 0.45, 0.1)),
                                                           decorated(scarf, rng, vivid(rng))]


def pawn(rng: Rng) -> list[Mesh]:
    foot, neck, head = rng.uniform(0.26, 0.34), rng.uniform(0.07, 0.11), rng.uniform(0.15, 0.2)
    body = lathe([(0, 0), (foot, 0), (foot, 0.08), (foot * 0.6, 0.18), (neck, 0.6), (neck * 2, 0.63), (neck * 2, 0.69),
                  (0, 0.69)])
    color = choice(rng, ((0.93, 0.88, 0.75), (0.15, 0.13, 0.12), (0.6, 0.2, 0.15), (0.5, 0.34, 0.2)))
    return [paint(body, color), paint(moved(superquadric((2 * head,) * 3), z=0.69 + head * 0.8), color)]


def bell(rng: Rng) -> list[Mesh]:
    mouth, crown = rng.uniform(0.4, 0.5), rng.uniform(0.18, 0.25)
    outer = [(mouth, 0), (mouth * 0.8, 0.15), (crown * 1.2, 0.5), (crown, 0.65), (crown * 0.5, 0.75)]
    body = lathe([(0, 0.68), (crown - 0.08, 0.6), (crown * 1.2 - 0.06, 0.48), (mouth * 0.8 - 0.06, 0.15),
                  (mouth - 0.06, 0), *outer, (0, 0.75)])
    bow = np.arange(24) * 2 * np.pi / 24
    path = np.column_stack([0.1 * np.cos(bow), 0 * bow, 0.83 + 0.1 * np.sin(bow)])
    loop = sweep(path, 0.03, segments=12, closed=True)
    clapper = moved(superquadric((0.14, 0.14, 0.14)), z=0.06)
    rod = lathe([(0, 0.05), (0.025, 0.05), (0.025, 0.72), (0, 0.72)], segments=16)
    metal = choice(rng, METALS)
    return [decorated(body, rng, metal), *(paint(part, metal) for part in (loop, clapper, rod))]


def spinning_top(rng: Rng) -> list[Mesh]:
    radius, waist = rng.uniform(0.36, 0.48), rng.uniform(0.35, 0.5)
    body = lathe([(0, 0), (0.03, 0.02), (radius * 0.6, waist - 0.15), (radius, waist), (radius * 0.8, waist + 0.1),
                  (0.08, waist + 0.16), (0, waist + 0.16)])
    stem = lathe([(0, waist + 0.1), (0.045, waist + 0.1), (0.04, 0.95), (0.06, 1.0), (0, 1.0)], segments=20)
    return [decorated(body, rng, vivid(rng)), paint(stem, neutral(rng))]


def duck(rng: Rng) -> list[Mesh]:
    long, head = rng.uniform(0.7, 0.85), rng.uniform(0.3, 0.36)
    body = superquadric((long, 0.5, 0.42), 1.0, cells=17)
    lift = 0.5 * np.clip(body.vertices[:, 0], 0, None) ** 2
    body = moved(body.with_vertices(body.vertices + np.outer(lift, (0, 0, 1))), z=0.21)
    skull = moved(superquadric((head, head, head)), x=-long * 0.3, z=0.52)
    bill = moved(superquadric((0.2, 0.16, 0.08), 0.8), x=-long * 0.3 - head * 0.55, z=0.49)
    eyes = [moved(superquadric((0.06, 0.06, 0.06), cells=7), x=-long * 0.3 - head * 0.3, y=y, z=0.58)
            for y in (-head * 0.36, head * 0.36)]
    wings = [moved(superquadric((0.36, 0.1, 0.2), 0.9), x=0.05, y=y, z=0.27) for y in (-0.24, 0.24)]
    color = (0.95, 0.8, 0.15) if rng.random() < 0.5 else vivid(rng)
    return [paint(p, color) for p in (body, skull, *wings)] + [paint(bill, (0.93, 0.45, 0.1))] + [
        paint(p, (0.08, 0.08, 0.08)) for p in eyes]


def table_tennis_bat(rng: Rng) -> list[Mesh]:
    radius, grip = rng.uniform(0.28, 0.36), rng.uniform(0.3, 0.38)
    angle = np.arange(48) * 2 * np.pi / 48
    blade = turned(prism(radius * np.column_stack([np.cos(angle), 1.1 * np.sin(angle)]), 0.07), "x", 90)
    handle = moved(rounded_box((0.1, 0.1, grip), 0.03), y=-0.035, z=-radius * 1.05 - grip / 2 + 0.05)
    return [paint(blade, vivid(rng)), paint(handle, choice(rng, ((0.8, 0.65, 0.45), (0.4, 0.25, 0.15))))]


TOYS = {"box": box, "book": book, "house": house, "car": car, "truck": truck, "airplane": airplane, "rocket": rocket,
        "robot": robot, "snowman": snowman, "pawn": pawn, "bell": bell, "spinning_top": spinning_top, "duck": duck,
        "table_tennis_bat": table_tennis_bat}
