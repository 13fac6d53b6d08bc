"""What published models see with, and where their scenes lie: hand-worked places, and the causal prompt."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.autoencoders.canonical import to_canonical
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.published import PublishedCheckpointError
from kyvo_ros.model.published_sight import from_plane_frame, in_plane_frame, published_schema, stretched_camera
from kyvo_ros.scene import PLANE_FRAME, CameraView, PlaneCamera, Scene, SceneObject
from kyvo_ros.tokens.published_schemas import CAMERA_FRAME, WORLD_FRAME

PLANE = PlaneCamera(10.0, math.pi / 6)


def test_an_image_of_the_trained_size_is_stretched_whole() -> None:
    camera = stretched_camera(256, (320, 240))
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    seen = to_canonical(image, CameraView(camera.assumed_camera(320, 240)), camera)
    assert seen.shape == (256, 256, 3)
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    assert all(np.abs(seen[at].astype(int) - image[at].astype(int)).max() < 80 for at in corners)
    assert camera.fy / camera.fx == pytest.approx(4 / 3)


def test_what_stands_before_clevrs_camera_lies_on_the_axis() -> None:
    """The camera stands at (7.48, -6.51), so that a point at (1, -0.87) is nearer to it than the origin."""
    scene = Scene((SceneObject({"shape": "cube"}, [0.748113, -0.650764, 0.5], yaw_rad=1.0),), WORLD_FRAME)
    moved = in_plane_frame(scene, PLANE)
    assert moved.frame_id == PLANE_FRAME
    assert moved.objects[0].position_m == pytest.approx([0.0, -math.hypot(0.748113, 0.650764), 0.5])
    assert moved.objects[0].yaw_rad == pytest.approx(1.0 - math.atan2(7.48113, 6.50764))


def test_what_the_camera_looks_at_lies_at_the_origin_of_the_plane() -> None:
    covariance = np.diag([1.0, 2.0, 3.0])
    box = SceneObject({"category": "cup"}, [0.0, 0.0, 10.0], size_m=[1, 2, 3], position_covariance_m2=covariance)
    moved = in_plane_frame(Scene((box,), CAMERA_FRAME), PLANE)
    assert moved.objects[0].position_m == pytest.approx([0, 0, 0], abs=1e-9)
    assert moved.objects[0].size_m.tolist() == [3, 1, 2] and moved.frame_id == PLANE_FRAME
    # Forward is 30 degrees under the horizon: its height mixes in with sin^2, the image's vertical with cos^2.
    assert moved.objects[0].position_covariance_m2[2, 2] == pytest.approx(3 * 0.25 + 2 * 0.75)


@pytest.mark.parametrize(("frame", "yaw_rad"), [(WORLD_FRAME, 1.0), (WORLD_FRAME, None), (CAMERA_FRAME, None)])
def test_a_scene_in_the_plane_s_frame_comes_back_as_it_was_said(frame: str, yaw_rad: float | None) -> None:
    covariance = np.diag([1.0, 2.0, 3.0])
    said = SceneObject({"shape": "cup"}, [0.3, -0.2, 8.0], yaw_rad, [1, 2, 3], position_covariance_m2=covariance)
    scene = Scene((said,), frame)
    (back,) = from_plane_frame(in_plane_frame(scene, PLANE), frame, PLANE).objects
    assert back.position_m == pytest.approx(said.position_m) and back.size_m.tolist() == [1, 2, 3]
    assert back.yaw_rad == (None if yaw_rad is None else pytest.approx(yaw_rad))
    assert back.position_covariance_m2 == pytest.approx(covariance)


def test_a_box_before_the_camera_has_no_yaw() -> None:
    box = SceneObject({"category": "cup"}, [0.0, 0.0, 0.0], 0.5, [3, 1, 2])
    moved = from_plane_frame(Scene((box,)), CAMERA_FRAME, PLANE)
    assert moved.frame_id == CAMERA_FRAME and moved.objects[0].position_m == pytest.approx([0, 0, 10.0])
    assert moved.objects[0].yaw_rad is None and moved.objects[0].size_m.tolist() == [1, 2, 3]


def test_other_scenes_stay() -> None:
    scene = Scene((SceneObject({"shape": "cube"}, [1.0, 2.0, 0.5]),))
    assert in_plane_frame(scene, PLANE) is scene
    assert from_plane_frame(scene, PLANE_FRAME, PLANE) is scene
    elsewhere = Scene(scene.objects, "map")
    assert from_plane_frame(elsewhere, WORLD_FRAME, PLANE) is elsewhere


def test_schemas_by_layout() -> None:
    assert published_schema("clevr").frame_id == WORLD_FRAME
    barrels = published_schema("clevr", ["barrel"])
    assert barrels.words[0].values == ("barrel",) and barrels.frame_id == WORLD_FRAME
    assert published_schema("objectron", ["cup", "shoe"]).words[0].values == ("cup", "shoe")
    with pytest.raises(PublishedCheckpointError, match="--names"):
        published_schema("objectron")


@torch.no_grad()
def test_a_causal_prompt_looks_back_alone() -> None:
    bundle = tiny_bundle()
    open_prompt, ids = bundle.decoder, torch.arange(10, 16).unsqueeze(0)
    causal = Decoder(replace(open_prompt.config, causal_prompt=True), bundle.image_tokenizer.codebook).eval()
    causal.load_state_dict(open_prompt.state_dict())
    assert torch.equal(causal(ids, prefix_length=5), open_prompt(ids))
    assert not torch.allclose(open_prompt(ids, prefix_length=5), open_prompt(ids), atol=1e-3)
    cached = CachedDecoder(causal)
    assert torch.allclose(cached.prefill(ids, cached.new_cache(1, 6), prefix_length=5), causal.hidden(ids)[:, -1],
                          atol=1e-4)
