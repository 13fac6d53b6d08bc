"""ObjaWorld scenes: files in the published format to scenes and their tokens, and back within half a step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import text_tokenizer

from kyvo_ros.data.objaworld import ObjaworldFormatError, objaworld_schema, read_objaworld
from kyvo_ros.tokens import SceneGrammar, Vocabulary
from kyvo_ros.tokens.published_schemas import WORLD_FRAME

SCENE = {"image_filename": "0.png", "objects": [
    {"shape": "barrel-12", "3d_coords": [0.1234, -1.0, 0.3], "rotation": 1.57},
    {"shape": "crate-3", "3d_coords": [2.0, 1.0, 0.2], "rotation": -0.4}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1.json", "0.json"):
        (tmp_path / name).write_text(json.dumps({**SCENE, "image_filename": name.replace("json", "png")}))
    return tmp_path


def test_scenes_with_their_tokens(folder: Path) -> None:
    samples = read_objaworld(folder)
    assert [sample.image_filename for sample in samples] == ["0.png", "1.png"]
    assert {sample.scene.frame_id for sample in samples} == {WORLD_FRAME}
    schema = objaworld_schema(samples)
    assert schema.words[0].values == ("barrel", "crate")
    grammar = SceneGrammar(Vocabulary.published_clevr(), text_tokenizer().with_words(["barrel", "crate"]), schema)
    back = grammar.decode_scene(grammar.encode_scene(samples[0].scene))
    assert [o.attributes["shape"] for o in back.objects] == ["barrel", "crate"]
    assert np.abs(back.positions_m() - samples[0].scene.positions_m()).max() <= 0.0025
    assert [o.yaw_rad for o in back.objects] == pytest.approx([1.57, -0.4], abs=0.0025)


@pytest.mark.parametrize("change", [
    lambda d: d["objects"][0].pop("rotation"), lambda d: d["objects"][0].update({"3d_coords": [1, 2]}),
    lambda d: d["objects"][0].update(shape=3), lambda d: d.pop("image_filename"), lambda d: d.update(objects=7)])
def test_broken_scenes_are_named(folder: Path, change) -> None:
    document = json.loads((folder / "1.json").read_text())
    change(document)
    (folder / "1.json").write_text(json.dumps(document))
    with pytest.raises(ObjaworldFormatError, match="1.json is no scene of ObjaWorld"):
        read_objaworld(folder)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ObjaworldFormatError, match="holds no scenes"):
        read_objaworld(tmp_path)
