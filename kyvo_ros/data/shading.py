"""What the surfaces of a CLEVR scene send to the camera: rubber, and metal with one mirror bounce.

Knows a `World` and lists of K surface points; knows nothing about pixels. World frame, z up, scene units;
component-first layout as in `world`.

Source: the material nodes of CLEVR's public Rubber.blend and MyMetal.blend; what is marked so is fitted to Cycles
renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kyvo_ros.data import geometry
from kyvo_ros.data.lighting import (
    BACKDROP_DIRECTION, Beams, backdrop_hit, beams_at, direct_light, ground_light, mirror_image, scattered_light)
from kyvo_ros.data.shadows import offsets
from kyvo_ros.data.world import World, dot, into_solid, surface_normal, take

#: Weight of the metal's two lobes, and their half widths for what is not a lamp, in radians.
SHARP_WEIGHT, BROAD_WEIGHT, SHARP_CONE, BROAD_CONE = 0.4, 0.6, 0.05, 0.42
#: GGX alpha and weight of the lobes for the lamps' images, and the brightest image in the sharp one; fitted.
SHARP_ALPHA, SHARP_IMAGE, BROAD_ALPHA, BROAD_IMAGE, BRIGHTEST_IMAGE = 0.05, 0.45, 0.22, 0.27, 1.0
#: Rubber: GGX alpha and weight of the gloss, and reflectance of gloss and sheen at normal incidence.
RUBBER_ALPHA, RUBBER_GLOSS, RUBBER_GLOSS_F0, RUBBER_SHEEN_F0 = 0.35, 0.8, 0.008, 0.028
#: Mirrored ground is not followed further than this, and a mirrored shadow blurs by this much a unit of way.
MIRROR_RANGE, MIRROR_BLUR = 60.0, 0.1


@dataclass(frozen=True)
class Surface:
    """K points on solids, as the camera sees them."""

    solid: Tensor  # (K,) flat index scene * N + object
    scene: Tensor  # (K,)
    own: Tensor  # (K,) object within its scene
    point: Tensor  # (3, K)
    normal: Tensor  # (3, K) unit
    view: Tensor  # (3, K) unit, towards the camera
    albedo: Tensor  # (3, K)

    def take(self, rows: Tensor) -> Surface:
        """Some of the points."""
        return Surface(**{name: take(value, rows) for name, value in vars(self).items()})


def object_light(world: World, solid: Tensor, point: Tensor, spread: float) -> Tensor:
    """Light (3, K) that solids (K,) send to the camera from points (3, K).

    `spread`: half width of a camera ray in radians, under which no shadow's edge is resolved.
    """
    scene, own = solid // world.objects, solid % world.objects
    view = take(world.camera, scene) - point
    distance = dot(view, view).sqrt()
    surface = Surface(solid, scene, own, point, surface_normal(world, solid, point), view / distance,
                      take(world.albedo, solid))
    beams = beams_at(world, scene, point, own, spread * distance)
    light, metal = torch.empty_like(point), take(world.metal, solid)
    for rows, shade in ((torch.nonzero(~metal)[:, 0], rubber_light), (torch.nonzero(metal)[:, 0], metal_light)):
        light.index_copy_(1, rows, shade(world, surface.take(rows), beams.take(rows)))
    return light


def rubber_light(world: World, surface: Surface, beams: Beams) -> Tensor:
    """Light (3, K) from rubber: diffuse under a sheen and a wide, weak gloss, both of which grow at grazing angles."""
    ambient = take(world.ambient, surface.scene)
    grazing = 1 - dot(surface.normal, surface.view).clamp(0.15, 1)
    grazing = grazing**2 * grazing**3  # Schlick's fifth power, several times faster so
    sheen = RUBBER_SHEEN_F0 + (1 - RUBBER_SHEEN_F0) * grazing
    gloss = RUBBER_GLOSS_F0 + (1 - RUBBER_GLOSS_F0) * grazing
    diffuse = surface.albedo * (direct_light(beams, surface.normal) + scattered_light(ambient, surface.normal[2]))
    mirrored = mirror_image(beams, surface.normal, surface.view, RUBBER_ALPHA) + ambient
    return diffuse * ((1 - sheen) * (1 - gloss)) + mirrored * (RUBBER_GLOSS * gloss)


def metal_light(world: World, surface: Surface, beams: Beams) -> Tensor:
    """Light (3, K) from metal: ground and solids mirrored in a sharp and a broad lobe, and the lamps' images."""
    mirror = 2 * dot(surface.normal, surface.view) * surface.normal - surface.view
    ground, sharp, broad = _mirrored_ground(world, surface.scene, surface.point, mirror)
    arriving = ground * (SHARP_WEIGHT * sharp + BROAD_WEIGHT * broad)
    met, t, miss = nearest_solid(world, surface.scene, surface.point, mirror, surface.own)
    rows = torch.nonzero(met >= 0)[:, 0]
    t, miss, met = take(t, rows), take(miss, rows), take(met, rows)
    light = _mirrored_solid(world, met, take(surface.point, rows) + t * take(mirror, rows), MIRROR_BLUR * t)
    sharp, broad = ((0.5 - 0.5 * miss / (cone * t)).clamp(0, 1) for cone in (SHARP_CONE, BROAD_CONE))
    arriving.index_add_(1, rows, (light - take(arriving, rows)) * (SHARP_WEIGHT * sharp + BROAD_WEIGHT * broad))
    lamps = SHARP_IMAGE * mirror_image(beams, surface.normal, surface.view, SHARP_ALPHA).clamp_max(BRIGHTEST_IMAGE)
    lamps = lamps + BROAD_IMAGE * mirror_image(beams, surface.normal, surface.view, BROAD_ALPHA)
    return surface.albedo * (arriving + take(world.highlight, surface.scene) * lamps)


def _mirrored_ground(world: World, scene: Tensor, point: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Light (3, K) from the ground or the backdrop along unit rays (3, K), and the share (K,) of it in either lobe.

    A ray into the black sky is answered by the ground under it, with the share of the lobe that still reaches it.
    """
    along = BACKDROP_DIRECTION[0] * ray[0] + BACKDROP_DIRECTION[1] * ray[1]
    wall = (along / 0.3).clamp(0, 1) * (0.5 + (1.1 * along - ray[2]) / 0.8).clamp(0, 1)  # of the backdrop; fitted
    sharp, broad = (torch.maximum(wall, (0.5 - 0.5 * ray[2] / cone).clamp(0, 1)) for cone in (SHARP_CONE, BROAD_CONE))
    ray = torch.stack([ray[0], ray[1], torch.where(wall > 0, ray[2], ray[2].clamp_max(-0.05))])
    t, slope = backdrop_hit(point, ray)
    t = t.clamp_max(MIRROR_RANGE)
    beams = beams_at(world, scene, point + t * ray, torch.full_like(scene, -1), MIRROR_BLUR * t)
    return take(world.ground, scene) * ground_light(take(world.ambient, scene), beams, slope), sharp, broad


def _mirrored_solid(world: World, solid: Tensor, point: Tensor, blur: Tensor) -> Tensor:
    """Light (3, K) from solids as metal mirrors them: diffuse, whatever they are made of."""
    scene, normal = solid // world.objects, surface_normal(world, solid, point)
    beams = beams_at(world, scene, point, solid % world.objects, blur)
    light = direct_light(beams, normal) + scattered_light(take(world.ambient, scene), normal[2])
    return take(world.albedo, solid) * light


def nearest_solid(world: World, scene: Tensor, origin: Tensor, ray: Tensor, own: Tensor
                  ) -> tuple[Tensor, Tensor, Tensor]:
    """What unit rays (3, K) from points on objects `own` (K,) meet, or pass within BROAD_CONE, first.

    Flat index of the solid (-1: none), distance to where it is met or passed, and by how much the ray misses it
    (negative: hit), (K,) each.
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
    for shape in geometry.SHAPES:
        rows = torch.nonzero(kind == shape)[:, 0]
        which, at, pair = take(solid, rows), take(k, rows), take(pairs, rows)
        turn, half, passed = take(world.turn, which), take(world.half, which), take(along, pair)
        start = into_solid(turn, take(origin, at) - take(world.center, which))
        heading = into_solid(turn, take(ray, at))
        miss = geometry.clearance(shape, start, heading, half)
        hit = torch.minimum(geometry.hit(shape, start, heading, half), passed)
        distance.index_copy_(0, pair, torch.where(miss < BROAD_CONE * passed, hit, geometry.FAR))
        missed.index_copy_(0, pair, miss)
    t, found = distance.reshape(world.objects, count).min(dim=0)
    miss = missed.reshape(world.objects, count).gather(0, found[None])[0]
    return torch.where(t < geometry.FAR, scene * world.objects + found, -1), t, miss
