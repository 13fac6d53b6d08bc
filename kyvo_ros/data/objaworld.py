"""ObjaWorld scenes as the published data has them: one JSON file a scene, its objects with shape, place and rotation.

    {"image_filename": "0.png", "objects": [{"shape": "barrel-12", "3d_coords": [x, y, z], "rotation": radians}]}

A shape's number tells its instances apart, which the model does not. Coordinates are the data set's own units.
Source: the scenes that the published evaluation of Kyvo reads (AadSah/kyvo, commit be438d3).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens.published_schemas import WORLD_FRAME, objaworld
from kyvo_ros.tokens.schema import SceneSchema


class ObjaworldFormatError(ValueError):
    """A file is no scene of ObjaWorld."""


@dataclass(frozen=True, eq=False)
class ObjaworldSample:
    """One scene, and the name of its image."""

    image_filename: str
    scene: Scene  # in WORLD_FRAME, objects in the order of the file


def read_objaworld(folder: str | Path) -> list[ObjaworldSample]:
    """All scenes of a folder, by the names of their files. Raises ObjaworldFormatError, naming file and object."""
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise ObjaworldFormatError(f"{folder} holds no scenes; expected one JSON file a scene")
    return [_sample(path) for path in paths]


def objaworld_schema(samples: list[ObjaworldSample]) -> SceneSchema:
    """The schema of the shapes that occur, in alphabetical order."""
    return objaworld(sorted({o.attributes["shape"] for sample in samples for o in sample.scene.objects}))


def _sample(path: Path) -> ObjaworldSample:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        objects = [SceneObject({"shape": entry["shape"].split("-")[0]}, entry["3d_coords"], float(entry["rotation"]))
                   for entry in document["objects"]]
        return ObjaworldSample(document["image_filename"], Scene(tuple(objects), WORLD_FRAME))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ObjaworldFormatError(f"{path} is no scene of ObjaWorld: {error!r}") from error
