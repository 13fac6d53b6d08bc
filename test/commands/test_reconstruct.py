"""Whole objects from one image by a model without sense: meshes where objects stand, files, pictures, scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from tiny_model import tiny_bundle, tiny_shape_bundle

import kyvo_ros.pipeline
from kyvo_ros.autoencoders.looks import Look
from kyvo_ros.autoencoders.shape_meshes import decode_meshes, encode_meshes
from kyvo_ros.cli import main
from kyvo_ros.data.assets import make_asset
from kyvo_ros.data.images import read_rgb, write_rgb
from kyvo_ros.data.mesh_files import read_mesh, write_scene
from kyvo_ros.model.folder import ModelBundle, load_model, save_model
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import CameraView, PinholeCamera, Scene, SceneObject
from kyvo_ros.scene.mesh import MeshError
from kyvo_ros.scene.records import scene_from_dict

CAMERA = PinholeCamera(32, 20, 35.0, 35.0, 16.0, 9.5)


def an_image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (20, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    """A model that sees at least two solid objects in the image; several looks of one without sense agree on nothing."""
    for seed in range(60):
        found = tiny_shape_bundle(seed)
        scene = KyvoPipeline(found, "cpu").reconstruct(an_image(), CAMERA, effort="fast")
        if sum(item.mesh is not None and max(item.size_m) > 0.5 for item in scene.objects) > 1:
            return found
    raise AssertionError("no random model sees solid objects")


@pytest.fixture(scope="module")
def pipeline(bundle: ModelBundle) -> KyvoPipeline:
    return KyvoPipeline(bundle, "cpu")


@pytest.fixture(scope="module")
def scene(pipeline: KyvoPipeline) -> Scene:
    return pipeline.reconstruct(an_image(), CAMERA, effort="fast")


def test_objects_hold_the_meshes_that_their_codes_say(bundle, pipeline, scene) -> None:
    layout = pipeline.recognize(an_image(), CAMERA)
    assert len(layout) == len(scene) and all(item.shape_codes is None and item.mesh is None for item in layout.objects)
    for seen, item in zip(layout.objects, scene.objects):
        assert item.position_m == pytest.approx(seen.position_m, abs=1e-5) and item.confidence == seen.confidence
        (mesh,) = decode_meshes(bundle.shape_tokenizer, item.shape_codes[None], [item.size_m])
        assert (mesh is None) == (item.mesh is None)
        if mesh is not None:
            assert np.array_equal(mesh.vertices, item.mesh.vertices) and np.ptp(mesh.vertices, axis=0).max() > 0
    assert set(pipeline.last_timings_s) >= {"warp", "encode", "generate", "decode"}


def test_shapes_are_written_behind_what_the_looks_agree_on(bundle, monkeypatch) -> None:
    pipeline, one = KyvoPipeline(bundle, "cpu"), KyvoPipeline(bundle, "cpu").recognize(an_image(), CAMERA)
    monkeypatch.setitem(kyvo_ros.pipeline.EFFORTS, "accurate", (Look(),) * 3)
    monkeypatch.setitem(kyvo_ros.pipeline.EFFORTS, "thorough", (Look(zoom=1.0001), Look()))
    said = pipeline._as_said(one, None, 1.0)
    seen = pipeline._see([an_image()], [CAMERA], "units", (Look(),), {})[0]
    codes = pipeline._shapes.shapes_of(seen.codes, seen.cells, bundle.grammar.layout.encode_scene(said, "clamp"))
    for effort in ("accurate", None):
        thrice = pipeline.reconstruct(an_image(), CAMERA, effort=effort)
        for item, same in zip(thrice.objects, one.objects, strict=True):
            assert item.position_m == pytest.approx(same.position_m), "one look thrice is as good as one"
        written = {item.shape_codes.tobytes() for item in thrice.objects}
        assert written == {row.tobytes() for row in codes} and len(written) > 1
    assert len(pipeline.reconstruct(an_image(), CAMERA, effort="thorough")) > 0, "the plain look is added for the shapes"
    few = KyvoPipeline(replace(bundle, schema=replace(bundle.schema, max_objects=1)), "cpu")
    crowd = few._see([an_image()], [CAMERA], "units", (Look(),), {})[0]
    crowd = replace(crowd, scene=Scene((*thrice.objects[:1], replace(thrice.objects[0], confidence=1.0, shape_codes=None))))
    assert [item.shape_codes is None for item in few._with_shapes(crowd).objects] == [True, False], "room for the surest"


def test_sequence_order_takes_one_look(pipeline) -> None:
    alone = pipeline.reconstruct(an_image(), CAMERA, order="sequence")
    layout = pipeline.reconstruct(an_image(), CAMERA, effort="fast")
    assert np.array_equal(alone.objects[0].shape_codes, layout.objects[0].shape_codes)
    with pytest.raises(ValueError, match="of one look; give effort 'fast'"):
        pipeline.reconstruct(an_image(), CAMERA, order="sequence", effort="accurate")
    with pytest.raises(ValueError, match="effort must be one of"):
        pipeline.reconstruct(an_image(), CAMERA, effort="lazy")


def test_metres_stretch_the_meshes_too(pipeline, scene) -> None:
    near = pipeline.nominal_plane().scaled(0.1)
    small = pipeline.reconstruct(an_image(), CameraView(CAMERA, near), scale="distance", effort="fast")
    for item, one in zip(small.objects, scene.objects, strict=True):
        assert item.size_m == pytest.approx(one.size_m / 10)
        if one.mesh is not None:
            assert item.mesh.vertices == pytest.approx(one.mesh.vertices / 10)


def test_codes_of_meshes_are_as_large_as_the_object() -> None:
    torch.manual_seed(0)
    tokenizer, mesh = tiny_shape_bundle().shape_tokenizer, make_asset("box", 0)
    codes = encode_meshes(tokenizer, [mesh, mesh.with_vertices(3 * mesh.vertices)])
    assert codes.shape == (2, 8) and np.array_equal(codes[0], codes[1]), "codes know no scale"
    small, large = decode_meshes(tokenizer, codes, [np.ones(3), 2 * np.ones(3)])
    if small is not None:
        assert large.vertices == pytest.approx(2 * small.vertices)
    assert decode_meshes(tokenizer, np.zeros((1, 8), int), [np.ones(3)]) == [None]
    assert encode_meshes(tokenizer, []).shape == (0, 8)


def test_given_shapes_are_drawn(pipeline, scene) -> None:
    picture = pipeline.render(scene)
    assert picture.shape == (20, 32, 3)
    solid = next(item for item in scene.objects if item.mesh is not None)
    by_mesh = replace(solid, shape_codes=None, mesh=make_asset("box", 0))
    coded = pipeline._shapes.with_codes(Scene((by_mesh,)))
    assert np.array_equal(pipeline.render(Scene((by_mesh,))), pipeline.render(coded))
    with pytest.raises(UntrainedTaskError, match="not trained for task 3->I"):
        pipeline.render(Scene((replace(solid, shape_codes=None, mesh=None),)))


def test_a_scene_is_written_where_its_objects_stand(scene, tmp_path) -> None:
    for name in ("scene.glb", "scene.ply"):
        count = write_scene(tmp_path / name, scene)
        whole = read_mesh(tmp_path / name)
        parts = [item.placed_mesh() for item in scene.objects if item.mesh is not None]
        assert count == len(parts)
        low = np.min([part.bounds[0] for part in parts], axis=0)
        high = np.max([part.bounds[1] for part in parts], axis=0)
        assert whole.bounds == pytest.approx(np.stack([low, high]), abs=1e-4)
    names = trimesh.load_scene(tmp_path / "scene.glb").graph.nodes_geometry
    assert {name.split("_")[1] for name in names} <= {"mug", "bowl", "chair"}
    with pytest.raises(MeshError, match="none of the 1 objects has a mesh"):
        write_scene(tmp_path / "none.glb", Scene((SceneObject({"category": "mug"}, [0, 0, 0]),)))
    with pytest.raises(MeshError, match="cannot write"):
        write_scene(tmp_path / "scene.xyzw", scene)


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(path, bundle)
    return path


def test_the_command_writes_meshes_a_turntable_and_a_scene_to_draw(folder, tmp_path, capsys) -> None:
    write_rgb(tmp_path / "image.png", an_image())
    arguments = ["reconstruct", str(tmp_path / "image.png"), "--model", str(folder), "--device", "cpu",
                 "--effort", "fast"]
    files = ["--out", str(tmp_path / "scene.glb"), "--turntable", str(tmp_path / "around.png"), "--json",
             str(tmp_path / "scene.json")]
    assert main([*arguments, *files, "--views", "4"]) == 0
    assert "written to" in capsys.readouterr().out and len(read_mesh(tmp_path / "scene.glb").faces) > 10
    assert read_rgb(tmp_path / "around.png").shape == (192, 4 * 192, 3)
    (record,) = json.loads((tmp_path / "scene.json").read_text())["scenes"]
    assert all(len(item.shape_codes) == 8 for item in scene_from_dict(record).objects)
    drawing = ["render", str(tmp_path / "scene.json"), "--out", str(tmp_path / "again.png"), "--model", str(folder)]
    assert main(drawing) == 0


def test_models_without_shapes_say_so(tmp_path, capsys) -> None:
    save_model(tmp_path / "flat", tiny_bundle())
    write_rgb(tmp_path / "image.png", an_image())
    assert main(["reconstruct", str(tmp_path / "image.png"), "--out", str(tmp_path / "s.glb"), "--model",
                 str(tmp_path / "flat")]) == 2
    assert "not trained for task I->S, the shapes of objects" in capsys.readouterr().err
    assert main(["evaluate", "objects", "--model", str(tmp_path / "flat")]) == 2
    assert "knows no category of the library" in capsys.readouterr().err


def test_true_scenes_are_drawn_and_recognised_again(folder, tmp_path, capsys) -> None:
    arguments = ["evaluate", "objects", "--count", "1", "--device", "cpu", "--draw"]
    files = ["--json", str(tmp_path / "scores.json"), "--sheet", str(tmp_path / "sheet.png")]
    assert main([*arguments, *files, "--model", str(folder)]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert 0 <= report["drawn_jaccard_0.25"] <= report["drawn_jaccard_0.5"] <= 1
    assert read_rgb(tmp_path / "sheet.png").shape == (120, 480, 3)
    bundle = load_model(folder)
    save_model(tmp_path / "blind", replace(bundle, tasks=("I->3", "I->S")))
    assert main([*arguments, "--model", str(tmp_path / "blind")]) == 2
    assert "not trained for task 3->I, drawing scenes" in capsys.readouterr().err


def test_scenes_of_held_out_objects_are_scored(folder, tmp_path) -> None:
    arguments = ["evaluate", "objects", "--model", str(folder), "--count", "2", "--device", "cpu"]
    assert main([*arguments, "--json", str(tmp_path / "scores.json"), "--sheet", str(tmp_path / "sheet.png")]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["scenes"] == 2 and 0 <= report["jaccard_0.5"] <= 1 and 0 <= report["f_score_0.1"] <= 1
    assert report["effort"] == "accurate"
    assert report["seconds_a_scene"] > 0 and read_rgb(tmp_path / "sheet.png").shape == (240, 360, 3)
