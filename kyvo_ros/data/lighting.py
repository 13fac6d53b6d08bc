"""Lamps and ground of a CLEVR scene: what light arrives where, and how high the ground rises to the backdrop.

Light scattered between surfaces is a smooth term fitted to Cycles renders. World frame, z up, scene units;
component-first layout as in `world`.

Source: the lamps and the ground mesh of CLEVR's public base_scene.blend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kyvo_ros.data.shadows import visibility
from kyvo_ros.data.world import World, dot, take, unit

#: Behind the scene the ground rises as (BACKDROP_SCALE / (BACKDROP_END - s))^6 up to BACKDROP_HEIGHT, with s the
#: distance from the origin along BACKDROP_DIRECTION: a fit to the mesh. BACKDROP_START: where a search begins.
BACKDROP_DIRECTION, BACKDROP_SCALE, BACKDROP_END = (-0.90321, 0.42920), 12.543, 25.574
BACKDROP_HEIGHT, BACKDROP_START = 23.2, 16.5
#: Scattered light: how it falls off from surfaces that look down to ones that look up, its share on level ground, and
#: how much more of it the upright backdrop gets.
SCATTER_TILT, GROUND_SCATTER, WALL_SCATTER = 0.93, 0.15, 0.4


@dataclass(frozen=True)
class Beams:
    """Light of L lamps at K points; the last axis may also be the two axes (B, P) of all pixels of all scenes."""

    ray: Tensor  # (L, 3, K) unit, towards the lamp
    strength: Tensor  # (L, K) times color: irradiance on a surface that faces the lamp
    color: Tensor  # (L, 3, K) or (L, 3, B, 1)

    def take(self, rows: Tensor) -> Beams:
        """The beams at some of the points."""
        return Beams(take(self.ray, rows), take(self.strength, rows), take(self.color, rows))


def unshadowed(lamp: Tensor, axis: Tensor, color: Tensor, point: Tensor) -> tuple[Beams, Tensor]:
    """What reaches points (3, ...) from lamps (L, 3, ...) if nothing is in the way, and the distances (L, ...)."""
    rays, strengths, distances = [], [], []
    for place, facing in zip(lamp, axis):
        ray = place - point
        inverse = torch.rsqrt(dot(ray, ray))
        ray = ray * inverse
        rays.append(ray)
        strengths.append((-dot(ray, facing)).clamp_min_(0) * inverse * inverse)
        distances.append(1.0 / inverse)
    return Beams(torch.stack(rays), torch.stack(strengths), color), torch.stack(distances)


def beams_at(world: World, scene: Tensor, point: Tensor, own: Tensor, blur: Tensor) -> Beams:
    """Light that reaches points (3, K) of scenes (K,) lying on objects `own` (K,) or on none (-1).

    `blur` (K,): smallest half width of a shadow's edge.
    """
    lamp, axis, color = (take(table, scene) for table in (world.lamp, world.lamp_axis, world.lamp_intensity))
    free, distances = unshadowed(lamp, axis, color, point)
    return Beams(free.ray, free.strength * visibility(world, scene, point, own, free.ray, distances, blur), free.color)


def direct_light(beams: Beams, normal: Tensor) -> Tensor:
    """Irradiance / pi (3, ...) on surfaces with this unit normal (3, ...)."""
    light = 0.0
    for ray, strength, color in zip(beams.ray, beams.strength, beams.color):
        light = light + color * (dot(ray, normal).clamp_min(0) * strength * (1 / math.pi))
    return light


def scattered_light(ambient: Tensor, normal_z: Tensor) -> Tensor:
    """Irradiance / pi that other surfaces send to one whose normal has this z: it comes up from the ground."""
    return ambient * (1.0 - SCATTER_TILT * normal_z)


def ground_light(ambient: Tensor, beams: Beams, slope: Tensor) -> Tensor:
    """Irradiance / pi (3, ...) on the ground where it rises with this slope."""
    z = torch.rsqrt(slope * slope + 1)
    normal = torch.stack([-BACKDROP_DIRECTION[0] * slope * z, -BACKDROP_DIRECTION[1] * slope * z, z])
    return direct_light(beams, normal) + ambient * (GROUND_SCATTER + WALL_SCATTER * (1 - z))


def mirror_image(beams: Beams, normal: Tensor, view: Tensor, alpha: float) -> Tensor:
    """GGX reflection (3, K) of the lamps towards `view` (3, K), the unit vector to the eye."""
    light, facing = torch.zeros_like(normal), dot(normal, view).clamp_min(0.05)
    for ray, strength, color in zip(beams.ray, beams.strength, beams.color):
        cosine = dot(normal, unit(ray + view))
        width = cosine * cosine * (alpha * alpha - 1) + 1
        peak = alpha * alpha / (4 * math.pi) / (width * width * facing)
        light += color * (strength * peak * (dot(normal, ray) > 0))
    return light


def backdrop_hit(origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Distance along rays (3, ...) to the ground or the backdrop (infinite: into the sky), and its slope there."""
    along, start = (BACKDROP_DIRECTION[0] * v[0] + BACKDROP_DIRECTION[1] * v[1] for v in (ray, origin))
    level = -origin[2] / ray[2].clamp_max(-1e-4)
    wall = (BACKDROP_START - start) / along.clamp_min(1e-4)
    t = torch.where(ray[2] < 0, torch.minimum(level, wall), wall)
    for _ in range(3):  # Newton's method on the ray's height over the ground
        room = (BACKDROP_END - start - t * along).clamp_min(5.0)
        height = (BACKDROP_SCALE / room) ** 3
        height = height * height  # twice the third power: much faster than the sixth
        slope = 6.0 * height / room
        t = t - (origin[2] + t * ray[2] - height) / (ray[2] - slope * along).clamp_max(-1e-3)
    missed = (t <= 0) | (origin[2] + t * ray[2] > BACKDROP_HEIGHT)
    return torch.where(missed, torch.inf, t), slope
