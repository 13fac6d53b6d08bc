"""What docs/own_objects.md shows is what the code reads."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.data.images import write_rgb
from kyvo_ros.training.recipe import load_recipe, read_schema

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "own_objects.md").read_text(encoding="utf-8")


@pytest.fixture
def blocks() -> list[str]:
    return re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def test_the_schema_and_the_folder_on_the_page_are_read(tmp_path, blocks):
    schema_text, scenes_text = blocks
    (tmp_path / "my_schema.json").write_text(schema_text)
    schema = read_schema(tmp_path / "my_schema.json")
    assert "cone" in schema.vocabulary_words()
    (tmp_path / "scenes.json").write_text(scenes_text)
    name = json.loads(scenes_text)["scenes"][0]["image_filename"]
    write_rgb(tmp_path / "images" / name, np.zeros((480, 640, 3), np.uint8))
    (sample,) = read_clevr(tmp_path, schema=schema)
    (cone,) = sample.scene.objects
    assert cone.attributes["shape"] == "cone" and cone.yaw_rad is None
    assert cone.position_m == pytest.approx([0.4, -0.2, 0.7], abs=1e-4)
    assert np.degrees(sample.view.plane.elevation_rad) == pytest.approx(30, abs=0.01)


def test_the_recipe_of_the_page_is_the_shipped_one_with_a_schema(tmp_path, blocks):
    (tmp_path / "my_schema.json").write_text(blocks[0])
    shipped = (REPOSITORY / "recipes" / "clevr-nano.yaml").read_text()
    own = re.sub(r"(?m)^(sentence|answer)_ratio: .*", r"\1_ratio: 0", shipped)
    (tmp_path / "my_recipe.yaml").write_text(own + "schema: my_schema.json\n")
    assert load_recipe(tmp_path / "my_recipe.yaml").schema.name == "clevr-with-cones"
