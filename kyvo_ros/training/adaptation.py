"""How a large decoder is trained with less: frozen text embeddings, low-rank additions, activations computed twice,
compiled blocks, moments of 8 bits.

Each of the first four changes a decoder in place; `whole_state` gives the weights of a plain decoder back.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.training.full_recipe import FullRecipe, LoraSettings
from kyvo_ros.training.trainer import TrainingError, decayed_groups, optimizer_for

#: The matrices of a block that LoRA adds to.
LORA_TARGETS = ("qkv", "out", "gate_up", "down")
#: What else LoRA trains: the tokens that Llama does not know need rows of their own.
_TRAINED_BESIDE_LORA = ("embedding.", "head.")


class PartlyFrozenTable(nn.Module):
    """An embedding table whose first rows are not trained, and cost neither gradients nor optimizer state."""

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
    """Train no embedding of text; the head's rows stay free, as in the published training."""
    rows = len(decoder.config.vocabulary.range("text"))
    decoder.embedding.learned = PartlyFrozenTable(decoder.embedding.learned.weight, rows)


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
