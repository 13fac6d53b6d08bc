"""Training images from their sources: real renders under virtual turns, ray-cast scenes from worker processes, and
backgrounds without a scene."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tqdm import tqdm

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.data.backgrounds import background_images
from kyvo_ros.data.clevr import ClevrSample, read_clevr
from kyvo_ros.data.convert import scenes_from_batch
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.data.look import LookSettings
from kyvo_ros.data.placement import SHAPES, PlacementSettings, SceneBatch, sample_scenes
from kyvo_ros.data.raycaster import Raycaster
from kyvo_ros.data.stream import stream_scenes
from kyvo_ros.scene import PinholeCamera, PlaneCamera, Scene
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.recipe import ExampleSettings
from kyvo_ros.training.trainer import TrainingError
from kyvo_ros.training.turning import turned_example

log = logging.getLogger(__name__)

#: Scenes a file of synthetic examples.
SHARD = 1000
#: Pixels that an object must show to other cameras, lower ones among them (CLEVR's own rule asks for 200).
OTHER_VISIBLE_PIXELS = 100.0
#: CLEVR keeps objects apart along the image's axes, so that none stands behind another, puts them about the middle of
#: the image and lights them from nearly one side. Loose scenes keep none of these rules, as tables do not.
LOOSE = {"margin": 0.0, "aim_jitter": 1.5, "lamp_turn_rad": math.pi}
#: How far from the plane's origin the numbers of the vocabulary reach.
REACH_UNITS = Vocabulary.small().numbers.maximum
#: One in so many images without objects shows the empty plane.
EMPTY_PLANES = 5


def _hidden_rad(lens: CanonicalCamera, factors: np.ndarray) -> np.ndarray:
    """Pan and tilt (N, 2) by which lenses so many times longer (N,) may turn and still see nothing new."""
    half = np.array([lens.width / lens.fx, lens.height / lens.fy]) / 2
    return np.maximum(np.arctan(half) - np.arctan(half / factors[:, None]), 0.0)


@dataclass(frozen=True)
class ExampleMaker:
    """What all sources share: the canonical camera, the schema of the objects, and how much to make."""

    canonical: CanonicalCamera
    schema: SceneSchema  # its words, and how many objects a scene has at most
    settings: ExampleSettings
    device: str = "cpu"  # of the ray caster

    def held_out(self, samples: list[ClevrSample]) -> ExampleSet:
        """Renders as they are, for the selection of models."""
        lenses = [self.canonical.seen_from(s.view.plane) for s in samples]
        images = [to_canonical(s.image(), s.view, lens) for s, lens in zip(samples, lenses)]
        return self._stack(images, [s.scene for s in samples], [s.view.plane for s in samples], lenses)

    def turned(self, sample: ClevrSample) -> ExampleSet:
        """A render under up to `render_views` random turns and lenses; the recipe's seed and the render's name decide
        which. Longer lenses look anywhere in the ordinary view but down: what is near is large enough.
        """
        settings, image = self.settings, sample.image()
        name = int.from_bytes(hashlib.sha256(sample.image_path.name.encode()).digest()[:8], "big")
        rng = np.random.default_rng([settings.seed, 1, name])
        turns = rng.uniform(-1, 1, (settings.render_views, 2))
        lens = self.canonical.seen_from(sample.view.plane)
        other = rng.random(settings.render_views) < settings.other_lenses
        factors = np.where(other, rng.uniform(*settings.lens_factor, settings.render_views), 1.0)
        aims = _hidden_rad(lens, factors) * rng.uniform((-1, -1), (1, 0), (settings.render_views, 2))
        views = [turned_example(image, sample.scene, sample.view, lens.zoomed(factor), *turn)
                 for turn, factor in zip(np.radians(settings.turn_deg) * turns + aims, factors.tolist())]
        views = [view for view in views if self._can_be_said(view[1])]
        return self._stack([v[0] for v in views], [v[1] for v in views], [v[2].plane for v in views],
                           [v[2].intrinsics for v in views])

    def usable(self, samples: Sequence[ClevrSample]) -> list[ClevrSample]:
        """Those whose scenes the language can say; of the others their number and the first is logged."""
        used, left = [], []
        for sample in samples:
            fits = len(sample.scene) <= self.schema.max_objects and self._can_be_said(sample.scene)
            (used if fits else left).append(sample)
        if left:
            log.warning("%d of %d renders are left out, such as %s: more than %d objects, or one farther than %g units "
                        "from where the optical axis meets the plane", len(left), len(samples), left[0].image_path,
                        self.schema.max_objects, REACH_UNITS)
        return used

    def _can_be_said(self, scene: Scene) -> bool:
        """Whether all places are on the grid: the turn of a far, low camera moves the plane's origin by much."""
        units = np.abs(scene.positions_m()[:, :2]) / self.schema.metres_per_unit
        return units.max(initial=0.0) <= REACH_UNITS

    def synthetic(self, shard: int) -> ExampleSet:
        """Up to SHARD ray-cast scenes of varied look; the recipe's seed and the shard decide everything."""
        settings = self.settings
        wanted = min(SHARD, settings.synthetic - shard * SHARD)
        others = round(settings.other_cameras * wanted)
        lenses = self._lenses()
        views = [(wanted - others, self._placement(), self.canonical)]
        for i, (zoom, distances) in enumerate(lenses):
            share = others * (i + 1) // len(lenses) - others * i // len(lenses)
            views.append((share, self._placement(distances), self.canonical.zoomed(zoom)))
        seeds = np.random.SeedSequence([settings.seed, 2, shard]).generate_state(2 * len(views)).reshape(2, -1)
        parts = []
        for (count, placement, lens), seed, loose_seed in zip(views, *seeds.tolist()):
            loose = round(settings.loose * count)
            parts += [self._ray_cast(seed, count - loose, placement, lens),
                      self._ray_cast(loose_seed, loose, replace(placement, **LOOSE), lens)]
        return ExampleSet.concatenate(parts)

    def _lenses(self) -> list[tuple[float, tuple[float, float]]]:
        """The zooms of all cameras at `distance_factor`, each with the part of that range which it serves."""
        nearest, farthest = self.settings.distance_factor
        nominal, half_step = self.canonical.nominal_plane(), self.canonical.zoom_step ** 0.5
        if half_step == 1.0:
            return [(1.0, (nearest, farthest))]
        zooms = [self.canonical.zoom(nominal.scaled(nearest))]
        while zooms[-1] * half_step < farthest:
            zooms.append(zooms[-1] * half_step**2)
        return [(z, (max(nearest, z / half_step), min(farthest, z * half_step))) for z in zooms]

    def backgrounds(self) -> ExampleSet:
        """Images without objects: the empty plane in one of EMPTY_PLANES, and what is no such scene at all."""
        count, camera = self.settings.backgrounds, self.canonical
        rng = np.random.default_rng([self.settings.seed, 3])
        empty, planes = count // EMPTY_PLANES, self._stack([], [], [], [])
        if empty:
            batch = sample_scenes(rng, empty, settings=self._placement((1.0, 1.0)))
            batch = replace(batch, count=np.zeros_like(batch.count))
            images, _ = self._raycaster(self.canonical).render(batch, seed=self.settings.seed)
            planes = self._examples_of(images, batch, self.canonical)
        images = background_images(rng, count - empty, camera.width, camera.height)
        factors = rng.uniform(0.7, 1.5, (len(images), 2))
        cameras = [PlaneCamera(camera.nominal_distance * f, camera.nominal_elevation_rad * g) for f, g in factors]
        lenses = [self.canonical.seen_from(plane) for plane in cameras]
        return ExampleSet.concatenate([planes, self._stack(list(images), [Scene()] * len(images), cameras, lenses)])

    def _placement(self, distances: tuple[float, float] | None = None) -> PlacementSettings:
        """Of CLEVR's camera, or of others at so many times its distance."""
        settings = self.settings
        ordinary = PlacementSettings(min_objects=1, max_objects=self.schema.max_objects, shapes=self._drawable_shapes(),
                                     aim_jitter=settings.aim_jitter)
        return ordinary if distances is None else replace(
            ordinary, elevation_deg=settings.elevation_deg, distance_factor=distances,
            min_visible_pixels=OTHER_VISIBLE_PIXELS)

    def _drawable_shapes(self) -> tuple[str, ...]:
        """Those shapes of the schema that the ray caster knows."""
        named = word_values(self.schema).get("shape", ())
        return tuple(shape for shape in SHAPES if shape in named)

    def _raycaster(self, camera: CanonicalCamera) -> Raycaster:
        return Raycaster(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy,
                         look=LookSettings.varied(), device=self.device)

    def _ray_cast(self, seed: int, wanted: int, placement: PlacementSettings, lens: CanonicalCamera) -> ExampleSet:
        """The first `wanted` scenes of a stream."""
        parts = [self._stack([], [], [], [])]
        stream = stream_scenes(seed, max(1, min(50, wanted)), placement, self._raycaster(lens))
        while sum(map(len, parts)) < wanted:
            images, batch, _ = next(stream)
            parts.append(self._examples_of(images, batch, lens))
        return ExampleSet.concatenate(parts)[:wanted]

    def _examples_of(self, images: torch.Tensor, batch: SceneBatch, lens: CanonicalCamera) -> ExampleSet:
        pairs = scenes_from_batch(batch, lens.intrinsics(), self.schema)
        said = [(image, scene, view.plane) for image, (scene, view) in zip(images.cpu().numpy(), pairs)
                if self._can_be_said(scene)]
        return self._stack([s[0] for s in said], [s[1] for s in said], [s[2] for s in said], [lens] * len(said))

    def _stack(self, images: list[np.ndarray], scenes: list[Scene], planes: list[PlaneCamera],
               lenses: Sequence[CanonicalCamera | PinholeCamera]) -> ExampleSet:
        size = (0, self.canonical.height, self.canonical.width, 3)
        stacked = np.stack(images) if images else np.zeros(size, np.uint8)
        return ExampleSet.from_scenes(stacked, scenes, planes, word_values(self.schema), self.schema.max_objects,
                                      [lens.fx / self.canonical.fx for lens in lenses])


def make_examples(maker: ExampleMaker, folder: Path, renders: Sequence[Path], workers: int) -> None:
    """Write `held_out.npz`, `renders.npz`, `backgrounds.npz` and `synthetic_*.npz` into a folder; what is there
    already stays. The last ones of the first folder of renders are those held out.
    """
    if not (folder / "backgrounds.npz").exists():
        maker.backgrounds().save(folder / "backgrounds.npz")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        if renders and not (folder / "renders.npz").exists():
            first, *more = [maker.usable(read_clevr(path, "train", maker.schema)) for path in renders]
            kept = len(first) - maker.settings.held_out
            maker.held_out(first[kept:]).save(folder / "held_out.npz")
            turned = [*first[:kept], *(sample for part in more for sample in part)]
            samples = turned if maker.settings.render_views else []
            jobs = pool.map(maker.turned, samples, chunksize=16)
            bar = tqdm(jobs, total=len(samples), desc="renders", unit="image", mininterval=5)
            ExampleSet.concatenate([maker.held_out([]), *bar]).save(folder / "renders.npz")
        write_shards(maker, folder, pool)


class SceneMaker(Protocol):
    """What makes synthetic scenes; it travels to worker processes."""

    settings: ExampleSettings

    def synthetic(self, shard: int) -> ExampleSet: ...


def write_shards(maker: SceneMaker, folder: Path, pool: Executor | None) -> None:
    """Write those files of synthetic scenes that are missing in a folder; without a pool, in this process."""
    shards = range(-(-maker.settings.synthetic // SHARD))
    missing = [s for s in shards if not (folder / f"synthetic_{s:04d}.npz").exists()]
    jobs = (pool.map if pool else map)(partial(_write_shard, maker, folder), missing)
    list(tqdm(jobs, total=len(missing), desc="synthetic", unit=f"{SHARD} scenes", mininterval=5))


def _write_shard(maker: SceneMaker, folder: Path, shard: int) -> None:
    torch.set_num_threads(1)  # one worker a core
    maker.synthetic(shard).save(folder / f"synthetic_{shard:04d}.npz")


def load_examples(folder: Path) -> tuple[ExampleSet | None, ExampleSet | None, ExampleSet]:
    """(synthetic with backgrounds, renders, held out) of a folder; held out falls back to the last synthetic shard.

    Raises TrainingError where the folder holds no examples.
    """
    made = [ExampleSet.load(path) for path in sorted(folder.glob("synthetic_*.npz"))]
    renders = ExampleSet.load(folder / "renders.npz") if (folder / "renders.npz").exists() else None
    if not made and renders is None:
        raise TrainingError(f"{folder} holds no training examples; run `kyvo train examples` first")
    if (folder / "held_out.npz").exists():
        held_out = ExampleSet.load(folder / "held_out.npz")
    else:
        last = made.pop()
        kept = len(last) // 2
        held_out = last[:kept]
        made.append(last[kept:])
    if (folder / "backgrounds.npz").exists():
        made.append(ExampleSet.load(folder / "backgrounds.npz"))
    made = [part for part in made if len(part)]
    return ExampleSet.concatenate(made) if made else None, renders if renders else None, held_out
