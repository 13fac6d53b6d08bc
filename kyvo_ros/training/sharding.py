"""Training processes that work on one batch together, and may hold a part of the model each (PyTorch's FSDP2).

A step takes the same sequences in any number of processes and parts, and its loss is the mean over the tokens of all of
them, so that a run is the same run however it is shared. Checkpoints hold the whole state by name, on the CPU: a run
goes on in any number of processes, sharded or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions, get_model_state_dict, get_optimizer_state_dict, set_model_state_dict, set_optimizer_state_dict)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.training import distributed
from kyvo_ros.training.trainer import Replicas, RunSettings

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True)
class Share:
    """The part of a step's batch that one process takes at a time."""

    rng: np.random.Generator  # the same in all processes and parts of a step
    number: int  # 0 .. count - 1
    count: int  # of shares in a batch

    def of(self, batch: np.ndarray) -> np.ndarray:
        """This share of a batch whose length `count` divides."""
        return batch[self.number::self.count]


class Shards(Replicas):
    """One batch for all processes. With `sharded`, gradients come out of the backward pass averaged, and an evaluation
    needs every process.
    """

    def __init__(self, sharded: bool) -> None:
        self.sharded = sharded and distributed.world_size() > 1

    @property
    def evaluates(self) -> bool:
        return self.sharded or super().evaluates

    def split(self, model: nn.Module, decoder: Decoder, device: torch.device) -> None:
        """Leave every process its part of a model; `decoder` is what of it has blocks."""
        if not self.sharded:
            return
        mesh = init_device_mesh(device.type, (distributed.world_size(),))
        for module in (*decoder.blocks, model):
            fully_shard(module, mesh=mesh)

    def share(self, settings: RunSettings, step: int, part: int) -> Share:
        world = distributed.world_size()
        return Share(np.random.default_rng([settings.seed, step]), part * world + distributed.rank(),
                     world * settings.accumulate)

    def synchronise(self, model: nn.Module, ends: bool, numbers: dict[str, float]) -> bool:
        """The loss in `numbers` becomes that of the whole batch."""
        if not dist.is_initialized():
            return ends
        if not self.sharded:
            ends = distributed.synchronise(model, ends)
        device = next(model.parameters()).device
        both = torch.tensor([float(ends), numbers["loss"] / distributed.world_size()], device=device)
        dist.all_reduce(both)
        numbers["loss"] = float(both[1])
        return bool(both[0] > 0)

    def state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """By name, whole; empty in all processes but the first."""
        return {"model": get_model_state_dict(model, options=_WHOLE),
                "optimizer": get_optimizer_state_dict(model, optimizer, options=_WHOLE)}

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        set_model_state_dict(model, state["model"], options=_WHOLE)
        set_optimizer_state_dict(model, optimizer, state["optimizer"], options=_WHOLE)

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The whole state dict of a model on the CPU; empty in all processes but the first."""
        return get_model_state_dict(model, options=_WHOLE)
