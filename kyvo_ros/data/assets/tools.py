"""Tools and machine parts. Sizes are around 1; tools lie or stand along z."""

from __future__ import annotations

import numpy as np

from kyvo_ros.data.assets.patterns import METALS, WOODS, any_color, choice, decorated, grained, neutral, paint, vivid
from kyvo_ros.data.assets.placing import around, moved, turned
from kyvo_ros.data.assets.solids import circle, lathe, prism, rounded_box, superquadric, sweep
from kyvo_ros.scene.mesh import Mesh

Rng = np.random.Generator


def _grip(rng: Rng, length: float, thickness: float) -> Mesh:
    """A handle from z = 0 up, wooden or of coloured plastic."""
    belly = thickness * rng.uniform(1.0, 1.3)
    bar = lathe([(0, 0), (thickness, 0), (belly, length * 0.3), (thickness, length), (0, length)], segments=24)
    return grained(bar, rng, choice(rng, WOODS)) if rng.random() < 0.5 else decorated(bar, rng, vivid(rng))


def hammer(rng: Rng) -> list[Mesh]:
    head, thick = rng.uniform(0.38, 0.55), rng.uniform(0.06, 0.09)
    poll = turned(lathe([(0, -head * 0.5), (thick, -head * 0.5), (thick, -head * 0.3), (thick * 0.8, -head * 0.25),
                         (thick, 0.1), (0, 0.1)]), "y", 90)
    peen = moved(rounded_box((head * 0.5, thick * 1.6, thick * 1.2), 0.02), x=head * 0.28)
    metal = choice(rng, METALS)
    return [_grip(rng, 0.95, 0.045)] + [paint(moved(part, z=0.93), metal) for part in (poll, peen)]


def screwdriver(rng: Rng) -> list[Mesh]:
    grip, thick = rng.uniform(0.32, 0.45), rng.uniform(0.08, 0.12)
    handle = lathe([(0, 0), (thick * 0.8, 0), (thick, 0.06), (thick, grip - 0.08), (thick * 0.6, grip), (0, grip)])
    shaft = lathe([(0, grip - 0.05), (0.032, grip - 0.05), (0.032, 0.92), (0, 0.92)], segments=20)
    blade = moved(rounded_box((0.09, 0.04, 0.1), 0.01), z=0.95)
    metal = choice(rng, METALS[:2])
    return [decorated(handle, rng, vivid(rng)), paint(shaft, metal), paint(blade, metal)]


def wrench(rng: Rng) -> list[Mesh]:
    jaw, thick = rng.uniform(0.14, 0.18), rng.uniform(0.06, 0.08)
    bar = moved(rounded_box((0.1, thick, 0.8), 0.02), z=0.45)
    ring = turned(prism(circle(jaw, 40), thick, circle(jaw * 0.55, 40)), "x", 90)
    prong = rounded_box((0.07, thick, 0.22), 0.015)
    fork = [moved(turned(prong, "y", sign * 8), x=sign * jaw * 0.62, z=0.98) for sign in (-1, 1)]
    root = moved(rounded_box((jaw * 1.5, thick, 0.12), 0.03), z=0.86)
    metal = choice(rng, METALS)
    return [paint(part, metal) for part in (bar, moved(ring, y=thick / 2), *fork, root)]


def dumbbell(rng: Rng) -> list[Mesh]:
    weight, length = rng.uniform(0.2, 0.3), rng.uniform(0.16, 0.26)
    bar = turned(lathe([(0, -0.45), (0.045, -0.45), (0.045, 0.45), (0, 0.45)], segments=24), "y", 90)
    sides = 6 if rng.random() < 0.5 else 48
    block = turned(moved(prism(circle(weight, sides * (48 // sides)) if sides == 48 else _polygon(weight, 6), length),
                         z=-length / 2), "y", 90)
    color = any_color(rng)
    return [paint(bar, choice(rng, METALS)), *(decorated(moved(block, x=x), rng, color) for x in (-0.4, 0.4))]


def spoon(rng: Rng) -> list[Mesh]:
    width, length = rng.uniform(0.12, 0.17), rng.uniform(0.62, 0.75)
    scoop = superquadric((width * 2, width * 2.8, 0.16), 1.0)
    dent = 0.06 * np.clip(1 - (np.hypot(scoop.vertices[:, 0] / width, scoop.vertices[:, 1] / width / 1.4)) ** 2, 0, 1)
    scoop = scoop.with_vertices(scoop.vertices - np.outer(dent * (scoop.vertices[:, 2] > 0), (0, 0, 1)))
    grip = sweep([(0, width, 0), (0, width + 0.15, 0.05), (0, width + length, 0.02)], [0.04, 0.035, 0.05], flatness=1.2)
    if rng.random() < 0.4:
        wood = choice(rng, WOODS)
        return [grained(scoop, rng, wood), grained(grip, rng, wood)]
    metal = choice(rng, METALS)
    return [paint(scoop, metal), paint(grip, metal)]


def brush(rng: Rng) -> list[Mesh]:
    width = rng.uniform(0.12, 0.2)
    ferrule = moved(rounded_box((width * 2, 0.11, 0.16), 0.02), z=0.6)
    hair = moved(rounded_box((width * 2, 0.09, 0.25), 0.03), z=0.78)
    return [_grip(rng, 0.56, 0.05), paint(ferrule, choice(rng, METALS)), paint(hair, any_color(rng))]


def gear(rng: Rng) -> list[Mesh]:
    teeth, depth, height = int(rng.integers(8, 17)), rng.uniform(0.08, 0.13), rng.uniform(0.15, 0.3)
    steps = np.arange(teeth * 8)
    tooth = np.isin(steps % 8, (2, 3, 4, 5))
    radius = np.where(tooth, 0.5, 0.5 - depth)
    outline = circle(1.0, len(steps)) * radius[:, None]
    hole = circle(rng.uniform(0.12, 0.25), len(steps))
    return [paint(prism(outline, height, hole), choice(rng, METALS) if rng.random() < 0.6 else vivid(rng))]


def _polygon(radius: float, corners: int, points: int = 48) -> np.ndarray:
    """(points, 2) along a regular polygon's edges."""
    angle = np.arange(points) * 2 * np.pi / points
    half = np.pi / corners
    reach = radius * np.cos(half) / np.cos((angle % (2 * half)) - half)
    return reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def nut(rng: Rng) -> list[Mesh]:
    height = rng.uniform(0.3, 0.5)
    return [paint(prism(_polygon(0.5, 6), height, circle(rng.uniform(0.2, 0.3))), choice(rng, METALS))]


def bolt(rng: Rng) -> list[Mesh]:
    head, thick, length = rng.uniform(0.2, 0.28), rng.uniform(0.09, 0.13), rng.uniform(0.65, 0.85)
    top = moved(prism(_polygon(head, 6), 0.16), z=length - 0.01)
    turns = int(rng.integers(7, 11))
    z = np.linspace(0, length * 0.7, turns * 6)
    thread = thick + 0.02 * np.sin(z / z[-1] * turns * 2 * np.pi)
    shaft = lathe([(0, 0), *zip(thread, z), (thick, length * 0.72), (thick, length), (0, length)])
    metal = choice(rng, METALS)
    return [paint(top, metal), paint(shaft, metal)]


def pipe(rng: Rng) -> list[Mesh]:
    bend, radius = rng.uniform(0.3, 0.45), rng.uniform(0.11, 0.15)
    angle = np.linspace(0, np.pi / 2, 16)
    elbow = np.column_stack([bend * (1 - np.cos(angle)), np.zeros(16), bend * np.sin(angle)])
    path = np.concatenate([[(0, 0, -0.35), (0, 0, -0.2)], elbow, [(bend + 0.2, 0, bend), (bend + 0.35, 0, bend)]])
    inner, outer = radius * 0.5, radius * 1.6
    flange = lathe([(inner, 0), (outer, 0), (outer, 0.08), (inner, 0.08), (inner, 0)])
    metal = choice(rng, METALS) if rng.random() < 0.5 else vivid(rng)
    ends = (moved(flange, z=-0.36), moved(turned(flange, "y", 90), x=bend + 0.28, z=bend))
    return [paint(part, metal) for part in (sweep(path, radius), *ends)]


def ring(rng: Rng) -> list[Mesh]:
    tube = rng.uniform(0.08, 0.2)
    loop = np.column_stack([(0.5 - tube) + tube * np.cos(np.linspace(-np.pi, np.pi, 28)),
                            tube * np.sin(np.linspace(-np.pi, np.pi, 28))])
    loop[-1] = loop[0]
    return [decorated(lathe(loop), rng, any_color(rng))]


def cone(rng: Rng) -> list[Mesh]:
    foot, height = rng.uniform(0.5, 0.65), rng.uniform(0.75, 1.0)
    base = moved(rounded_box((foot, foot, 0.07), 0.02), z=0.035)
    low, high = foot * 0.4, 0.07
    body = lathe([(0, 0.03), (low, 0.03), (high, height), (0, height)])
    z = (0.5, 0.7)
    r = [low + (high - low) * (v * height - 0.03) / (height - 0.03) + 0.015 for v in z]
    sleeve = lathe([(0, z[0] * height), (r[0], z[0] * height), (r[1], z[1] * height), (0, z[1] * height)])
    color = vivid(rng)
    return [paint(base, color), paint(body, color), paint(sleeve, (0.95, 0.95, 0.95))]


def fan(rng: Rng) -> list[Mesh]:
    blades, tilt = int(rng.integers(3, 6)), rng.uniform(20, 35)
    blade = moved(turned(superquadric((0.4, 0.24, 0.07), 0.8), "x", tilt), x=0.26)
    hub = lathe([(0, -0.1), (0.1, -0.1), (0.1, 0.08), (0.05, 0.13), (0, 0.13)])
    color = any_color(rng)
    return [paint(part, color) for part in around(blade, blades)] + [paint(hub, neutral(rng))]


TOOLS = {"hammer": hammer, "screwdriver": screwdriver, "wrench": wrench, "dumbbell": dumbbell, "spoon": spoon,
         "brush": brush, "gear": gear, "nut": nut, "bolt": bolt, "pipe": pipe, "ring": ring, "cone": cone, "fan": fan}
