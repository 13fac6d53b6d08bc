"""Light from the surfaces of a CLEVR scene: ground and backdrop, rubber, and metal with one mirror bounce.

Knows a `World` and lists of K points; knows nothing about pixels. Light scattered between surfaces is a smooth term fitted to Cycles
renders. World frame, z up, scene units; component-first layout as in `world`.

Source: the material nodes of CLEVR's public Rubber.blend and MyMetal.blend and the ground mesh of its base_scene.blend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kyvo_ros.data import geometry
from kyvo_ros.data.shadows import SHAPES, offsets, visibility
from kyvo_ros.data.world import World, dot, into_solid, surface_normal, take, unit

#: The ground rises behind the scene as (BACKDROP_SCALE / (BACKDROP_END - s))^6, s along BACKDROP_DIRECTION: a fit to the mesh.
BACKDROP_DIRECTION, BACKDROP_SCALE, BACKDROP_END, BACKDROP_HEIGHT = (-0.90321, 0.42920), 12.543, 25.574, 23.2
#: Weight of the metal's two lobes, and their half widths for what is not a lamp, in radians.
SHARP_WEIGHT, BROAD_WEIGHT, SHARP_CONE, BROAD_CONE = 0.4, 0.6, 0.05, 0.42
#: GGX alpha and weight of the lobes for the lamps' images, and the brightest image in the sharp one; fitted to Cycles renders.
SHARP_ALPHA, SHARP_IMAGE, BROAD_ALPHA, BROAD_IMAGE, CLIP = 0.05, 0.45, 0.22, 0.27, 1.0
RUBBER_ALPHA, RUBBER_GLOSS, RUBBER_GLOSS_F0, RUBBER_SHEEN_F0 = 0.35, 0.8, 0.008, 0.028
#: How scattered light falls off from surfaces that look down to ones that look up; its share on the ground and, more, on the wall.
SCATTER_TILT, GROUND_SCATTER, WALL_SCATTER = 0.93, 0.15, 0.4


@dataclass(frozen=True)
class Beams:
    """Light of L lamps at K points; the last axes may also be (B, P)."""

    ray: Tensor  # (L, 3, K) unit, towards the lamp
    strength: Tensor  # (L, K) arriving on a surface that faces the lamp, times this gives light:
    color: Tensor  # (L, 3, K) or (L, 3, B, 1)


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
    """Light that reaches points (3, K) of scenes (K,) lying on objects `own` (K,) or on none (-1)."""
    free, distances = unshadowed(take(world.lamp, scene), take(world.lamp_axis, scene), take(world.lamp_intensity, scene), point)
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
    """Distance along rays (3, ...) to the ground or the backdrop, and the ground's slope there; the distance is infinite for rays into the sky."""
    along, start = (BACKDROP_DIRECTION[0] * v[0] + BACKDROP_DIRECTION[1] * v[1] for v in (ray, origin))
    level = -origin[2] / ray[2].clamp_max(-1e-4)
    wall = (16.5 - start) / along.clamp_min(1e-4)
    t = torch.where(ray[2] < 0, torch.minimum(level, wall), wall)
    for _ in range(3):  # Newton on height of the ray over the ground
        room = (BACKDROP_END - start - t * along).clamp_min(5.0)
        height = (BACKDROP_SCALE / room) ** 3
        height = height * height
        slope = 6.0 * height / room
        t = t - (origin[2] + t * ray[2] - height) / (ray[2] - slope * along).clamp_max(-1e-3)
    missed = (t <= 0) | (origin[2] + t * ray[2] > BACKDROP_HEIGHT)
    return torch.where(missed, torch.inf, t), slope


def ground_normal(slope: Tensor) -> Tensor:
    """Unit normal (3, ...) of ground that rises with this slope along the backdrop's direction."""
    z = torch.rsqrt(slope * slope + 1)
    return torch.stack([-BACKDROP_DIRECTION[0] * slope * z, -BACKDROP_DIRECTION[1] * slope * z, z])


def ground_light(ambient: Tensor, beams: Beams, slope: Tensor) -> Tensor:
    """Irradiance / pi (3, ...) on the ground where it rises with this slope."""
    normal = ground_normal(slope)
    return direct_light(beams, normal) + ambient * (GROUND_SCATTER + WALL_SCATTER * (1 - normal[2]))


def object_light(world: World, solid: Tensor, point: Tensor, spread: float) -> Tensor:
    """Light (3, K) that solids (K,) send to the camera from points (3, K); `spread`: half width of a camera ray in radians."""
    scene = solid // world.objects
    view = take(world.camera, scene) - point
    distance = dot(view, view).sqrt()
    view, normal, albedo = view / distance, surface_normal(world, solid, point), take(world.albedo, solid)
    beams = beams_at(world, scene, point, solid % world.objects, spread * distance)
    light = torch.empty_like(point)
    metal = take(world.metal, solid)
    for rows, shade in ((torch.nonzero(~metal)[:, 0], rubber_light), (torch.nonzero(metal)[:, 0], metal_light)):
        part = Beams(take(beams.ray, rows), take(beams.strength, rows), take(beams.color, rows))
        light.index_copy_(1, rows, shade(world, take(solid, rows), take(point, rows), take(normal, rows), take(view, rows),
                                         take(albedo, rows), part))
    return light


def rubber_light(world: World, solid: Tensor, point: Tensor, normal: Tensor, view: Tensor, albedo: Tensor, beams: Beams) -> Tensor:
    """Light (3, K) from rubber: diffuse under a sheen and a wide, weak gloss, both of which grow at grazing angles."""
    ambient = take(world.ambient, solid // world.objects)
    grazing = 1 - dot(normal, view).clamp(0.15, 1)
    grazing = grazing**2 * grazing**3  # Schlick; several times faster than the fifth power
    sheen, gloss = RUBBER_SHEEN_F0 + (1 - RUBBER_SHEEN_F0) * grazing, RUBBER_GLOSS_F0 + (1 - RUBBER_GLOSS_F0) * grazing
    light = albedo * (direct_light(beams, normal) + scattered_light(ambient, normal[2])) * ((1 - sheen) * (1 - gloss))
    return light + (mirror_image(beams, normal, view, RUBBER_ALPHA) + ambient) * (RUBBER_GLOSS * gloss)


def metal_light(world: World, solid: Tensor, point: Tensor, normal: Tensor, view: Tensor, albedo: Tensor, beams: Beams) -> Tensor:
    """Light (3, K) from metal: one mirror bounce, blurred a little (sharp lobe) and more (broad lobe), and the lamps' images."""
    scene = solid // world.objects
    mirror = 2 * dot(normal, view) * normal - view
    floor, sharp, broad = _mirrored_ground(world, scene, point, mirror)
    arriving = floor * (SHARP_WEIGHT * sharp + BROAD_WEIGHT * broad)
    met, t, miss = nearest_solid(world, scene, point, mirror, solid % world.objects)
    rows = torch.nonzero(met >= 0)[:, 0]
    t, miss, met = take(t, rows), take(miss, rows), take(met, rows)
    light = _mirrored_solid(world, met, take(point, rows) + t * take(mirror, rows), 0.1 * t)
    sharp, broad = ((0.5 - 0.5 * miss / (width * t)).clamp(0, 1) for width in (SHARP_CONE, BROAD_CONE))
    cover = SHARP_WEIGHT * sharp + BROAD_WEIGHT * broad
    arriving.index_add_(1, rows, (light - take(arriving, rows)) * cover)
    lamps = SHARP_IMAGE * mirror_image(beams, normal, view, SHARP_ALPHA).clamp_max(CLIP)
    lamps = lamps + BROAD_IMAGE * mirror_image(beams, normal, view, BROAD_ALPHA)
    return albedo * (arriving + take(world.highlight, scene) * lamps)


def _mirrored_ground(world: World, scene: Tensor, point: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Light (3, K) that comes from the ground or the backdrop along unit rays (3, K), and the share (K,) of it in either lobe.

    A ray into the black sky is answered by the ground under it, with the share of the lobe that still reaches the ground.
    """
    along = BACKDROP_DIRECTION[0] * ray[0] + BACKDROP_DIRECTION[1] * ray[1]
    wall = (along / 0.3).clamp(0, 1) * (0.5 + (1.1 * along - ray[2]) / 0.8).clamp(0, 1)
    z = torch.where(wall > 0, ray[2], ray[2].clamp_max(-0.05))
    t, slope = backdrop_hit(point, torch.stack([ray[0], ray[1], z]))
    t = t.clamp_max(60.0)
    place = point + t * torch.stack([ray[0], ray[1], z])
    beams = beams_at(world, scene, place, torch.full_like(scene, -1), 0.1 * t)
    light = ground_light(take(world.ambient, scene), beams, slope)
    sharp, broad = (torch.maximum(wall, (0.5 - 0.5 * ray[2] / width).clamp(0, 1)) for width in (SHARP_CONE, BROAD_CONE))
    return take(world.ground, scene) * light, sharp, broad


def _mirrored_solid(world: World, solid: Tensor, point: Tensor, blur: Tensor) -> Tensor:
    """Light (3, K) from solids as metal mirrors them: diffuse, whatever they are made of."""
    scene, normal = solid // world.objects, surface_normal(world, solid, point)
    beams = beams_at(world, scene, point, solid % world.objects, blur)
    return take(world.albedo, solid) * (direct_light(beams, normal) + scattered_light(take(world.ambient, scene), normal[2]))


def nearest_solid(world: World, scene: Tensor, origin: Tensor, ray: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What unit rays (3, K) from points on objects `own` (K,) meet, or all but meet, first.

    Flat solid index (K,) (-1: nothing near), distance (K,) to the place met or passed, and by how much the ray misses (K,) (negative: hit).
    """
    count = len(scene)
    offset, limit = offsets(world, scene, origin, own, pad=0.25)
    along = dot(ray[:, None], offset).reshape(-1)
    pairs = torch.nonzero(along > limit.reshape(-1))[:, 0]
    k = pairs % count
    solid = take(scene, k) * world.objects + pairs // count
    kind = take(world.shape, solid)
    distance = torch.full((world.objects * count,), geometry.FAR, device=ray.device)
    missed = distance.clone()
    for shape in SHAPES:
        rows = torch.nonzero(kind == shape)[:, 0]
        which, at, pair = take(solid, rows), take(k, rows), take(pairs, rows)
        turn, half = take(world.turn, which), take(world.half, which)
        start, heading = into_solid(turn, take(origin, at) - take(world.center, which)), into_solid(turn, take(ray, at))
        miss, passed = geometry.clearance(shape, start, heading, half), take(along, pair)
        hit = torch.minimum(geometry.hit(shape, start, heading, half), passed)
        near = miss < BROAD_CONE * passed
        distance.index_copy_(0, pair, torch.where(near, hit, geometry.FAR))
        missed.index_copy_(0, pair, miss)
    t, found = distance.reshape(world.objects, count).min(dim=0)
    miss = missed.reshape(world.objects, count).gather(0, found[None])[0]
    return torch.where(t < geometry.FAR, scene * world.objects + found, -1), t, miss
