"""Recipes of models in the published size and format, such as Llama-3.2-1B: one YAML file each, in recipes/full/."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.published import LAYOUTS, published_config
from kyvo_ros.tokens.sequences import TASKS
from kyvo_ros.training.recipe import RecipeError, read_block, read_document
from kyvo_ros.training.token_weights import LossSettings
from kyvo_ros.training.trainer import RunSettings

#: `adamw8bit` keeps the moments in 8 bits, by torchao.
OPTIMIZERS = ("adamw", "adamw8bit")
#: `full` trains all weights of the model it starts from, `lora` small additions to them, `scratch` fresh ones.
METHODS = ("full", "lora", "scratch")


@dataclass(frozen=True)
class FullSizes:
    """Sizes of the decoder and of the image tokenizer's codebook; the defaults are Llama-3.2-1B's."""

    dim: int = 2048
    layers: int = 16
    heads: int = 32
    kv_heads: int = 8
    ffn_dim: int = 8192
    max_length: int = 1024  # tokens of the longest sequence
    code_dim: int = 256
    codes: int = 1024  # of the image codebook
    number_embedding: str = "both"


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank additions to the matrices of every block (arXiv 2106.09685)."""

    rank: int = 16
    alpha: float = 32.0  # their scale, times rank

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError(f"rank and alpha must be positive, got {self}")


@dataclass(frozen=True)
class FullRecipe:
    """Everything that decides what a trained model is, but its data and the model that it starts from."""

    name: str
    run: RunSettings
    task: str | Mapping[str, float] = "I->3"  # of tokens.sequences.TASKS, or several with their shares
    layout: str = "clevr"  # of model.published.LAYOUTS
    method: str = "full"  # one of METHODS
    sizes: FullSizes = field(default_factory=FullSizes)
    lora: LoraSettings = field(default_factory=LoraSettings)
    freeze_text: bool = True  # the embeddings of text stay as they are, as in the published configurations
    activation_checkpointing: bool = False  # blocks are computed again in the backward pass, to save memory
    optimizer: str = "adamw"  # one of OPTIMIZERS
    compile: bool = False  # blocks by torch.compile, which takes a minute at the start
    shard: bool = False  # every process holds a part of the model (FSDP2) instead of the whole
    #: Tasks that write images have them from the middle outwards, as in the published drawing and editing.
    reorder: bool = False
    loss: LossSettings = field(default_factory=LossSettings)  # what each token weighs in it
    held_out: int = 64  # the last samples, kept for measuring

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("method", METHODS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {tuple(known)}, got {getattr(self, name)!r}")
        self._check_tasks()
        if self.freeze_text and self.method == "scratch":
            raise ValueError("freeze_text would keep random embeddings; switch it off for method scratch")
        if self.shard and self.optimizer == "adamw8bit":
            raise ValueError("optimizer adamw8bit cannot be shared among processes (shard); choose one of the two")
        if self.shard and self.run.average:
            raise ValueError("a running mean of the weights (run: average) cannot be shared among processes (shard); "
                             "choose one of the two")
        if self.held_out < 1:
            raise ValueError(f"held_out must be at least 1, got {self.held_out}")
        self.decoder_config()  # raises ValueError with the size that does not fit

    def _check_tasks(self) -> None:
        given = self.task if isinstance(self.task, Mapping) else {self.task: 1.0}
        unknown = [task for task in given if task not in TASKS]
        if unknown or not given:
            raise ValueError(f"task must be one of {tuple(TASKS)}, got {', '.join(map(repr, unknown)) or 'none'}")
        if not all(isinstance(share, (int, float)) and 0 < share < math.inf for share in given.values()):
            raise ValueError(f"the share of a task must be a positive number, got {dict(given)}")
        written = [s for task in given for s in TASKS[task] if s.modality == "image" and s.role == "target"]
        if self.loss.first_tokens and not any(s.given == 0 for s in written):
            raise ValueError(f"loss: first_tokens weighs the first codes of an image that is written, and "
                             f"{', '.join(given)} writes none, or has them given; leave it out")

    @property
    def tasks(self) -> dict[str, float]:
        """Every task's share of the sequences; together 1."""
        given = self.task if isinstance(self.task, Mapping) else {self.task: 1.0}
        return {task: share / sum(given.values()) for task, share in given.items()}

    def decoder_config(self) -> DecoderConfig:
        """The decoder that is trained."""
        return published_config(self.layout, **asdict(self.sizes))


def load_full_recipe(path: Path) -> FullRecipe:
    """Read a recipe. Raises RecipeError where the file is missing, broken, or has a wrong entry."""
    blocks = {"run": RunSettings, "sizes": FullSizes, "lora": LoraSettings, "loss": LossSettings}
    try:
        document = {name: read_block(blocks[name], value, name) if name in blocks else value
                    for name, value in read_document(path).items()}
        return read_block(FullRecipe, document, "recipe")
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
