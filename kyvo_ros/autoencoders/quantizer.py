"""Vector quantiser with an exponential-moving-average codebook on the unit sphere.

Codes are nearest neighbours by cosine similarity. Gradients pass straight through. Codes that nobody uses are
restarted from current inputs. Source: VQ-VAE (arXiv 1711.00937, appendix A), cosine codes as in arXiv 2110.04627.
It does not know what it quantises: image cells and 3D shape cells go the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Vectors that are compared with the codebook at a time.
_AT_ONCE = 1 << 15


class Quantized(NamedTuple):
    """Result of `VectorQuantizer.forward` on (..., C)."""

    vectors: Tensor  # (..., C) codebook vectors, with straight-through gradients
    codes: Tensor  # (...) int64 in [0, K)
    commitment: Tensor  # () mean squared distance of the inputs from their codes


class VectorQuantizer(nn.Module):
    """K unit vectors of C dimensions; inputs are normalised before they are compared."""

    def __init__(self, codes: int, dim: int, decay: float = 0.99, dead_after: int = 100) -> None:
        super().__init__()
        self.decay = decay
        self.dead_after = dead_after  # updates without use before a code restarts
        self.register_buffer("codebook", F.normalize(torch.randn(codes, dim), dim=-1))
        # Of training alone, which keeps what no model folder needs (`Trainer.save`).
        self.register_buffer("idle", torch.zeros(codes), persistent=False)
        self.register_buffer("_sums", self.codebook.clone(), persistent=False)
        self.register_buffer("_updates", torch.zeros((), dtype=torch.int64), persistent=False)

    def encode(self, vectors: Tensor) -> Tensor:
        """(..., C) -> codes (...); inverse, up to quantisation, of `decode`."""
        if len(rows := vectors.reshape(-1, vectors.shape[-1])) > _AT_ONCE:  # the likenesses would take too much room
            return torch.cat([self.encode(part) for part in rows.split(_AT_ONCE)]).view(vectors.shape[:-1])
        likeness = F.normalize(vectors.float(), dim=-1) @ self.codebook.T
        if likeness.device.type == "cpu":  # numpy's argmax takes a twentieth of torch's time
            return torch.from_numpy(likeness.detach().numpy().argmax(axis=-1))
        return likeness.argmax(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (...) -> vectors (..., C)."""
        return self.codebook[codes]

    def forward(self, vectors: Tensor) -> Quantized:
        unit = F.normalize(vectors.float(), dim=-1)
        codes = self.encode(unit.detach())
        chosen = self.decode(codes)
        if self.training:
            self._update(unit.detach().reshape(-1, unit.shape[-1]), codes.reshape(-1))
        commitment = (unit - chosen).square().sum(-1).mean()
        return Quantized(unit + (chosen - unit).detach(), codes, commitment)

    @torch.no_grad()
    def fit(self, vectors: Tensor, rounds: int = 10) -> None:
        """Warm start: spherical k-means over vectors (N, C) with N >= K."""
        unit = F.normalize(vectors.float(), dim=-1)
        if len(unit) < len(self.codebook):
            raise ValueError(f"expected at least {len(self.codebook)} vectors to fit the codebook, got {len(unit)}")
        self.codebook.copy_(unit[torch.randperm(len(unit), device=unit.device)[: len(self.codebook)]])
        for _ in range(rounds):
            self._assign_means(unit, self.encode(unit))
        self._sums.copy_(self.codebook)
        self.idle.zero_()

    @torch.no_grad()
    def _assign_means(self, unit: Tensor, codes: Tensor) -> None:
        sums = torch.zeros_like(self.codebook).index_add_(0, codes, unit)
        used = torch.bincount(codes, minlength=len(self.codebook)) > 0
        self.codebook[used] = F.normalize(sums[used], dim=-1)
        self._restart(~used, unit)

    @torch.no_grad()
    def _update(self, unit: Tensor, codes: Tensor) -> None:
        counts = torch.bincount(codes, minlength=len(self.codebook)).to(unit.dtype)
        means = torch.zeros_like(self.codebook).index_add_(0, codes, unit) / counts.clamp(min=1).unsqueeze(-1)
        used = counts > 0
        self._sums[used] = self._sums[used].lerp(means[used], 1 - self.decay)
        self.codebook[used] = F.normalize(self._sums[used], dim=-1)
        self.idle = torch.where(used, torch.zeros_like(self.idle), self.idle + 1)
        self._restart(self.idle > self.dead_after, unit)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """A codebook that comes without its running means starts them anew."""
        super()._load_from_state_dict(*arguments)
        self._sums.copy_(self.codebook)
        self.idle.zero_()

    @torch.no_grad()
    def _restart(self, dead: Tensor, unit: Tensor) -> None:
        self._updates += 1
        count = int(dead.sum())
        if count:
            random = torch.Generator().manual_seed(int(self._updates))  # the same after a resume
            fresh = unit[torch.randint(len(unit), (count,), generator=random).to(unit.device)]
            self.codebook[dead], self._sums[dead] = fresh, fresh
            self.idle[dead] = 0


def perplexity(codes: Tensor, codebook_size: int) -> float:
    """Effective number of codes in use: exp of the entropy of their frequencies, in [1, K]."""
    p = torch.bincount(codes.reshape(-1), minlength=codebook_size).double()
    p = p[p > 0] / p.sum()
    return float((-(p * p.log()).sum()).exp())
