"""What the objects of a scene are made of, in which order it is written, and which values there are.

A schema is data: it knows neither ids nor how to write a scene (see `scene_grammar`). Its lengths are model units;
`metres_per_unit` takes them to metres. Source: CLEVR (arXiv 1612.06890) for sizes, colours, materials, shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Union

import numpy as np

from kyvo_ros.scene import PLANE_FRAME, Scene, SceneObject, YawPeriods

#: Sort keys of objects by the name of the order; objects of equal key keep the order they came in.
ORDERS = {
    "left_to_right": lambda o: o.position_m[0],
    "near_to_far": lambda o: o.position_m[1],
    "as_given": lambda o: 0,
}

#: What else a token of a scene may say (see `scene_grammar`).
_TAKEN_NAMES = {"presence", "x", "y", "z", "yaw", "size_x", "size_y", "size_z", "shape_code"}


class SchemaError(ValueError):
    """A schema contradicts itself, or an object does not fit it."""


@dataclass(frozen=True)
class WordAttribute:
    """An attribute whose value is one word."""

    name: str  # key in SceneObject.attributes
    marker: str  # structure token before the word
    values: tuple[str, ...]  # words it may take, each a single text token

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values or len(set(self.values)) != len(self.values):
            raise SchemaError(f"attribute {self.name} needs distinct values, got {self.values}")


@dataclass(frozen=True)
class LocationAttribute:
    """The centre of the object: three numbers x y z after the marker."""

    marker: str = "[LOCATION]"
    resting: bool = True  # objects stand on z = 0, so that z is half their height and follows from their extents
    depth: bool = False  # z is a distance from a camera, never negative


@dataclass(frozen=True)
class YawAttribute:
    """The turn about z as one number in `span_rad`, written only for shapes that show it."""

    marker: str | None = "[POSE]"  # None: the number follows what was written before it
    attribute: str | None = "shape"  # the attribute that decides whether a yaw is written; None: it always is
    shapes_with_yaw: tuple[str, ...] = ("cube",)  # values of it that do
    period_rad: float | None = math.pi / 2  # of the shapes' symmetry; None: any number of the grid, as it is
    centered: bool = False  # the numbers lie around zero, so that those of a whole turn need not reach 2 pi

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes_with_yaw", tuple(self.shapes_with_yaw))
        if self.period_rad is not None and not 0 < self.period_rad <= 2 * math.pi:
            raise SchemaError(f"the period of a yaw must lie in (0, 2 pi], got {self.period_rad}")
        if self.centered and self.period_rad is None:
            raise SchemaError("a yaw that is centered needs a period_rad")

    @property
    def span_rad(self) -> tuple[float, float] | None:
        """The least yaw that is written and the end that none reaches; None without a period."""
        if self.period_rad is None:
            return None
        low = -self.period_rad / 2 if self.centered else 0.0
        return low, low + self.period_rad


@dataclass(frozen=True)
class DimensionsAttribute:
    """The full extents along the object's own axes: three numbers after the marker, none negative."""

    marker: str = "[DIMENSIONS]"


@dataclass(frozen=True)
class ShapeAttribute:
    """The geometry and colours of the object as codes of a shape tokenizer, behind all else that is said of it."""

    marker: str = "[SHAPE]"
    length: int = 512  # codes

    def __post_init__(self) -> None:
        if self.length < 1:
            raise SchemaError(f"a shape needs at least one code, got {self.length}")


Attribute = Union[WordAttribute, LocationAttribute, YawAttribute, DimensionsAttribute, ShapeAttribute]
_ATTRIBUTE_TYPES = {"word": WordAttribute, "location": LocationAttribute, "yaw": YawAttribute,
                    "dimensions": DimensionsAttribute, "shape": ShapeAttribute}


@dataclass(frozen=True)
class ExtentTable:
    """Full extents along an object's own axes, in model units, by the values of some attributes."""

    attributes: tuple[str, ...]  # such as ("size", "shape")
    rows: tuple[tuple[tuple[str, ...], tuple[float, float, float]], ...]  # values of these -> extents x y z

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(self.attributes))
        object.__setattr__(self, "rows", tuple((tuple(key), tuple(map(float, xyz))) for key, xyz in self.rows))
        for key, xyz in self.rows:
            if len(key) != len(self.attributes) or len(xyz) != 3 or min(xyz) <= 0:
                raise SchemaError(f"expected {self.attributes} and three positive extents a row, got {key}: {xyz}")

    def of(self, attributes: Mapping[str, str]) -> tuple[float, float, float]:
        """Extents of an object with these attributes. Raises SchemaError where no row fits."""
        key = tuple(attributes.get(name) for name in self.attributes)
        for row, xyz in self.rows:
            if row == key:
                return xyz
        known = [row for row, _ in self.rows]
        raise SchemaError(f"expected {self.attributes} to be one of {known}, got {key}")


@dataclass(frozen=True)
class SceneSchema:
    """The attributes of an object in the order in which they are written, and the limits of a scene."""

    name: str
    attributes: tuple[Attribute, ...]
    extents: ExtentTable | None  # None: extents are written as dimensions, or unknown
    metres_per_unit: float = 1.0  # of the numbers that the model writes
    max_objects: int = 10  # more are neither read nor written
    order: str = "left_to_right"  # one of ORDERS
    frame_id: str = PLANE_FRAME  # frame that the coordinates are in

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(self.attributes))
        if self.order not in ORDERS:
            raise SchemaError(f"the order of objects must be one of {tuple(ORDERS)}, got {self.order!r}")
        if self.max_objects < 1 or not (math.isfinite(self.metres_per_unit) and self.metres_per_unit > 0):
            raise SchemaError(
                f"expected positive max_objects and metres_per_unit, got {self.max_objects} and {self.metres_per_unit}")
        names = [a.name for a in self.words]
        if len(set(names)) != len(names) or set(names) & _TAKEN_NAMES:
            raise SchemaError(f"names of attributes must be distinct and none of {sorted(_TAKEN_NAMES)}, got {names}")
        if sum(isinstance(a, LocationAttribute) for a in self.attributes) != 1:
            raise SchemaError("a schema needs exactly one location")
        if self.location.resting and self.extents is None:
            raise SchemaError(f"{self.location.marker} of objects that rest follows from extents, which are missing")
        if self.dimensions is not None and self.extents is not None:
            raise SchemaError(f"extents come from a table or from {self.dimensions.marker}, not from both")
        if any(isinstance(a, ShapeAttribute) for a in self.attributes[:-1]):
            raise SchemaError("codes of shapes come once, as the last attribute: all that stands before is the layout")
        if self.shape is not None and self.dimensions is None and self.extents is None:
            raise SchemaError(f"{self.shape.marker} says nothing of an object's size; add dimensions or extents")
        self._check_order_of_needs()

    def _check_order_of_needs(self) -> None:
        written: set[str] = set()
        for attribute in self.attributes:
            if isinstance(attribute, WordAttribute):
                written.add(attribute.name)
                continue
            needs: set[str] = set()
            if isinstance(attribute, YawAttribute) and attribute.attribute is not None:
                needs = {attribute.attribute}
            elif isinstance(attribute, LocationAttribute) and attribute.resting:
                needs = set(self.extents.attributes)
            if not needs <= written:
                raise SchemaError(f"{attribute.marker} depends on {sorted(needs)}, which must be written before it")

    @property
    def words(self) -> tuple[WordAttribute, ...]:
        return tuple(a for a in self.attributes if isinstance(a, WordAttribute))

    @property
    def location(self) -> LocationAttribute:
        return next(a for a in self.attributes if isinstance(a, LocationAttribute))

    @property
    def yaw(self) -> YawAttribute | None:
        return next((a for a in self.attributes if isinstance(a, YawAttribute)), None)

    @property
    def dimensions(self) -> DimensionsAttribute | None:
        return next((a for a in self.attributes if isinstance(a, DimensionsAttribute)), None)

    @property
    def shape(self) -> ShapeAttribute | None:
        return next((a for a in self.attributes if isinstance(a, ShapeAttribute)), None)

    def layout(self) -> SceneSchema:
        """The same schema without codes of shapes."""
        return self if self.shape is None else replace(self, attributes=self.attributes[:-1])

    def shows_yaw(self, attributes: Mapping[str, str]) -> bool:
        """Whether an object with these attributes has a yaw."""
        if self.yaw is None or self.yaw.attribute is None:
            return self.yaw is not None
        return attributes[self.yaw.attribute] in self.yaw.shapes_with_yaw

    def yaw_periods(self) -> YawPeriods:
        """After which turn objects look the same."""
        if self.yaw is None or self.yaw.period_rad is None:
            return YawPeriods(2 * math.pi)
        return YawPeriods(self.yaw.period_rad, self.yaw.attribute, self.yaw.shapes_with_yaw)

    def vocabulary_words(self) -> tuple[str, ...]:
        """All values of all word attributes; each must be a single text token."""
        return tuple(dict.fromkeys(v for a in self.words for v in a.values))

    def extents_m(self, attributes: Mapping[str, str]) -> np.ndarray | None:
        """(3,) full extents in metres along the object's own axes, None without a table. Raises SchemaError."""
        if self.extents is None:
            return None
        return np.array(self.extents.of(attributes)) * self.metres_per_unit

    def resting_height(self, attributes: Mapping[str, str]) -> float:
        """Height of the centre over the support plane, in model units, of an object that stands on it."""
        return self.extents.of(attributes)[2] / 2

    def sorted_objects(self, scene: Scene) -> list[SceneObject]:
        """The objects in the order in which they are written."""
        return sorted(scene.objects, key=ORDERS[self.order])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; inverse of `from_dict`."""
        kinds = {cls: kind for kind, cls in _ATTRIBUTE_TYPES.items()}
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["attributes"] = [{"kind": kinds[type(a)], **_plain(vars(a))} for a in self.attributes]
        data["extents"] = None if self.extents is None else _plain(vars(self.extents))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SceneSchema:
        """Inverse of `to_dict`. Raises SchemaError for an unknown kind of attribute."""
        attributes = []
        for entry in data["attributes"]:
            entry = dict(entry)
            kind = entry.pop("kind", None)
            if kind not in _ATTRIBUTE_TYPES:
                raise SchemaError(f"expected an attribute of kind {tuple(_ATTRIBUTE_TYPES)}, got {kind!r}")
            attributes.append(_ATTRIBUTE_TYPES[kind](**entry))
        extents = None if data["extents"] is None else ExtentTable(**data["extents"])
        return cls(**{**data, "attributes": tuple(attributes), "extents": extents})


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down, as JSON has them."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def _clevr_extents() -> ExtentTable:
    """CLEVR scales shapes by a radius; a cube's half edge is that divided by sqrt 2."""
    rows = []
    for size, radius in (("large", 0.7), ("small", 0.35)):
        for shape, half in (("cube", radius / math.sqrt(2)), ("sphere", radius), ("cylinder", radius)):
            rows.append(((size, shape), (2 * half,) * 3))
    return ExtentTable(("size", "shape"), tuple(rows))


#: CLEVR with the yaw of cubes, in the support-plane frame. Its unit counts as a metre unless a model folder says more.
CLEVR_SCHEMA = SceneSchema(
    name="clevr",
    attributes=(
        WordAttribute("size", "[SIZE]", ("large", "small")),
        WordAttribute("color", "[COLOR]", ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")),
        WordAttribute("material", "[MATERIAL]", ("rubber", "metal")),
        WordAttribute("shape", "[SHAPE]", ("cube", "sphere", "cylinder")),
        LocationAttribute(),
        YawAttribute(),
    ),
    extents=_clevr_extents(),
)
