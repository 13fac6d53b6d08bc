"""The three stages that train an image tokenizer.

`encoder`: encoder and dense head without quantisation. `codes`: the quantiser starts from k-means of the latents and
everything goes on training through it; or from the codes of a model that is there, which may be frozen, so that a
decoder that knows them goes on knowing them while the encoder learns to choose better ones. `pixels`: encoder and codes
frozen, the decoder learns to draw, object pixels weighing more, and what it draws has to look to the encoder like the
codes that it was drawn from: a picture is there to be recognised. Cold quantisation and a plain reconstruction loss
both lose small objects (grey blobs at a good PSNR).

The labels of the dense head tell neither colours nor outlines, and what they do not tell is lost. Where shapes are to
be read from the codes, a sketch head beside it has to say what the image looks like (`sketch_weight` of a recipe).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, images_to_tensor, tensor_to_images
from kyvo_ros.autoencoders.quantizer import perplexity
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.evaluation.image_metrics import psnr, ssim
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.training.batches import ImageBatches
from kyvo_ros.training.dense_head import (
    DenseHead, DenseTargets, dense_loss, dense_targets, probe_scenes, probe_yaws, word_values, yaw_multiples)

#: Weight of the commitment loss beside the dense loss.
COMMITMENT = 0.25
#: Pixels that differ from the ground's blurred look by more than this (in [-1, 1]) count as an object's.
OBJECT_CONTRAST = 0.08
OBJECT_WEIGHT = 4.0
#: Weight of the distance between codebook vectors and the latents of what was drawn from them, beside that of pixels.
LATENT_WEIGHT = 0.2
#: Pixels of a sketch along each side of a cell.
SKETCHED = 4


class SketchHead(nn.Module):
    """Latents or codebook vectors (B, h, w, C) to a small image (B, 3, SKETCHED * h, SKETCHED * w)."""

    def __init__(self, code_dim: int, width: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(code_dim, width, 3, padding=1), nn.SiLU(),
                                    nn.Conv2d(width, 3 * SKETCHED**2, 1), nn.PixelShuffle(SKETCHED))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors.permute(0, 3, 1, 2)).float()


class DenseModel(nn.Module):
    """An image tokenizer with the dense head that trains it, and the one that sketches where a recipe weighs that."""

    def __init__(self, tokenizer: ImageTokenizer, schema: SceneSchema, sketches: bool = False) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.head = DenseHead.of(tokenizer.config.code_dim, schema)
        self.sketch = SketchHead(tokenizer.config.code_dim) if sketches else None


@dataclass(frozen=True, eq=False)
class DenseStage:
    """Stages `encoder` (quantise = False) and `codes` (True): the loss and the probe of a DenseModel."""

    model: DenseModel
    batches: ImageBatches
    held_out: ExampleSet
    schema: SceneSchema
    canonical: CanonicalCamera
    quantise: bool
    frozen: bool = False  # the codebook stays as it is
    sketch_weight: float = 0.0  # of the sketch's loss beside the dense one; above 0 the model has a head for it
    shape_turns: np.ndarray | None = None  # of each shape, where objects have such; see `object_yaws`

    def loss_of(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        images, tensors = self._drawn(rng)
        if self.frozen:
            self.model.tokenizer.quantizer.eval()  # no running means, no restarts
        latents = self.model.tokenizer.latents(images)
        if not self.quantise:
            vectors, commitment = self._read(latents), None
        else:
            vectors, _, commitment = self.model.tokenizer.quantizer(latents)
        loss, numbers = dense_loss(self.model.head(vectors), tensors), {}
        if commitment is not None:
            loss, numbers["commitment"] = loss + COMMITMENT * commitment, float(commitment.detach())
        if self.sketch_weight:
            sketch = self._sketch_loss(vectors, images)
            loss, numbers["sketch"] = loss + self.sketch_weight * sketch, float(sketch.detach())
        return loss, numbers

    def head_loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of the head alone, on what the tokenizer sees as it is."""
        images, tensors = self._drawn(rng)
        self.model.tokenizer.eval()
        with torch.no_grad():
            vectors = self._read(self.model.tokenizer.latents(images))
        return dense_loss(self.model.head(vectors), tensors), {}

    def _sketch_loss(self, vectors: Tensor, images: Tensor) -> Tensor:
        """Mean difference between the images at the size of a sketch and what is sketched of them; objects weigh more.
        """
        drawn = self.model.sketch(vectors)
        small = F.interpolate(images, drawn.shape[-2:], mode="area")
        weight = 1 + OBJECT_WEIGHT * object_pixels(small)
        return ((drawn - small).abs() * weight).sum() / (3 * weight.sum())

    def _drawn(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, 3, H, W) in [-1, 1] and the targets of their cells."""
        examples, images = self.batches.draw(rng)
        return images, self._targets(examples).tensors(images.device)

    def _targets(self, examples: ExampleSet) -> DenseTargets:
        return dense_targets(examples, self.canonical, self.model.tokenizer.grid, yaw_multiples(self.schema),
                             self.shape_turns)

    def _read(self, latents: Tensor) -> Tensor:
        """What the head reads: the vectors of codes, or latents of unit length, as the quantiser will see them."""
        quantizer = self.model.tokenizer.quantizer
        return quantizer.decode(quantizer.encode(latents)) if self.quantise else F.normalize(latents, dim=-1)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Probe on renders held out of training: Jaccard index of the dense head's reading, use of the codes."""
        tokenizer = self.model.tokenizer
        chunks = _chunks(self.held_out.images, self.batches.device)
        latents = torch.cat([tokenizer.latents(images) for images in chunks])
        centre, offset, yaw, words = self.model.head(self._read(latents))
        read = probe_scenes((centre.cpu(), offset.cpu(), yaw.cpu(), [w.cpu() for w in words]), self.held_out,
                            self.schema, self.canonical)
        values = word_values(self.schema)
        pairs = [(scene, self.held_out.scene(i, values)) for i, scene in enumerate(read)]
        numbers = {f"probe_jaccard_{tau}": float(np.mean([jaccard_index(a, b, tau) for a, b in pairs]))
                   for tau in (0.05, 0.25, 0.5)}
        turned = zip(yaw_multiples(self.schema), probe_yaws(yaw, self._targets(self.held_out)))
        numbers |= {f"probe_yaw_{multiple}": cosine for multiple, cosine in turned}
        if self.quantise:
            numbers["perplexity"] = perplexity(tokenizer.quantizer.encode(latents), tokenizer.config.codebook_size)
        return numbers

    def warm_up_codes(self, rng: np.random.Generator, batches: int = 12) -> None:
        """Fit the codebook to the latents of a few batches, before the first step of `codes`."""
        self.model.eval()
        with torch.no_grad():
            latents = [self.model.tokenizer.latents(self.batches.draw(rng)[1]).flatten(0, 2) for _ in range(batches)]
            self.model.tokenizer.quantizer.fit(torch.cat(latents))


@dataclass(frozen=True, eq=False)
class PixelStage:
    """Stage `pixels`: the tokenizer's decoder learns to draw from frozen codes."""

    tokenizer: ImageTokenizer
    batches: ImageBatches
    held_out: ExampleSet
    added: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, dict[str, float]]] | None = None  # `PictureModel.added`

    def freeze(self) -> None:
        for module in (self.tokenizer.encoder, self.tokenizer.quantizer):
            module.requires_grad_(False)

    def loss_of(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        _, images = self.batches.draw(rng, varied=False)
        self.tokenizer.encoder.eval()  # its batch statistics are frozen with it
        self.tokenizer.quantizer.eval()
        vectors = self.tokenizer.quantizer.decode(self.tokenizer.encode(images))
        drawn = self.tokenizer.pixels(vectors)
        weight = 1 + OBJECT_WEIGHT * object_pixels(images)
        error = (drawn - images).abs() + 0.5 * (_edges(drawn) - _edges(images)).abs().sum(1, keepdim=True)
        pixels = (error * weight).sum() / (3 * weight.sum())
        weight = F.adaptive_max_pool2d(weight, self.tokenizer.grid).squeeze(1)
        missed = (F.normalize(self.tokenizer.latents(drawn), dim=-1) - vectors).square().sum(-1)
        latents = (missed * weight).sum() / weight.sum()
        loss = pixels + LATENT_WEIGHT * latents
        numbers = {"pixels": float(pixels.detach()), "latents": float(latents.detach())}
        if self.added is None:
            return loss, numbers
        more, named = self.added(images, drawn, loss)
        return loss + more, {**numbers, **named}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """PSNR and SSIM on renders held out of training, how many codes they use, and the share of codes that the
        encoder reads again from what was drawn of them.
        """
        images = self.held_out.images
        codes = torch.cat([self.tokenizer.encode(chunk) for chunk in _chunks(images, self.batches.device)])
        drawn = torch.cat([self.tokenizer.decode(part) for part in codes.split(32)])
        again = torch.cat([self.tokenizer.encode(part) for part in drawn.split(32)])
        truth = images_to_tensor(images).to(drawn.device)
        pairs = [((a.permute(1, 2, 0).cpu().numpy() + 1) / 2, (b.permute(1, 2, 0).cpu().numpy() + 1) / 2)
                 for a, b in zip(drawn, truth)]
        return {"psnr_db": float(np.mean([psnr(a, b) for a, b in pairs])),
                "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
                "codes_used": int(len(codes.unique())), "codes_kept": float((codes == again).float().mean()),
                "perplexity": perplexity(codes, self.tokenizer.config.codebook_size)}


@torch.no_grad()
def reconstruction_sheet(tokenizer: ImageTokenizer, images: np.ndarray, scale: int = 1) -> np.ndarray:
    """uint8 RGB picture: images (N, H, W, 3) in the upper row of each pair, what their codes hold below."""
    device = next(tokenizer.parameters()).device
    drawn = tensor_to_images(tokenizer.decode(tokenizer.encode(images_to_tensor(images).to(device))))
    columns = min(4, len(images))
    rows = [np.concatenate(list(part[i: i + columns]), axis=1)
            for i in range(0, len(images) - columns + 1, columns) for part in (images, drawn)]
    return np.concatenate(rows).repeat(scale, axis=0).repeat(scale, axis=1)


def object_pixels(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 1, H, W) 0 or 1: where colour or contrast speaks of an object."""
    blurred = F.pad(images, (12, 12, 12, 12), mode="replicate")
    for along in ((25, 1), (1, 25)):  # both at once would take ten times as long
        blurred = F.avg_pool2d(blurred, along, stride=1)
    contrast = (images - blurred).abs().amax(1, keepdim=True)
    chroma = images.amax(1, keepdim=True) - images.amin(1, keepdim=True)
    return ((contrast > OBJECT_CONTRAST) | (chroma > 2 * OBJECT_CONTRAST)).float()


def _edges(images: Tensor) -> Tensor:
    """Horizontal and vertical differences (B, 6, H, W)."""
    right = F.pad(images[..., 1:] - images[..., :-1], (0, 1))
    down = F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))
    return torch.cat([right, down], dim=1)


def _chunks(images: np.ndarray, device: torch.device, size: int = 32) -> list[Tensor]:
    return [images_to_tensor(images[i:i + size]).to(device) for i in range(0, len(images), size)]
