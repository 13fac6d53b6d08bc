"""Ray caster for CLEVR-like scenes: batches of scenes in, RGB images and visible pixel counts out.

Rays are tested only against the objects whose bounding rectangle they lie in, and shadows fall only into the rectangles
of the objects' projections from the lamps. A pixel has several rays, but each object is shaded once a pixel, and so is
the ground. Does not know where scenes come from (`placement`), how surfaces look (`shading`) nor how an image is
developed (`look`). Optical frame x right, y down, z forward; the image spans [0, width] x [0, height], pixel centres
lie at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.data import geometry, lighting, shading, shadows
from kyvo_ros.data.look import LookSettings, develop
from kyvo_ros.data.placement import SceneBatch
from kyvo_ros.data.world import World, build_world, dot, into_solid, out_of_solid, take

#: Places of a pixel's rays, in pixels from its corner: rotated grids, by their number.
SAMPLE_PATTERNS = {
    1: ((0.5, 0.5),),
    2: ((0.25, 0.25), (0.75, 0.75)),
    4: ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875)),
    8: ((0.5625, 0.3125), (0.4375, 0.6875), (0.8125, 0.5625), (0.3125, 0.1875),
        (0.1875, 0.8125), (0.0625, 0.4375), (0.6875, 0.9375), (0.9375, 0.0625)),
}
#: Solids are this much larger when the place of their shadows is looked up, for the shadows' soft edges.
SHADOW_PAD = 0.1
_NEAR = 0.1  # objects nearer to the camera than this, in scene units, are not drawn
_CORNERS = tuple((i, j, k) for i in (-1.0, 1.0) for j in (-1.0, 1.0) for k in (-1.0, 1.0))


@dataclass(frozen=True)
class Fragments:
    """What is seen of objects: F pairs of a pixel and a solid."""

    pixel: Tensor  # (F,) flat index scene * H * W + row * W + column
    solid: Tensor  # (F,) flat index scene * N + object
    share: Tensor  # (F,) of the pixel's rays that end on the solid
    point: Tensor  # (3, F) mean of the points hit, world frame


class Raycaster:
    """Renders `SceneBatch`es with one pinhole camera; sizes in pixels.

    `samples`: rays a pixel (1, 2, 4 or 8); `chunk`: scenes rendered at a time, which bounds the memory.
    """

    def __init__(self, width: int = 128, height: int = 96, fx: float = 140.0, fy: float = 140.0, cx: float = 64.0,
                 cy: float = 48.0, samples: int = 4, look: LookSettings = LookSettings(),
                 device: str | torch.device = "cpu", chunk: int = 16) -> None:
        if width < 1 or height < 1 or chunk < 1:
            raise ValueError(f"width, height and chunk must be positive, got {width}, {height}, {chunk}")
        if not (fx > 0 and fy > 0):
            raise ValueError(f"focal lengths must be positive, got {fx}, {fy}")
        if samples not in SAMPLE_PATTERNS:
            raise ValueError(f"samples must be one of {sorted(SAMPLE_PATTERNS)}, got {samples}")
        self.width, self.height, self.fx, self.fy, self.cx, self.cy = width, height, fx, fy, cx, cy
        self.samples, self.look, self.device, self.chunk = samples, look, torch.device(device), chunk
        self._spread = 0.4 / fx  # half width of a pixel's ray, radians
        u = (torch.arange(width, device=self.device) + 0.5 - cx) / fx
        v = (torch.arange(height, device=self.device) + 0.5 - cy) / fy
        self._u, self._v = (x.reshape(-1) for x in torch.meshgrid(u, v, indexing="xy"))  # (H * W,)
        self._pattern = torch.tensor(SAMPLE_PATTERNS[samples], device=self.device).T[..., None]  # (2, S, 1)

    @torch.no_grad()
    def render(self, scenes: SceneBatch, seed: int = 0) -> tuple[Tensor, np.ndarray]:
        """Images (B, H, W, 3) uint8 RGB, and the pixels (B, N) float32 that each object covers visibly.

        `seed` decides the look's random draws and nothing else.
        """
        generator = torch.Generator().manual_seed(seed)
        images, visible = [], []
        for start in range(0, len(scenes), self.chunk):
            world = build_world(scenes.select(slice(start, start + self.chunk)), self.look, generator, self.device)
            fragments = self._cast(world)
            images.append(develop(self._shade(world, fragments), self.look, generator))
            visible.append(self._count(world, fragments))
        return torch.cat(images), torch.cat(visible).cpu().numpy()

    @torch.no_grad()
    def visible_pixels(self, scenes: SceneBatch) -> np.ndarray:
        """Pixels (B, N) float32 that each object covers visibly; like `render`, without the shading."""
        generator, parts = torch.Generator(), []
        for start in range(0, len(scenes), self.chunk):
            world = build_world(scenes.select(slice(start, start + self.chunk)), LookSettings(), generator, self.device)
            parts.append(self._count(world, self._cast(world)))
        return torch.cat(parts).cpu().numpy()

    def _count(self, world: World, fragments: Fragments) -> Tensor:
        count = torch.zeros(world.scenes * world.objects, device=self.device)
        return count.index_add_(0, fragments.solid, fragments.share).reshape(world.scenes, world.objects)

    def _rectangles(self, world: World, points: Tensor, scene: Tensor) -> Tensor:
        """Pixel rectangles (4, X) - first column, first row, width, height - around points (3, 8, X) of scenes (X,)."""
        offset = points - take(world.camera, scene)[:, None]
        rotation = take(world.rotation, scene)[:, :, None]
        x, y, z = (dot(offset, rotation[:, i]) for i in range(3))
        depth = z.clamp_min(_NEAR)
        place = torch.stack([self.fx * x / depth + self.cx, self.fy * y / depth + self.cy])  # (2, 8, X)
        size = torch.tensor([[self.width], [self.height]], device=self.device)
        first = torch.minimum(place.amin(1).floor().clamp_min(0), size).long()
        last = torch.minimum(place.amax(1).ceil().clamp_min(0), size).long()
        return torch.cat([first, (last - first).clamp_min(0) * (z.amax(0) > _NEAR)])

    def _pixels_in(self, rectangles: Tensor, scene: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All pixels of rectangles (4, X) of scenes (X,): the rectangle, column, row, and flat pixel, (C,) each."""
        area = rectangles[2] * rectangles[3]
        owner = torch.repeat_interleave(torch.arange(len(area), device=self.device), area)
        begin, base = torch.cumsum(area, 0) - area, scene * (self.width * self.height)
        left, top, wide, begin, base = take(torch.cat([rectangles[:3], torch.stack([begin, base])]).int(), owner)
        within = torch.arange(len(owner), device=self.device, dtype=torch.int32) - begin
        down = torch.div(within, wide, rounding_mode="floor")
        column, row = within - down * wide + left, down + top
        return owner, column, row, base + row * self.width + column

    def _corners(self, world: World, pad: float) -> Tensor:
        """Corners (3, 8, M) of the solids' bounding boxes, world frame, widened by `pad`."""
        signs = torch.tensor(_CORNERS, device=self.device).T[..., None]
        return world.center[:, None] + out_of_solid(world.turn[:, None], (signs * (world.half + pad)).unbind())

    def _order(self, world: World) -> Tensor:
        """The solids, without padding, grouped by shape."""
        order = torch.argsort(world.shape + len(geometry.SHAPES) * (world.bound == 0), stable=True)
        return order[:int((world.bound > 0).sum())]

    def _cast(self, world: World) -> Fragments:
        """Primary rays: which objects each pixel shows, and how much of each."""
        order = self._order(world)
        scene = order // world.objects
        rectangles = self._rectangles(world, take(self._corners(world, 0.0), order), scene)
        owner, column, row, pixel = self._pixels_in(rectangles, scene)
        u = (column + self._pattern[0] - self.cx) / self.fx  # (S, C)
        v = (row + self._pattern[1] - self.cy) / self.fy
        depth = self._depths(world, order, owner, u, v)
        seen = self._nearest(depth, pixel, world.scenes)
        share = seen.sum(0) / self.samples
        rows = torch.nonzero(share)[:, 0]
        u, v, share, solid = take(u, rows), take(v, rows), take(share, rows), take(order, take(owner, rows))
        depth = torch.where(take(seen, rows), take(depth, rows), 0.0) / (share * self.samples)
        scene = solid // world.objects
        optical = torch.stack([(depth * u).sum(0), (depth * v).sum(0), depth.sum(0)])
        point = take(world.camera, scene) + (take(world.rotation, scene) * optical).sum(1)
        return Fragments(take(pixel, rows).long(), solid, share, point)

    def _depths(self, world: World, solids: Tensor, owner: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Depth (S, C), or FAR, at which rays (u, v, 1) meet solids[owner]; `solids` are grouped by shape."""
        scene, turn = solids // world.objects, take(world.turn, solids)
        origin = into_solid(turn, take(world.camera, scene) - take(world.center, solids))
        rotation = take(world.rotation, scene)
        axes = [axis for i in range(3) for axis in into_solid(turn, rotation[:, i])]
        table = take(torch.stack([*origin, *axes, take(world.half, solids)]), owner)  # (13, C)
        depth = torch.empty_like(u)
        for kind, part in shadows.shape_slices(world, solids, owner):
            t, across, down = table[:, part], u[:, part], v[:, part]
            ray = tuple(torch.addcmul(torch.addcmul(t[9 + i], t[3 + i], across), t[6 + i], down) for i in range(3))
            depth[:, part] = geometry.hit(kind, (t[0], t[1], t[2]), ray, t[12])
        return depth

    def _nearest(self, depth: Tensor, pixel: Tensor, scenes: int) -> Tensor:
        """Bool (S, C): the candidate is the nearest along this ray."""
        pixels = scenes * self.height * self.width
        slot = pixel + pixels * torch.arange(self.samples, device=self.device)[:, None]
        hits = torch.nonzero((depth < geometry.FAR).reshape(-1))[:, 0]
        slot, value = take(slot.reshape(-1), hits), take(depth.reshape(-1), hits)
        buffer = torch.full((self.samples * pixels,), geometry.FAR, device=self.device)
        buffer.scatter_reduce_(0, slot, value, "amin")
        seen = torch.zeros(depth.numel(), dtype=torch.bool, device=self.device)
        return seen.index_copy_(0, hits, take(buffer, slot) == value).reshape(depth.shape)

    def _shade(self, world: World, seen: Fragments) -> Tensor:
        """Linear light (B, H, W, 3)."""
        image = self._ground(world)  # (3, B * H * W)
        bare = torch.ones(image.shape[1], device=self.device).index_add_(0, seen.pixel, seen.share, alpha=-1.0)
        image *= bare.clamp_min_(0)
        image.index_add_(1, seen.pixel, shading.object_light(world, seen.solid, seen.point, self._spread) * seen.share)
        return image.reshape(3, world.scenes, self.height, self.width).permute(1, 2, 3, 0)

    def _ground(self, world: World) -> Tensor:
        """Light (3, B * H * W) from the ground and the backdrop, in every pixel."""
        camera, turn = world.camera[..., None], world.rotation[..., None]
        ray = turn[:, 0] * self._u + turn[:, 1] * self._v + turn[:, 2]  # (3, B, H * W)
        t, slope = lighting.backdrop_hit(camera.expand_as(ray), ray)
        sky = torch.isinf(t)
        t = torch.where(sky, 1.0, t)
        point = camera + t * ray
        lamps = (table[..., None] for table in (world.lamp, world.lamp_axis, world.lamp_intensity))
        beams, _ = lighting.unshadowed(*lamps, point)
        visible = self._ground_visibility(world, point.reshape(3, -1), (self._spread * t).reshape(-1))
        beams = lighting.Beams(beams.ray, beams.strength * visible.reshape(beams.strength.shape), beams.color)
        light = lighting.ground_light(world.ambient[:, None], beams, slope)
        return (world.ground[..., None] * light * ~sky).reshape(3, -1)

    def _ground_visibility(self, world: World, points: Tensor, spread: Tensor) -> Tensor:
        """Share (L, B * H * W) of each lamp that the ground in every pixel sees."""
        order, count = self._order(world), len(world.lamp)
        solids = order.repeat_interleave(count)
        lamps = torch.arange(count, device=self.device).repeat(len(order))
        corners = shadows.shadow_corners(world, self._corners(world, SHADOW_PAD)).reshape(3, 8, -1)
        rectangles = self._rectangles(world, take(corners, lamps * len(world.half) + solids), solids // world.objects)
        owner, _, _, pixel = self._pixels_in(rectangles, solids // world.objects)
        return shadows.ground_visibility(world, points, spread, solids, lamps, owner, pixel)
