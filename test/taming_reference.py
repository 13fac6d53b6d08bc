"""The VQGAN of taming-transformers, spelled out by the names of its tensors, which are made when they are first used.

So a test has a checkpoint in the exact format, and what it must compute, without a word of the package's own code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

#: Sizes as they stand in the configuration; images of 32x32 pixels become 16x16 codes.
SIZES = {"double_z": False, "z_channels": 12, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32,
         "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [16], "dropout": 0.0}
CODES, CODE_DIM = 20, 6


class TamingReference:
    """Random tensors by name, and what they compute."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.tensors = {"quantize.embedding.weight": self._random((CODES, CODE_DIM))}
        self.decode(torch.zeros(1, CODE_DIM, 16, 16))
        self.encode(torch.zeros(1, 3, 32, 32))

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) in [-1, 1] -> (B, CODE_DIM, 16, 16)."""
        x = self._conv("encoder.conv_in", x, 32)
        for level, channels in enumerate((32, 64)):
            x = self._block(f"encoder.down.{level}.block.0", x, channels)
            if level == 1:
                x = self._attention("encoder.down.1.attn.0", x)
            else:
                x = self._conv("encoder.down.0.downsample.conv", F.pad(x, (0, 1, 0, 1)), 32, stride=2, padding=0)
        x = self._conv("encoder.conv_out", self._active("encoder.norm_out", self._middle("encoder.mid", x)), 12)
        return self._conv("quant_conv", x, CODE_DIM, size=1)

    def decode(self, x: Tensor) -> Tensor:
        """(B, CODE_DIM, 16, 16) -> (B, 3, 32, 32)."""
        x = self._conv("decoder.conv_in", self._conv("post_quant_conv", x, 12, size=1), 64)
        x = self._middle("decoder.mid", x)
        for block in range(2):
            x = self._attention(f"decoder.up.1.attn.{block}", self._block(f"decoder.up.1.block.{block}", x, 64))
        x = self._conv("decoder.up.1.upsample.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3), 64)
        for block in range(2):
            x = self._block(f"decoder.up.0.block.{block}", x, 32)
        return self._conv("decoder.conv_out", self._active("decoder.norm_out", x), 3)

    def _random(self, shape: tuple[int, ...]) -> Tensor:
        """Weights that keep the size of what they see, and small offsets."""
        scale = 0.1 if len(shape) == 1 else torch.tensor(shape[1:]).prod().float().rsqrt()
        return scale * torch.randn(shape, generator=self._generator)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self.tensors.setdefault(name, self._random(shape))

    def _conv(self, name: str, x: Tensor, channels: int, size: int = 3, stride: int = 1,
              padding: int | None = None) -> Tensor:
        weight = self._tensor(f"{name}.weight", (channels, x.shape[1], size, size))
        return F.conv2d(x, weight, self._tensor(f"{name}.bias", (channels,)), stride,
                        size // 2 if padding is None else padding)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        offset = self._tensor(f"{name}.bias", (x.shape[1],))
        gain = self.tensors.setdefault(f"{name}.weight", 1 + self._random((x.shape[1],)))
        return F.group_norm(x, 32, gain, offset, eps=1e-6)

    def _active(self, name: str, x: Tensor) -> Tensor:
        normalised = self._norm(name, x)
        return normalised * normalised.sigmoid()

    def _block(self, name: str, x: Tensor, channels: int) -> Tensor:
        inner = self._conv(f"{name}.conv1", self._active(f"{name}.norm1", x), channels)
        inner = self._conv(f"{name}.conv2", self._active(f"{name}.norm2", inner), channels)
        return inner + (x if x.shape[1] == channels else self._conv(f"{name}.nin_shortcut", x, channels, size=1))

    def _attention(self, name: str, x: Tensor) -> Tensor:
        channels = x.shape[1]
        query, key, value = (self._conv(f"{name}.{part}", self._norm(f"{name}.norm", x), channels, size=1).flatten(2)
                             for part in "qkv")
        weights = torch.einsum("bci,bcj->bij", query, key).div(channels**0.5).softmax(dim=2)
        read = torch.einsum("bij,bcj->bci", weights, value).view_as(x)
        return x + self._conv(f"{name}.proj_out", read, channels, size=1)

    def _middle(self, name: str, x: Tensor) -> Tensor:
        x = self._attention(f"{name}.attn_1", self._block(f"{name}.block_1", x, 64))
        return self._block(f"{name}.block_2", x, 64)

    def document(self) -> dict[str, Any]:
        """The configuration of the run, with what only training reads."""
        params = {"embed_dim": CODE_DIM, "n_embed": CODES, "ddconfig": SIZES,
                  "lossconfig": {"target": "taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator"}}
        return {"model": {"base_learning_rate": 4.5e-06, "target": "taming.models.vqgan.VQModel", "params": params}}

    def write(self, folder: Path, **more: Any) -> tuple[Path, Path]:
        """last.ckpt as Lightning writes it, with `more` in it, and the project's YAML; the paths of the two."""
        checkpoint, config = folder / "last.ckpt", folder / "project.yaml"
        loss = {"loss.discriminator.main.0.weight": torch.ones(1), "loss.perceptual_loss.lin0.model.1.weight":
                torch.ones(1)}
        torch.save({"epoch": 9, "global_step": 100, "pytorch-lightning_version": "1.0.8",
                    "state_dict": {**self.tensors, **loss}, "optimizer_states": [{"state": {}}], **more}, checkpoint)
        config.write_text(yaml.safe_dump(self.document()), encoding="utf-8")
        return checkpoint, config
