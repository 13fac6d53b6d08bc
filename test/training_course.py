"""A few steps of training for tests that watch a loss."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch


def course(stage, optimizer: torch.optim.Optimizer, seeds: Iterable[int]) -> list[dict[str, float]]:
    """What a stage logs in a step of each seed; gradients of the last one stay."""
    logged = []
    for seed in seeds:
        loss, numbers = stage.loss_of(np.random.default_rng(seed))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logged.append(numbers)
    return logged
