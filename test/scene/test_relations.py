"""Spatial relations: a hand-worked example, and CLEVR's own for all shared scenes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kyvo_ros.scene import (
    PLANE_FRAME, RELATIONS, PinholeCamera, Relation, Scene, SceneError, SceneObject, Transform, relations_of,
    view_from_pose)


def scene_at(*ground: tuple[float, float]) -> Scene:
    return Scene(tuple(SceneObject({}, [x, y, 0.35]) for x, y in ground))


def test_relations_by_a_hand_worked_example() -> None:
    # 1 stands right of 0, and only 0.1 farther away; 2 stands behind both, level with 0.
    assert relations_of(scene_at((0.0, 0.0), (1.0, 0.1), (0.0, 2.0))) == [
        Relation(0, "left", 1), Relation(2, "left", 1),
        Relation(1, "right", 0), Relation(1, "right", 2),
        Relation(0, "front", 2), Relation(1, "front", 2),
        Relation(2, "behind", 0), Relation(2, "behind", 1)]


def test_the_margin_can_be_set_and_is_exclusive() -> None:
    scene = scene_at((0.0, 0.0), (0.5, 0.0))
    assert relations_of(scene, epsilon_m=0.5) == []
    assert len(relations_of(scene, epsilon_m=0.4)) == 2


def test_few_objects_have_no_relations() -> None:
    assert relations_of(Scene()) == [] and relations_of(scene_at((1.0, 1.0))) == []


def test_relations_need_the_viewpoint() -> None:
    with pytest.raises(SceneError, match="expected a scene in support_plane, got map"):
        relations_of(Scene(frame_id="map"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_relations_of_clevr_scenes(shared_dir: Path, split: str) -> None:
    for data in json.loads((shared_dir / "clevr" / split / "scenes.json").read_text())["scenes"]:
        expected = {Relation(subject, predicate, anchor) for predicate in RELATIONS
                    for anchor, subjects in enumerate(data["relationships"][predicate]) for subject in subjects}
        assert set(relations_of(_plane_scene(data))) == expected, data["image_filename"]


def _plane_scene(data: dict) -> Scene:
    camera = data["camera"]
    intrinsics = PinholeCamera(*(camera[key] for key in ("width", "height", "fx", "fy", "cx", "cy")))
    view = view_from_pose(intrinsics, Transform.from_matrix(camera["world_to_camera"]).inverse())
    world = Scene(tuple(SceneObject({}, o["3d_coords"]) for o in data["objects"]), frame_id="world")
    return world.transformed(view.world_T_plane.inverse(), PLANE_FRAME)
