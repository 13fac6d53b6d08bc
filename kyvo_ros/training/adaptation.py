"""How a large decoder is trained with less: frozen text embeddings, low-rank additions, activations computed twice,
compiled blocks, moments of 8 bits.

Each of the first four changes a decoder in place; `whole_state` gives the weights of a plain decoder back.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.embedding import UnifiedEmbedding
from kyvo_ros.training.full_recipe import FullRecipe, LoraSettings
from kyvo_ros.training.trainer import TrainingError, decayed_groups, optimizer_for

#: The matrices of a block that LoRA adds to.
LORA_TARGETS = ("qkv", "out", "gate_up", "down")
#: What else LoRA trains: the tokens that Llama does not know need rows of their own.
_TRAINED_BESIDE_LORA = ("embedding.", "head.")


class PartlyFrozenTable(nn.Module):
    """An embedding table whose first rows are not trained, and cost neither gradients nor optimizer state; `weight`
    puts it together, which training does without (`freeze_text`).
    """

    def __init__(self, weight: Tensor, frozen_rows: int) -> None:
        super().__init__()
        self.frozen = nn.Parameter(weight[:frozen_rows].detach().clone(), requires_grad=False)
        self.free = nn.Embedding.from_pretrained(weight[frozen_rows:].detach().clone(), freeze=False)

    @property
    def weight(self) -> Tensor:
        """(rows, D)."""
        return torch.cat((self.frozen, self.free.weight))


def adapt(decoder: Decoder, recipe: FullRecipe) -> None:
    """Make a decoder ready for a recipe. Raises TrainingError where `peft` is needed and missing."""
    if recipe.method == "lora":
        add_lora(decoder, recipe.lora)
    if recipe.freeze_text:
        freeze_text(decoder)
    if recipe.compile:
        compile_blocks(decoder)
    if recipe.activation_checkpointing:
        checkpoint_activations(decoder)


def freeze_text(decoder: Decoder) -> None:
    """Train no embedding of text; the head's rows stay free, as in the published training.

    Of a decoder with the published embedding: a forward pass looks text up in the frozen rows, and all else in a table
    of its own, so that neither the whole table nor its gradient (1 GiB each at Llama-3.2-1B's size) is ever made.
    """
    embedding = decoder.embedding
    embedding.learned = PartlyFrozenTable(embedding.learned.weight, len(decoder.config.vocabulary.range("text")))
    embedding.forward = partial(_look_up_apart, embedding)


def _look_up_apart(embedding: UnifiedEmbedding, token_ids: Tensor, cells: Tensor | None = None) -> Tensor:
    """As `UnifiedEmbedding.forward` of a published embedding, which knows no `cells`."""
    frozen, others = embedding.learned.frozen, _trained_rows(embedding)
    text = (token_ids >= 0) & (token_ids < len(frozen))
    other = (token_ids >= len(frozen)) & (token_ids < len(frozen) + len(others))  # further ids are zero
    return (F.embedding(token_ids.where(text, 0), frozen) * text.unsqueeze(-1)
            + F.embedding((token_ids - len(frozen)).where(other, 0), others) * other.unsqueeze(-1))


def _trained_rows(embedding: UnifiedEmbedding) -> Tensor:
    """(V - text, D): `UnifiedEmbedding.table` behind the text: numbers, structure, image codes."""
    free, features, kind = embedding.learned.free.weight, embedding.number_features, embedding.config.number_embedding
    learned, codes = free[:len(features)], embedding.code_projection(embedding.codebook)
    numbers = learned if kind == "learned" else features if kind == "fixed" else learned + features
    return torch.cat((numbers, free[len(features):-len(codes)], codes))


def checkpoint_activations(decoder: Decoder) -> None:
    """Keep the inputs of blocks alone for the backward pass, which computes the rest again."""
    for block in decoder.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_blocks(decoder: Decoder) -> None:
    """Run every block through torch.compile; what they have in common is compiled once, in the first step."""
    for block in decoder.blocks:
        block.forward = torch.compile(block.forward)


def full_optimizer(model: nn.Module, recipe: FullRecipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe, for a model as it is trained. Raises TrainingError where torchao is missing."""
    if recipe.optimizer == "adamw":
        return optimizer_for(model, recipe.run)
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise TrainingError(f"optimizer adamw8bit needs the package torchao ({error}); pip install torchao") from error
    return AdamW8bit(decayed_groups(model, recipe.run), lr=recipe.run.learning_rate, betas=(0.9, recipe.run.beta2))


def add_lora(decoder: Decoder, settings: LoraSettings) -> None:
    """Freeze the body and give it low-rank additions. Raises TrainingError."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise TrainingError(f"method lora needs the package peft ({error}); pip install peft") from error
    inject_adapter_in_model(LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=list(LORA_TARGETS)),
                            decoder)
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith(_TRAINED_BESIDE_LORA))


@torch.no_grad()
def whole_state(decoder: Decoder) -> dict[str, Tensor]:
    """The state dict of a plain decoder: low-rank additions added, tables in one piece. The decoder stays as it is."""
    state = {name: tensor for name, tensor in decoder.state_dict().items()
             if "lora_" not in name and ".learned." not in name}
    state["embedding.learned.weight"] = decoder.embedding.learned.weight.detach()
    for name, module in decoder.named_modules():
        if hasattr(module, "get_delta_weight"):  # peft's layers
            state[f"{name}.base_layer.weight"] = module.weight + sum(map(module.get_delta_weight, module.lora_A))
    return {name.replace(".base_layer", ""): tensor for name, tensor in state.items()}
