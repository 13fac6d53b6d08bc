"""Soft shadows: what share of each lamp a point sees past the solids of its scene.

A shadow's edge is a ramp as wide as the lamp seen through it: the signed distance by which the ray to the lamp's centre misses the solid's silhouette,
over the lamp's half size scaled to the solid. One evaluation a point, lamp and solid, without sampling noise. Shadows of
several solids multiply. World frame, scene units; component-first layout as in `world`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kyvo_ros.data import geometry
from kyvo_ros.data.world import World, dot, into_solid, take

#: A solid hides at most this share, so that the logarithms that are summed stay finite.
_DARKEST = 0.999
SHAPES = (geometry.CUBE, geometry.SPHERE, geometry.CYLINDER)


def visibility(world: World, scene: Tensor, point: Tensor, own: Tensor, rays: Tensor, distances: Tensor, blur: Tensor) -> Tensor:
    """Share (L, K) of each lamp that points (3, K) of scenes (K,) see.

    `own`: object index (K,) that a point lies on (it casts no shadow on itself), or -1; `rays` (L, 3, K), `distances` (L, K): unit vectors to the
    lamps and lengths; `blur` (K,): smallest half width of a shadow's edge.
    """
    lamps, count = distances.shape
    offset, limit = offsets(world, scene, point, own, pad=0.1)
    along = torch.stack([dot(ray[:, None], offset) for ray in rays])  # (L, N, K)
    pairs = torch.nonzero((along > limit).reshape(-1))[:, 0]
    lamp, k = pairs // (world.objects * count), pairs % count
    solid = take(scene, k) * world.objects + pairs // count % world.objects
    spot = lamp * count + k
    soft = take(world.lamp_half_size.reshape(-1), lamp * world.scenes + take(scene, k)) / take(distances.reshape(-1), spot)
    soft = soft * take(along.reshape(-1), pairs) + take(blur, k)
    flat = rays.transpose(0, 1).reshape(3, -1)
    hidden = _covers(world, solid, soft, lambda rows: (take(point, take(k, rows)), take(flat, take(spot, rows))))
    return _combine(hidden, spot, (lamps, count))


def offsets(world: World, scene: Tensor, point: Tensor, own: Tensor, pad: float) -> tuple[Tensor, Tensor]:
    """Vectors (3, N, K) to the solids' centres, and how far along a ray (N, K) a centre must lie for its bounding sphere to be met.

    The limit is infinite for padding and for a point's own solid.
    """
    batch, n = world.scenes, world.objects
    offset = take(world.center.reshape(3, batch, n).transpose(1, 2), scene) - point[:, None]
    bound = take(world.bound.reshape(batch, n).T, scene)
    limit = (dot(offset, offset) - (bound + pad) ** 2).clamp_min(0).sqrt()
    rest = (bound == 0) | (torch.arange(n, device=own.device)[:, None] == own)
    return offset, limit.masked_fill_(rest, torch.inf)


def _covers(world: World, solid: Tensor, soft: Tensor, point_and_ray: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Share (C,) of its lamp that each solid (C,) hides; `point_and_ray` gives points and unit rays (3, .) of rows of C."""
    cover, kind = torch.empty_like(soft), take(world.shape, solid)
    for shape in SHAPES:
        rows = torch.nonzero(kind == shape)[:, 0]
        which = take(solid, rows)
        turn = take(world.turn, which)
        point, ray = point_and_ray(rows)
        miss = geometry.clearance(shape, into_solid(turn, point - take(world.center, which)), into_solid(turn, ray), take(world.half, which))
        cover.index_copy_(0, rows, (0.5 - 0.5 * miss / take(soft, rows)).clamp_(0, _DARKEST))
    return cover


def _combine(cover: Tensor, spot: Tensor, shape: tuple[int, int]) -> Tensor:
    """Product of what all solids let through, (L, K); `spot`: flat index lamp * K + point."""
    light = torch.zeros(shape[0] * shape[1], device=cover.device)
    return light.index_add_(0, spot, torch.log1p(-cover)).exp_().reshape(shape)


def ground_visibility(world: World, points: Tensor, blur: Tensor, solids: Tensor, lamps: Tensor, owner: Tensor, pixel: Tensor) -> Tensor:
    """Share (L, P) of each lamp that ground points (3, P) see, given which pairs of solid and lamp may meet in which pixel.

    `blur` (P,): smallest half width of a shadow's edge; `solids`, `lamps`: the pairs (X,), grouped by shape; `owner`, `pixel`: candidates (C,), each
    a pair and a point.
    """
    batch, turn, center = solids // world.objects, take(world.turn, solids), take(world.center, solids)
    row = lamps * world.scenes + batch
    lamp = into_solid(turn, take(world.lamp.transpose(0, 1).reshape(3, -1), row) - center)
    table = torch.stack([*center, *turn, *lamp, take(world.half, solids), take(world.lamp_half_size.reshape(-1), row), lamps.float()])
    table = take(table, owner)  # (11, C)
    point = take(torch.cat([points, blur[None]]), pixel)
    stops = torch.searchsorted(take(world.shape, solids), torch.arange(4, device=owner.device))
    stops = torch.searchsorted(owner, stops).tolist()
    cover = torch.empty_like(point[0])
    for shape in SHAPES:
        part = slice(stops[shape], stops[shape + 1])
        t, p = table[:, part], point[:, part]
        start = torch.stack(into_solid(t[3:5], p[:3] - t[:3]))
        ray = t[5:8] - start
        inverse = torch.rsqrt(dot(ray, ray))
        ray = ray * inverse
        soft = t[9] * inverse * (-dot(start, ray)).clamp_min_(0.01) + p[3]
        cover[part] = (0.5 - 0.5 * geometry.clearance(shape, start.unbind(), ray.unbind(), t[8]) / soft).clamp_(0, _DARKEST)
    return _combine(cover, table[10].long() * points.shape[1] + pixel, (world.lamp.shape[0], points.shape[1]))


def shadow_corners(world: World, corners: Tensor) -> Tensor:
    """Where lamps (L) project corners (3, 8, M) of solids to on the ground: (3, 8, L, M), with z = 0.

    A corner as high as its lamp or higher, and one whose shadow lies far out, is taken a little under the lamp instead.
    """
    lamp = world.lamp.repeat_interleave(world.objects, dim=2).transpose(0, 1)[:, None]  # (3, 1, L, M)
    corners = corners[:, :, None]
    scale = lamp[2] / (lamp[2] - corners[2]).clamp_min(0.05 * lamp[2])
    shadow = lamp + (corners - lamp) * scale
    shadow[2] = 0.0
    return shadow
