"""Training images from their sources: real renders under virtual turns, and ray-cast scenes from worker processes."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.data.clevr import ClevrSample, read_clevr
from kyvo_ros.data.convert import scenes_from_batch
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.data.look import LookSettings
from kyvo_ros.data.placement import PlacementSettings
from kyvo_ros.data.raycaster import Raycaster
from kyvo_ros.data.stream import stream_scenes
from kyvo_ros.training.turning import turned_example
from kyvo_ros.training.recipe import ExampleSettings
from kyvo_ros.training.trainer import TrainingError

#: Scenes a file of synthetic examples.
SHARD = 1000


@dataclass(frozen=True)
class ExampleMaker:
    """What all sources share: the canonical camera, the words of the schema and the size of the arrays."""

    canonical: CanonicalCamera
    values: dict[str, tuple[str, ...]]  # words of each attribute
    max_objects: int
    settings: ExampleSettings

    def held_out(self, samples: list[ClevrSample]) -> ExampleSet:
        """The last renders as they are, for the selection of models."""
        kept = samples[-self.settings.held_out:] if self.settings.held_out else []
        images = [to_canonical(s.image(), s.view, self.canonical) for s in kept]
        return self._stack(images, [s.scene for s in kept], [s.view.plane for s in kept])

    def renders(self, samples: list[ClevrSample]) -> ExampleSet:
        """All other renders, each under `render_views` random turns."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, 1])
        images, scenes, planes = [], [], []
        for sample in tqdm(samples[: len(samples) - settings.held_out], desc="renders", unit="image", mininterval=5):
            image = sample.image()
            for pan, tilt in np.radians(settings.turn_deg) * rng.uniform(-1, 1, (settings.render_views, 2)):
                view, scene, camera = turned_example(image, sample.scene, sample.view, self.canonical, pan, tilt)
                images.append(view), scenes.append(scene), planes.append(camera.plane)
        return self._stack(images, scenes, planes)

    def synthetic(self, shard: int) -> ExampleSet:
        """Up to SHARD ray-cast scenes of varied look; the recipe's seed and the shard decide everything."""
        camera, wanted = self.canonical, min(SHARD, self.settings.synthetic - shard * SHARD)
        raycaster = Raycaster(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy,
                              look=LookSettings.varied())
        placement = PlacementSettings(max_objects=self.max_objects, aim_jitter=self.settings.aim_jitter)
        seed = int(np.random.SeedSequence([self.settings.seed, 2, shard]).generate_state(1)[0])
        images, pairs = [], []
        for drawn, batch, _ in stream_scenes(seed, min(50, wanted), placement, raycaster):
            images += list(drawn.numpy())
            pairs += scenes_from_batch(batch, camera.intrinsics())
            if len(images) >= wanted:
                break
        scenes, views = zip(*pairs[:wanted])
        return self._stack(images[:wanted], scenes, [view.plane for view in views])

    def _stack(self, images: list[np.ndarray], scenes: list, planes: list) -> ExampleSet:
        size = (0, self.canonical.height, self.canonical.width, 3)
        stacked = np.stack(images) if images else np.zeros(size, np.uint8)
        return ExampleSet.from_scenes(stacked, scenes, planes, self.values, self.max_objects)


def make_examples(maker: ExampleMaker, folder: Path, renders: Path | None, workers: int) -> None:
    """Write `held_out.npz`, `renders.npz` and `synthetic_*.npz` into a folder; what is there already stays."""
    if renders is not None and not (folder / "renders.npz").exists():
        samples = read_clevr(renders, split="train")
        maker.held_out(samples).save(folder / "held_out.npz")
        maker.renders(samples).save(folder / "renders.npz")
    shards = range(-(-maker.settings.synthetic // SHARD))
    missing = [s for s in shards if not (folder / f"synthetic_{s:04d}.npz").exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = pool.map(_write_shard, [maker] * len(missing), [folder] * len(missing), missing)
        list(tqdm(jobs, total=len(missing), desc="synthetic", unit=f"{SHARD} scenes", mininterval=5))


def _write_shard(maker: ExampleMaker, folder: Path, shard: int) -> None:
    torch.set_num_threads(1)  # one worker a core
    maker.synthetic(shard).save(folder / f"synthetic_{shard:04d}.npz")


def load_examples(folder: Path) -> tuple[ExampleSet | None, ExampleSet | None, ExampleSet]:
    """(synthetic, renders, held out) of a folder; held out falls back to the last synthetic shard.

    Raises TrainingError where the folder holds no examples.
    """
    shards = sorted(folder.glob("synthetic_*.npz"))
    renders = ExampleSet.load(folder / "renders.npz") if (folder / "renders.npz").exists() else None
    if not shards and renders is None:
        raise TrainingError(f"{folder} holds no training examples; run `kyvo train examples` first")
    if renders is not None and (folder / "held_out.npz").exists():
        synthetic = ExampleSet.concatenate([ExampleSet.load(s) for s in shards]) if shards else None
        return synthetic, renders, ExampleSet.load(folder / "held_out.npz")
    *rest, last = [ExampleSet.load(s) for s in shards]
    kept = len(last) // 2
    return ExampleSet.concatenate([*rest, last[kept:]]), renders, last[:kept]
