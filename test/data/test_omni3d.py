"""Omni3D's format: a file by hand, the synthetic writer's, and the published quantisation of both."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_model import text_tokenizer

from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.omni3d import Box, Omni3dFormatError, read_omni3d
from kyvo_ros.data.omni3d_synthetic import METRES_PER_UNIT, write_omni3d
from kyvo_ros.data.placement import SHAPES, PlacementSettings
from kyvo_ros.tokens import SceneGrammar, Vocabulary
from kyvo_ros.tokens.published_schemas import CAMERA_FRAME, objectron


def annotation(number: int, **change) -> dict:
    return {"id": number, "image_id": 7, "category_id": 3, "category_name": "cup", "valid3D": True,
            "bbox2D_tight": [-1, -1, -1, -1], "bbox2D_proj": [1, 2, 3, 4], "bbox2D_trunc": [1, 2, 3, 4],
            "bbox3D_cam": [[0, 0, 1]] * 8, "center_cam": [0.11, -0.02, 1.52], "dimensions": [0.08, 0.1, 0.07],
            "R_cam": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "behind_camera": False, "visibility": -1, "truncation": 0.0,
            "segmentation_pts": -1, "lidar_pts": -1, "depth_error": -1, **change}


@pytest.fixture
def document() -> dict:
    image = {"id": 7, "dataset_id": 8, "width": 40, "height": 30, "file_path": "objectron/train/cup/7.jpg",
             "K": [[50.0, 0.0, 20.0], [0.0, 51.0, 15.0], [0.0, 0.0, 1.0]], "src_90_rotate": 0, "src_flagged": False}
    return {"info": {"id": "o", "source": 8, "name": "Objectron Train", "split": "train", "version": "0.1", "url": ""},
            "images": [image, {**image, "id": 8, "file_path": "objectron/train/cup/8.jpg"}],
            "categories": [{"id": 3, "name": "cup", "supercategory": ""}],
            "annotations": [annotation(0), annotation(1, valid3D=False), annotation(2, behind_camera=True),
                            annotation(3, category_name="shoe")]}


def write(folder: Path, document: object) -> Path:
    (folder / "Objectron_train.json").write_text(json.dumps(document))
    return folder / "Objectron_train.json"


def test_a_file_by_hand(document: dict, tmp_path: Path) -> None:
    write_rgb(tmp_path / "objectron" / "train" / "cup" / "7.jpg", np.full((30, 40, 3), 90, np.uint8))
    one, two = read_omni3d(write(tmp_path, document), tmp_path)
    assert (one.image_id, one.file_path, one.image().shape) == (7, "objectron/train/cup/7.jpg", (30, 40, 3))
    assert (one.camera.fx, one.camera.fy, one.camera.cx, one.camera.cy) == (50.0, 51.0, 20.0, 15.0)
    assert [box.category for box in one.boxes] == ["cup", "shoe"] and two.boxes == ()
    scene = one.scene()
    assert scene.frame_id == CAMERA_FRAME and scene.objects[0].size_m.tolist() == [0.08, 0.1, 0.07]


def test_arkitscenes(tmp_path: Path) -> None:
    """Frames of a tablet upright in a room, furniture turned about the vertical; boxes without 3D hold -1."""
    turn = [[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]]
    frame = {"id": 30, "dataset_id": 11, "width": 192, "height": 256, "K": [[211.9, 0.0, 95.4], [0.0, 211.9, 127.1],
             [0.0, 0.0, 1.0]], "src_90_rotate": 1, "src_flagged": False,
             "file_path": "ARKitScenes/Training/41069021/41069021_frames/lowres_wide/41069021_305.377.png"}
    unknown = {"valid3D": False, "center_cam": [-1, -1, -1], "dimensions": [-1, -1, -1], "R_cam": -1, "bbox3D_cam": -1}
    entries = [annotation(0, image_id=30, category_name="cabinet", center_cam=[-0.5, 0.4, 2.6],
                          dimensions=[0.6, 0.9, 1.2], R_cam=turn, lidar_pts=512, depth_error=0.02),
               annotation(1, image_id=30, category_name="night stand", center_cam=[0.7, 0.5, 3.1],
                          dimensions=[0.4, 0.5, 0.4], R_cam=turn),
               annotation(2, image_id=30, category_name="sofa", **unknown)]
    (sample,) = read_omni3d(write(tmp_path, {"images": [frame], "annotations": entries}), tmp_path)
    assert (sample.camera.width, sample.camera.height, sample.camera.fx) == (192, 256, 211.9)
    assert sample.image_path == tmp_path / frame["file_path"]
    cabinet, stand = sample.boxes
    assert (cabinet.category, stand.category) == ("cabinet", "night stand")
    first, second = cabinet.corners_m()[:2]
    assert second - first == pytest.approx([0.96, 0.0, -0.72]), "1.2 m along its length"
    assert [o.attributes["category"] for o in sample.scene().objects] == ["cabinet", "night"]


def test_a_category_of_two_words_is_said_by_the_first(document: dict, tmp_path: Path) -> None:
    """As the published evaluation reads it: see the case multiword_category of test/reference/scene_parsing.json."""
    document["annotations"] = [annotation(0, category_name="cereal box")]
    sample = read_omni3d(write(tmp_path, document), tmp_path)[0]
    assert sample.boxes[0].category == "cereal box"
    grammar = SceneGrammar(Vocabulary.published_objectron(), text_tokenizer().with_words(["cereal"]),
                           objectron(["cereal"]))
    (said,) = grammar.decode_scene(grammar.encode_scene(sample.scene(), "clamp")).objects
    assert said.attributes == {"category": "cereal"}


def test_corners_are_in_the_order_of_the_file() -> None:
    """Width 1, height 2, length 3: length lies along x, height along y (down), width along z."""
    corners = Box("cup", np.array([10.0, 0, 0]), np.array([1.0, 2, 3]), np.eye(3)).corners_m()
    assert corners[0].tolist() == [8.5, -1, -0.5] and corners[1].tolist() == [11.5, -1, -0.5]
    assert corners[3].tolist() == [8.5, 1, -0.5] and corners[4].tolist() == [8.5, -1, 0.5]
    assert corners[6].tolist() == [11.5, 1, 0.5]


def test_the_published_grid(document: dict, tmp_path: Path) -> None:
    """Hundredths below 0.2 m, 5 cm up to 3 m; what lies beyond the ends goes to them."""
    document["annotations"] = [annotation(0), annotation(1, center_cam=[-0.9, 2.99, 40.0])]
    sample = read_omni3d(write(tmp_path, document), tmp_path)[0]
    grammar = SceneGrammar(Vocabulary.published_objectron(), text_tokenizer().with_words(["cup"]), objectron(["cup"]))
    back = grammar.decode_scene(grammar.encode_scene(sample.scene(), out_of_range="clamp"))
    assert back.objects[0].position_m.tolist() == pytest.approx([0.11, -0.02, 1.5])
    assert back.objects[0].size_m.tolist() == pytest.approx([0.08, 0.1, 0.07])
    assert back.objects[1].position_m.tolist() == pytest.approx([-0.2, 3.0, 17.5])


@pytest.mark.parametrize(("change", "message"), [
    (lambda d: d["annotations"][0].pop("R_cam"), "'R_cam'"),
    (lambda d: d["annotations"][0].update(center_cam=[1, 2]), r"center_cam must be finite and of shape \(3,\)"),
    (lambda d: d["annotations"][0].update(image_id=99), "KeyError.99"),
    (lambda d: d["images"][0].update(K=[[1, 0], [0, 1]]), "must be 3x3"),
    (lambda d: d["annotations"][0].update(category_name=" "), "category_name must name a category"),
    (lambda d: d.pop("images"), "must hold images and annotations"),
])
def test_broken_files_are_named(document: dict, tmp_path: Path, change, message: str) -> None:
    change(document)
    with pytest.raises(Omni3dFormatError, match=message):
        read_omni3d(write(tmp_path, document), tmp_path)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("omni3d")
    write_omni3d(folder, "train", 3, seed=4, size=(80, 60), placement=PlacementSettings(max_objects=4))
    return folder


def test_the_synthetic_set_reads_as_it_was_made(synthetic: Path) -> None:
    samples = read_omni3d(synthetic / "Synthetic_train.json", synthetic)
    annotations = json.loads((synthetic / "Synthetic_train.json").read_text())["annotations"]
    boxes = [box for sample in samples for box in sample.boxes]
    assert len(samples) == 3 and samples[0].image().shape == (60, 80, 3) and len(boxes) == len(annotations)
    for box, entry in zip(boxes, annotations):
        assert box.category in SHAPES and np.allclose(box.corners_m(), entry["bbox3D_cam"])
        assert np.allclose(box.corners_m().mean(axis=0), box.center_m)
        assert np.linalg.det(box.rotation) == pytest.approx(1.0)
        assert 0.5 < box.center_m[2] < 2.5 and max(box.dimensions_m) <= 1.4 * METRES_PER_UNIT + 1e-9
        left, top, right, bottom = entry["bbox2D_trunc"]
        assert 0 <= left < right <= 80 and 0 <= top < bottom <= 60 and entry["truncation"] < 0.9


def test_boxes_stand_on_one_plane(synthetic: Path) -> None:
    """All boxes of a scene have the same down axis, and their undersides lie in one plane across it."""
    for sample in read_omni3d(synthetic / "Synthetic_train.json", synthetic):
        down = np.array([box.rotation[:, 1] for box in sample.boxes])
        assert np.allclose(down, down[0])
        assert 0 < math.degrees(math.asin(down[0][2])) < 60  # the camera looks down on it
        heights = [down[0] @ box.center_m + box.dimensions_m[1] / 2 for box in sample.boxes]
        assert np.ptp(heights) < 1e-5


def test_the_seed_decides_everything(synthetic: Path, tmp_path: Path) -> None:
    again = write_omni3d(tmp_path, "train", 3, seed=4, size=(80, 60), placement=PlacementSettings(max_objects=4))
    assert again.read_bytes() == (synthetic / "Synthetic_train.json").read_bytes()
    name = "synthetic/train/000002.png"
    assert (tmp_path / name).read_bytes() == (synthetic / name).read_bytes()
    other = write_omni3d(tmp_path / "other", "train", 1, seed=5, size=(80, 60))
    assert other.read_bytes() != again.read_bytes()
