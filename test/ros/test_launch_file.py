"""The launch file: executed where `launch` is installed, else read: arguments, executables, parameters."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
import yaml

from kyvo_ros.ros.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH_FILE = REPOSITORY / "launch" / "kyvo.launch.py"


def _tree() -> ast.Module:
    return ast.parse(LAUNCH_FILE.read_text())


def _assigned(name: str) -> ast.expr:
    return next(node.value for node in _tree().body
                if isinstance(node, ast.Assign) and node.targets[0].id == name)


def _installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("launch", "launch_ros", "ament_index_python"))


def test_every_executable_is_an_entry_point() -> None:
    used = {(k.value.value for k in call.keywords if k.arg == "executable").__next__() for call in ast.walk(_tree())
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Node"}
    scripts = (REPOSITORY / "setup.py").read_text()
    assert used == {"kyvo_node", "camera_simulator", "rviz2"}
    assert all(f'"{name} = ' in scripts for name in used - {"rviz2"})


def test_every_argument_is_declared_with_a_text_and_used() -> None:
    arguments = _assigned("ARGUMENTS")
    names = [key.value for key in arguments.keys]
    assert all(isinstance(value.elts[1], ast.Constant) and len(value.elts[1].value) > 10 for value in arguments.values)
    text = LAUNCH_FILE.read_text().split("PARAMETERS = ")[1]
    assert all(f'"{name}"' in text for name in names)
    parameters = ast.literal_eval(_assigned("PARAMETERS"))
    assert set(parameters) <= set(names) and Settings.from_values({name: "" for name in parameters[1:2]})
    assert set(parameters) <= set(Settings.__dataclass_fields__)


def test_files_it_names_exist_and_are_installed() -> None:
    for relative in ("config/kyvo_node.yaml", "rviz/kyvo.rviz", "demo/recording"):
        assert (REPOSITORY / relative).exists() and Path(relative).name in LAUNCH_FILE.read_text()
        assert f'"{relative.split("/")[0]}"' in (REPOSITORY / "setup.py").read_text(), f"{relative} is not installed"


def test_the_launch_description_is_made_where_launch_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    if not _installed():
        compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec")
        return
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "kyvo_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    spec = importlib.util.spec_from_file_location("kyvo_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    declared = {argument.name for argument in description.get_launch_arguments()}
    assert declared == set(module.ARGUMENTS)


def test_the_rviz_view_listens_to_the_node_s_topics() -> None:
    view = yaml.safe_load((REPOSITORY / "rviz" / "kyvo.rviz").read_text())
    displays = [(d["Class"].split("/")[1], d.get("Topic", {}).get("Value")) for d in
                view["Visualization Manager"]["Displays"]]
    assert {topic for kind, topic in displays if kind == "MarkerArray"} == {
        "markers", "answer_markers", "scene_graph_markers"}
    assert ("Image", "annotated_image") in displays
    assert {"TF", "Grid"} <= {kind for kind, _ in displays}
