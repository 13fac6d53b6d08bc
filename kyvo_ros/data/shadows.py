"""Soft shadows: what share of each lamp a point sees past the solids of its scene.

A shadow's edge is a ramp as wide as the lamp seen through it: the signed distance by which the ray to the lamp's centre
misses the solid's silhouette, over the lamp's half size scaled to the solid. That is one evaluation a point, lamp and
solid, without sampling noise. Shadows of several solids multiply. World frame, scene units; component-first layout
as in `world`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kyvo_ros.data import geometry
from kyvo_ros.data.world import World, dot, into_solid, take

#: A solid hides at most this share, so that the logarithms that are summed stay finite.
_DARKEST = 0.999


def visibility(world: World, scene: Tensor, point: Tensor, own: Tensor, rays: Tensor, distances: Tensor, blur: Tensor
               ) -> Tensor:
    """Share (L, K) of each lamp that points (3, K) of scenes (K,) see.

    `own`: object (K,) that a point lies on (it casts no shadow on itself), or -1; `rays` (L, 3, K), `distances` (L, K):
    unit vectors to the lamps and lengths; `blur` (K,): smallest half width of a shadow's edge.
    """
    lamps, count = distances.shape
    offset, limit = offsets(world, scene, point, own, pad=0.1)
    along = torch.stack([dot(ray[:, None], offset) for ray in rays])  # (L, N, K)
    pairs = torch.nonzero((along > limit).reshape(-1))[:, 0]
    lamp, k = pairs // (world.objects * count), pairs % count
    spot, batch = lamp * count + k, take(scene, k)
    solid = batch * world.objects + pairs // count % world.objects
    soft = take(world.lamp_half_size.reshape(-1), lamp * world.scenes + batch) / take(distances.reshape(-1), spot)
    soft = soft * take(along.reshape(-1), pairs) + take(blur, k)
    rays, kind, cover = rays.transpose(0, 1).reshape(3, -1), take(world.shape, solid), torch.empty_like(soft)
    for shape in geometry.SHAPES:
        rows = torch.nonzero(kind == shape)[:, 0]
        which = take(solid, rows)
        turn = take(world.turn, which)
        start = into_solid(turn, take(point, take(k, rows)) - take(world.center, which))
        heading = into_solid(turn, take(rays, take(spot, rows)))
        cover.index_copy_(0, rows, _cover(shape, start, heading, take(world.half, which), take(soft, rows)))
    return _combine(cover, spot, (lamps, count))


def offsets(world: World, scene: Tensor, point: Tensor, own: Tensor, pad: float) -> tuple[Tensor, Tensor]:
    """Vectors (3, N, K) from points to the solids' centres, and limits (N, K) on their projections on a unit ray.

    A ray meets a solid's bounding sphere, widened by `pad`, where the projection is above the limit; the limit is
    infinite for padding and for a point's own solid.
    """
    batch, n = world.scenes, world.objects
    offset = take(world.center.reshape(3, batch, n).transpose(1, 2), scene) - point[:, None]
    bound = take(world.bound.reshape(batch, n).T, scene)
    limit = (dot(offset, offset) - (bound + pad) ** 2).clamp_min(0).sqrt()
    rest = (bound == 0) | (torch.arange(n, device=own.device)[:, None] == own)
    return offset, limit.masked_fill_(rest, torch.inf)


def _cover(shape: int, start: tuple[Tensor, ...], heading: tuple[Tensor, ...], half: Tensor, soft: Tensor) -> Tensor:
    """Share (C,) of a lamp that solids of one shape hide; `soft` (C,): half width of the shadow's edge at the solid."""
    return (0.5 - 0.5 * geometry.clearance(shape, start, heading, half) / soft).clamp_(0, _DARKEST)


def _combine(cover: Tensor, spot: Tensor, shape: tuple[int, int]) -> Tensor:
    """Product of what all solids let through, (L, K); `spot`: flat index lamp * K + point of each cover."""
    light = torch.zeros(shape[0] * shape[1], device=cover.device)
    return light.index_add_(0, spot, torch.log1p(-cover)).exp_().reshape(shape)


def ground_visibility(world: World, points: Tensor, blur: Tensor, solids: Tensor, lamps: Tensor, owner: Tensor,
                      pixel: Tensor) -> Tensor:
    """Share (L, P) of each lamp that ground points (3, P) see, given which pairs of solid and lamp may meet where.

    `blur` (P,): smallest half width of a shadow's edge; `solids`, `lamps`: the pairs (X,), grouped by shape; `owner`,
    `pixel`: candidates (C,), each a pair and a point, in the order of the pairs.
    """
    center, turn = take(world.center, solids), take(world.turn, solids)
    row = lamps * world.scenes + solids // world.objects
    lamp = into_solid(turn, take(world.lamp.transpose(0, 1).reshape(3, -1), row) - center)
    half_size = take(world.lamp_half_size.reshape(-1), row)
    table = take(torch.stack([*center, *turn, *lamp, take(world.half, solids), half_size, lamps.float()]), owner)
    point = take(torch.cat([points, blur[None]]), pixel)
    cover = torch.empty_like(point[0])
    for shape, part in shape_slices(world, solids, owner):
        t, p = table[:, part], point[:, part]
        start = torch.stack(into_solid(t[3:5], p[:3] - t[:3]))
        ray = t[5:8] - start
        inverse = torch.rsqrt(dot(ray, ray))
        ray = ray * inverse
        soft = t[9] * inverse * (-dot(start, ray)).clamp_min_(0.01) + p[3]
        cover[part] = _cover(shape, start.unbind(), ray.unbind(), t[8], soft)
    return _combine(cover, table[10].long() * points.shape[1] + pixel, (len(world.lamp), points.shape[1]))


def shape_slices(world: World, solids: Tensor, owner: Tensor) -> list[tuple[int, slice]]:
    """Each shape and its slice of candidates `owner` (C,): sorted indices into `solids` (X,), grouped by shape."""
    kinds = torch.arange(len(geometry.SHAPES) + 1, device=solids.device)
    stops = torch.searchsorted(owner, torch.searchsorted(take(world.shape, solids), kinds)).tolist()
    return [(shape, slice(stops[shape], stops[shape + 1])) for shape in geometry.SHAPES]


def shadow_corners(world: World, corners: Tensor) -> Tensor:
    """Where lamps (L) project corners (3, 8, M) of solids to on the ground: (3, 8, L, M), with z = 0.

    A corner nearly as high as its lamp, or higher, is treated as a little lower, so that its shadow ends somewhere.
    """
    lamp = world.lamp.repeat_interleave(world.objects, dim=2).transpose(0, 1)[:, None]  # (3, 1, L, M)
    corners = corners[:, :, None]
    scale = lamp[2] / (lamp[2] - corners[2]).clamp_min(0.05 * lamp[2])
    shadow = lamp + (corners - lamp) * scale
    shadow[2] = 0.0
    return shadow
