"""What a recipe of full size costs, counted without weights: parameters, memory, tokens, arithmetic.

Weights, gradients and AdamW's two moments are counted exactly, in float32 (moments of 8 bits with their scales); where
processes share a model, each has its part. The rest is an estimate, for sequences of full length: activations, which
are what a block keeps for its backward pass, and the logits of every token that is worth a loss; what passes at the end
of the backward pass, when they are gone; and what a process of several that share a model has gathered from the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.tokens.sequences import TASKS
from kyvo_ros.training import distributed
from kyvo_ros.training.adaptation import adapt
from kyvo_ros.training.full_recipe import FullRecipe
from kyvo_ros.training.trainer import PRECISIONS

_FLOAT = 4  # bytes
#: Of one moment of one parameter; torchao keeps a float32 scale for 256 numbers of 8 bits.
_MOMENT = {"adamw": 4.0, "adamw8bit": 1 + 4 / 256}
_GIB = 2**30


@dataclass(frozen=True)
class Budget:
    """Counts; memory in bytes of one process, operations in floating point."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    activations: int  # an estimate
    adding: int  # beside them: the head's gradient, before it is added to that of the part of the batch before
    passing: int  # an estimate: gradients of whole tables, at the end of the backward pass in place of activations
    gathered: int  # an estimate: what is here whole of a model that processes share
    tokens: int  # of the whole run at most, padding counted
    scored: int  # of these, the tokens worth a loss at most
    token_operations: float  # of one token
    scored_operations: float  # of one token worth a loss, besides

    @property
    def memory(self) -> int:
        passing = max(self.activations + self.adding, self.passing)
        return self.weights + self.gathered + self.gradients + self.optimizer + passing

    @property
    def operations(self) -> float:
        """Of the whole run."""
        return self.tokens * self.token_operations + self.scored * self.scored_operations

    def report(self) -> str:
        """Lines to print."""
        share = self.trained / self.parameters
        names = ("weights", "gathered", "gradients", "optimizer", "adding", "activations")
        parts = ", ".join(f"{name} {getattr(self, name) / _GIB:.2f}" for name in names if getattr(self, name))
        return "\n".join((
            f"parameters  {self.parameters:,}, trained {self.trained:,} ({share:.1%})",
            f"memory      {self.memory / _GIB:.2f} GiB a process: {parts} (estimated), or after them gradients of "
            f"tables {self.passing / _GIB:.2f} (estimated)",
            f"tokens      {self.tokens:,} at most, {self.operations:.3g} floating-point operations"))


def budget_of(recipe: FullRecipe) -> Budget:
    """The budget of a recipe in one of the processes that are running. Raises TrainingError as `adapt` does."""
    config = recipe.decoder_config()
    with torch.device("meta"):
        decoder = Decoder(config, torch.zeros(recipe.sizes.codes, config.code_dim, device="cpu")).to("meta")
        adapt(decoder, recipe)
    total, trained = _numbers(decoder.parameters())
    sequences = recipe.run.total_steps * recipe.run.batch_size
    parts = distributed.world_size() if recipe.shard else 1
    return Budget(
        total, trained, _FLOAT * total // parts, _FLOAT * trained // parts,
        int(2 * _MOMENT[recipe.optimizer] * trained) // parts, _activations(recipe),
        adding=_FLOAT * decoder.head.weight.numel() if recipe.run.accumulate > 1 and parts == 1 else 0,
        passing=_passing(recipe, decoder, parts), gathered=_gathered(decoder) if parts > 1 else 0,
        tokens=sequences * config.max_length,
        scored=math.ceil(sequences * sum(share * most_scored(task, config) for task, share in recipe.tasks.items())),
        token_operations=_operations(decoder.blocks.parameters()),
        scored_operations=_operations(decoder.head.parameters()))


def most_scored(task: str, config: DecoderConfig) -> int:
    """Tokens of one sequence of a task that are worth a loss, at most: those behind the separator."""
    segments, image = TASKS[task], config.cells + 2  # an image with its brackets
    targets = [segment for segment in segments if segment.role == "target"]
    read = sum(segment.role == "prompt" and segment.modality == "image" for segment in segments)
    room = max(config.max_length - read * image - 2, 1)  # behind [BOS] and the separator
    drawn = len(targets) * image + 1  # with [EOS]
    return min(room, drawn) if all(segment.modality == "image" for segment in targets) else room


def _numbers(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    """How many numbers, and how many of them are trained."""
    sizes = [(p.numel(), p.numel() * p.requires_grad) for p in parameters]
    return sum(size for size, _ in sizes), sum(size for _, size in sizes)


def _operations(parameters: Iterable[nn.Parameter]) -> float:
    """A product and a sum for every weight: forwards, towards the inputs, and towards the weights if they are trained.
    """
    total, trained = _numbers(parameters)
    return 4.0 * total + 2.0 * trained


def _activations(recipe: FullRecipe) -> int:
    sizes, config = recipe.sizes, recipe.decoder_config()
    half = PRECISIONS[recipe.run.precision].itemsize
    kv_dim = config.kv_heads * config.head_dim
    stream = _FLOAT * sizes.dim  # the residual stream is float32 in any precision
    # Both norms' inputs and outputs; queries, keys and values before and after their turn; what attention reads; the
    # feed-forward's two halves, the activated one and their product.
    block = 2 * (stream + half * sizes.dim) + half * (3 * (sizes.dim + 2 * kv_dim) + 2 * sizes.dim + 4 * sizes.ffn_dim)
    kept = sizes.layers * stream + block if recipe.activation_checkpointing else sizes.layers * block
    scored = max(most_scored(task, config) for task in recipe.tasks)
    logits = 3 * _FLOAT * config.vocabulary.size * scored  # with softmax and gradient
    return recipe.run.own_batch_size * (config.max_length * kept + logits)


def _passing(recipe: FullRecipe, decoder: Decoder, parts: int) -> int:
    """Of the table of embeddings as it is put together: its gradient, those of two of its ranges and their sum, each of
    the table's size, of which one stays as the gradient, unless there is one to add it to. The gradients of a shared
    model are copied before they are sent.
    """
    rows = decoder.config.vocabulary.size - (len(decoder.config.vocabulary.range("text")) if recipe.freeze_text else 0)
    tables = 4 if recipe.run.accumulate > 1 and parts == 1 else 3
    sent = _outside_blocks(decoder)[1] if parts > 1 else 0
    return _FLOAT * (tables * rows * decoder.config.dim + sent)


def _gathered(decoder: Decoder) -> int:
    """Whole in every process during forward and backward pass: weights and gradients outside the blocks, the block that
    runs and the one that comes.
    """
    total, trained = _numbers(decoder.blocks[0].parameters())
    return _FLOAT * (sum(_outside_blocks(decoder)) + 2 * (total + trained))


def _outside_blocks(decoder: Decoder) -> tuple[int, int]:
    """As `_numbers`."""
    whole, blocks = _numbers(decoder.parameters()), _numbers(decoder.blocks.parameters())
    return whole[0] - blocks[0], whole[1] - blocks[1]
