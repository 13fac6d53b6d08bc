"""The pipeline on a tiny random model: always valid scenes, in the right frame and scale, whatever the camera."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

import kyvo_ros.pipeline
from kyvo_ros.autoencoders.canonical import CanonicalError, to_canonical
from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.image_tokenizer import images_to_tensor, tensor_to_images
from kyvo_ros.autoencoders.looks import Look
from kyvo_ros.model.folder import ModelFolderError, save_model
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.pipeline import DeviceError, KyvoPipeline, choose_device, shipped_model
from kyvo_ros.questions import EDIT, PremiseError, program_of
from kyvo_ros.scene import (
    PLANE_FRAME, Calibration, CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, Scene, SceneObject,
)
from kyvo_ros.scene.records import scene_to_dict

CLEVR = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
OTHER = PinholeCamera(400, 300, 300.0, 310.0, 190.0, 160.0, (0.05, -0.01, 0.001, 0.0, 0.0))


@pytest.fixture(scope="module")
def pipeline():
    return KyvoPipeline(tiny_bundle(), "cpu")


def image(width=320, height=240, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8).repeat(
        20, axis=0).repeat(20, axis=1)


def test_scenes_are_always_valid(pipeline):
    images = [image(seed=seed) for seed in range(12)]
    scenes = pipeline.recognize_batch(images)
    assert len({str(scene_to_dict(scene)) for scene in scenes}) > 1  # the image matters
    for scene in scenes:
        assert scene.frame_id == PLANE_FRAME and len(scene) <= pipeline.schema.max_objects
        for o in scene.objects:
            for word in pipeline.schema.words:
                assert o.attributes[word.name] in word.values
            assert (o.yaw_rad is not None) == (o.attributes["shape"] == "cube")
            assert o.size_m == pytest.approx(pipeline.schema.extents_m(o.attributes))
            assert o.position_m[2] == pytest.approx(o.size_m[2] / 2)
            assert 0 <= o.confidence <= 1 and set(o.attribute_confidence) == set(o.attributes)


def test_one_by_one_and_in_a_batch_are_the_same(pipeline):
    images = [image(), image(400, 300, 1), image(seed=2)]
    cameras = [None, CameraView(OTHER, PlaneCamera(9.0, 0.6), 0.1), CameraView(CLEVR, PlaneCamera(12.0, 0.45))]
    together = pipeline.recognize_batch(images, cameras)
    for one, camera, scene in zip(images, cameras, together):
        alone = pipeline.recognize(one, camera)
        assert [o.label for o in alone.objects] == [o.label for o in scene.objects]
        assert alone.positions_m() == pytest.approx(scene.positions_m(), abs=1e-3)
    assert pipeline.recognize_batch([]) == []


def test_without_a_camera_the_image_is_the_models_own(pipeline):
    bare, pinhole, stated = (scene_to_dict(pipeline.recognize(image(), camera)) for camera in (
        None, CLEVR, CameraView(CLEVR, pipeline.nominal_plane())))
    assert bare == pinhole == stated
    assert scene_to_dict(pipeline.recognize(image(480, 320), None))["frame_id"] == PLANE_FRAME


def test_the_field_is_what_the_model_can_tell(pipeline):
    field = pipeline.field(None)
    far = pipeline.nominal_plane().scaled(3.0)
    assert pipeline.field(far).intrinsics == pipeline.lens(far).intrinsics() != field.intrinsics
    assert pipeline.field(far, 3.0) == field, "a unit three times as long"
    assert field.intrinsics == pipeline.canonical.intrinsics() and field.max_objects == pipeline.schema.max_objects
    numbers = pipeline._grammar.vocabulary.numbers.values()
    assert field.reach_units == numbers[-1] == -numbers[0]
    for scene in pipeline.recognize_batch([image(seed=seed) for seed in range(4)]):
        assert (np.abs(scene.positions_m()[:, :2]) <= field.reach_units * pipeline.schema.metres_per_unit + 1e-9).all()


def test_the_pose_of_the_camera_reaches_the_model(pipeline):
    near, far = (pipeline.recognize(image(seed=5), CameraView(CLEVR, PlaneCamera(d, 0.4))) for d in (5.0, 14.0))
    assert scene_to_dict(near) != scene_to_dict(far)


def test_scale_by_distance(pipeline):
    """A table-top at a twentieth of the nominal distance is the nominal scene, a twentieth as large."""
    nominal = pipeline.nominal_plane()
    large = pipeline.recognize(image(seed=3), CameraView(CLEVR, nominal))
    small = pipeline.recognize(image(seed=3), CameraView(CLEVR, nominal.scaled(0.05)), scale="distance")
    assert len(large)
    for a, b in zip(large.objects, small.objects):
        assert b.label == a.label
        assert b.position_m == pytest.approx(a.position_m * 0.05) and b.size_m == pytest.approx(a.size_m * 0.05)
        assert b.position_covariance_m2 == pytest.approx(a.position_covariance_m2 * 0.0025)
    with pytest.raises(PlaneNotVisibleError, match="distance"):
        pipeline.recognize(image(), CLEVR, scale="distance")
    with pytest.raises(ValueError, match="scale"):
        pipeline.recognize(image(), scale="feet")


def test_scenes_come_calibrated_in_any_scale():
    raw, pipeline = KyvoPipeline(tiny_bundle(), "cpu"), KyvoPipeline(
        replace(tiny_bundle(), calibration=Calibration({"color": 3.0}, 2.0, (4.0, 9.0))), "cpu")
    view = CameraView(CLEVR, raw.nominal_plane().scaled(0.05))
    for before, after in zip(raw.recognize(image(seed=3), view, "distance").objects,
                             pipeline.recognize(image(seed=3), view, "distance").objects):
        assert after.label == before.label and after.confidence != before.confidence
        assert after.attribute_confidence["color"] != before.attribute_confidence["color"]
        np.testing.assert_array_equal(after.position_m, before.position_m)
        assert np.diag(after.position_covariance_m2) == pytest.approx(
            np.diag(before.position_covariance_m2) * [4.0, 9.0, 1.0])


def test_more_effort_is_the_consensus_of_looks(pipeline, monkeypatch):
    """In a batch as alone; several equal looks are the plain look; a table-top is the nominal scene, scaled."""
    images, camera = [image(), image(seed=3)], CameraView(CLEVR, PlaneCamera(12.0, 0.45))
    together = pipeline.recognize_batch(images, [camera] * 2, effort="accurate")
    alone = pipeline.recognize(images[1], camera, effort="accurate")
    assert [o.label for o in alone.objects] == [o.label for o in together[1].objects]
    assert scene_to_dict(alone) != scene_to_dict(pipeline.recognize(images[1], camera))
    small = pipeline.recognize(images[1], CameraView(CLEVR, pipeline.nominal_plane().scaled(0.05)), "distance",
                               "accurate")
    large = pipeline.recognize(images[1], CameraView(CLEVR, pipeline.nominal_plane()), effort="accurate")
    assert small.positions_m() == pytest.approx(large.positions_m() * 0.05)
    monkeypatch.setitem(kyvo_ros.pipeline.EFFORTS, "accurate", (Look(),) * 3)
    same, plain = pipeline.recognize(image(), camera, effort="accurate"), pipeline.recognize(image(), camera)
    assert [o.label for o in same.objects] == [o.label for o in plain.objects]
    assert same.positions_m() == pytest.approx(plain.positions_m(), abs=1e-3)
    with pytest.raises(ValueError, match="effort must be one of"):
        pipeline.recognize(image(), effort="heroic")


@pytest.mark.parametrize("bad, camera, message", [
    (image().astype(np.float32), None, "uint8"),
    (image()[..., 0], None, r"\(H, W, 3\)"),
    (image(200, 200), None, "200x200"),
    (image(200, 200), CLEVR, "200x200 and its camera 320x240"),
])
def test_bad_images_are_named(pipeline, bad, camera, message):
    with pytest.raises(CanonicalError, match=message):
        pipeline.recognize(bad, camera)


def test_a_camera_for_each_image(pipeline):
    with pytest.raises(ValueError, match="each of 2 images"):
        pipeline.recognize_batch([image()] * 2, [None])


def test_timings_cover_the_stages(pipeline):
    pipeline.recognize(image())
    assert set(pipeline.last_timings_s) == {"warp", "encode", "generate", "decode"}
    assert all(seconds > 0 for seconds in pipeline.last_timings_s.values())


def test_from_a_model_folder(pipeline, tmp_path):
    save_model(tmp_path / "tiny", tiny_bundle())
    loaded = KyvoPipeline.from_pretrained(tmp_path / "tiny", device="cpu")
    assert loaded.name == "tiny"
    images = [image(seed=seed) for seed in range(3)]
    assert list(map(len, loaded.recognize_batch(images))) == list(map(len, pipeline.recognize_batch(images)))
    with pytest.raises(ModelFolderError):
        KyvoPipeline.from_pretrained(tmp_path / "none")


def test_the_shipped_model_is_found_where_the_package_is_installed(tmp_path, monkeypatch):
    module = tmp_path / "lib" / "python3.12" / "site-packages" / "kyvo_ros" / "pipeline.py"
    monkeypatch.setattr(kyvo_ros.pipeline, "__file__", str(module))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(ModelFolderError, match="kyvo train"):
        shipped_model()
    overlay = tmp_path / "overlay" / "share" / "kyvo_ros" / "models" / "clevr-nano"
    overlay.mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'overlay'}:{tmp_path / 'else'}")
    assert shipped_model() == overlay
    prefix = tmp_path / "share" / "kyvo_ros" / "models" / "clevr-nano"
    prefix.mkdir(parents=True)
    assert shipped_model() == prefix
    checkout = module.parents[1] / "models" / "clevr-nano"
    checkout.mkdir(parents=True)
    assert shipped_model() == checkout


def test_devices_and_threads():
    with pytest.raises(DeviceError, match="try cpu or auto"):
        KyvoPipeline(tiny_bundle(), "tpu-of-nobody")
    with pytest.raises(ValueError, match="threads"):
        KyvoPipeline(tiny_bundle(), "cpu", threads=0)
    before = torch.get_num_threads()
    try:
        KyvoPipeline(tiny_bundle(), "cpu", threads=3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.cuda
def test_a_gpu_sees_the_same_scenes(pipeline):
    on_gpu = KyvoPipeline(tiny_bundle(), "cuda")
    images = [image(seed=seed) for seed in range(4)]
    for a, b in zip(pipeline.recognize_batch(images), on_gpu.recognize_batch(images)):
        assert [o.label for o in a.objects] == [o.label for o in b.objects]
        assert a.positions_m() == pytest.approx(b.positions_m(), abs=0.01)


def test_folded_batch_normalisation_gives_the_same_codes():
    tokenizer = tiny_bundle().image_tokenizer
    for module in tokenizer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.uniform_(-0.5, 0.5), module.running_var.uniform_(0.5, 2.0)
    images = torch.rand(4, 3, 20, 32) * 2 - 1
    fast = folded(tokenizer)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules())
    torch.testing.assert_close(fast.latents(images), tokenizer.latents(images), rtol=1e-4, atol=1e-4)
    assert (fast.encode(images) == tokenizer.encode(images)).float().mean() > 0.99


def test_the_pipeline_needs_neither_ros_nor_plots():
    code = ("import sys, kyvo_ros.pipeline, kyvo_ros.cli\n"
            "print([m for m in sys.modules if m.split('.')[0] in ('rclpy', 'trimesh', 'matplotlib', 'transformers')])")
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def table_top() -> Scene:
    """A cube 7 cm wide, and a ball 15 cm to the right of it."""
    words = {"size": "small", "color": "red", "material": "rubber"}
    return Scene([SceneObject({**words, "shape": shape}, (x, 0.0, 0.035), size_m=(0.07,) * 3)
                  for shape, x in (("cube", 0.0), ("sphere", 0.15))])


def test_answers_and_edits_follow_the_scale_of_a_scene(pipeline, monkeypatch):
    def says(symbols, *start):
        monkeypatch.setattr(pipeline._programs, "write", lambda *_: (program_of(symbols, *start), 1.0))
    says(["exist", "left", "unique", "sphere", "scene"])
    assert pipeline.answer("?", table_top(), metres_per_unit=0.1).text == "yes"
    assert pipeline.answer("?", table_top()).text == "no", "less than 0.2 m to the left"
    says(["put", "small", "blue", "metal", "sphere", "right", "unique", "sphere", "scene"], EDIT)
    added = pipeline.edit("!", table_top(), metres_per_unit=0.1).objects[-1]
    radius_m = pipeline.schema.extents_m(added.attributes)[0] / 20
    assert np.allclose(added.size_m, 2 * radius_m)
    assert added.position_m[0] == pytest.approx(0.15 + 2 * radius_m + 0.025)
    says(["move", "front", "0", 0.05, "unique", "sphere", "scene"], EDIT)
    assert pipeline.edit("!", table_top(), metres_per_unit=0.1).objects[1].position_m[1] == pytest.approx(-0.05)
    with pytest.raises(PremiseError, match="in the way"):
        pipeline.edit("!", table_top())


def test_a_far_camera_sees_through_a_longer_lens(pipeline, monkeypatch):
    """The same rays through a lens twice as long at twice the distance are the same image to the model."""
    seen = []
    encode = pipeline._image_tokenizer.encode
    monkeypatch.setattr(pipeline._image_tokenizer, "encode", lambda images: seen.append(images) or encode(images))
    distance, steps = pipeline.canonical.nominal_distance, pipeline.canonical.zoom_step**4
    for factor in (1.0, steps):
        lens = PinholeCamera(320, 240, 350.0 * factor, 350.0 * factor, 160.0, 120.0)
        pipeline.recognize(image(), CameraView(lens, PlaneCamera(distance * factor, 0.4948)))
    near, far = seen
    assert (near - far).abs().mean() < 1e-3
    scaled = pipeline.recognize(image(), CameraView(CLEVR, PlaneCamera(distance * steps, 0.4948)), scale="distance")
    assert (seen[-1] - near).abs().mean() < 1e-3 and scaled is not None  # the unit grows, the lens does not


def test_a_picture_of_a_scene_follows_camera_and_scale(pipeline):
    scene = Scene((SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"},
                               [1.0, 0.5, 0.7]),))
    picture = pipeline.render(scene)
    assert picture.shape == (20, 32, 3) and picture.dtype == np.uint8
    assert np.array_equal(pipeline.render(scene, pipeline.nominal_plane()), picture)
    assert not np.array_equal(pipeline.render(scene, PlaneCamera(6.0, 0.7)), picture)
    assert not np.array_equal(pipeline.render(scene, temperature=1.0, seed=1), picture)
    small = Scene((replace(scene.objects[0], position_m=scene.objects[0].position_m / 10),))
    assert np.array_equal(pipeline.render(small, pipeline.nominal_plane().scaled(0.1), metres_per_unit=0.1), picture)
    with pytest.raises(UntrainedTaskError, match="3->I"):
        KyvoPipeline(replace(tiny_bundle(), tasks=("I->3",)), "cpu").render(scene)


def test_through_codes_is_what_the_codes_of_the_canonical_image_hold(pipeline):
    bundle = tiny_bundle()
    canonical = to_canonical(image(), CameraView(CLEVR), bundle.canonical)
    codes = bundle.image_tokenizer.encode(images_to_tensor(canonical[None]))
    expected = tensor_to_images(bundle.image_tokenizer.decode(codes))[0]
    assert np.abs(pipeline.through_codes(image()).astype(int) - expected).max() <= 1


def test_threads_are_the_pipeline_s_own_in_whatever_thread_it_is_called(pipeline):
    """torch counts its threads for each thread that calls it."""
    before, found = torch.get_num_threads(), {}
    own = KyvoPipeline(tiny_bundle(), "cpu", threads=3)
    try:
        def work(name, threads):
            torch.set_num_threads(threads)
            own.recognize(image())
            found[name] = torch.get_num_threads()
        for name, threads in (("one", 1), ("two", 2)):
            thread = threading.Thread(target=work, args=(name, threads))
            thread.start()
            thread.join()
        assert found == {"one": 3, "two": 3}
    finally:
        torch.set_num_threads(before)


def test_a_gpu_that_cannot_compute_is_passed_over(monkeypatch, caplog):
    def fails(*shape, device=None, **options):
        if str(device).startswith("cuda"):
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
        return ones(*shape, device=device, **options)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", fails)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cpu") and "no kernel image" in caplog.text
    with pytest.raises(DeviceError, match="no kernel image"):
        choose_device("cuda")
