"""Training that continues a model: which stages a recipe keeps from it, and the heads that only training needs.

A stage without steps is kept: what it makes is the source's. The dense heads of the image encoder and of the decoder
lie beside the weights in a model folder (`files.TRAINING_HEADS`). One that the source lacks would damage what the
source knows while it learns; it therefore learns alone before the first step of its stage.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizerConfig
from kyvo_ros.training.recipe import Recipe
from kyvo_ros.training.trainer import RunSettings, TrainingError

#: The heads by their names in the file: of the image encoder and of the decoder.
IMAGE_HEAD, DECODER_HEAD = "image", "decoder"
#: Learning rate of a head that learns alone; nothing else can suffer from it.
_HEAD_RATE = 2e-3


def check_kept(recipe: Recipe, source: object) -> None:
    """Raises TrainingError where stages that a recipe keeps would not fit those that it trains.

    `source` is the configuration of the image tokenizer to start from.
    """
    kept = recipe.without_steps
    if "codes" in kept and "encoder" not in kept:
        raise TrainingError("stage encoder has steps and stage codes has none, which would leave out what the encoder "
                            "learns; give codes steps, too")
    if "codes" not in kept and not recipe.freeze_codebook:
        for name in (name for name in ("pixels", "decoder") if name in kept):
            raise TrainingError(f"stage {name} has no steps, and stage codes changes the codes that it knows; set "
                                f"freeze_codebook: true, or give {name} steps")
    if {"encoder", "codes", "pixels"} & set(kept) and source != recipe.tokenizer:
        raise TrainingError(f"stages without steps keep the image tokenizer of --from, which is {source}, and the "
                            f"recipe asks for {recipe.tokenizer}")


def check_freezes(recipe: Recipe, source: ImageTokenizerConfig | None) -> None:
    """Raises TrainingError where a recipe freezes a codebook that is not there; `source` as in `check_kept`."""
    sizes = recipe.tokenizer.codebook_size, recipe.tokenizer.code_dim
    if recipe.freeze_codebook and (source is None or (source.codebook_size, source.code_dim) != sizes):
        raise TrainingError(f"freeze_codebook keeps the codes of a model, and there is none of {sizes[0]} codes of "
                            f"{sizes[1]} dimensions to start from; give --from, or set freeze_codebook: false")


def head_weights(head: nn.Module, name: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors of a file of heads that fit a head."""
    own = head.state_dict()
    theirs = {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}
    return {key: value for key, value in theirs.items() if key in own and own[key].shape == value.shape}


def knows_head(head: nn.Module, name: str, found: dict[str, Tensor]) -> bool:
    """Whether a file of heads holds the whole of one."""
    return len(head_weights(head, name, found)) == len(head.state_dict())


def head_settings(settings: RunSettings, steps: int) -> RunSettings:
    """How a new head learns alone, before a stage with these settings."""
    return replace(settings, steps=steps - steps // 2, decay_steps=steps // 2, warmup_steps=steps // 10,
                   learning_rate=_HEAD_RATE, average=0.0, seed=settings.seed + 1, evaluate_every=max(1, steps))
