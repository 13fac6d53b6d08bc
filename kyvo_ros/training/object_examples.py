"""Training images of the library's objects, and the codes of their shapes.

An example names its shapes by even numbers, the mirror images by the odd ones behind them: those of the training split
first, category after category in turn, then those of the instances that are held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.data.assets import HELD_OUT_EVERY, split_index
from kyvo_ros.data.backgrounds import background_images
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.data.object_folders import read_object_folder
from kyvo_ros.data.object_scenes import ObjectScene, ObjectSettings, sample_object_scene
from kyvo_ros.data.rasterizer import ObjectLook, draw_scene
from kyvo_ros.scene import PlaneCamera, Scene
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.recipe import ExampleSettings
from kyvo_ros.training.shape_sources import mirrored, prepared_slats
from kyvo_ros.training.sources import EMPTY_PLANES, SHARD, write_shards
from kyvo_ros.training.trainer import TrainingError

#: Shapes that are encoded at a time.
_AT_ONCE = 8


@dataclass(frozen=True)
class ObjectMaker:
    """What all scenes share; each shard and the held-out scenes follow from the recipe's seed."""

    canonical: CanonicalCamera
    schema: SceneSchema
    objects: ObjectSettings
    settings: ExampleSettings

    def synthetic(self, shard: int) -> ExampleSet:
        """Up to SHARD scenes of objects for training."""
        wanted = min(SHARD, self.settings.synthetic - shard * SHARD)
        return self._scenes(np.random.default_rng([self.settings.seed, 4, shard]), wanted, "train")

    def held_out(self) -> ExampleSet:
        """Scenes of other instances of the same categories."""
        return self._scenes(np.random.default_rng([self.settings.seed, 5]), self.settings.held_out, "instances")

    def backgrounds(self) -> ExampleSet:
        """Images without objects: the bare ground, and what is no such scene at all."""
        rng, camera = np.random.default_rng([self.settings.seed, 6]), self.canonical
        count = self.settings.backgrounds
        empty = [draw_scene([], camera.nominal_plane(), camera.intrinsics(), ObjectLook.varied(rng))[0]
                 for _ in range(count // EMPTY_PLANES)]
        images = [*empty, *background_images(rng, count - len(empty), camera.width, camera.height)]
        return self._stack(images, [Scene()] * count, [camera.nominal_plane()] * count, [()] * count)

    def rendered(self, folder: Path) -> ExampleSet:
        """The pictures of a folder by another renderer (`data.object_folders`), as the canonical camera sees them.

        Raises TrainingError where one shows what is not of the training split or stands farther or nearer than scenes
        of the recipe, and as reading it does.
        """
        known, made, images = set(library(self.objects, ("train",))), [], []
        for picture in read_object_folder(folder):
            scene = picture.load()
            if strangers := sorted(set(scene.assets) - known):
                asset, index = strangers[0]
                raise TrainingError(f"{picture.image_path} shows {asset} {index}, which is not among the "
                                    f"{self.objects.instances} instances of each category that this recipe trains "
                                    "on; render the split train of its categories")
            if self.canonical.zoom(scene.camera) != 1.0 or len(scene.scene) > self.schema.max_objects:
                raise TrainingError(f"{picture.image_path} shows {len(scene.scene)} objects from "
                                    f"{scene.camera.distance_m:.2f} units; this recipe reads up to "
                                    f"{self.schema.max_objects} from about {self.canonical.nominal_distance:.2f}")
            made.append(scene)
            images.append(to_canonical(scene.image, picture.view, self.canonical))
        return self._stack(images, [m.scene for m in made], [m.camera for m in made], self._names(made))

    def _scenes(self, rng: np.random.Generator, count: int, split: str) -> ExampleSet:
        settings = self.objects if split == "train" else replace(self.objects, instances=kept_instances(self.objects))
        made = [sample_object_scene(rng, self.canonical.intrinsics(), self.canonical.nominal_plane(), settings, split)
                for _ in range(count)]
        return self._stack([m.image for m in made], [m.scene for m in made], [m.camera for m in made],
                           self._names(made))

    def _names(self, made: Sequence[ObjectScene]) -> list[list[int]]:
        """Of the shapes of scenes."""
        rows = {asset: row for row, asset in enumerate(library(self.objects))}
        return [[2 * rows[asset] for asset in scene.assets] for scene in made]

    def _stack(self, images: Sequence[np.ndarray], scenes: Sequence[Scene], cameras: Sequence[PlaneCamera],
               shapes: Sequence[Sequence[int]]) -> ExampleSet:
        size = (0, self.canonical.height, self.canonical.width, 3)
        stacked = np.stack(images) if len(images) else np.zeros(size, np.uint8)
        return ExampleSet.from_scenes(stacked, scenes, cameras, word_values(self.schema), self.schema.max_objects,
                                      shapes=shapes)


def kept_instances(objects: ObjectSettings) -> int:
    """Instances of each category that are held out beside those of training."""
    return max(1, objects.instances // (HELD_OUT_EVERY - 1))


def library(objects: ObjectSettings, splits: Sequence[str] = ("train", "instances")) -> list[tuple[str, int]]:
    """Category and index of every asset that scenes of these splits are made of, in the order of their names."""
    turns = {"train": objects.instances, "instances": kept_instances(objects)}
    return [(name, split_index(split, turn))
            for split in splits for turn in range(turns[split]) for name in objects.names]


def make_object_examples(maker: ObjectMaker, folder: Path, renders: Sequence[Path], workers: int) -> None:
    """Write `held_out.npz`, `backgrounds.npz`, `synthetic_*.npz` and, where there are renders, `renders.npz` into a
    folder; what is there already stays.
    """
    def rendered() -> ExampleSet:
        return ExampleSet.concatenate([maker.rendered(path) for path in renders])
    makers = {"backgrounds": maker.backgrounds, "held_out": maker.held_out}
    if renders:
        makers["renders"] = rendered
    for name, make in makers.items():
        if not (folder / f"{name}.npz").exists():
            make().save(folder / f"{name}.npz")
    if workers <= 1:
        write_shards(maker, folder, None)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        write_shards(maker, folder, pool)


def make_shape_codes(objects: ObjectSettings, tokenizer: ShapeTokenizer, work: Path, path: Path, workers: int) -> None:
    """Write the codes of all shapes of the library, each before that of its mirror image; not where they are there."""
    if path.exists():
        return
    slats = [prepared_slats(work / "object_slats", split, turns * len(objects.names), tokenizer.config.resolution,
                            workers, objects.names)
             for split, turns in (("train", objects.instances), ("instances", kept_instances(objects)))]
    grids = (grid for part in slats for i in range(len(part)) for grid in _both(part.grid(i)))
    write_arrays(path, codes=_encoded(tokenizer, grids, 2 * sum(map(len, slats))))


def load_shape_codes(path: Path) -> np.ndarray:
    """(2 K, L) int16 codes, by the names of shapes in the examples."""
    with np.load(path) as arrays:
        return arrays["codes"]


def _both(grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return grid, mirrored(grid)


def _encoded(tokenizer: ShapeTokenizer, grids: Iterable[torch.Tensor], count: int) -> np.ndarray:
    """(count, L) int16 codes of feature grids (8, R, R, R)."""
    device, rows, waiting = next(tokenizer.parameters()).device, [], []
    for number, grid in enumerate(tqdm(grids, total=count, desc="codes of shapes", unit="shape", mininterval=5), 1):
        waiting.append(grid)
        if len(waiting) == _AT_ONCE or number == count:
            rows.append(tokenizer.encode(torch.stack(waiting).to(device)).cpu().numpy().astype(np.int16))
            waiting = []
    return np.concatenate(rows)
