"""The scene that a command is given: an image's, or one of a JSON file; with what it needs to be understood."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kyvo_ros.commands.common import UsageError

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import CameraView, PlaneCamera, Scene


@dataclass(frozen=True, eq=False)
class GivenScene:
    """A scene in PLANE_FRAME, and where and in what scale it was seen."""

    scene: Scene
    plane: PlaneCamera  # of the camera that the scene's frame is tied to, metres
    unit_m: float  # how many metres a model unit is
    image: np.ndarray | None = None  # (H, W, 3) uint8 RGB, what shows it, where that is given
    view: CameraView | None = None  # of the image

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the scene's record and two entries more. Inverse of `from_dict`."""
        from kyvo_ros.scene.records import scene_to_dict
        plane = {"distance_m": self.plane.distance_m, "elevation_rad": self.plane.elevation_rad}
        return {**scene_to_dict(self.scene), "plane": plane, "metres_per_unit": self.unit_m}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], pipeline: KyvoPipeline) -> GivenScene:
        """A record without a plane or a unit has the model's nominal ones. Raises SceneError, KeyError, TypeError,
        ValueError.
        """
        from kyvo_ros.scene import PlaneCamera
        from kyvo_ros.scene.records import scene_from_dict
        plane = record.get("plane")
        return cls(scene_from_dict(record), pipeline.nominal_plane() if plane is None else PlaneCamera(
            float(plane["distance_m"]), float(plane["elevation_rad"])),
            float(record.get("metres_per_unit", pipeline.schema.metres_per_unit)))


def given_scene(args: argparse.Namespace, pipeline: KyvoPipeline, known: Path | None = None) -> GivenScene:
    """What `args.source` shows, by the options of a camera and of the effort, or the only scene of a file that `kyvo
    recognize --json` or `kyvo edit --json` wrote. An image whose scene such a file holds already (`known`) is not
    recognised; where its camera stands, and the scale, are the file's. Raises UsageError, and what recognising raises.
    """
    from kyvo_ros.commands.recognize import camera_view
    from kyvo_ros.data.images import read_rgb

    if args.source.suffix == ".json":
        return _scene_in(args.source, pipeline)
    image = read_rgb(args.source)
    view = camera_view(args, pipeline, image.shape[1], image.shape[0])
    if known is not None:
        given = _scene_in(known, pipeline)
        return replace(given, image=image, view=replace(view, plane=given.plane))
    scene = pipeline.recognize(image, view, args.scale, args.effort)
    return GivenScene(scene, view.plane, pipeline.metres_per_unit(view.plane, args.scale), image, view)


def _scene_in(source: Path, pipeline: KyvoPipeline) -> GivenScene:
    """The only scene of a file. Raises UsageError."""
    if not source.is_file():
        raise UsageError(f"there is no file {source}")
    try:
        records = json.loads(source.read_text(encoding="utf-8"))["scenes"]
        scenes = [GivenScene.from_dict(record, pipeline) for record in records]
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{source} holds no scenes as `kyvo recognize --json` writes them: {error!r}") from error
    if len(scenes) != 1:
        raise UsageError(f"{source} holds {len(scenes)} scenes; write the one that is meant into a file of its own")
    return scenes[0]
