"""Training in several processes: gradients are averaged, process 0 writes.

Started by torchrun: `torchrun --nproc_per_node N -m kyvo_ros.cli train decoder ...`. On a CPU, N processes of one
thread each beat one process of N threads at these model sizes; on GPUs, each process takes one. Without torchrun there
is one process and every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start(device: torch.device) -> None:
    """Join the other processes where torchrun has started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # One process may make examples for hours while the others wait.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))


def stop() -> None:
    """Leave the group at the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """0 .. world_size() - 1; process 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Which of this computer's GPUs is ours."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Until every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def synchronise(model: nn.Module, ends: bool) -> bool:
    """Average the gradients, take process 0's buffers (statistics, codebooks), and agree whether one wants to end."""
    if not dist.is_initialized():
        return ends
    gradients = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:  # this process' batch did not need it, another's may have
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    vote = torch.tensor([float(ends)], device=gradients[0].device)
    flat = torch.cat([*(g.flatten() for g in gradients), vote])
    dist.all_reduce(flat)
    _scatter(flat[:-1] / world_size(), gradients)
    buffers = [b for b in model.buffers() if b.is_floating_point()]
    if buffers:
        flat_buffers = torch.cat([b.flatten() for b in buffers])
        dist.broadcast(flat_buffers, 0)
        _scatter(flat_buffers, buffers)
    return bool(flat[-1] > 0)


def _scatter(flat: Tensor, tensors: Iterable[Tensor]) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start: start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
