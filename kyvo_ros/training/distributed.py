"""Training in several processes: gradients are averaged, process 0 writes.

Started by torchrun: `torchrun --nproc_per_node N -m kyvo_ros.cli train decoder ...`. On a CPU, N processes of one
thread each beat one process of N threads at these model sizes; on GPUs, each process takes one. Without torchrun there
is one process and every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

#: Numbers that are copied together to be sent in one message: 64 MiB in float32.
BUCKET = 2**24


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


def own_part(count: int) -> slice:
    """Of so many things that the processes share, those of this one: as many as the others have, up to one."""
    return slice(count * rank() // world_size(), count * (rank() + 1) // world_size())


def gathered(part: np.ndarray) -> np.ndarray:
    """The rows of all processes, those of process 0 first; every process has to come here."""
    if not dist.is_initialized():
        return part
    parts: list[np.ndarray | None] = [None] * world_size()
    dist.all_gather_object(parts, part)
    return np.concatenate(parts)


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
    _in_buckets(_average, [*gradients, vote])
    _in_buckets(partial(dist.broadcast, src=0), [b for b in model.buffers() if b.is_floating_point()])
    return bool(vote > 0)


def _average(flat: Tensor) -> None:
    dist.all_reduce(flat)
    flat /= world_size()


def _in_buckets(collective: Callable[[Tensor], object], tensors: Iterable[Tensor]) -> None:
    """Send tensors through a collective that works in place: small ones joined, so that there are few messages, a
    large one where it lies, since a copy of it may not fit into memory.
    """
    for bucket in _buckets(tensors):
        flat = bucket[0].flatten() if len(bucket) == 1 else torch.cat([tensor.flatten() for tensor in bucket])
        collective(flat)
        _scatter(flat, bucket)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors that follow each other, BUCKET numbers at most unless it is a single one."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _scatter(flat: Tensor, tensors: Iterable[Tensor]) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start: start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
