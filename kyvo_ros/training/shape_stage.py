"""The losses that train a shape tokenizer: reconstruction in slat space, commitment, and pixels of random views.

Two stages share them: without quantisation first, then through the quantiser, which starts from k-means of the
latents. Source: Kyvo (arXiv 2506.08002, section 3.2); its ablation is the choice of `views`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.autoencoders.quantizer import perplexity
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
from kyvo_ros.autoencoders.slats import COLOR, DISTANCE, NORMAL, OPENNESS
from kyvo_ros.autoencoders.volume_renderer import RenderSettings, render_shapes, view_directions
from kyvo_ros.training.perceptual import PerceptualDistance, PerceptualSettings
from kyvo_ros.training.shape_sources import SlatSet, varied

VIEWS = ("none", "fixed", "many")
#: The one view of "fixed", and the views of evaluations begin there.
_AZIMUTH_RAD, _ELEVATION_RAD = -0.9, 0.45
_SSIM_WINDOW = 7


@dataclass(frozen=True)
class ShapeLossSettings(PerceptualSettings):
    """Weights beside that of the signed distance, which is 1; the perceptual one is of the pixel loss's views."""

    normal: float = 0.2
    color: float = 0.5
    openness: float = 0.1
    commitment: float = 0.25
    pixels: float = 0.5  # of the pixel loss
    views: str = "many"  # none, fixed or many: from where the pixel loss looks
    rendered: int = 2  # shapes of a batch that are rendered, since rendering costs more than the rest
    picture: RenderSettings = field(default_factory=lambda: RenderSettings(size_px=40, samples=48))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in VIEWS:
            raise ValueError(f"views must be one of {VIEWS}, got {self.views!r}")
        if isinstance(self.picture, dict):
            object.__setattr__(self, "picture", RenderSettings(**self.picture))
        if min(self.normal, self.color, self.openness, self.commitment, self.pixels) < 0 or self.rendered < 1:
            raise ValueError(f"weights must not be negative and rendered at least 1, got {self}")

    @property
    def looks(self) -> bool:
        """Whether there is a loss in pixels; without, the perceptual one is left out, too."""
        return self.views != "none" and self.pixels > 0


@dataclass(frozen=True, eq=False)
class ShapeStage:
    """The loss and the evaluation of one stage."""

    tokenizer: ShapeTokenizer
    slats: SlatSet
    held_out: SlatSet
    settings: ShapeLossSettings
    batch_size: int
    quantise: bool
    distance: PerceptualDistance | None = None  # of the loss's settings

    def loss_of(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        grids = self._draw(rng, self.batch_size)
        blocks, kinds = self.tokenizer.split(grids)
        made, quantized = self.tokenizer(blocks, kinds, self.quantise)
        parts = slat_losses(made, blocks)
        settings = self.settings
        loss = (parts["distance"] + settings.normal * parts["normal"] + settings.color * parts["color"]
                + settings.openness * parts["openness"])
        if quantized is not None:
            parts["commitment"] = quantized.commitment
            loss = loss + settings.commitment * quantized.commitment
        if settings.looks:
            shown = kinds[:settings.rendered]
            drawn = self.tokenizer.assemble(made[:int((shown < 0).sum())], shown)
            truth = grids[:settings.rendered]
            pictures = view_pairs(drawn, truth, self._views(rng, truth), settings.picture)
            parts["pixels"] = pixel_loss(*pictures)
            loss = loss + settings.pixels * parts["pixels"]
            if self.distance is not None:
                parts["perceptual"] = self.distance(*(2 * picture - 1 for picture in pictures))
                loss = loss + settings.perceptual * parts["perceptual"]
        return loss, {name: float(part.detach()) for name, part in parts.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Volume IoU, PSNR of one view, and use of the codes, on objects held out of training."""
        tokenizer, overlaps, errors, codes = self.tokenizer, [], [], []
        device = next(tokenizer.parameters()).device
        view = view_directions(*(torch.tensor([v], device=device) for v in (_AZIMUTH_RAD, _ELEVATION_RAD)))
        for i in range(len(self.held_out)):
            grid = self.held_out.grid(i)[None].to(device)
            blocks, kinds = tokenizer.split(grid)
            made, quantized = tokenizer(blocks, kinds, self.quantise)
            made = tokenizer.assemble(made, kinds)
            inside, truth = made[:, DISTANCE] < 0, grid[:, DISTANCE] < 0
            overlaps.append(float((inside & truth).sum() / (inside | truth).sum().clamp(min=1)))
            pictures = [render_shapes(g, view, self.settings.picture) for g in (made, grid)]
            errors.append(float(F.mse_loss(*pictures)))
            codes += [] if quantized is None else [quantized.codes]
        numbers = {"volume_iou": float(np.mean(overlaps)), "psnr_db": -10 * math.log10(max(np.mean(errors), 1e-10))}
        if codes:
            numbers |= {"codes_used": len(torch.cat(codes).unique()),
                        "perplexity": perplexity(torch.cat(codes), len(tokenizer.quantizer.codebook))}
        return numbers

    @torch.no_grad()
    def warm_up_codes(self, rng: np.random.Generator, each: int = 6) -> None:
        """Fit the codebook to `each` times as many latents as it has codes, before the first step through the quantiser.
        """
        self.tokenizer.eval()
        wanted, latents = each * len(self.tokenizer.quantizer.codebook), []
        while sum(map(len, latents)) < wanted:
            latents.append(self.tokenizer.latents(*self.tokenizer.split(self._draw(rng, self.batch_size))))
        self.tokenizer.quantizer.fit(torch.cat(latents), rounds=4)

    def _draw(self, rng: np.random.Generator, count: int) -> Tensor:
        rows = rng.integers(len(self.slats), size=count)
        grids = torch.stack([varied(self.slats.grid(int(row)), rng) for row in rows])
        return grids.to(next(self.tokenizer.parameters()).device)

    def _views(self, rng: np.random.Generator, grids: Tensor) -> Tensor:
        """(B, 3, 3) of the pixel loss: one for all, or any around the upper and a bit of the lower half."""
        angles = np.tile([[_AZIMUTH_RAD], [_ELEVATION_RAD]], len(grids))
        if self.settings.views == "many":
            angles = np.stack([rng.uniform(0, 2 * math.pi, len(grids)), np.arcsin(rng.uniform(-0.4, 0.95, len(grids)))])
        return view_directions(*torch.as_tensor(angles, dtype=grids.dtype, device=grids.device))


def slat_losses(made: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Mean absolute errors of blocks (M, parts, 8, voxels), an active voxel of the truth: of the distance, which
    counts elsewhere in the blocks too, and of the rest at those voxels.
    """
    distance, expected = made[..., DISTANCE, :], truth[..., DISTANCE, :]
    active = (expected.abs() < 1).float()
    count = active.sum().clamp(min=1)
    # What is beyond the truncation, on the right side, is right whatever its value.
    beyond = (1 - distance * expected.sign()).clamp(min=0)

    def mean(error: Tensor) -> Tensor:
        return (error * active).sum() / count

    return {"distance": torch.where(active > 0, (distance - expected).abs(), beyond).sum() / count,
            "normal": mean((made[..., NORMAL, :] - truth[..., NORMAL, :]).abs().mean(-2)),
            "color": mean((made[..., COLOR, :] - truth[..., COLOR, :]).abs().mean(-2)),
            "openness": mean((made[..., OPENNESS, :] - truth[..., OPENNESS, :]).abs())}


def view_pairs(made: Tensor, truth: Tensor, views: Tensor, picture: RenderSettings) -> tuple[Tensor, Tensor]:
    """Grids (B, 8, R, R, R), twice, from views (B, 3, 3) -> (B, 3, H, W) in [0, 1], twice; the second's without
    gradients.
    """
    with torch.no_grad():
        expected = render_shapes(truth, views, picture)
    return render_shapes(made, views, picture), expected


def pixel_loss(drawn: Tensor, expected: Tensor) -> Tensor:
    """L1 + D-SSIM of pictures (B, 3, H, W) in [0, 1]."""
    return F.l1_loss(drawn, expected) + (1 - structural_similarity(drawn, expected)) / 2


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of images (B, 3, H, W) in [0, 1], as `evaluation.image_metrics.ssim`, with gradients."""
    def local(v: Tensor) -> Tensor:
        return F.avg_pool2d(v, _SSIM_WINDOW, stride=1)

    sample = _SSIM_WINDOW**2 / (_SSIM_WINDOW**2 - 1)
    mean_x, mean_y = local(x), local(y)
    var_x, var_y = sample * (local(x * x) - mean_x**2), sample * (local(y * y) - mean_y**2)
    covariance = sample * (local(x * y) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mean_x * mean_y + c1) * (2 * covariance + c2))
            / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean()
