"""The scene schema: CLEVR's numbers, the dictionary form, and what it rejects."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.tokens import (
    CLEVR_SCHEMA, ExtentTable, LocationAttribute, SceneSchema, SchemaError, WordAttribute, YawAttribute)


def test_clevr_objects_rest_at_the_heights_of_its_scene_files() -> None:
    heights = {(size, shape): CLEVR_SCHEMA.resting_height({"size": size, "shape": shape})
               for size in ("large", "small") for shape in ("cube", "sphere", "cylinder")}
    assert heights == pytest.approx({
        ("large", "cube"): 0.7 / math.sqrt(2), ("large", "sphere"): 0.7, ("large", "cylinder"): 0.7,
        ("small", "cube"): 0.35 / math.sqrt(2), ("small", "sphere"): 0.35, ("small", "cylinder"): 0.35})


def test_extents_scale_to_metres() -> None:
    table_top = replace(CLEVR_SCHEMA, metres_per_unit=0.1)
    np.testing.assert_allclose(table_top.extents_m({"size": "large", "shape": "sphere"}), [0.14] * 3)
    with pytest.raises(SchemaError, match=r"to be one of .* got \('huge', 'sphere'\)"):
        table_top.extents_m({"size": "huge", "shape": "sphere"})


def test_dictionary_round_trip_through_json() -> None:
    schema = replace(CLEVR_SCHEMA, max_objects=4, order="near_to_far", metres_per_unit=0.2)
    assert SceneSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    broken = schema.to_dict()
    broken["attributes"][0]["kind"] = "number"
    with pytest.raises(SchemaError, match="got 'number'"):
        SceneSchema.from_dict(broken)


def test_contradictions_are_rejected() -> None:
    size, shape = WordAttribute("size", "[SIZE]", ("large",)), WordAttribute("shape", "[SHAPE]", ("cube",))
    for changes, message in (
            ({"order": "random"}, "order of objects must be one of"),
            ({"max_objects": 0}, "max_objects"),
            ({"metres_per_unit": math.nan}, "metres_per_unit"),
            ({"attributes": (size, shape)}, "exactly one location"),
            ({"attributes": (size, LocationAttribute(), shape)}, r"\[LOCATION\] depends on \['shape', 'size'\]"),
            ({"attributes": (size, YawAttribute(), shape, LocationAttribute())}, r"\[POSE\] depends on \['shape'\]"),
            ({"attributes": (size, size, shape, LocationAttribute())}, "distinct"),
            ({"attributes": (WordAttribute("yaw", "[TYPE]", ("a",)), size, shape, LocationAttribute())}, "none of")):
        with pytest.raises(SchemaError, match=message):
            replace(CLEVR_SCHEMA, **changes)
    with pytest.raises(SchemaError, match="distinct values"):
        WordAttribute("size", "[SIZE]", ("large", "large"))
    with pytest.raises(SchemaError, match="period"):
        YawAttribute(period_rad=0.0)
    with pytest.raises(SchemaError, match="positive extents"):
        ExtentTable(("size",), ((("large",), (1.0, 1.0, 0.0)),))
