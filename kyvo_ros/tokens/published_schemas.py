"""The scenes of the published Kyvo code as schemas: CLEVR, ObjaWorld, and Omni3D's Objectron.

They write the published order of tokens exactly; coordinates are the data sets' own units (metres for Objectron). What
ObjaWorld and Objectron call their objects is the user's to say, since each name must be a single token of the text
tokenizer. Source: Kyvo (arXiv 2506.08002) and texts that the published code reads (see `published_text`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kyvo_ros.tokens.schema import (
    CLEVR_SCHEMA, DimensionsAttribute, LocationAttribute, SceneSchema, WordAttribute, YawAttribute)

#: Frame of Objectron's coordinates: z forward from the camera, x right, y down.
CAMERA_FRAME = "camera_optical"

#: Frame of CLEVR's and ObjaWorld's coordinates: z up, and the camera somewhere near its usual place.
WORLD_FRAME = "clevr_world"

#: Unlike ours without a yaw; z is written as it is, objects in the order of the file, in the coordinates of the file.
CLEVR = replace(CLEVR_SCHEMA, attributes=(*CLEVR_SCHEMA.words, LocationAttribute(resting=False)), order="as_given",
                frame_id=WORLD_FRAME)


def objaworld(shapes: Sequence[str]) -> SceneSchema:
    """Shape, x y z, and the rotation in radians, which follows the location without a marker of its own; in the world
    of the file, as CLEVR's.
    """
    attributes = (WordAttribute("shape", "[SHAPE]", tuple(shapes)), LocationAttribute(resting=False),
                  YawAttribute(marker=None, attribute=None, period_rad=None))
    return SceneSchema("objaworld", attributes, extents=None, order="as_given", frame_id=WORLD_FRAME)


def objectron(categories: Sequence[str]) -> SceneSchema:
    """Category, the centre in the camera's frame, and the dimensions, in metres."""
    attributes = (WordAttribute("category", "[CATEGORY]", tuple(categories)),
                  LocationAttribute("[CENTER_CAM]", resting=False, depth=True), DimensionsAttribute())
    return SceneSchema("objectron", attributes, extents=None, order="as_given", frame_id=CAMERA_FRAME)
