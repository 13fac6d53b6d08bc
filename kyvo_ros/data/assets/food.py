"""Fruit and other things that grow. Sizes are around 1; z is up."""

from __future__ import annotations

import numpy as np

from kyvo_ros.data.assets.patterns import WOODS, choice, decorated, near, paint
from kyvo_ros.data.assets.placing import around, moved, turned
from kyvo_ros.data.assets.solids import arc, lathe, superquadric, sweep
from kyvo_ros.scene.mesh import Mesh

Rng = np.random.Generator


def _stem(rng: Rng, z: float, length: float = 0.2) -> Mesh:
    lean = rng.uniform(-0.08, 0.08)
    return paint(sweep([(0, 0, z - 0.1), (0, 0, z), (lean, 0, z + length)], 0.035, segments=10), choice(rng, WOODS))


def apple(rng: Rng) -> list[Mesh]:
    width, tall = rng.uniform(0.46, 0.54), rng.uniform(0.85, 1.0)
    angle = np.linspace(0, np.pi, 30)
    radius = width * np.sin(angle) * (1 + 0.12 * np.cos(angle))
    dent = 0.12 * np.exp(-((angle / 0.45) ** 2)) + 0.09 * np.exp(-(((np.pi - angle) / 0.4) ** 2))
    height = np.cos(angle) * 0.46 * tall * (1 - dent * 2)
    radius[[0, -1]] = 0
    body = lathe(np.column_stack([radius, height])[::-1])
    return [decorated(body, rng, near(rng, (-0.03, 0.3)), near(rng, (0.0, 0.2))), _stem(rng, 0.34)]


def pear(rng: Rng) -> list[Mesh]:
    belly, neck = rng.uniform(0.34, 0.42), rng.uniform(0.13, 0.18)
    heights = np.linspace(0, 1, 24)
    radii = np.sqrt(np.clip(1 - ((heights - 0.33) / 0.34) ** 2, 0, 1)) * belly
    upper = np.sqrt(np.clip(1 - ((heights - 0.75) / 0.25) ** 2, 0, 1)) * neck
    radii = np.maximum(radii, upper)
    blend = np.convolve(np.pad(radii, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    blend[[0, -1]] = 0
    return [decorated(lathe(np.column_stack([blend, heights])), rng, near(rng, (0.12, 0.25)), near(rng, (0.1, 0.2))),
            _stem(rng, 0.97)]


def banana(rng: Rng) -> list[Mesh]:
    bend, thick = rng.uniform(0.9, 1.6), rng.uniform(0.1, 0.14)
    curve = arc(1.0 / bend, -bend / 1.6, bend / 1.6, 28)
    path = np.column_stack([curve[:, 1], np.zeros(28), 1.0 / bend - curve[:, 0]])
    radius = thick * np.clip(np.sin(np.linspace(0.06, np.pi - 0.06, 28)), 0, 1) ** 0.35
    radius[-4:] = 0.05
    return [paint(sweep(path, radius, segments=12), near(rng, (0.12, 0.17), 0.85, 0.9))]


def carrot(rng: Rng) -> list[Mesh]:
    thick, bend = rng.uniform(0.13, 0.18), rng.uniform(-0.1, 0.1)
    t = np.linspace(0, 1, 20)
    root = sweep(np.column_stack([bend * np.sin(np.pi * t), 0 * t, t]), thick * t ** 0.7 + 0.02)
    leaf = sweep([(0, 0, 0.95), (0.04, 0, 1.1), (rng.uniform(0.12, 0.25), 0, 1.3)], [0.045, 0.045, 0.03], segments=10)
    return [paint(root, near(rng, (0.05, 0.08), 0.85, 0.9))] + [
        paint(part, near(rng, (0.27, 0.36), 0.7, 0.5)) for part in around(leaf, int(rng.integers(3, 6)))]


def mushroom(rng: Rng) -> list[Mesh]:
    cap, stem, height = rng.uniform(0.4, 0.55), rng.uniform(0.1, 0.18), rng.uniform(0.4, 0.6)
    angle = np.linspace(0, np.pi / 2, 14)
    dome = [(cap * np.cos(a), height + 0.3 * np.sin(a)) for a in angle[:-1]]
    top = lathe([(0, height), (cap * 0.9, height - 0.04), *dome, (0, height + 0.3)])
    foot = lathe([(0, 0), (stem * 1.3, 0), (stem, 0.15), (stem, height + 0.05), (0, height + 0.05)])
    return [decorated(top, rng, near(rng, (0.0, 0.1), 0.7, 0.7), (0.95, 0.93, 0.88)), paint(foot, (0.92, 0.88, 0.8))]


def egg(rng: Rng) -> list[Mesh]:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 28)
    radius = rng.uniform(0.35, 0.4) * np.cos(angle) * (1 - rng.uniform(0.1, 0.2) * np.sin(angle))
    radius[[0, -1]] = 0
    return [decorated(lathe(np.column_stack([radius, 0.5 * np.sin(angle)])), rng, near(rng, (0.05, 0.1), 0.3, 0.9))]


def pumpkin(rng: Rng) -> list[Mesh]:
    lobes, flat = int(rng.integers(7, 11)), rng.uniform(0.65, 0.85)
    body = superquadric((1, 1, flat), 1.0, cells=25)
    angle = np.arctan2(body.vertices[:, 1], body.vertices[:, 0])
    swell = 1 - 0.1 * np.abs(np.sin(angle * lobes / 2))[:, None] * np.hypot(*body.vertices[:, :2].T)[:, None]
    return [paint(body.with_vertices(body.vertices * swell), near(rng, (0.04, 0.1), 0.85, 0.85)), _stem(rng, flat / 2)]


def cactus(rng: Rng) -> list[Mesh]:
    pot = lathe([(0, 0), (0.2, 0), (0.28, 0.32), (0.24, 0.32), (0.22, 0.26), (0, 0.26)])
    thick, height = rng.uniform(0.11, 0.15), rng.uniform(0.85, 1.05)
    trunk = sweep([(0, 0, 0.2), (0, 0, 0.5), (0, 0, height), (0, 0, height + 0.07)], [thick, thick, thick, thick * 0.5])
    arms = []
    for angle in rng.uniform(0, 360, int(rng.integers(1, 3))):
        z = rng.uniform(0.5, 0.65)
        arm = sweep([(0, 0, z), (0.2, 0, z), (0.27, 0, z + 0.06), (0.28, 0, z + 0.25), (0.28, 0, z + 0.29)],
                    [0.07, 0.075, 0.075, 0.07, 0.03])
        arms.append(turned(arm, "z", angle))
    green = near(rng, (0.28, 0.42), 0.6, 0.5)
    return [decorated(pot, rng, near(rng, (0.02, 0.08), 0.6, 0.65))] + [paint(part, green) for part in (trunk, *arms)]


def tree(rng: Rng) -> list[Mesh]:
    trunk = lathe([(0, 0), (rng.uniform(0.07, 0.1), 0), (0.06, 0.5), (0, 0.5)])
    green = near(rng, (0.25, 0.4), 0.65, 0.5)
    if rng.random() < 0.5:
        tiers = int(rng.integers(2, 4))
        crown = [moved(lathe([(0, 0), (0.36 - 0.07 * i, 0), (0.02, 0.4), (0, 0.4)]), z=0.25 + 0.22 * i)
                 for i in range(tiers)]
    else:
        crown = [moved(superquadric((s, s, s), 1.0), *place) for s, place in (
            (0.55, (0, 0, 0.65)), (0.4, (rng.uniform(0.1, 0.2), 0, 0.55)), (0.4, (-0.12, rng.uniform(0.1, 0.2), 0.75)))]
    return [paint(trunk, choice(rng, WOODS))] + [paint(part, green) for part in crown]


FOOD = {"apple": apple, "pear": pear, "banana": banana, "carrot": carrot, "mushroom": mushroom, "egg": egg,
        "pumpkin": pumpkin, "cactus": cactus, "tree": tree}
