"""How fast a full-size model trains: tokens a second, and the share of the device's arithmetic that this uses.

Model FLOPs utilisation counts the arithmetic of the model (see `budget`: matrices, not the products of attention)
against the device's peak in bfloat16. Padding counts as arithmetic, what checkpointing computes again does not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

#: Dense bfloat16 peaks in floating-point operations a second, by words in the device's name; the first match counts.
#: From NVIDIA's data sheets; None for cards of the same name that are slower than those.
PEAKS = (("MIG", None), ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12), ("H200", 989e12),
         ("GH200", 989e12), ("A100", 312e12), ("L40S", 362e12), ("L40", 181e12), ("L4", 121e12), ("A10G", 70e12),
         ("A10", 125e12), ("RTX 4090 D", None), ("RTX 4090 Laptop", None), ("RTX 4090", 165e12))


def device_peak(device: torch.device, precision: str) -> float | None:
    """Operations a second of a device; None where that is not known."""
    if device.type != "cuda" or precision != "bfloat16":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for words, peak in PEAKS if re.search(rf"\b{words}\b", name)), None)


class Throughput:
    """Counts tokens from the second batch on, since the first one may compile."""

    def __init__(self, operations_per_token: float, peak: float | None,
                 clock: Callable[[], float] = time.monotonic, operations_per_scored: float = 0.0) -> None:
        """`operations_per_scored` are those that a token worth a loss takes besides; `peak` is that of all devices
        together.
        """
        self._per_token, self._per_scored = operations_per_token, operations_per_scored
        self._peak, self._clock = peak, clock
        self._started: float | None = None
        self._calls, self._tokens, self._operations = 0, 0, 0.0
        self._pending = (0, 0.0)  # tokens and operations of the batch that runs

    def begin(self, tokens: int, scored: float = 0.0) -> dict[str, float]:
        """A batch of so many tokens, in all processes, begins, of which `scored` are worth a loss; what has been
        reached before it.
        """
        now, self._calls = self._clock(), self._calls + 1
        if self._calls == 2:
            self._started = now
        elif self._calls > 2:
            self._tokens += self._pending[0]
            self._operations += self._pending[1]
        self._pending = tokens, tokens * self._per_token + scored * self._per_scored
        if self._started is None or not now > self._started:
            return {}
        seconds = now - self._started
        numbers = {"tokens_per_second": self._tokens / seconds}
        if self._peak is not None:
            numbers["model_flops_utilisation"] = self._operations / seconds / self._peak
        return numbers

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in here, or is decorated with it, is no training: its time does not count."""
        before = self._clock()
        try:
            yield
        finally:
            if self._started is not None:
                self._started += self._clock() - before
