"""The ray caster: solids appear where and as large as geometry says, in the light that physics says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kyvo_ros.data import geometry
from kyvo_ros.data.look import LookSettings, srgb_from_linear
from kyvo_ros.data.placement import (
    MATERIALS, RADII, SHAPES, SIZES, PlacementError, PlacementSettings, SceneBatch, half_height, look_at, sample_scenes)
from kyvo_ros.data.raycaster import Raycaster
from kyvo_ros.data.stream import REFERENCE_PIXELS, stream_scenes, visible_scenes
from kyvo_ros.scene import Scene, SceneObject, Transform

SMALL = dict(width=64, height=48, fx=70.0, fy=70.0, cx=32.0, cy=24.0)


def make_scene(*objects: tuple, camera: tuple[float, float, float] = (7.5, -6.5, 5.3)) -> SceneBatch:
    """One scene of (x, y, size, color, material, shape[, yaw_rad])."""
    def item(x: float, y: float, *words: str, yaw: float = 0.0) -> SceneObject:
        named = dict(zip(("size", "color", "material", "shape"), words))
        height = float(half_height(SIZES.index(named["size"]), SHAPES.index(named["shape"])))
        return SceneObject(named, [x, y, height], yaw)
    scene = Scene([item(*o[:6], yaw=o[6] if len(o) > 6 else 0.0) for o in objects])
    return SceneBatch.of([scene], [Transform.from_matrix(look_at(np.array([camera]), np.zeros((1, 3)))[0])])


def render(scene: SceneBatch, **settings) -> np.ndarray:
    """(H, W, 3) int of the first scene."""
    return Raycaster(**{**SMALL, **settings}).render(scene)[0][0].numpy().astype(int)


def object_mask(scene: SceneBatch, **settings) -> np.ndarray:
    """(H, W) bool: pixels that differ from the same scene with nothing in it, shadows aside."""
    change = render(scene, **settings) - render(make_scene(), **settings)
    return (change.max(axis=2) - change.min(axis=2)) > 40  # a saturated colour, unlike a shadow


def test_a_sphere_projects_where_it_must() -> None:
    scene = make_scene((1.2, -0.4, "large", "blue", "rubber", "sphere"))
    rows, columns = np.nonzero(object_mask(scene))
    center = np.linalg.inv(scene.world_T_optical[0]) @ [*scene.position[0, 0], 1.0]
    radius = SMALL["fx"] * RADII[0] / center[2]
    assert columns.mean() + 0.5 == pytest.approx(SMALL["fx"] * center[0] / center[2] + SMALL["cx"], abs=0.5)
    assert rows.mean() + 0.5 == pytest.approx(SMALL["fy"] * center[1] / center[2] + SMALL["cy"], abs=0.5)
    assert math.sqrt(len(rows) / math.pi) == pytest.approx(radius, abs=0.4)


def test_visible_pixels_are_the_projected_area() -> None:
    scene = make_scene((0.0, 0.0, "large", "blue", "rubber", "sphere"))
    caster = Raycaster(**SMALL, samples=8)
    depth = np.linalg.norm(scene.position[0, 0] - scene.world_T_optical[0, :3, 3])
    expected = math.pi * (SMALL["fx"] * RADII[0] / depth) ** 2
    assert caster.visible_pixels(scene)[0, 0] == pytest.approx(expected, rel=0.04)
    np.testing.assert_array_equal(caster.visible_pixels(scene), caster.render(scene)[1])


def test_a_hidden_object_shows_nothing_and_takes_nothing() -> None:
    toward = np.array([7.5, -6.5, 0.0]) / math.hypot(7.5, 6.5)
    front = (*(1.2 * toward[:2]), "large", "red", "rubber", "cylinder")
    behind = (*(0.1 * toward[:2]), "small", "blue", "rubber", "sphere")
    alone, both = (Raycaster(**SMALL).visible_pixels(make_scene(*objects)) for objects in ((front,), (behind, front)))
    assert both[0, 0] == 0.0 and both[0, 1] == alone[0, 0]


def test_a_cone_is_a_triangle_from_afar() -> None:
    scene = make_scene((0.0, 0.0, "large", "blue", "rubber", "cone"), camera=(60.0, 0.0, 0.7))
    mask = object_mask(scene, fx=600.0, fy=600.0)
    wide = mask.sum(axis=1)[mask.any(axis=1)]
    np.testing.assert_allclose(wide, np.linspace(0, 14, 29)[1::2][:len(wide)], atol=1.6)  # 1.4 units at 60
    assert len(wide) == pytest.approx(14, abs=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_yaw_turns_cubes_only(shape: str) -> None:
    images = [render(make_scene((0, 0, "large", "red", "rubber", shape, yaw))) for yaw in (0.0, 0.5, math.pi / 2)]
    assert (np.abs(images[0] - images[1]).max() > 10) == (shape == "cube")
    assert np.abs(images[0] - images[2]).max() <= 1


@pytest.mark.parametrize("samples", [1, 2, 4, 8])
def test_more_samples_agree_but_at_edges(samples: int) -> None:
    scene = make_scene((0, 0, "large", "red", "rubber", "cube", 0.4), (2, 1, "small", "green", "metal", "cylinder"))
    assert np.abs(render(scene, samples=samples) - render(scene, samples=8)).mean() < 1.5


def test_solids_darken_the_ground_and_light_falls_off() -> None:
    bare = render(make_scene()).mean(axis=2)
    change = render(make_scene((0, 0, "large", "gray", "rubber", "cube"))).mean(axis=2) - bare
    assert change.min() < -15
    assert bare[36:].mean() > bare[:8].mean() + 10


def test_metal_differs_from_rubber_by_contrast() -> None:
    spread = []
    for material in MATERIALS:
        scene = make_scene((0, 0, "large", "cyan", material, "sphere"))
        spread.append(render(scene)[object_mask(scene)].std(axis=0).mean())
    assert spread[1] > 1.5 * spread[0]


def test_metal_mirrors_its_neighbour() -> None:
    yellowed = []
    for material in MATERIALS:
        middle = (0, 0, "large", "gray", material, "sphere")
        neighbour = (1.3, 0.9, "large", "yellow", "rubber", "sphere")
        change = render(make_scene(middle, neighbour)) - render(make_scene(middle))
        yellowed.append((change[..., 0] - change[..., 2] > 12).sum())
    assert yellowed[1] >= yellowed[0] + 4  # besides the neighbour itself, its mirror image


def test_the_seed_decides_the_look() -> None:
    scenes = sample_scenes(np.random.default_rng(0), 3)
    caster = Raycaster(**SMALL, look=LookSettings.varied())
    one, same, other = (caster.render(scenes, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and (one != other).float().mean() > 0.5
    plain = Raycaster(**SMALL)
    assert torch.equal(plain.render(scenes, seed=1)[0], plain.render(scenes, seed=2)[0])


def test_scenes_do_not_touch_each_other() -> None:
    scenes = sample_scenes(np.random.default_rng(0), 5)
    together, pixels = Raycaster(**SMALL, chunk=5).render(scenes)
    apart, same = Raycaster(**SMALL, chunk=1).render(scenes)
    assert (together.int() - apart.int()).abs().max() <= 1
    np.testing.assert_allclose(pixels, same)


@pytest.mark.parametrize("change", [
    {"exposure_stops": (1.0, 1.0)}, {"white_balance": (0.5, 0.7)}, {"lamp_power": (2.0, 2.0)},
    {"lamp_size": (4.0, 4.0)}, {"ambient": (3.0, 3.0)}, {"ground_shade": (0.5, 0.5)}, {"ground_tint": 0.2},
    {"color_jitter": 0.3}, {"blur_px": (1.0, 1.0)}, {"noise": (0.1, 0.1)}, {"jpeg": (0.2, 0.2)},
    {"highlight": (0.0, 0.0)}])
def test_every_setting_of_the_look_shows(change: dict) -> None:
    scene = make_scene((0, 0, "large", "red", "rubber", "cube"), (2, 1, "large", "green", "metal", "sphere"))
    assert np.abs(render(scene) - render(scene, look=LookSettings(**change))).max() > 3


@pytest.mark.parametrize("bad", [
    {"noise": (-0.1, 0.0)}, {"blur_px": (1.0, 0.5)}, {"ground_tint": -0.1}, {"lamp_power": (2, 1)}])
def test_look_rejects_bad_values(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        LookSettings(**bad)


@pytest.mark.parametrize("bad", [{"width": 0}, {"samples": 3}, {"fx": 0.0}, {"chunk": 0}])
def test_raycaster_rejects_bad_values(bad: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        Raycaster(**bad)


def test_jpeg_says_which_sizes_it_needs() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        render(make_scene(), width=60, look=LookSettings(jpeg=(0.1, 0.1)))


def test_srgb_curve() -> None:
    linear = torch.tensor([-1.0, 0.0, 0.001, 0.2140, 1.0, 7.0])
    expected = torch.tensor([0.0, 0.0, 0.01292, 0.5, 1.0, 1.0])
    torch.testing.assert_close(srgb_from_linear(linear), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", geometry.SHAPES)
def test_clearance_is_negative_just_where_a_line_hits(shape: int) -> None:
    generator = torch.Generator().manual_seed(0)
    ray = torch.nn.functional.normalize(torch.randn(3, 4000, generator=generator), dim=0)
    passing = torch.randn(3, 4000, generator=generator) * 0.8
    origin, half = passing - 10 * ray, torch.full((4000,), 0.7)
    miss = geometry.clearance(shape, tuple(origin), tuple(ray), half)
    met = geometry.hit(shape, tuple(origin), tuple(ray), half) < geometry.FAR
    sure = miss.abs() > (0.7 / 30 if shape == geometry.CONE else 1e-4)
    assert ((miss < 0) == met)[sure].all() and 0.2 < met.float().mean() < 0.9


@pytest.mark.parametrize("shape", geometry.SHAPES)
def test_points_met_lie_on_the_surface_and_face_the_ray(shape: int) -> None:
    generator = torch.Generator().manual_seed(1)
    ray = torch.nn.functional.normalize(torch.randn(3, 2000, generator=generator), dim=0)
    origin, half = torch.randn(3, 2000, generator=generator) * 0.4 - 10 * ray, torch.full((2000,), 0.7)
    t = geometry.hit(shape, tuple(origin), tuple(ray), half)
    point = (origin + t * ray)[:, t < geometry.FAR]
    edge = {geometry.CUBE: point.abs().amax(0), geometry.SPHERE: point.norm(dim=0),
            geometry.CYLINDER: torch.maximum(point[2].abs(), point[:2].norm(dim=0)),
            geometry.CONE: torch.maximum(-point[2], 2 * point[:2].norm(dim=0) + point[2])}[shape]
    torch.testing.assert_close(edge, torch.full_like(edge, 0.7), atol=5e-4, rtol=0)  # rays along a cone's side
    normal = torch.stack(geometry.normal(shape, tuple(point), half[:1]))
    torch.testing.assert_close(normal.norm(dim=0), torch.ones_like(edge))
    assert ((normal * ray[:, t < geometry.FAR]).sum(0) < 0.05).float().mean() > 0.95  # rounded edges may look away


def test_stream_is_decided_by_its_seed_and_shows_every_object() -> None:
    placement, caster = PlacementSettings(max_objects=6), Raycaster(**SMALL)
    streams = [stream_scenes(seed, 6, placement, caster) for seed in (1, 1, 2)]
    for _ in range(2):
        (images, scenes, pixels), (same, twin, _), (other, _, _) = (next(stream) for stream in streams)
        assert torch.equal(images, same) and not torch.equal(images, other)
        np.testing.assert_array_equal(scenes.position, twin.position)
        enough = placement.min_visible_pixels * SMALL["width"] * SMALL["height"] / REFERENCE_PIXELS
        assert images.shape == (6, 48, 64, 3) and images.dtype == torch.uint8
        assert (pixels[scenes.mask] >= enough).all() and not pixels[~scenes.mask].any()


def test_impossible_visibility_is_said() -> None:
    placement = PlacementSettings(max_objects=3, min_visible_pixels=50000)
    with pytest.raises(PlacementError, match="fewer pixels"):
        visible_scenes(np.random.default_rng(0), 1, placement, Raycaster(**SMALL))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu() -> None:
    scenes = sample_scenes(np.random.default_rng(0), 4)
    for look in (LookSettings.plain(), LookSettings.varied()):
        cpu, gpu = (Raycaster(**SMALL, look=look, device=device).render(scenes) for device in ("cpu", "cuda"))
        assert (cpu[0].int() - gpu[0].cpu().int()).abs().float().mean() < 0.5
        np.testing.assert_allclose(cpu[1], gpu[1], atol=1.0)


def test_scenes_of_several_sizes_in_one_batch() -> None:
    one, two = (SceneObject({"size": "small", "color": "cyan", "material": "metal", "shape": name}, [x, 1.0, 0.35], yaw)
                for name, x, yaw in (("sphere", -1.0, None), ("cube", 1.0, 0.5)))
    poses = [Transform.identity(), Transform.from_yaw(1.0, [1.0, 2.0, 3.0])]
    batch = SceneBatch.of([Scene([one, two]), Scene([])], poses)
    assert batch.count.tolist() == [2, 0] and batch.mask.tolist() == [[True, True], [False, False]]
    assert np.allclose(batch.position[0], [[-1.0, 1.0, 0.35], [1.0, 1.0, 0.35]]) and batch.yaw_rad[0, 1] == 0.5
    assert [SHAPES[i] for i in batch.shape[0]] == ["sphere", "cube"] and (batch.size[0] == SIZES.index("small")).all()
    assert np.allclose(batch.world_T_optical[1], poses[1].matrix())


def test_what_it_cannot_draw_is_refused() -> None:
    pink = SceneObject({"size": "small", "color": "pink", "material": "metal", "shape": "cube"}, [0.0, 0.0, 0.2], 0.0)
    with pytest.raises(ValueError, match="pink"):
        SceneBatch.of([Scene([pink])], [Transform.identity()])
