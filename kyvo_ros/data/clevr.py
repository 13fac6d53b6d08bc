"""CLEVR folders as samples: an image, its scene in the support-plane frame, and its camera.

Three layouts are read: `scenes.json` with `images/`; the output of a render script, one `scenes/*.json` a scene with
`images/`; and CLEVR v1.0, `scenes/CLEVR_<split>_scenes.json` with `images/<split>/`. CLEVR's unit counts as a metre.

Where a scene has no `camera` entry (CLEVR v1.0), the camera is CLEVR's lens, its azimuth follows from `directions`,
its optical axis passes through the world's origin, and distance and elevation are those that explain the depths in
`pixel_coords` best, starting from the nominal ones. Source: CLEVR (arXiv 1612.06890) and its scene files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kyvo_ros.data.images import read_rgb
from kyvo_ros.scene import (
    PLANE_FRAME, CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject, Transform, view_from_pose,
)
from kyvo_ros.tokens.schema import CLEVR_SCHEMA, SceneSchema, SchemaError, WordAttribute

#: Distance and elevation of CLEVR's camera before its jitter.
NOMINAL_PLANE = PlaneCamera(11.267, 0.4948)
#: Blender's lens over its sensor width: the focal length in image widths.
FOCAL_WIDTHS = 35.0 / 32.0

_WORLD_FRAME = "clevr_world"
_DEPTH_SIGMA = 0.003  # of a depth in `pixel_coords`; files may round to 0.001
_JITTER_SIGMA = (0.5, 0.04)  # of distance (units) and elevation (rad) over CLEVR's images


class ClevrFormatError(ValueError):
    """A folder or a scene is not in a CLEVR layout."""


@dataclass(frozen=True, eq=False)
class ClevrSample:
    """One image with its ground truth."""

    image_path: Path
    scene: Scene  # in PLANE_FRAME, metres (CLEVR units)
    view: CameraView  # of the raw image, with plane and world_T_plane
    image_index: int

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB. Raises ImageFileError."""
        return read_rgb(self.image_path)


def read_clevr(folder: str | Path, split: str = "val", schema: SceneSchema = CLEVR_SCHEMA) -> list[ClevrSample]:
    """All samples of a CLEVR folder, by image index; `split` names the files of a CLEVR v1.0 folder only.

    `schema` says which attributes an object has, and its size; other schemas than CLEVR's read folders of the same
    layout with their own words. Images are found but not read. Raises ClevrFormatError where the folder has none of the
    layouts, a scene lacks an entry or has a word that the schema lacks, or an image is missing.
    """
    folder = Path(folder)
    documents, images = _documents(folder, split)
    size = None
    samples = []
    for document in documents:
        try:
            path = images / document["image_filename"]
            if not path.is_file():
                raise ClevrFormatError(f"{folder} lists {path.name} but {path} does not exist")
            if "camera" not in document and size is None:
                size = read_rgb(path).shape[1::-1]  # one look: all images of CLEVR v1.0 have one size
            view = _in_metres(_view(document, size), schema.metres_per_unit)
            samples.append(ClevrSample(path, _scene(document, view, schema), view, int(document["image_index"])))
        except (KeyError, TypeError, IndexError, SchemaError) as error:
            name = document.get("image_filename", "?") if isinstance(document, dict) else document
            raise ClevrFormatError(f"scene of {name} in {folder} is not CLEVR's: {error!r}") from error
    return sorted(samples, key=lambda sample: sample.image_index)


def clevr_camera(width: int = 320, height: int = 240) -> PinholeCamera:
    """CLEVR's lens over an image of this size, in pixels."""
    return PinholeCamera(width, height, FOCAL_WIDTHS * width, FOCAL_WIDTHS * width, width / 2, height / 2)


def clevr_object(attributes: dict[str, str], position_m: np.ndarray, yaw_rad: float,
                 schema: SceneSchema = CLEVR_SCHEMA) -> SceneObject:
    """An object of the schema's classes; where its shape shows no yaw (all but CLEVR's cubes), it has none."""
    return SceneObject(attributes, position_m, yaw_rad if schema.shows_yaw(attributes) else None,
                       schema.extents_m(attributes))


def in_plane_frame(objects: list[SceneObject], view: CameraView) -> Scene:
    """The scene of objects given in the world, in the support-plane frame of a view."""
    return Scene(objects, _WORLD_FRAME).transformed(view.world_T_plane.inverse(), PLANE_FRAME)


def _documents(folder: Path, split: str) -> tuple[list[dict], Path]:
    """The scene documents of a folder, and the folder of its images."""
    if (folder / "scenes.json").is_file():
        return _load(folder / "scenes.json")["scenes"], folder / "images"
    official = folder / "scenes" / f"CLEVR_{split}_scenes.json"
    if official.is_file():
        return _load(official)["scenes"], folder / "images" / split
    single = [p for p in sorted((folder / "scenes").glob("*.json")) if not p.name.endswith("_scenes.json")]
    if single:
        return [_load(path) for path in single], folder / "images"
    raise ClevrFormatError(
        f"{folder} is no CLEVR folder: expected scenes.json, scenes/*.json or {official.name} in scenes/")


def _load(path: Path) -> dict:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ClevrFormatError(f"cannot read {path}: {error}") from error
    if not isinstance(document, dict) or not ("scenes" in document or "objects" in document):
        raise ClevrFormatError(f"{path} holds neither a list of scenes nor a scene")
    return document


def _scene(document: dict, view: CameraView, schema: SceneSchema) -> Scene:
    objects = []
    for entry in document["objects"]:
        attributes = {word.name: _known(entry[word.name], word) for word in schema.words}
        position_m = schema.metres_per_unit * np.array(entry["3d_coords"], dtype=np.float64)
        objects.append(clevr_object(attributes, position_m, math.radians(entry["rotation"]), schema))
    return in_plane_frame(objects, view)


def _known(value: str, word: WordAttribute) -> str:
    if value not in word.values:
        raise SchemaError(f"expected {word.name} to be one of {word.values}, got {value!r}")
    return value


def _in_metres(view: CameraView, metres_per_unit: float) -> CameraView:
    """A view whose lengths are in units; files have them so."""
    world_T_plane = view.world_T_plane
    return replace(view, plane=view.plane.scaled(metres_per_unit), world_T_plane=Transform(
        world_T_plane.rotation, metres_per_unit * world_T_plane.translation))


def _view(document: dict, image_size: tuple[int, int] | None) -> CameraView:
    if "camera" not in document:
        return _view_without_pose(document, *image_size)
    camera = document["camera"]
    intrinsics = PinholeCamera(**{name: camera[name] for name in ("width", "height", "fx", "fy", "cx", "cy")})
    return view_from_pose(intrinsics, Transform.from_matrix(camera["world_to_camera"]).inverse())


def _view_without_pose(document: dict, width: int, height: int) -> CameraView:
    right = np.array(document["directions"]["right"])
    world_T_plane = Transform.from_yaw(math.atan2(right[1], right[0]))
    world = np.array([entry["3d_coords"] for entry in document["objects"]]).reshape(-1, 3)
    depths = np.array([entry["pixel_coords"][2] for entry in document["objects"]])
    return CameraView(clevr_camera(width, height),
                      _plane_from_depths(world_T_plane.inverse().apply(world), depths), 0.0, world_T_plane)


def _plane_from_depths(points_m: np.ndarray, depths: np.ndarray) -> PlaneCamera:
    """The pose whose depths of points (N, 3) in the support-plane frame are (N,), with CLEVR's jitter as the prior.

    Gauss-Newton on depth = distance + y cos(elevation) - z sin(elevation).
    """
    nominal = np.array([NOMINAL_PLANE.distance_m, NOMINAL_PLANE.elevation_rad])
    y, z = points_m[:, 1], points_m[:, 2]
    estimate = nominal.copy()
    for _ in range(5):
        c, s = math.cos(estimate[1]), math.sin(estimate[1])
        residual = np.concatenate([(depths - estimate[0] - y * c + z * s) / _DEPTH_SIGMA,
                                   (nominal - estimate) / _JITTER_SIGMA])
        jacobian = np.concatenate([np.stack([np.ones_like(y), -y * s - z * c], axis=1) / _DEPTH_SIGMA,
                                   np.diag(1.0 / np.array(_JITTER_SIGMA))])
        estimate = estimate + np.linalg.lstsq(jacobian, residual, rcond=None)[0]
    return PlaneCamera(*estimate.tolist())
