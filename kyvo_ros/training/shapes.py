"""`kyvo train shapes`: the shape tokenizer, from the procedural library to a model folder.

    slats          objects of the library as sparse voxels                      -> WORK/slats/
    shape_encoder  encoder and decoder without quantisation                     -> WORK/shape_encoder/
    shape_codes    the same through the quantiser, which starts from k-means    -> WORK/shape_codes/

Each part continues where it stopped, as those of images do; the model folder is written at the end.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.model.files import SHAPE_TOKENIZER, existing, read_tensors
from kyvo_ros.model.folder import save_shape_tokenizer
from kyvo_ros.training.plots import plot_metrics
from kyvo_ros.training.recipe import RecipeError, read_block, read_blocks, read_document
from kyvo_ros.training.shape_card import write_shape_card, write_shape_history
from kyvo_ros.training.shape_sources import prepared_slats
from kyvo_ros.training.shape_stage import ShapeLossSettings, ShapeStage
from kyvo_ros.training.starting import start_from
from kyvo_ros.training.trainer import METRICS, RunSettings, Trainer, step_generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShapeRecipe:
    """Everything that decides what a trained shape tokenizer is."""

    name: str
    encoder: RunSettings  # without quantisation
    codes: RunSettings  # through the quantiser
    objects: int = 2000  # of the library, in training
    held_out: int = 50  # instances of the same categories, to look at meanwhile
    tokenizer: ShapeTokenizerConfig = field(default_factory=ShapeTokenizerConfig)
    loss: ShapeLossSettings = field(default_factory=ShapeLossSettings)
    seed: int = 0  # of the first weights

    def __post_init__(self) -> None:
        if min(self.objects, self.held_out) < 1:
            raise ValueError(f"objects and held_out must be at least 1, got {self.objects} and {self.held_out}")

    @property
    def stages(self) -> dict[str, RunSettings]:
        """The two stages by the names of their folders."""
        return {"shape_encoder": self.encoder, "shape_codes": self.codes}


_BLOCKS = {"encoder": RunSettings, "codes": RunSettings, "tokenizer": ShapeTokenizerConfig, "loss": ShapeLossSettings}


def load_shape_recipe(path: Path) -> ShapeRecipe:
    """Read a recipe, with the paths of perceptual weights from here. Raises RecipeError where the file is missing,
    broken, or has a wrong entry.
    """
    document = read_document(path)
    try:
        recipe = read_block(ShapeRecipe, read_blocks(document, _BLOCKS), "recipe")
        weights = tuple(str(path.parent / file) for file in recipe.loss.perceptual_weights)
        return replace(recipe, loss=replace(recipe.loss, perceptual_weights=weights))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error


def train_shapes(recipe: ShapeRecipe, work: Path, out: Path, device: torch.device, minutes: float | None = None,
                 workers: int = 1, slats: Path | None = None, recipe_path: str = "", source: Path | None = None) -> bool:
    """Train a shape tokenizer by a recipe in a work folder and write its model folder with its card; `minutes` limits
    each part, `slats` is the folder of the objects, by default in the work folder, and `source` a folder whose weights
    to start from, as far as they fit. Whether it came to the end.

    The codes wait until the encoder has taken all its steps: what it learned later would be lost to them. They are
    fitted anew, whatever the start.
    """
    slats_folder = work / "slats" if slats is None else slats
    train, held_out = (prepared_slats(slats_folder, split, count, recipe.tokenizer.resolution, workers)
                       for split, count in (("train", recipe.objects), ("instances", recipe.held_out)))
    torch.manual_seed(recipe.seed)
    tokenizer = ShapeTokenizer(recipe.tokenizer).to(device)
    if source is not None:
        start_from(tokenizer, read_tensors(existing(source) / SHAPE_TOKENIZER), "shape tokenizer")
    distance = recipe.loss.distance(Path(), device) if recipe.loss.looks else None
    for (name, settings), quantise in zip(recipe.stages.items(), (False, True)):
        log.info("stage %s of %s", name, recipe.name)
        stage = ShapeStage(tokenizer, train, held_out, recipe.loss, settings.batch_size, quantise, distance)
        trainer = Trainer(work / name, settings, tokenizer, stage.loss_of, stage.evaluate)
        if not trainer.resume() and quantise:
            stage.warm_up_codes(step_generator(settings.seed, 2**32 - 1))  # batches that no step draws
        trainer.run(minutes)
        plot_metrics(work / name / METRICS, work / name / "curve.png")
        if not quantise and trainer.step < settings.total_steps:
            log.info("%s is at step %d of %d; the same command goes on", name, trainer.step, settings.total_steps)
            return False
    save_shape_tokenizer(out, recipe.name, tokenizer)
    write_shape_history(out, work, recipe, recipe_path, source)
    write_shape_card(out)
    log.info("wrote %s", out)
    return trainer.step == settings.total_steps
