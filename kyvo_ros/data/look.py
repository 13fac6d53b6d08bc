"""How a synthetic image looks: lamps, ground, materials, and what the camera makes of the light.

Two presets: `LookSettings.plain()`, fitted to Cycles renders of CLEVR, and `LookSettings.varied()`, which draws
every scene's own look for training. Knows nothing about geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class LookSettings:
    """Ranges (low, high) are drawn uniformly once a scene; equal ends switch the variation off. Light is linear RGB."""

    exposure_stops: Range = (0.0, 0.0)  # gain of the linear image, in powers of two
    white_balance: Range = (1.0, 1.0)  # gain of each channel by itself
    lamp_power: Range = (1.0, 1.0)  # of each lamp by itself
    lamp_size: Range = (1.0, 1.0)  # of all lamps together; wider lamps cast softer shadows
    ambient: Range = (1.0, 1.0)  # light scattered between the surfaces
    ground_shade: Range = (1.0, 1.0)  # factor on the ground's albedo
    ground_tint: float = 0.0  # largest relative change of one channel of the ground's albedo
    color_jitter: float = 0.0  # largest change of an object's albedo in each channel
    blur_px: Range = (0.0, 0.0)  # sigma of a Gaussian
    noise: Range = (0.0, 0.0)  # sigma of Gaussian noise, of full scale, after the view transform
    jpeg: Range = (0.0, 0.0)  # quantisation step of 8x8 DCT blocks, of full scale
    highlight: Range = (1.0, 1.0)  # factor on the lamps' mirror images

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high = value if isinstance(value, tuple) else (0.0, value)
            if not low <= high:
                raise ValueError(f"{name} must be low <= high, got {value}")
            if name != "exposure_stops" and low < 0:
                raise ValueError(f"{name} must not be negative, got {value}")

    @classmethod
    def plain(cls) -> LookSettings:
        """The look of CLEVR's own renders."""
        return cls()

    @classmethod
    def varied(cls) -> LookSettings:
        """A different look for every scene, around the plain one."""
        return cls(exposure_stops=(-0.5, 0.4), white_balance=(0.9, 1.1), lamp_power=(0.7, 1.3), lamp_size=(0.5, 2.0),
                   ambient=(0.5, 1.6), ground_shade=(0.75, 1.2), ground_tint=0.06, color_jitter=0.06,
                   blur_px=(0.0, 0.8), noise=(0.0, 0.03), jpeg=(0.0, 0.04), highlight=(0.5, 1.5))


def draw(bounds: Range, shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniform values of this shape, drawn on the CPU so that every device sees the same ones."""
    low, high = bounds
    return (low + (high - low) * torch.rand(shape, generator=generator)).to(device)


def develop(linear: Tensor, look: LookSettings, generator: torch.Generator) -> Tensor:
    """Linear light (B, H, W, 3) to uint8 RGB: exposure, white balance, blur, sRGB curve, noise, JPEG."""
    batch, device = len(linear), linear.device
    gain = 2.0 ** draw(look.exposure_stops, (batch, 1, 1, 1), generator, device)
    image = linear * (gain * draw(look.white_balance, (batch, 1, 1, 3), generator, device))
    sigma = draw(look.blur_px, (batch,), generator, device)
    if look.blur_px[1] > 0:
        image = _blur(image, sigma)
    image = srgb_from_linear(image)
    sigma = draw(look.noise, (batch, 1, 1, 1), generator, device)
    if look.noise[1] > 0:
        image = image + sigma * torch.randn(image.shape, generator=generator).to(device)
    step = draw(look.jpeg, (batch, 1, 1, 1), generator, device)
    if look.jpeg[1] > 0:
        image = _quantise_blocks(image, step)
    return (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def srgb_from_linear(linear: Tensor) -> Tensor:
    """Blender's "Standard" view transform: clipped, sRGB transfer curve."""
    x = linear.clamp(0, 1)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * (x.clamp_min(1e-8).log() / 2.4).exp() - 0.055)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian over 5 pixels, one sigma (B,) in pixels a scene."""
    taps = torch.exp(-torch.arange(3, device=image.device)[None] ** 2 / (2 * sigma.clamp_min(1e-3)[:, None] ** 2))
    taps = (taps / (taps[:, :1] + 2 * taps[:, 1:].sum(1, keepdim=True)))[:, :, None, None, None]
    for axis in (1, 2):
        size = image.shape[axis]
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, size - 1, 1)
        padded = torch.cat([first, first, image, last, last], axis)
        part = [padded.narrow(axis, k, size) for k in range(5)]
        image = taps[:, 0] * part[2] + taps[:, 1] * (part[1] + part[3]) + taps[:, 2] * (part[0] + part[4])
    return image


def _quantise_blocks(image: Tensor, step: Tensor) -> Tensor:
    """Round the DCT coefficients of 8x8 blocks to multiples of a step that grows with frequency, as JPEG does."""
    batch, height, width, _ = image.shape
    if height % 8 or width % 8:
        raise ValueError(f"jpeg needs an image size in multiples of 8, got {width}x{height}; set jpeg=(0, 0)")
    k = torch.arange(8, device=image.device, dtype=image.dtype)
    basis = torch.cos(torch.pi / 8 * (k[None] + 0.5) * k[:, None]) / 2
    basis[0] /= 2 ** 0.5
    blocks = image.reshape(batch, height // 8, 8, width // 8, 8, 3).permute(0, 1, 3, 5, 2, 4)
    steps = step.reshape(batch, 1, 1, 1, 1, 1).clamp_min(1e-4) * (1 + k[:, None] + k[None])
    rounded = torch.round(basis @ blocks @ basis.T / steps) * steps
    return (basis.T @ rounded @ basis).permute(0, 1, 4, 2, 5, 3).reshape(image.shape)
