"""A batch of CLEVR scenes as tensors: solids, lamps, ground, with the look's random draws in them.

Component-first layout throughout: points, directions and colours are (3, K), tables have the scene or the solid last,
so that every operation runs over contiguous memory. World frame, z up, scene units; radiance is linear RGB, 1 is the
white of the view transform.

Source of the constants: the lamps, the sun and the colours of CLEVR's public base_scene.blend and properties.json;
AMBIENT is fitted to Cycles renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.data import geometry
from kyvo_ros.data.look import LookSettings, draw
from kyvo_ros.data.placement import MATERIALS, RADII, SceneBatch, half_height

#: Albedo of placement.COLORS; CLEVR writes its 8-bit values straight into the linear shader.
PALETTE = torch.tensor([[87, 87, 87], [173, 35, 35], [42, 75, 215], [29, 105, 20],
                        [129, 74, 25], [129, 38, 192], [41, 208, 208], [255, 238, 51]]) / 255.0
#: Radiant intensity on the axis of key, back and fill lamp: power / pi, times colour.
LAMP_INTENSITY = torch.tensor([[25.0], [12.5], [7.5]]) * torch.tensor(
    [[1.0, 0.932, 0.817], [1.0, 1.0, 1.0], [0.762, 0.818, 1.0]])
LAMP_SIZE = (0.5, 1.0, 0.5)  # edges of the square lamps
SUN_DIRECTION = (0.41450, -0.19458, 0.88900)
SUN_IRRADIANCE, SUN_HALF_ANGLE_RAD, SUN_DISTANCE = 0.45, 0.1, 1000.0
GROUND_ALBEDO = 0.8
AMBIENT = 0.1  # scattered irradiance / pi on an upright surface


@dataclass(frozen=True)
class World:
    """B scenes of N padded objects: M = B * N solids (index scene * N + object); L = 4 lamps: key, back, fill, sun."""

    scenes: int  # B
    objects: int  # N
    center: Tensor  # (3, M)
    turn: Tensor  # (2, M) cosine and sine of the yaw
    half: Tensor  # (M,) radius, or half edge of a cube
    bound: Tensor  # (M,) radius of the bounding sphere; 0 for padding, which nothing meets
    shape: Tensor  # (M,) index into placement.SHAPES
    albedo: Tensor  # (3, M)
    metal: Tensor  # (M,) bool
    camera: Tensor  # (3, B)
    rotation: Tensor  # (3, 3, B) optical to world; second index is the optical axis
    lamp: Tensor  # (L, 3, B) positions; the sun stands far away
    lamp_axis: Tensor  # (L, 3, B) unit, the way a lamp faces
    lamp_intensity: Tensor  # (L, 3, B) on the axis; the sun's is irradiance * distance^2
    lamp_half_size: Tensor  # (L, B)
    ambient: Tensor  # (B,) scattered irradiance / pi
    ground: Tensor  # (3, B) albedo
    highlight: Tensor  # (B,) factor on the lamps' mirror images


def build_world(scenes: SceneBatch, look: LookSettings, generator: torch.Generator, device: torch.device) -> World:
    """Tensors of the scenes, with the look's light and colours drawn from `generator`."""
    batch, n = scenes.position.shape[:2]

    def last(array: np.ndarray) -> Tensor:
        """(B, ...) array to a float tensor (..., B)."""
        return torch.as_tensor(np.ascontiguousarray(np.moveaxis(array, 0, -1), np.float32), device=device)

    def solids(array: np.ndarray) -> Tensor:
        """(B, N, ...) array to a float tensor (..., M)."""
        return last(array.reshape(batch * n, *array.shape[2:]))

    shape = torch.as_tensor(scenes.shape.reshape(-1), device=device)
    half = solids(np.where(scenes.shape == geometry.CUBE, half_height(scenes.size, scenes.shape), RADII[scenes.size]))
    reach = torch.tensor(geometry.REACH, device=device)[shape]
    albedo = PALETTE[torch.as_tensor(scenes.color.reshape(-1))].T.contiguous().to(device)
    albedo = albedo + draw((-look.color_jitter, look.color_jitter), albedo.shape, generator, device)
    sun = SUN_DISTANCE * torch.tensor(SUN_DIRECTION, device=device)[None, :, None].expand(1, 3, batch)
    lamp = torch.cat([last(scenes.lights), sun])
    intensity = torch.cat([LAMP_INTENSITY, torch.full((1, 3), SUN_IRRADIANCE * SUN_DISTANCE**2)]).to(device)[..., None]
    half_size = torch.tensor([*(0.5 * s for s in LAMP_SIZE), SUN_HALF_ANGLE_RAD * SUN_DISTANCE], device=device)[:, None]
    tint = draw((1 - look.ground_tint, 1 + look.ground_tint), (3, batch), generator, device)
    return World(
        scenes=batch, objects=n, center=solids(scenes.position), shape=shape, half=half,
        bound=half * reach * solids(scenes.mask), albedo=albedo.clamp(0.01, 1.0),
        turn=torch.stack([solids(np.cos(scenes.yaw_rad)), solids(np.sin(scenes.yaw_rad))]),
        metal=torch.as_tensor(scenes.material.reshape(-1) == MATERIALS.index("metal"), device=device),
        camera=last(scenes.world_T_optical[:, :3, 3]), rotation=last(scenes.world_T_optical[:, :3, :3]),
        lamp=lamp, lamp_axis=-lamp / lamp.norm(dim=1, keepdim=True),
        lamp_intensity=intensity * draw(look.lamp_power, (4, 1, batch), generator, device),
        lamp_half_size=half_size * draw(look.lamp_size, (batch,), generator, device),
        ambient=AMBIENT * draw(look.ambient, (batch,), generator, device),
        ground=GROUND_ALBEDO * tint * draw(look.ground_shade, (batch,), generator, device),
        highlight=draw(look.highlight, (batch,), generator, device))


def take(table: Tensor, index: Tensor) -> Tensor:
    """table[..., index] (several times faster than the indexing operator)."""
    return table.index_select(table.dim() - 1, index)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the leading axis of 3."""
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


def unit(vector: Tensor) -> Tensor:
    """Vectors (3, ...) scaled to unit length."""
    return vector * torch.rsqrt(dot(vector, vector) + 1e-12)


def into_solid(turn: Tensor, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """World vectors (3, ...) in the frames of solids whose cosines and sines are `turn` (2, ...)."""
    x = torch.addcmul(turn[0] * vector[0], turn[1], vector[1])
    return x, torch.addcmul(turn[0] * vector[1], turn[1], vector[0], value=-1.0), vector[2]


def out_of_solid(turn: Tensor, vector: tuple[Tensor, ...]) -> Tensor:
    """Vectors (3, ...) in the world frame; inverse of `into_solid`."""
    x, y, z = vector
    return torch.stack([turn[0] * x - turn[1] * y, turn[1] * x + turn[0] * y, z])


def surface_normal(world: World, solid: Tensor, point: Tensor) -> Tensor:
    """Unit normals (3, K), world frame, of solids (K,) at points (3, K) on them; edges are rounded as CLEVR's are."""
    half, turn = take(world.half, solid), take(world.turn, solid)
    local = torch.stack(into_solid(turn, point - take(world.center, solid)))
    kind, normal = take(world.shape, solid), torch.empty_like(point)
    for shape in geometry.SHAPES:
        rows = torch.nonzero(kind == shape)[:, 0]
        normal[:, rows] = torch.stack(geometry.normal(shape, take(local, rows).unbind(), take(half, rows)))
    return out_of_solid(turn, normal.unbind())
