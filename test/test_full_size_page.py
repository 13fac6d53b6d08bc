"""docs/full_size.md: its commands run in their order, from data to a score, on stand-in files."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path

import pytest
from published_files import HEADS
from test_published_page import files  # noqa: F401
from test_published_to_robot_page import RECIPE, data  # noqa: F401

from kyvo_ros import cli
from kyvo_ros.model.folder import load_model

PAGE = (Path(__file__).parents[1] / "docs" / "full_size.md").read_text(encoding="utf-8")
#: Scenes of the page's data sets -> here.
FEWER = {"1000": "3", "100": "2"}
START = "convert --from-llama Llama-3.2-1B --layout clevr --codebook quantize_weight.npy --out models/fresh"


@pytest.mark.timeout(300)
def test_every_command_runs_on_what_those_before_have_written(data: Path,  # noqa: F811
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPE.replace("max_length: 300", "max_length: 600") + "layout: objectron\n"
    (data / "recipes" / "full" / "llama-1b-objectron.yaml").write_text(recipe)
    assert cli.main(shlex.split(START)) == 0, "as docs/published_to_robot.md makes it"
    commands = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("kyvo ")]
    assert len(commands) == 11
    for command in commands:
        size = ["--heads", str(HEADS)] if "--from-published" in command else []  # the page speaks of Llama-3.2-1B
        device = ["--device", "cpu", "--threads", "1"] if command[0] == "train" else []
        words = [FEWER.get(word, word) for word in command]
        assert cli.main([*words, *size, *device]) == 0, (command, capsys.readouterr().err)
    assert "left out" in capsys.readouterr().out, "scored"
    assert len(json.loads((data / "predictions.json").read_text())["scenes"]) == 2
    start, trained = (load_model(data / "models" / name) for name in ("objectron", "mine-objectron"))
    assert trained.schema == start.schema and trained.schema.words[0].name == "category"
    assert not (trained.decoder.head.weight == start.decoder.head.weight).all(), "what predicts is what was trained"


def test_the_packages_it_adds_are_the_extra_train() -> None:
    tree = ast.parse((Path(__file__).parents[1] / "setup.py").read_text(encoding="utf-8"))
    (extras,) = [ast.literal_eval(node.value) for node in ast.walk(tree)
                 if isinstance(node, ast.keyword) and node.arg == "extras_require"]
    (line,) = [line for line in PAGE.splitlines() if "-m pip install" in line]
    assert line.split("install ")[1].split() == extras["train"]


def test_it_names_every_recipe_of_full_size() -> None:
    recipes = {path.stem for path in (Path(__file__).parents[1] / "recipes" / "full").glob("*.yaml")}
    assert all(f"`{name}`" in PAGE for name in recipes)
