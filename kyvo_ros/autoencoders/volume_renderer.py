"""A differentiable renderer of feature grids: rays through a density that falls off across the surface.

Density comes from the signed distance as in VolSDF (arXiv 2106.12052) with a sigmoid in place of Laplace's
distribution; colour is the voxels' own. It draws one shape in its cube, or a scene of shapes at poses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.autoencoders.slats import COLOR, DISTANCE, TRUNCATION

#: Half the length of a ray through the unit cube.
_REACH = math.sqrt(3) / 2


@dataclass(frozen=True)
class RenderSettings:
    """How a picture is drawn. Lengths are in edges of the cube for a shape, in metres for a scene."""

    size_px: int = 48
    samples: int = 64  # points on a ray
    sharpness: float = 0.5  # voxels over which a surface turns solid
    background: float = 1.0  # grey level behind everything

    def __post_init__(self) -> None:
        if min(self.size_px, self.samples) < 2 or self.sharpness <= 0:
            raise ValueError(f"expected at least 2 pixels and samples and a positive sharpness, got {self}")


@dataclass(frozen=True, eq=False)
class PlacedShape:
    """A shape in a scene."""

    grid: Tensor  # (8, R, R, R)
    rotation: Tensor  # (3, 3) from the shape's frame to the scene's
    center_m: Tensor  # (3,) of its cube, in the scene
    edge_m: float  # of its cube


def view_directions(azimuth_rad: Tensor, elevation_rad: Tensor) -> Tensor:
    """(B, 3, 3) rows right, up and towards the viewer, z up, for angles (B,)."""
    sin_a, cos_a, sin_e, cos_e = azimuth_rad.sin(), azimuth_rad.cos(), elevation_rad.sin(), elevation_rad.cos()
    towards = torch.stack([cos_e * cos_a, cos_e * sin_a, sin_e], -1)
    right = torch.stack([-sin_a, cos_a, torch.zeros_like(sin_a)], -1)
    return torch.stack([right, torch.linalg.cross(towards, right), towards], 1)


def render_shapes(grids: Tensor, views: Tensor, settings: RenderSettings) -> Tensor:
    """Grids (B, 8, R, R, R) and views (B, 3, 3) of `view_directions` -> (B, 3, H, W) in [0, 1], parallel projection."""
    points, step = _parallel_rays(views, settings, _REACH)
    found = _sampled(grids, points)
    density = _density(found[:, 0], step * grids.shape[-1], settings).masked_fill((points.abs() > 0.5).any(-1), 0.0)
    return _composite(density, found[:, 1:], settings)


def render_scene(shapes: list[PlacedShape], origins_m: Tensor, directions: Tensor, near_m: float, far_m: float,
                 settings: RenderSettings) -> Tensor:
    """Rays (H, W, 3) from points in unit directions through shapes that may hide each other -> (3, H, W) in [0, 1]."""
    depth = torch.linspace(near_m, far_m, settings.samples, device=origins_m.device)
    points = origins_m[None] + depth[:, None, None, None] * directions[None]  # (S, H, W, 3)
    total = points.new_zeros(1, *points.shape[:3])
    color = points.new_zeros(1, 3, *points.shape[:3])
    for shape in shapes:
        local = (points - shape.center_m) @ shape.rotation / shape.edge_m
        found = _sampled(shape.grid[None], local[None])
        voxels = (far_m - near_m) / settings.samples / shape.edge_m * shape.grid.shape[-1]
        density = _density(found[:, 0], voxels, settings).masked_fill((local.abs() > 0.5).any(-1), 0.0)
        total, color = total + density, color + density.unsqueeze(1) * found[:, 1:]
    return _composite(total, color / total.clamp(min=1e-6).unsqueeze(1), settings)[0]


def _parallel_rays(views: Tensor, settings: RenderSettings, reach: float) -> tuple[Tensor, float]:
    """Points (B, S, H, W, 3) on rays, the nearest first, and the step between them, in edges of the cube."""
    line = (torch.arange(settings.size_px, device=views.device) + 0.5) / settings.size_px * 2 - 1
    depth = (torch.arange(settings.samples, device=views.device) + 0.5) / settings.samples * 2 - 1
    z, y, x = torch.meshgrid(-depth, -line, line, indexing="ij")
    return reach * torch.stack([x, y, z], -1).unsqueeze(0) @ views[:, None, None], 2 * reach / settings.samples


def _sampled(grids: Tensor, points: Tensor) -> Tensor:
    """Distance and colour (B, 4, ...) of grids at points (B, S, H, W, 3) of the cube [-0.5, 0.5]^3."""
    shown = torch.cat([grids[:, DISTANCE:DISTANCE + 1], grids[:, COLOR]], dim=1)
    return F.grid_sample(shown, points.flip(-1) * 2, align_corners=False, padding_mode="border")


def _density(distance: Tensor, voxels: float, settings: RenderSettings) -> Tensor:
    """Optical depth of a step of so many voxels where the feature distance has these values."""
    return voxels * torch.sigmoid(-distance * TRUNCATION / (settings.sharpness / 4)) / settings.sharpness * 2


def _composite(density: Tensor, color: Tensor, settings: RenderSettings) -> Tensor:
    """Optical depths (B, S, H, W) and colours (B, 3, S, H, W), front to back -> (B, 3, H, W)."""
    through = torch.exp(-torch.cumsum(density, dim=1))
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    weight = (before - through).unsqueeze(1)
    return (weight * color).sum(2) + through[:, -1:] * settings.background
