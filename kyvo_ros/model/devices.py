"""On what a model computes: devices that torch can really compute on, and as many of its CPU threads as are wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

_LOG = logging.getLogger(__name__)


class DeviceError(ValueError):
    """A device was asked for that this machine or this torch does not have."""


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where torch can compute on one, else the CPU. Raises DeviceError."""
    if name != "auto":
        return tried_device(name)
    if torch.cuda.is_available():
        try:
            return tried_device("cuda")
        except DeviceError as error:
            _LOG.warning("there is a GPU, but %s; the CPU is used", error)
    return torch.device("cpu")


def tried_device(name: str) -> torch.device:
    """A device on which something has been computed: a torch that was not built for a GPU fails no earlier.

    Raises DeviceError.
    """
    try:
        device = torch.device(name)
        (torch.ones(1, device=device) + 1.0).item()
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise DeviceError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); try cpu or auto") from error
    return device


def with_own_threads(call: Callable) -> Callable:
    """A method that computes, in whatever thread, with as many of torch's threads as its object has (`threads`): torch
    counts them for each thread that calls it.
    """
    @wraps(call)
    def computed(owner: Any, *args: Any, **options: Any) -> Any:
        torch.set_num_threads(owner.threads)
        return call(owner, *args, **options)
    return computed
