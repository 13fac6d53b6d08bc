"""Folders of pictures of the library's objects, by whatever renderer: the layout of docs/own_objects.md, with assets.

    {"scenes": [{"image_index": 0, "image_filename": "000000.png", "camera": {...}, "objects": [
        {"category": "wineglass", "asset": "wine_glass", "index": 19, "3d_coords": [x, y, z], "rotation": degrees,
         "extents": [along x, y, z of its own]}]}]}

The folder holds no meshes: the library makes them again from `asset` and `index`, and they must be as large as
`extents` says. Lengths are units of the schema, which count as metres.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kyvo_ros.data.assets import CATEGORIES
from kyvo_ros.data.clevr import in_plane_frame
from kyvo_ros.data.images import read_rgb
from kyvo_ros.data.object_scenes import ObjectScene, category_word, place_asset
from kyvo_ros.scene import CameraView, PinholeCamera, SceneObject, Transform, view_from_pose

#: How far places and extents may be from what the library makes, in units.
_TOLERANCE = 1e-3
_LENS = ("width", "height", "fx", "fy", "cx", "cy")


class ObjectFolderError(ValueError):
    """A folder does not hold pictures of the library's objects."""


@dataclass(frozen=True, eq=False)
class ObjectPicture:
    """A picture of a folder: where it lies, its camera, and what its file says of the objects."""

    image_path: Path
    view: CameraView
    records: tuple[dict[str, Any], ...]  # an object each

    def load(self) -> ObjectScene:
        """The image, and the scene in the support-plane frame with its true meshes.

        Raises ObjectFolderError where the library makes other objects or the image is not the camera's, ImageFileError.
        """
        image, lens = read_rgb(self.image_path), self.view.intrinsics
        if image.shape[:2] != (lens.height, lens.width):
            raise ObjectFolderError(f"{self.image_path} has {image.shape[1]}x{image.shape[0]} pixels, its camera "
                                    f"{lens.width}x{lens.height}")
        placed = [self._place(record) for record in self.records]
        assets = tuple((record["asset"], record["index"]) for record in self.records)
        return ObjectScene(in_plane_frame(placed, self.view), assets, self.view.plane, image)

    def _place(self, record: dict[str, Any]) -> SceneObject:
        """In the folder's world."""
        x, y, _ = record["3d_coords"]
        item = place_asset(record["asset"], record["index"], x, y, math.radians(record["rotation"]),
                           max(record["extents"]))
        told, made = ([*record["extents"], *record["3d_coords"]], [*item.size_m, *item.position_m])
        if not np.allclose(told, made, rtol=0.0, atol=_TOLERANCE):
            raise ObjectFolderError(
                f"{self.image_path.name}: {record['asset']} {record['index']} has extents and centre "
                f"{np.round(told, 3).tolist()}, the library makes {np.round(made, 3).tolist()} on the ground; render "
                "the folder again with this version")
        return item


def scene_record(made: ObjectScene, lens: PinholeCamera, index: int, filename: str) -> dict[str, Any]:
    """The entry of a scene in `scenes.json`, with the support-plane frame as its world; see `read_object_folder`."""
    camera = {name: getattr(lens, name) for name in _LENS}
    world_to_camera = made.camera.plane_T_optical().inverse().matrix()
    return {"image_index": index, "image_filename": filename,
            "camera": {**camera, "world_to_camera": world_to_camera.tolist()},
            "objects": [{"category": category_word(asset), "asset": asset, "index": number,
                         "3d_coords": item.position_m.tolist(), "rotation": math.degrees(item.yaw_rad),
                         "extents": item.size_m.tolist()}
                        for (asset, number), item in zip(made.assets, made.scene.objects)]}


def read_object_folder(folder: str | Path) -> list[ObjectPicture]:
    """The pictures of a folder with `scenes.json` and `images/`, by image index; images and meshes are not read yet.

    Raises ObjectFolderError where the folder is another, names no scene or lacks an image, or where an entry is missing
    or wrong.
    """
    folder = Path(folder)
    found = []
    for record in read_records(folder):
        try:
            found.append((int(record["image_index"]), _picture(record, folder / "images")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            name = record.get("image_filename", "?") if isinstance(record, dict) else record
            raise ObjectFolderError(f"{folder}, scene of {name}: {_reason(error)}") from error
    if not found:
        raise ObjectFolderError(f"{folder / 'scenes.json'} names no scene")
    return [picture for _, picture in sorted(found, key=lambda pair: pair[0])]


def read_records(folder: Path) -> list[Any]:
    """What `scenes.json` of a folder lists, unchecked. Raises ObjectFolderError where there is no such list."""
    path = folder / "scenes.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ObjectFolderError(f"{folder} holds no pictures of objects: expected scenes.json and images/ in it "
                                f"({error.strerror}); docs/shapes.md says how to make them") from error
    except ValueError as error:
        raise ObjectFolderError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("scenes"), list):
        raise ObjectFolderError(f'{path} must hold {{"scenes": [...]}}')
    return document["scenes"]


def _picture(record: dict[str, Any], images: Path) -> ObjectPicture:
    """Raises what wrong entries raise."""
    path, camera = images / record["image_filename"], record["camera"]
    if not path.is_file():
        raise ObjectFolderError(f"there is no image {path}")
    view = view_from_pose(PinholeCamera(**{name: camera[name] for name in _LENS}),
                          Transform.from_matrix(camera["world_to_camera"]).inverse())
    return ObjectPicture(path, view, tuple(map(_checked, record["objects"])))


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """An object's entry, if it has all that is needed to place it. Raises ObjectFolderError, KeyError, TypeError."""
    if entry["asset"] not in CATEGORIES:
        raise ObjectFolderError(f"the library has no category {entry['asset']!r}; it has {', '.join(CATEGORIES)}")
    if entry["category"] != category_word(entry["asset"]):
        raise ObjectFolderError(f"expected the category {category_word(entry['asset'])!r} of a {entry['asset']}, got "
                                f"{entry['category']!r}")
    if type(entry["index"]) is not int or entry["index"] < 0:
        raise ObjectFolderError(f"index must be a whole number from 0, got {entry['index']!r}")
    for name, length in (("3d_coords", 3), ("extents", 3), ("rotation", 1)):
        values = np.asarray(entry[name], np.float64)
        if values.size != length or not np.isfinite(values).all():
            raise ObjectFolderError(f"{name} of {entry['asset']} must be {length} finite numbers, got {entry[name]!r}")
    if min(entry["extents"]) <= 0:
        raise ObjectFolderError(f"extents of {entry['asset']} must be positive, got {entry['extents']}")
    return entry


def _reason(error: Exception) -> str:
    """An error in words for whoever wrote the file."""
    if isinstance(error, KeyError):
        return f"the entry {error} is missing"
    return str(error) if isinstance(error, ValueError) else repr(error)
