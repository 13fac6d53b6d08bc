"""How fast a full-size model trains: tokens a second, and the share of the device's arithmetic that this uses.

Model FLOPs utilisation counts the arithmetic of the model alone, padding and what checkpointing computes again left
out of neither (see `budget`: matrices, not the products of attention), against the device's peak in bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

#: Dense bfloat16 peaks in floating-point operations a second, by a part of the device's name; the first match counts.
#: From NVIDIA's data sheets.
PEAKS = (("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12), ("H200", 989e12), ("A100", 312e12),
         ("L40S", 362e12), ("L4", 121e12), ("A10G", 70e12), ("A10", 125e12), ("RTX 4090", 165e12))


def device_peak(device: torch.device, precision: str) -> float | None:
    """Operations a second of a device; None where that is not known."""
    if device.type != "cuda" or precision != "bfloat16":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS if part in name), None)


class Throughput:
    """Counts tokens from the second batch on, since the first one may compile."""

    def __init__(self, operations_per_token: float, peak: float | None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`peak` is that of all devices together."""
        self._operations, self._peak, self._clock = operations_per_token, peak, clock
        self._started: float | None = None
        self._calls = self._tokens = self._pending = 0

    def begin(self, tokens: int) -> dict[str, float]:
        """A batch of so many tokens, in all processes, begins; what has been reached before it."""
        now, self._calls = self._clock(), self._calls + 1
        if self._calls == 2:
            self._started = now
        elif self._calls > 2:
            self._tokens += self._pending
        self._pending = tokens
        if self._started is None or not now > self._started:
            return {}
        rate = self._tokens / (now - self._started)
        numbers = {"tokens_per_second": rate}
        if self._peak is not None:
            numbers["model_flops_utilisation"] = rate * self._operations / self._peak
        return numbers
