"""The launch file: executed where `launch` is installed, else read: arguments, executables, parameters."""

from __future__ import annotations

import ast
import importlib.util
import xml.etree.ElementTree
from pathlib import Path

import pytest
import yaml

from kyvo_ros.ros.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH_FILE = REPOSITORY / "launch" / "kyvo.launch.py"
XML_FILE = REPOSITORY / "launch" / "kyvo.launch.xml"
CAMERA_FILE = REPOSITORY / "launch" / "with_camera.launch.py"


def _tree() -> ast.Module:
    return ast.parse(LAUNCH_FILE.read_text())


def _assigned(name: str, tree: ast.Module | None = None) -> ast.expr:
    return next(node.value for node in (tree or _tree()).body
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


@pytest.mark.parametrize("namespace, name", [
    ("", "kyvo_node"), ("/", "kyvo_node"), ("robot1", "robot1.kyvo_node"), ("/a/b", "a.b.kyvo_node")])
def test_the_log_level_is_that_of_the_node_s_logger(namespace: str, name: str) -> None:
    tree = ast.parse(LAUNCH_FILE.read_text())  # which cannot be imported where launch is not installed
    tree.body = [item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == "logger_name"]
    scope: dict = {}
    exec(compile(tree, str(LAUNCH_FILE), "exec"), scope)
    assert scope["logger_name"](namespace) == name


def test_the_xml_file_has_the_same_arguments_and_passes_all_of_them() -> None:
    root = xml.etree.ElementTree.parse(XML_FILE).getroot()
    arguments = _assigned("ARGUMENTS")
    same = {}
    for key, value in zip(arguments.keys, arguments.values, strict=True):
        default, text = value.elts
        inside = "$(find-pkg-share kyvo_ros)/config/kyvo_node.yaml"  # what os.path.join gives in Python
        same[key.value] = (default.value if isinstance(default, ast.Constant) else inside, text.value)
    assert {a.get("name"): (a.get("default"), a.get("description")) for a in root.findall("arg")} == same
    (include,) = root.findall("include")
    assert include.get("file") == f"$(find-pkg-share kyvo_ros)/launch/{LAUNCH_FILE.name}"
    assert {a.get("name"): a.get("value") for a in include} == {name: f"$(var {name})" for name in same}


def test_the_camera_example_sets_parameters_that_exist() -> None:
    tree = ast.parse(CAMERA_FILE.read_text())
    names = [key.value for key in _assigned("ARGUMENTS", tree).keys]
    assert all(f'value("{name}")' in CAMERA_FILE.read_text() for name in names)
    nodes = {next(k.value.value for k in call.keywords if k.arg == "name"): call for call in ast.walk(tree)
             if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Node"}
    ours = {k.arg: k.value for k in nodes["kyvo_node"].keywords}
    assert ast.unparse(ours["parameters"]) == "[*filter(None, [value('params_file')]), given]"
    assigned = next(node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)
                    and getattr(node.targets[0], "id", "") == "given")
    given = {key.value for key in assigned.keys} | {node.slice.value for node in ast.walk(tree) if isinstance(
        node, ast.Subscript) and getattr(node.value, "id", "") == "given"}
    assert given == {"support_plane_frame", "output_frame", "plane_frame"}
    assert given <= set(Settings.__dataclass_fields__)
    assert ast.literal_eval(ours["remappings"]) == [("image", "image_raw")]
    keywords = [keyword for call in nodes.values() for keyword in call.keywords]
    assert [ast.unparse(k.value) for k in keywords if k.arg == "namespace"] == ["camera", "camera"]
    assert set(ast.literal_eval(_assigned("DRIVERS", tree))) == {"v4l2_camera", "usb_cam"}


def test_the_rviz_view_listens_to_the_node_s_topics() -> None:
    view = yaml.safe_load((REPOSITORY / "rviz" / "kyvo.rviz").read_text())
    displays = [(d["Class"].split("/")[1], d.get("Topic", {}).get("Value")) for d in
                view["Visualization Manager"]["Displays"]]
    assert {topic for kind, topic in displays if kind == "MarkerArray"} == {
        "markers", "answer_markers", "scene_graph_markers"}
    assert ("Image", "annotated_image") in displays
    assert {"TF", "Grid"} <= {kind for kind, _ in displays}
