"""What a recipe of full size costs, counted without weights: parameters, memory, tokens, arithmetic.

Weights, gradients and AdamW's two moments are counted exactly, in float32 (moments of 8 bits with their scales); where
processes share a model, each has its part, and for a moment the whole of one block. Activations are an estimate: what a
block keeps for its backward pass, and the logits of every token behind the separator, in sequences of full length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kyvo_ros.model.decoder import Decoder
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
    """Counts; memory in bytes of one process."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    activations: int  # an estimate
    tokens: int  # of the whole run, padding counted
    operations: float  # of the whole run, floating point

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations

    def report(self) -> str:
        """Lines to print."""
        share = self.trained / self.parameters
        parts = [f"{name} {getattr(self, name) / _GIB:.2f}"
                 for name in ("weights", "gradients", "optimizer", "activations")]
        return "\n".join((
            f"parameters  {self.parameters:,}, trained {self.trained:,} ({share:.1%})",
            f"memory      {self.memory / _GIB:.2f} GiB a process: {', '.join(parts)} (estimated)",
            f"tokens      {self.tokens:,} at most, {self.operations:.3g} floating-point operations"))


def budget_of(recipe: FullRecipe) -> Budget:
    """The budget of a recipe in one of the processes that are running. Raises TrainingError as `adapt` does."""
    config = recipe.decoder_config()
    with torch.device("meta"):
        decoder = Decoder(config, torch.zeros(recipe.sizes.codes, config.code_dim, device="cpu")).to("meta")
        adapt(decoder, recipe)
    total = sum(p.numel() for p in decoder.parameters())
    trained = sum(p.numel() for p in decoder.parameters() if p.requires_grad)
    tokens = recipe.run.total_steps * recipe.run.batch_size * config.max_length
    # Forwards and towards the inputs every weight of the body and the head, towards the weights the trained ones.
    body = sum(p.numel() for name, p in decoder.named_parameters() if not name.startswith("embedding."))
    reached = sum(p.numel() for name, p in decoder.named_parameters()
                  if p.requires_grad and not name.startswith("embedding."))
    parts = distributed.world_size() if recipe.shard else 1
    return Budget(total, trained, _FLOAT * total // parts, _FLOAT * trained // parts,
                  int(2 * _MOMENT[recipe.optimizer] * trained) // parts, _activations(recipe), tokens,
                  float(tokens) * (4 * body + 2 * reached))


def _activations(recipe: FullRecipe) -> int:
    sizes, config = recipe.sizes, recipe.decoder_config()
    half = PRECISIONS[recipe.run.precision].itemsize
    kv_dim = config.kv_heads * config.head_dim
    stream = _FLOAT * sizes.dim  # the residual stream is float32 in any precision
    # Both norms' inputs and outputs; queries, keys and values before and after their turn; what attention reads; the
    # feed-forward's two halves, the activated one and their product.
    block = 2 * (stream + half * sizes.dim) + half * (3 * (sizes.dim + 2 * kv_dim) + 2 * sizes.dim + 4 * sizes.ffn_dim)
    kept = sizes.layers * stream + block if recipe.activation_checkpointing else sizes.layers * block
    prompt = config.cells + 4
    logits = 3 * _FLOAT * config.vocabulary.size * max(config.max_length - prompt, 1)  # with softmax and gradient
    return recipe.run.own_batch_size * (config.max_length * kept + logits)
