"""Auxiliary dense head: teaches the image encoder to keep what a scene is made of.

Per cell of the token grid: does an object's centre project here, where exactly, and with which attributes. The head
exists in training only. Scenes at run time come from the decoder's tokens; the head's own reading of a scene serves as
a probe that says, before a long decoder run, how much the codes still hold (Jaccard index, `probe_scenes`).
The labels it needs are the difference to the paper's VQGAN, which sees images alone; model cards say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens.schema import SceneSchema

#: A cell answers for the object whose projected centre is nearest, up to this distance in cells.
REACH_CELLS = 1.3
#: Weight of a cell that is near a centre without holding it.
NEIGHBOUR_WEIGHT = 0.3
#: Height over the plane, in units, at which the probe puts centres of objects whose size no word tells.
PROBE_HEIGHT = 0.6
#: Offsets in error by less than this, in cells, count by their square. A step of the number grid is about 0.05 cells.
FINE_CELLS = 0.02


@dataclass(frozen=True, eq=False)
class DenseTargets:
    """What each cell of the grid should say; N images, h x w cells."""

    centre: np.ndarray  # (N, h, w) float32, 1 where an object's centre projects into the cell
    weight: np.ndarray  # (N, h, w) float32, 0 where no object is within reach
    offset: np.ndarray  # (N, h, w, 2) float32 from the cell's middle to the centre, in cells (u, v)
    words: np.ndarray  # (N, h, w, A) int64
    yaw: np.ndarray  # (N, h, w, K, 2) float32 cosine and sine of each of K multiples of the yaw
    yaw_weight: np.ndarray  # (N, h, w, K) float32, `weight` where the object looks the same whenever the multiple does

    def tensors(self, device: torch.device) -> dict[str, Tensor]:
        """By name, as `dense_loss` takes them."""
        return {name: torch.as_tensor(value).to(device) for name, value in vars(self).items()}


def yaw_turns(schema: SceneSchema) -> float:
    """How often objects look alike in a whole turn: cubes, every 90 degrees, four times."""
    return 1.0 if schema.yaw is None or schema.yaw.period_rad is None else 2 * np.pi / schema.yaw.period_rad


def yaw_multiples(schema: SceneSchema) -> tuple[int, ...]:
    """The multiples of a yaw that the head says: what differs in each turn and, beside it, in each half, so that the
    axis of a long object is learned before anyone knows its front from its back.
    """
    turns = round(yaw_turns(schema))
    return (1, 2) if turns == 1 else (turns,)


def dense_targets(examples: ExampleSet, canonical: CanonicalCamera, grid: tuple[int, int],
                  multiples: Sequence[int] = (4,), shape_turns: np.ndarray | None = None) -> DenseTargets:
    """Targets of an ExampleSet on a grid (h, w).

    Args:
        multiples: as `yaw_multiples` says.
        shape_turns: by the names of shapes in the examples, how often each looks the same in a whole turn, 0 of round
            ones; None: all objects as often as the first of the multiples.
    """
    rows, columns = grid
    stride = canonical.width / columns
    uv = examples.projected((canonical.fx, canonical.fy), (canonical.cx, canonical.cy))[..., :2] / stride
    uv[np.arange(uv.shape[1])[None] >= examples.count[:, None]] = np.inf
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) + 0.5
    gap = uv[:, None] - cells[None, :, None]  # (N, cells, M, 2)
    distance = np.hypot(gap[..., 0], gap[..., 1])
    owner = distance.argmin(-1)  # (N, cells)
    n, c = np.indices(owner.shape)
    offset = gap[n, c, owner]
    near = distance[n, c, owner] <= REACH_CELLS
    centre = (np.abs(offset) <= 0.5).all(-1)
    yaw = examples.yaw_rad[n, owner][..., None] * np.array(multiples)  # (N, cells, K)
    turns = np.full(owner.shape, multiples[0]) if shape_turns is None else shape_turns[examples.shape[n, owner]]
    turned = ~np.isnan(yaw) & (turns > 0)[..., None] & (np.array(multiples) % np.maximum(turns, 1)[..., None] == 0)
    yaw = np.nan_to_num(yaw)
    weight = np.where(centre, 1.0, np.where(near, NEIGHBOUR_WEIGHT, 0.0)).astype(np.float32)
    shape = (len(examples), rows, columns)
    return DenseTargets(
        centre=centre.astype(np.float32).reshape(shape),
        weight=weight.reshape(shape),
        offset=np.where(near[..., None], offset, 0).astype(np.float32).reshape(*shape, 2),
        words=examples.words[n, owner].reshape(*shape, -1),
        yaw=np.stack([np.cos(yaw), np.sin(yaw)], -1).astype(np.float32).reshape(*shape, -1, 2),
        yaw_weight=(weight[..., None] * turned).reshape(*shape, -1),
    )


class DenseHead(nn.Module):
    """Two 3x3 convolutions and a linear layer on latents or codebook vectors (B, h, w, C).

    The convolutions let neighbouring cells share what one code of ten bits cannot hold.
    """

    def __init__(self, code_dim: int, word_counts: Sequence[int], width: int = 96, multiples: int = 1) -> None:
        """`multiples` are as many as the targets have of the yaw."""
        super().__init__()
        self.word_counts = tuple(word_counts)
        self._multiples = multiples
        self.layers = nn.Sequential(
            nn.Conv2d(code_dim, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 3 + 2 * multiples + sum(self.word_counts), 1),
        )

    @classmethod
    def of(cls, code_dim: int, schema: SceneSchema, width: int = 96) -> DenseHead:
        """For the words and yaws of a schema."""
        return cls(code_dim, [len(values) for values in word_values(schema).values()], width, len(yaw_multiples(schema)))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """-> logit of a centre (B, h, w), offset (B, h, w, 2), yaw (B, h, w, K, 2), logits of each word attribute."""
        out = self.layers(vectors.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()  # whatever the body's precision
        centre, offset, yaw, words = out.split([1, 2, 2 * self._multiples, sum(self.word_counts)], dim=-1)
        return centre.squeeze(-1), offset, yaw.unflatten(-1, (-1, 2)), list(words.split(self.word_counts, dim=-1))


def dense_loss(prediction: tuple[Tensor, Tensor, Tensor, list[Tensor]], targets: dict[str, Tensor]) -> Tensor:
    """Sum of the losses of all parts; `targets` holds the fields of DenseTargets as tensors (B, ...)."""
    centre, offset, yaw, words = prediction
    weight = targets["weight"]
    total = weight.sum().clamp(min=1)
    objectness = F.binary_cross_entropy_with_logits(centre, targets["centre"], reduction="none").mean() * 10
    apart = F.smooth_l1_loss(offset, targets["offset"], reduction="none", beta=FINE_CELLS).sum(-1)
    place = (apart * weight).sum() / total
    loss = objectness + 2 * place + 0.5 * direction_loss(yaw, targets["yaw"], targets["yaw_weight"])
    for i, logits in enumerate(words):
        cross = F.cross_entropy(logits.flatten(0, 2), targets["words"][..., i].flatten(), reduction="none")
        loss = loss + (cross * weight.flatten()).sum() / total
    return loss


def direction_loss(told: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Squared error of directions (..., K, 2), the weighted mean (weight (..., K)) of each multiple, summed. Batches
    without objects teach nothing, and touch every weight.
    """
    weight = weight.flatten(0, -2)
    apart = F.mse_loss(told, true, reduction="none").sum(-1).flatten(0, -2) * weight
    return (apart.sum(0) / weight.sum(0).clamp(min=1)).sum()


@torch.no_grad()
def probe_yaws(yaw: Tensor, targets: DenseTargets) -> list[float]:
    """Of each multiple, the mean cosine of what the head says (N, h, w, K, 2) and the truth, in the cells of centres; 0
    for a guess.
    """
    cosine = F.cosine_similarity(yaw.cpu(), torch.as_tensor(targets.yaw), dim=-1).numpy()
    counted = (targets.centre[..., None] > 0) & (targets.yaw_weight > 0)
    return [float(cosine[..., k][counted[..., k]].mean()) if counted[..., k].any() else 0.0
            for k in range(cosine.shape[-1])]


@torch.no_grad()
def probe_scenes(prediction: tuple[Tensor, Tensor, Tensor, list[Tensor]], examples: ExampleSet, schema: SceneSchema,
                 canonical: CanonicalCamera) -> list[Scene]:
    """Scenes that the dense head reads, in the support-plane frame, units."""
    centre, offset, _, words = prediction
    stride = canonical.width / centre.shape[2]
    names = list(word_values(schema).items())
    scenes = []
    for i in range(len(centre)):
        objects, pinhole = [], canonical.zoomed(examples.zoom(i)).intrinsics()
        for row, column in torch.nonzero(centre[i] > 0).tolist():
            attributes = {name: values[int(w[i, row, column].argmax())] for (name, values), w in zip(names, words)}
            pixel = (np.array([column + 0.5, row + 0.5]) + offset[i, row, column].numpy()) * stride
            extents = schema.extents_m(attributes)
            height = PROBE_HEIGHT if extents is None else extents[2] / 2
            point = examples.plane_camera(i).plane_points(pinhole, pixel, height)
            if np.isfinite(point).all():
                objects.append(SceneObject(attributes, point, confidence=float(centre[i, row, column].sigmoid())))
        scenes.append(Scene(tuple(objects)))
    return scenes


def word_values(schema: SceneSchema) -> dict[str, tuple[str, ...]]:
    """The word attributes of a schema with their values, in the schema's order."""
    return {a.name: a.values for a in schema.words}
