"""CLEVR folders: frames, yaw, the three layouts, and what malformed folders say."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.data.clevr import ClevrFormatError, clevr_camera, read_clevr
from kyvo_ros.data.convert import scenes_from_batch
from kyvo_ros.data.images import ImageFileError, read_rgb, write_rgb
from kyvo_ros.data.placement import COLORS, sample_scenes
from kyvo_ros.tokens.schema import CLEVR_SCHEMA, ExtentTable, LocationAttribute, SceneSchema, WordAttribute
from kyvo_ros.scene import PLANE_FRAME, relations_of

SHARED = Path(__file__).parents[2].parent / "shared" / "clevr" / "val"


def document(index=0):
    """A scene as the render script writes it, for a camera that CLEVR's jitter could give; two objects and depths."""
    camera = np.array([7.2, -6.8, 5.1])
    forward = -camera / np.linalg.norm(camera)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ camera
    objects = [
        {"shape": "cube", "size": "large", "color": "red", "material": "metal",
         "3d_coords": [1.0, 0.5, 0.7 / math.sqrt(2)], "rotation": 30.0},
        {"shape": "sphere", "size": "small", "color": "blue", "material": "rubber", "3d_coords": [-2.0, 1.5, 0.35],
         "rotation": 10.0},
        {"shape": "cylinder", "size": "small", "color": "gray", "material": "rubber", "3d_coords": [0.5, -2.5, 0.35],
         "rotation": 10.0},
    ]
    for entry in objects:
        optical = world_to_camera @ [*entry["3d_coords"], 1.0]
        u, v = 160 + 350 * optical[0] / optical[2], 120 + 350 * optical[1] / optical[2]
        entry["pixel_coords"] = [u, v, round(optical[2], 3)]
    behind = np.array([forward[0], forward[1], 0]) / np.hypot(*forward[:2])
    return {"image_index": index, "image_filename": f"CLEVR_val_{index:06d}.png", "objects": objects,
            "directions": {"right": right.tolist(), "left": (-right).tolist(), "behind": behind.tolist()},
            "camera": {"width": 320, "height": 240, "fx": 350.0, "fy": 350.0, "cx": 160.0, "cy": 120.0,
                       "world_to_camera": world_to_camera.tolist()}}


def folder_of(root, documents, layout):
    root.mkdir(exist_ok=True)
    images = root / "images" / ("val" if layout == "official" else "")
    for doc in documents:
        write_rgb(images / doc["image_filename"], np.zeros((240, 320, 3), np.uint8))
    if layout == "merged":
        (root / "scenes.json").write_text(json.dumps({"scenes": documents}))
    else:
        (root / "scenes").mkdir()
        if layout == "official":
            (root / "scenes" / "CLEVR_val_scenes.json").write_text(json.dumps({"scenes": documents}))
        else:
            for doc in documents:
                (root / "scenes" / f"{doc['image_index']}.json").write_text(json.dumps(doc))
    return root


@pytest.mark.parametrize("layout", ["merged", "single"])
def test_layouts_with_a_camera(tmp_path, layout):
    samples = read_clevr(folder_of(tmp_path, [document(3), document(1)], layout))
    assert [s.image_index for s in samples] == [1, 3]
    scene, view = samples[0].scene, samples[0].view
    assert samples[0].image().shape == (240, 320, 3)
    assert scene.frame_id == PLANE_FRAME and view.intrinsics == clevr_camera()
    assert view.roll_rad == pytest.approx(0, abs=1e-9)
    assert view.plane.distance_m == pytest.approx(np.linalg.norm([7.2, -6.8, 5.1]))
    assert view.world_T_plane.apply(scene.positions_m()) == pytest.approx(
        np.array([o["3d_coords"] for o in document()["objects"]]))
    optical = view.plane_T_optical().inverse().apply(scene.positions_m())
    assert view.intrinsics.project(optical) == pytest.approx(
        np.array([o["pixel_coords"][:2] for o in document()["objects"]]))


def test_yaw_and_sizes(tmp_path):
    sample = read_clevr(folder_of(tmp_path, [document()], "merged"))[0]
    cube, ball, cylinder = sample.scene.objects
    azimuth = math.atan2(*sample.view.world_T_plane.rotation[1::-1, 0])
    assert cube.yaw_rad == pytest.approx(math.radians(30) - azimuth)
    assert ball.yaw_rad is None and cylinder.yaw_rad is None
    assert cube.size_m == pytest.approx([1.4 / math.sqrt(2)] * 3)
    assert ball.size_m == pytest.approx([0.7] * 3) and cylinder.size_m == pytest.approx([0.7] * 3)
    assert cube.position_m[2] == pytest.approx(cube.size_m[2] / 2)


def test_other_schemas_read_their_own_words_and_sizes(tmp_path):
    own = SceneSchema("fruit", (WordAttribute("shape", "[SHAPE]", ("apple", "pear")), LocationAttribute()),
                      ExtentTable(("shape",), ((("apple",), (0.8, 0.8, 0.7)), (("pear",), (0.6, 0.6, 1.0)))))
    fruit = document()
    fruit["objects"] = [{"shape": "pear", "3d_coords": [1.0, 0.5, 0.5], "rotation": 30.0}]
    folder = folder_of(tmp_path, [fruit], "merged")
    (pear,) = read_clevr(folder, schema=own)[0].scene.objects
    assert dict(pear.attributes) == {"shape": "pear"} and pear.yaw_rad is None
    assert pear.size_m == pytest.approx([0.6, 0.6, 1.0])
    with pytest.raises(ClevrFormatError, match="size"):  # which CLEVR's own schema asks for
        read_clevr(folder)


def test_units_become_metres(tmp_path):
    folder = folder_of(tmp_path / "clevr", [document()], "merged")
    (units,), (metres,) = read_clevr(folder), read_clevr(folder, schema=replace(CLEVR_SCHEMA, metres_per_unit=0.1))
    assert metres.scene.positions_m() == pytest.approx(0.1 * units.scene.positions_m())
    assert metres.scene.objects[0].size_m == pytest.approx(0.1 * units.scene.objects[0].size_m)
    assert metres.view.plane.distance_m == pytest.approx(0.1 * units.view.plane.distance_m)
    assert metres.view.plane.elevation_rad == pytest.approx(units.view.plane.elevation_rad)
    for sample in (units, metres):
        point = sample.view.plane_T_optical().inverse().apply(sample.scene.positions_m()[0])
        seen = document()["objects"][0]["pixel_coords"][:2]
        assert sample.view.intrinsics.project(point) == pytest.approx(seen, abs=0.01)


def test_official_folders_lack_the_camera(tmp_path):
    known = read_clevr(folder_of(tmp_path / "ours", [document()], "merged"))[0]
    bare = copy.deepcopy(document())
    del bare["camera"]
    found = read_clevr(folder_of(tmp_path / "official", [bare], "official"))[0]
    assert found.scene.positions_m() == pytest.approx(known.scene.positions_m())
    assert found.view.intrinsics == known.view.intrinsics
    assert found.view.plane.distance_m == pytest.approx(known.view.plane.distance_m, abs=0.003)
    assert found.view.plane.elevation_rad == pytest.approx(known.view.plane.elevation_rad, abs=0.002)


def test_an_empty_official_scene_gets_the_nominal_camera(tmp_path):
    bare = {**document(), "objects": []}
    del bare["camera"]
    view = read_clevr(folder_of(tmp_path, [bare], "official"))[0].view
    assert view.plane.distance_m == pytest.approx(11.267) and view.plane.elevation_rad == pytest.approx(0.4948)


def test_malformed_folders_are_named(tmp_path):
    with pytest.raises(ClevrFormatError, match="no CLEVR folder"):
        read_clevr(tmp_path)
    broken = folder_of(tmp_path / "a", [document()], "merged")
    (broken / "scenes.json").write_text("{")
    with pytest.raises(ClevrFormatError, match="cannot read"):
        read_clevr(broken)
    missing = folder_of(tmp_path / "b", [document()], "merged")
    (missing / "images" / "CLEVR_val_000000.png").unlink()
    with pytest.raises(ClevrFormatError, match="does not exist"):
        read_clevr(missing)
    lacking = document()
    del lacking["objects"][0]["color"]
    with pytest.raises(ClevrFormatError, match="CLEVR_val_000000.*color"):
        read_clevr(folder_of(tmp_path / "c", [lacking], "merged"))
    strange = document()
    strange["objects"][0]["color"] = "mauve"
    with pytest.raises(ClevrFormatError, match="expected color to be one of .*got 'mauve'"):
        read_clevr(folder_of(tmp_path / "d", [strange], "merged"))
    with pytest.raises(ImageFileError, match="no image file"):
        read_rgb(tmp_path / "none.png")


def test_synthetic_scenes_convert(tmp_path):
    batch = sample_scenes(np.random.default_rng(0), 4)
    pairs = scenes_from_batch(batch)
    assert len(pairs) == 4
    for row, (scene, view) in enumerate(pairs):
        assert len(scene) == batch.count[row] and scene.frame_id == PLANE_FRAME
        world = view.world_T_plane.apply(scene.positions_m())
        assert world == pytest.approx(batch.position[row, :len(scene)], abs=1e-5)
        assert scene.objects[0].attributes["color"] == COLORS[batch.color[row, 0]]
        assert view.plane_T_optical().matrix() == pytest.approx(
            (view.world_T_plane.inverse().matrix() @ batch.world_T_optical[row]), abs=1e-6)


@pytest.mark.skipif(not SHARED.exists(), reason="no rendered CLEVR images at hand")
def test_rendered_images():
    scenes = json.loads((SHARED / "scenes.json").read_text())["scenes"]
    samples = read_clevr(SHARED)
    assert len(samples) == len(scenes)
    for sample, doc in zip(samples, scenes):
        assert sample.image_path.name == doc["image_filename"]
        optical = sample.view.plane_T_optical().inverse().apply(sample.scene.positions_m())
        pixels = np.array([o["pixel_coords"][:2] for o in doc["objects"]])
        assert sample.view.intrinsics.project(optical) == pytest.approx(pixels, abs=0.01)
        for name in ("left", "right", "front", "behind"):
            ours = {(r.object, r.subject) for r in relations_of(sample.scene) if r.predicate == name}
            assert ours == {(i, j) for i, others in enumerate(doc["relationships"][name]) for j in others}
