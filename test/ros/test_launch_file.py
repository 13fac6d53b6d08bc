"""The launch files, executed with stand-ins for `launch`, which has no wheels: what they start, and with what.

Where `launch` is installed, kyvo.launch.py is also executed with it. What the README says of runs with `ros2 launch` was
done by hand.
"""

from __future__ import annotations

import ast
import importlib.util
import runpy
import sys
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from kyvo_ros.ros.setting_options import values_of_file
from kyvo_ros.ros.settings import SettingError, Settings

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH_FILE = REPOSITORY / "launch" / "kyvo.launch.py"
XML_FILE = REPOSITORY / "launch" / "kyvo.launch.xml"
CAMERA_FILE = REPOSITORY / "launch" / "with_camera.launch.py"
TABLETOP = REPOSITORY / "config" / "tabletop.yaml"


class _LaunchConfiguration:
    """Stands in for launch's: its value is the argument's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


#: Module -> what the launch files take from it.
STAND_INS = {
    "ament_index_python.packages": {"get_package_share_directory": lambda name: str(REPOSITORY)},
    "launch": {"LaunchDescription": list},
    "launch.actions": {
        "DeclareLaunchArgument": lambda name, **about: SimpleNamespace(kind="argument", name=name, **about),
        "OpaqueFunction": lambda function: SimpleNamespace(kind="function", function=function)},
    "launch.conditions": {"IfCondition": lambda condition: condition},
    "launch.substitutions": {"LaunchConfiguration": _LaunchConfiguration},
    "launch_ros.actions": {"Node": lambda **about: SimpleNamespace(kind="node", **about)},
}
#: The nodes that a launch file starts with these arguments, by name; the others have their defaults.
Started = Callable[..., dict[str, SimpleNamespace]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    for name in {name.partition(".")[0] for name in STAND_INS} | set(STAND_INS):
        module = ModuleType(name)
        vars(module).update(STAND_INS.get(name, {}))
        monkeypatch.setitem(sys.modules, name, module)

    def start(path: Path, **given: str) -> dict[str, SimpleNamespace]:
        actions = runpy.run_path(str(path))["generate_launch_description"]()
        defaults = {action.name: action.default_value for action in actions if action.kind == "argument"}
        assert set(given) <= set(defaults)
        nodes = [action for action in actions if action.kind == "node"]
        for action in actions:
            nodes += action.function({**defaults, **given}) if action.kind == "function" else []
        return {getattr(node, "name", node.executable): node for node in nodes}
    return start


def _settings(node: SimpleNamespace) -> Settings:
    """What its parameters say, later ones over earlier ones, as ROS takes them."""
    values: dict[str, Any] = {}
    for item in node.parameters:
        values |= item if isinstance(item, dict) else values_of_file(Path(item))
    return Settings.from_values(values)


def _tree() -> ast.Module:
    return ast.parse(LAUNCH_FILE.read_text())


def _assigned(name: str, tree: ast.Module | None = None) -> ast.expr:
    return next(node.value for node in (tree or _tree()).body
                if isinstance(node, ast.Assign) and node.targets[0].id == name)


def _installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("launch", "launch_ros", "ament_index_python"))


# ---------------------------------------------------------------- kyvo.launch

def test_every_executable_is_an_entry_point(started: Started) -> None:
    used = {node.executable for given in ({"simulate": "true"}, {"managed": "true"})
            for node in started(LAUNCH_FILE, **given).values()}
    scripts = (REPOSITORY / "setup.py").read_text()
    assert used == {"kyvo_node", "kyvo_managed_node", "camera_simulator", "rviz2"}
    assert all(f'"{name} = ' in scripts for name in used - {"rviz2"})


def test_without_arguments_nothing_overrules_the_parameter_file(started: Started) -> None:
    assert started(LAUNCH_FILE)["kyvo_node"].parameters == [str(REPOSITORY / "config" / "kyvo_node.yaml")]
    assert started(LAUNCH_FILE, params_file="")["kyvo_node"].parameters == []
    assert _settings(started(LAUNCH_FILE, params_file=str(TABLETOP))["kyvo_node"]).broadcasts_plane


@pytest.mark.parametrize("name, text, value", [
    ("image_transport", "compressed", "compressed"), ("model", "/m", "/m"), ("device", "cpu", "cpu"),
    ("output_frame", "map", "map"), ("plane_frame", "table", "table"), ("use_sim_time", "true", True),
    ("use_sim_time", "false", False), ("cameras", "front, left", ["front", "left"])])
def test_an_argument_overrules_the_parameter_file(started: Started, name: str, text: str, value: Any) -> None:
    node = started(LAUNCH_FILE, params_file=str(TABLETOP), **{name: text})["kyvo_node"]
    assert node.parameters == [str(TABLETOP), {name: value}]


def test_the_managed_node_starts_where_it_is_asked_for(started: Started) -> None:
    node = started(LAUNCH_FILE, managed="true")["kyvo_node"]
    assert node.executable == "kyvo_managed_node" and len(node.parameters) == 1, "a manager configures it"
    node = started(LAUNCH_FILE, managed="true", autostart="true", params_file="")["kyvo_node"]
    assert node.parameters == [{"autostart": True}]
    assert started(LAUNCH_FILE)["kyvo_node"].executable == "kyvo_node"
    with pytest.raises(ValueError, match="give managed:=true, too"):
        started(LAUNCH_FILE, autostart="true")


@pytest.mark.parametrize("given, said", [
    ({"managed": "yes"}, "managed must be true or false, got 'yes'"),
    ({"use_sim_time": "on"}, "use_sim_time must be true or false, got 'on'"),
    ({"params_file": "no_such.yaml"}, "there is no file 'no_such.yaml'"),
    ({"log_level": "loud"}, "log_level must be one of debug, info, warn, error, fatal, got 'loud'"),
    ({"cameras": "front,9a"}, "a camera's name must begin with a letter.*got '9a'"),
    ({"cameras": "front,front"}, "cameras names 'front' twice")])
def test_a_wrong_argument_starts_nothing(started: Started, given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        started(LAUNCH_FILE, **given)


def test_topics_are_remapped(started: Started) -> None:
    node = started(LAUNCH_FILE, image_topic="/c/image_raw", camera_info_topic="/c/info")["kyvo_node"]
    assert dict(node.remappings) == {"image": "/c/image_raw", "image/compressed": "/c/image_raw/compressed",
                                     "camera_info": "/c/info"}
    node = started(LAUNCH_FILE, cameras="front")["kyvo_node"]
    assert dict(node.remappings) == {"front/image": "front/image_raw",
                                     "front/image/compressed": "front/image_raw/compressed"}


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


# ---------------------------------------------------------------- with_camera.launch

def test_the_camera_example_puts_driver_and_node_into_one_namespace(started: Started) -> None:
    nodes = started(CAMERA_FILE, camera="left", camera_info_url="file:///left.yaml")
    driver, node = nodes["camera"], nodes["kyvo_node"]
    assert (driver.namespace, node.namespace, node.executable) == ("left", "left", "kyvo_node")
    assert node.remappings == [("image", "image_raw")]
    assert driver.parameters == [{"video_device": "/dev/video0", "camera_frame_id": "left_optical_frame",
                                  "camera_info_url": "file:///left.yaml"}]
    (settings,) = started(CAMERA_FILE, driver="usb_cam")["camera"].parameters
    assert settings == {"video_device": "/dev/video0", "frame_id": "front_optical_frame"}
    with pytest.raises(ValueError, match="v4l2_camera, usb_cam, got 'gscam'"):
        started(CAMERA_FILE, driver="gscam")


@pytest.mark.parametrize("given, plane, output", [
    ({}, "front_support_plane", ""),
    ({"params_file": str(TABLETOP)}, "front_support_plane", "front_support_plane"),
    ({"output_frame": "plane"}, "front_support_plane", "front_support_plane"),
    ({"output_frame": "support_plane", "camera": "left"}, "left_support_plane", "left_support_plane"),
    ({"output_frame": "map"}, "front_support_plane", "map"),
    ({"output_frame": "map", "params_file": str(TABLETOP)}, "front_support_plane", "map")])
def test_the_camera_example_has_the_output_that_argument_or_file_ask_for(
        started: Started, given: dict, plane: str, output: str) -> None:
    settings = _settings(started(CAMERA_FILE, **given)["kyvo_node"])
    assert (settings.support_plane_frame, settings.output_frame) == (plane, output)
    assert settings.plane_distance_m == (0.9 if "params_file" in given else 0.0), "of the file, where one is given"


def test_the_camera_example_overrules_nothing_that_the_file_says(started: Started, tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    said = {"support_plane_frame": "table", "output_frame": "table", "plane_frame": "map", "max_rate_hz": 2.0}
    path.write_text(yaml.safe_dump({"kyvo_node": {"ros__parameters": said}}))
    assert _settings(started(CAMERA_FILE, params_file=str(path))["kyvo_node"]) == Settings(**said)
    assert _settings(started(CAMERA_FILE, params_file=str(path), plane_frame="odom")["kyvo_node"]).plane_frame == "odom"
    path.write_text("camera:\n  ros__parameters: {output_frame: map}\n")
    with pytest.raises(SettingError, match="says nothing to kyvo_node"):
        started(CAMERA_FILE, params_file=str(path))


# ---------------------------------------------------------------- rviz

def test_the_rviz_view_listens_to_the_node_s_topics() -> None:
    view = yaml.safe_load((REPOSITORY / "rviz" / "kyvo.rviz").read_text())
    displays = [(d["Class"].split("/")[1], d.get("Topic", {}).get("Value")) for d in
                view["Visualization Manager"]["Displays"]]
    assert {topic for kind, topic in displays if kind == "MarkerArray"} == {
        "markers", "answer_markers", "scene_graph_markers"}
    assert ("Image", "annotated_image") in displays
    assert {"TF", "Grid"} <= {kind for kind, _ in displays}
