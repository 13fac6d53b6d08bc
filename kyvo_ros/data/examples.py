"""Training examples as plain arrays: canonical images with their scenes in the support-plane frame.

One `ExampleSet` holds what every stage of training needs, whatever the source (ray caster, Cycles renders, CLEVR
v1.0); it stacks, slices, saves and loads. Lengths are in coordinate units of the schema. It knows no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.scene import PlaneCamera, Scene, SceneObject


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """N images of h x w pixels with at most M objects each; what lies beyond `count` is padding."""

    images: np.ndarray  # (N, h, w, 3) uint8 RGB, canonical view
    count: np.ndarray  # (N,) int64 objects
    words: np.ndarray  # (N, M, A) int64 index of each word attribute among its values
    position: np.ndarray  # (N, M, 3) float32 centres, support-plane frame, units
    yaw_rad: np.ndarray  # (N, M) float32, NaN where the shape shows none
    camera: np.ndarray  # (N, 3) float32 distance (units), elevation (radians), and zoom of the canonical lens
    size: np.ndarray | None = None  # (N, M, 3) float32 extents, units; NaN where they follow from the words
    shape: np.ndarray | None = None  # (N, M) int64 name of a shape of which codes are known, even, its mirror image
    # odd; -1 where there is none

    def __post_init__(self) -> None:
        padded = self.yaw_rad.shape
        if self.size is None:
            object.__setattr__(self, "size", np.full((*padded, 3), np.nan, np.float32))
        if self.shape is None:
            object.__setattr__(self, "shape", np.full(padded, -1, np.int64))
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"all arrays of an ExampleSet must have one length, got {sizes}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | np.ndarray) -> ExampleSet:
        return ExampleSet(*(getattr(self, f.name)[index] for f in fields(self)))

    def without_images(self) -> ExampleSet:
        """The same examples with images of no pixels."""
        return replace(self, images=np.zeros((len(self), 0, 0, 3), np.uint8))

    def save(self, path: Path) -> None:
        """Write an uncompressed .npz; inverse of `load`."""
        write_arrays(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> ExampleSet:
        with np.load(path) as arrays:
            return cls.from_arrays(arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> ExampleSet:
        """From a file's arrays; those written before objects had sizes and shapes of their own lack them."""
        return cls(**{f.name: arrays[prefix + f.name] for f in fields(cls) if prefix + f.name in arrays})

    @classmethod
    def concatenate(cls, parts: Sequence[ExampleSet]) -> ExampleSet:
        if not parts:
            raise ValueError("expected at least one ExampleSet to concatenate")
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @classmethod
    def from_scenes(cls, images: np.ndarray, scenes: Sequence[Scene], cameras: Sequence[PlaneCamera],
                    values: dict[str, Sequence[str]], max_objects: int,
                    zooms: Sequence[float] | None = None,
                    shapes: Sequence[Sequence[int]] | None = None) -> ExampleSet:
        """From scenes in the support-plane frame, metres being units; inverse of `scene`.

        `values` maps each word attribute to its words; `zooms` are 1 where they are not given; `shapes` are the even
        names of the objects' shapes, where they have any, and then their sizes are kept too. Raises ValueError for a
        word that is not among those of `values`.
        """
        n = len(scenes)
        words = np.zeros((n, max_objects, len(values)), np.int64)
        position, yaw = np.zeros((n, max_objects, 3), np.float32), np.full((n, max_objects), np.nan, np.float32)
        for i, scene in enumerate(scenes):
            for j, item in enumerate(scene.objects):
                words[i, j] = [list(known).index(item.attributes[name]) for name, known in values.items()]
                position[i, j], yaw[i, j] = item.position_m, np.nan if item.yaw_rad is None else item.yaw_rad
        size, shape = np.full((n, max_objects, 3), np.nan, np.float32), np.full((n, max_objects), -1, np.int64)
        for i, names in enumerate(shapes or ()):
            shape[i, :len(names)] = names
            size[i, :len(names)] = np.reshape([item.size_m for item in scenes[i].objects], (-1, 3))
        count = np.array([len(s) for s in scenes], np.int64)
        zooms = [1.0] * n if zooms is None else zooms
        camera = np.array([[c.distance_m, c.elevation_rad, zoom] for c, zoom in zip(cameras, zooms, strict=True)],
                          np.float32).reshape(n, 3)
        return cls(np.asarray(images), count, words, position, yaw, camera, size, shape)

    def scene(self, index: int, values: dict[str, Sequence[str]]) -> Scene:
        """The scene of one example; inverse of `from_scenes`."""
        objects = []
        for j in range(int(self.count[index])):
            attributes = {name: known[w] for (name, known), w in zip(values.items(), self.words[index, j])}
            yaw_rad, size = float(self.yaw_rad[index, j]), self.size[index, j]
            objects.append(SceneObject(attributes, self.position[index, j], None if np.isnan(yaw_rad) else yaw_rad,
                                       None if np.isnan(size).any() else size))
        return Scene(tuple(objects))

    def plane_camera(self, index: int) -> PlaneCamera:
        return PlaneCamera(float(self.camera[index, 0]), float(self.camera[index, 1]))

    def zoom(self, index: int) -> float:
        return float(self.camera[index, 2])

    def projected(self, focal: tuple[float, float], centre: tuple[float, float]) -> np.ndarray:
        """(N, M, 3) pixels u, v and optical depth of the centres, for a canonical focal length and principal point."""
        distance, elevation, zoom = self.camera.T[..., None]
        x, y, z = np.moveaxis(self.position, -1, 0)
        cos, sin = np.cos(elevation), np.sin(elevation)
        depth = distance + y * cos - z * sin
        down = -y * sin - z * cos
        return np.stack([zoom * focal[0] * x / depth + centre[0], zoom * focal[1] * down / depth + centre[1], depth],
                        axis=-1)

    def mirrored(self) -> ExampleSet:
        """The same scenes seen in a mirror (x -> -x); the principal point must be the image's middle column.

        A thing that looked along x with two like sides looks along -x: objects are mirrored in their own frames from left
        to right, y -> -y, and turned. Their shapes are those of the next name, an even name's odd one and back.
        """
        position = self.position * np.array([-1, 1, 1], np.float32)
        shape = np.where(self.shape < 0, -1, self.shape ^ 1)
        return replace(self, images=self.images[:, :, ::-1], position=position,
                       yaw_rad=np.float32(np.pi) - self.yaw_rad, shape=shape)
