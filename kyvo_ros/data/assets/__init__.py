"""A library of everyday objects, made by formulas: any number of distinct ones of each category.

`make_asset(category, index)` is the same mesh for ever. Instances are split by their index; whole categories are held
out of training beside that. An asset fits a box whose longest side is a metre, stands on z = 0 and has its middle on
the z axis; its faces are watertight parts that may overlap. Its front looks along x, as REP 103 has it, so that what has
two like sides has them left and right, and its mirror image, y -> -y, has the same front.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kyvo_ros.data.assets.food import FOOD
from kyvo_ros.data.assets.furniture import FURNITURE
from kyvo_ros.data.assets.tools import TOOLS
from kyvo_ros.data.assets.toys import TOYS
from kyvo_ros.data.assets.vessels import VESSELS
from kyvo_ros.scene.mesh import Mesh, joined

CATEGORIES: dict[str, Callable[[np.random.Generator], list[Mesh]]] = {**VESSELS, **FOOD, **FURNITURE, **TOOLS, **TOYS}
#: Categories that no training sees, one or more of each family.
HELD_OUT_CATEGORIES = ("teapot", "wine_glass", "pear", "stool", "wrench", "fan", "rocket", "snowman")
#: One in so many instances of every category is held out of training.
HELD_OUT_EVERY = 10
SPLITS = ("train", "instances", "categories")
#: By how many quarters those are turned whose formula makes them look along another axis.
_QUARTERS = {**dict.fromkeys(("chair", "shelf", "sofa", "bed", "spoon", "robot", "house", "snowman"), 1),
             **dict.fromkeys(("duck", "airplane", "truck"), 2)}


class AssetError(ValueError):
    """An asset, category or split does not exist."""


def categories(split: str = "train") -> tuple[str, ...]:
    """The categories of a split: `categories` has those that are held out, the others have the rest."""
    if split not in SPLITS:
        raise AssetError(f"expected a split of {SPLITS}, got {split!r}")
    return tuple(name for name in CATEGORIES if (name in HELD_OUT_CATEGORIES) == (split == "categories"))


def make_asset(category: str, index: int) -> Mesh:
    """The instance of a category with this index, from 0. Raises AssetError for an unknown category."""
    if category not in CATEGORIES:
        raise AssetError(f"there is no category {category!r}; there are {', '.join(CATEGORIES)}")
    rng = np.random.default_rng([zlib.crc32(category.encode()), index])
    stretch = rng.uniform(0.88, 1.12, 3)
    mesh = joined(CATEGORIES[category](rng))
    vertices = mesh.vertices * stretch
    for _ in range(_QUARTERS.get(category, 0)):
        vertices = vertices[:, [1, 0, 2]] * (-1.0, 1.0, 1.0)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    foot = np.array([*(low + high)[:2] / 2, low[2]])
    return mesh.with_vertices((vertices - foot) / (high - low).max())


def assets(split: str, count: int, names: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """`count` pairs of category and index of a split, category after category in turn; `names` are some of its
    categories, none means all.

    `train` and `instances` are of the same categories and never share an index; `categories` are the held-out ones.
    """
    names = names or categories(split)
    for number in range(count):
        yield names[number % len(names)], split_index(split, number // len(names))


def split_index(split: str, turn: int) -> int:
    """The instance that a split uses in its n-th turn: the last of every HELD_OUT_EVERY is not for training."""
    if split == "train":
        return turn + turn // (HELD_OUT_EVERY - 1)
    return (turn + 1) * HELD_OUT_EVERY - 1 if split == "instances" else turn
