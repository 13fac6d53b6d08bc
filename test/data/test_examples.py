"""Example sets: round trips with scenes, files and mirrors."""

import numpy as np
import pytest

from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.scene import PinholeCamera, PlaneCamera, Scene, SceneObject

VALUES = {"size": ("large", "small"), "shape": ("cube", "sphere")}


def _examples() -> ExampleSet:
    scenes = [
        Scene((SceneObject({"size": "small", "shape": "cube"}, [1.0, 2.0, 0.25], 0.3),
               SceneObject({"size": "large", "shape": "sphere"}, [-1.0, 0.5, 0.7]))),
        Scene(),
    ]
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    return ExampleSet.from_scenes(images, scenes, [PlaneCamera(11.0, 0.5), PlaneCamera(12.0, 0.4)], VALUES, max_objects=3)


def test_scenes_round_trip():
    scene = _examples().scene(0, VALUES)
    assert [dict(o.attributes) for o in scene.objects] == [
        {"size": "small", "shape": "cube"}, {"size": "large", "shape": "sphere"}]
    assert np.allclose(scene.positions_m(), [[1, 2, 0.25], [-1, 0.5, 0.7]])
    assert scene.objects[0].yaw_rad == pytest.approx(0.3) and scene.objects[1].yaw_rad is None
    assert len(_examples().scene(1, VALUES)) == 0


def test_files_round_trip_and_slices_concatenate(tmp_path):
    examples = _examples()
    examples.save(tmp_path / "some" / "examples.npz")
    loaded = ExampleSet.load(tmp_path / "some" / "examples.npz")
    joined = ExampleSet.concatenate([loaded[:1], loaded[1:]])
    for name, value in vars(examples).items():
        assert np.array_equal(getattr(joined, name), value, equal_nan=value.dtype.kind == "f"), name


@pytest.mark.parametrize("zoom", [1.0, 1.44])
def test_projection_agrees_with_the_camera(zoom):
    examples = _examples()
    examples.camera[0, 2] = zoom
    uv = examples.projected((140.0, 140.0), (64.0, 38.0))[0, 0]
    camera = PinholeCamera(128, 80, zoom * 140.0, zoom * 140.0, 64.0, 38.0)
    optical = examples.plane_camera(0).plane_T_optical().inverse().apply(examples.position[0, 0])
    assert np.allclose(uv[:2], camera.project(optical), atol=1e-3) and uv[2] == pytest.approx(optical[2], rel=1e-5)


def test_a_mirror_flips_places_and_turns():
    examples = _examples()
    mirrored = examples.mirrored()
    assert np.array_equal(mirrored.images, examples.images[:, :, ::-1])
    before, after = (e.projected((140.0, 140.0), (64.0, 38.0)) for e in (examples, mirrored))
    assert np.allclose(after[0, :2, 0], 128 - before[0, :2, 0], atol=1e-3)
    assert np.allclose(after[0, :2, 1], before[0, :2, 1], atol=1e-3)
    assert mirrored.yaw_rad[0, 0] == pytest.approx(np.pi - 0.3), "what looked along x looks along -x"


def test_faults_are_named():
    with pytest.raises(ValueError, match="at least one"):
        ExampleSet.concatenate([])
    with pytest.raises(ValueError, match="one length"):
        examples = _examples()
        ExampleSet(**{**vars(examples), "count": examples.count[:1]})
