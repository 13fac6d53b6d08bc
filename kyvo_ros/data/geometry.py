"""Rays against solids: where a ray meets them, with which normal, and by how much it misses them.

Knows CLEVR's cubes, spheres and upright cylinders, and cones that stand on their base; each in its own frame: origin at
half the height, z up, turned by the yaw.
Everything is element-wise over rays, so it runs on any device. Lengths in scene units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Indices into `placement.SHAPES`.
SHAPES = CUBE, SPHERE, CYLINDER, CONE = 0, 1, 2, 3
#: Radius of the sphere round each that holds it, in halves.
REACH = (math.sqrt(3.0), 1.0, math.sqrt(2.0), math.sqrt(2.0))
#: The distance of what is not met.
FAR = 1e6
#: Radius of the rounded edges of cubes and cylinders, in halves.
BEVEL = 0.06
_EPS = 1e-9
#: Directions in which the distance to a cone's silhouette is measured.
_DIRECTIONS = 16


def hit(shape: int, origin: tuple[Tensor, ...], ray: tuple[Tensor, ...], half: Tensor) -> Tensor:
    """Parameter t of the nearest point origin + t * ray with t > 0, or FAR; components may broadcast.

    `origin`, `ray`: x, y, z in the solid's frame (`ray` of any length); `half`: radius, or half edge of a cube.
    """
    if shape == SPHERE:
        return _hit_sphere(origin, ray, half)
    if shape == CONE:
        return _hit_cone(origin, ray, half)
    near, far = _slab(origin[2], ray[2], half)
    if shape == CUBE:
        for axis in (0, 1):
            a, b = _slab(origin[axis], ray[axis], half)
            near, far = torch.maximum(near, a), torch.minimum(far, b)
    else:
        a, b = _tube(origin, ray, half)
        near, far = torch.maximum(near, a), torch.minimum(far, b)
    return torch.where((near < far) & (near > 1e-4), near, FAR)


def _hit_sphere(origin: tuple[Tensor, ...], ray: tuple[Tensor, ...], radius: Tensor) -> Tensor:
    a = ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]
    b = origin[0] * ray[0] + origin[1] * ray[1] + origin[2] * ray[2]
    c = origin[0] ** 2 + origin[1] ** 2 + origin[2] ** 2 - radius * radius
    d = b * b - a * c
    t = (-b - d.clamp_min(0).sqrt()) / a
    return torch.where((d > 0) & (t > 1e-4), t, FAR)


def _hit_cone(origin: tuple[Tensor, ...], ray: tuple[Tensor, ...], half: Tensor) -> Tensor:
    """The nearest of both crossings of the side, x^2 + y^2 = ((half - z) / 2)^2 up to the tip, and of the base."""
    fall, below = -0.5 * ray[2], 0.5 * (half - origin[2])
    a = ray[0] * ray[0] + ray[1] * ray[1] - fall * fall
    a = torch.where(a.abs() < _EPS, _EPS, a)
    b = origin[0] * ray[0] + origin[1] * ray[1] - below * fall
    d = b * b - a * (origin[0] ** 2 + origin[1] ** 2 - below * below)
    root = d.clamp_min(0).sqrt()
    nearest = torch.full_like(root, FAR)
    for t in ((-b - root) / a, (-b + root) / a):
        on_side = (d > 0) & ((origin[2] + t * ray[2]).abs() <= half) & (t > 1e-4)
        nearest = torch.where(on_side, torch.minimum(nearest, t), nearest)
    t = (-half - origin[2]) / torch.where(ray[2].abs() < _EPS, _EPS, ray[2])
    on_base = ((origin[0] + t * ray[0]) ** 2 + (origin[1] + t * ray[1]) ** 2 <= half * half) & (t > 1e-4)
    return torch.where(on_base, torch.minimum(nearest, t), nearest)


def _slab(origin: Tensor, ray: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Parameters between which the ray is within +-half of one axis."""
    inverse = 1.0 / torch.where(ray.abs() < _EPS, _EPS, ray)
    middle, extent = -origin * inverse, half * inverse.abs()
    return middle - extent, middle + extent


def _tube(origin: tuple[Tensor, ...], ray: tuple[Tensor, ...], radius: Tensor) -> tuple[Tensor, Tensor]:
    """Parameters between which the ray is inside the endless upright cylinder; empty (FAR, -FAR) when it misses."""
    a = (ray[0] ** 2 + ray[1] ** 2).clamp_min(_EPS)
    b = origin[0] * ray[0] + origin[1] * ray[1]
    d = b * b - a * (origin[0] ** 2 + origin[1] ** 2 - radius * radius)
    root = d.clamp_min(0).sqrt()
    return torch.where(d > 0, (-b - root) / a, FAR), torch.where(d > 0, (-b + root) / a, -FAR)


def clearance(shape: int, origin: tuple[Tensor, ...], ray: tuple[Tensor, ...], half: Tensor) -> Tensor:
    """Signed distance between the line and the solid's silhouette seen along it; negative when the line hits.

    `ray` has unit length. Exact for spheres and beside the edges of a cube's silhouette (axes of the separating axis
    theorem), first order at the round ends of a cylinder's, within a thirtieth of the half for a cone.
    """
    if shape == CONE:
        return _cone_clearance(origin, ray, half)
    ox, oy, oz = origin
    dx, dy, dz = ray
    if shape == SPHERE:
        along = ox * dx + oy * dy + oz * dz
        return (ox * ox + oy * oy + oz * oz - along * along).clamp_min(0).sqrt() - half
    if shape == CUBE:
        ax, ay, az = dx.abs(), dy.abs(), dz.abs()
        pairs = ((oy * dz - oz * dy, ay, az), (oz * dx - ox * dz, az, ax), (ox * dy - oy * dx, ax, ay))
        sides = [(moment.abs() - half * (m + n)) * torch.rsqrt(m * m + n * n + _EPS) for moment, m, n in pairs]
        return torch.maximum(torch.maximum(sides[0], sides[1]), sides[2])
    flat = (dx * dx + dy * dy).clamp_min(_EPS).sqrt()
    across = (ox * dy - oy * dx) / flat / half
    height = (oz * flat - (ox * dx + oy * dy) / flat * dz).abs() - half * flat
    squash = dz.abs().clamp_min(1e-3)
    upper = height.clamp_min(0) / (half * squash)
    square = across * across + upper * upper
    level = square.sqrt()
    slope = (across * across + (upper / squash) ** 2).clamp_min(_EPS).sqrt()
    rounded = (level - 1) * level / slope
    return torch.where(upper > 0, rounded, torch.maximum(across.abs() - 1, height / half - squash)) * half


def _cone_clearance(origin: tuple[Tensor, ...], ray: tuple[Tensor, ...], half: Tensor) -> Tensor:
    """The largest distance, over directions across the line, of the line from the plane that touches the cone there.

    Two directions are those of the silhouette's straight sides, which touch the tip and the rim alike.
    """
    ox, oy, oz = origin
    dx, dy, dz = ray
    flat = (dx * dx + dy * dy).clamp_min(_EPS).sqrt()
    across, upward = (-dy / flat, dx / flat, torch.zeros_like(flat)), (-dz * dx / flat, -dz * dy / flat, flat)
    sine = (1.0 / (math.sqrt(5.0) * flat)).clamp_max(1.0)
    cosine = (1.0 - sine * sine).sqrt()
    angles = [2 * math.pi * step / _DIRECTIONS for step in range(_DIRECTIONS)]
    largest = torch.full_like(flat, -torch.inf)
    for c, s in ((cosine, sine), (-cosine, sine), *((math.cos(angle), math.sin(angle)) for angle in angles)):
        nx, ny, nz = (c * a + s * b for a, b in zip(across, upward))
        support = half * torch.maximum(nz, (nx * nx + ny * ny).sqrt() - nz)  # the tip, or the rim
        largest = torch.maximum(largest, ox * nx + oy * ny + oz * nz - support)
    return largest


def normal(shape: int, point: tuple[Tensor, ...], half: Tensor) -> tuple[Tensor, ...]:
    """Outward unit normal (x, y, z) at a point of the surface, or of a surface of that shape around the centre.

    Edges are rounded as in CLEVR's meshes (BEVEL); a cone's are sharp.
    """
    x, y, z = (p / half for p in point)
    if shape == CUBE:
        inner = (1.0 - BEVEL) * torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs())
        n = [p - torch.clamp(p, -inner, inner) for p in (x, y, z)]
    elif shape == CYLINDER:
        flat = (x * x + y * y).clamp_min(_EPS).sqrt()
        inner = (1.0 - BEVEL) * torch.maximum(flat, z.abs())
        side = (flat - inner).clamp_min(0) / flat
        n = [x * side, y * side, z - torch.clamp(z, -inner, inner)]
    elif shape == CONE:
        flat = (x * x + y * y).clamp_min(_EPS).sqrt()
        base = -1.0 - z > (flat - (1.0 - z) / 2) * (2 / math.sqrt(5.0))  # nearer to it than to the side
        n = [torch.where(base, 0.0, x / flat), torch.where(base, 0.0, y / flat), torch.where(base, -1.0, 0.5)]
    else:
        n = [x, y, z]
    scale = torch.rsqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2 + 1e-12)
    return n[0] * scale, n[1] * scale, n[2] * scale
