"""The package as colcon sees it: found, valid, complete; and the environment as pinned."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
from catkin_pkg.package import Package, parse_package
from packaging.requirements import Requirement

import kyvo_ros

REPOSITORY = Path(__file__).resolve().parents[1]
INSTALLED_FOLDERS = ("launch", "config", "rviz", "models", "recipes", "demo")
BOTH_PACKAGES = {"kyvo_ros": "(ros.ament_python)", "kyvo_msgs": "(ros.ament_cmake)"}
PYTHONS = ("3.10", "3.11", "3.12")
#: Not in package.xml on purpose: its definitions reach the node through rclpy.
OF_RCLPY = {"builtin_interfaces", "rosgraph_msgs"}
#: Used where they are installed; the node says so where they are missed.
OPTIONAL = {"DracoPy", "fast_simplification", "moveit_msgs", "peft", "torchao"}
#: Import -> rosdep key, where they differ.
ROSDEP_KEYS = {"cv2": "python3-opencv", "matplotlib": "python3-matplotlib", "numba": "python3-numba",
               "numpy": "python3-numpy", "scipy": "python3-scipy", "skimage": "python3-skimage",
               "tqdm": "python3-tqdm", "yaml": "python3-yaml"}
#: No rosdep key of every supported distribution holds a version that is new enough: package.xml says so.
ONLY_FROM_SETUP = {"torch", "transformers", "tokenizers", "safetensors", "rosbags", "trimesh"}


def _run(*command: str, cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def _git(*arguments: str, cwd: Path = REPOSITORY) -> list[str]:
    return _run("git", *arguments, "-z", cwd=cwd).split("\0")[:-1]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colcon workspace whose src/kyvo_ros is a clone of this repository, with what is not committed yet."""
    folder = tmp_path_factory.mktemp("workspace")
    clone = folder / "src" / "kyvo_ros"
    clone.parent.mkdir()
    _run("git", "clone", "--quiet", str(REPOSITORY), str(clone), cwd=folder)
    for name in _git("ls-files", "--modified", "--deleted", "--others", "--exclude-standard"):
        (clone / name).unlink(missing_ok=True)
        if (REPOSITORY / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, clone / name)
    return folder


def _colcon(cwd: Path, *arguments: str) -> str:
    return _run(sys.executable, "-m", "colcon", "--log-base", str(cwd / "log"), *arguments, cwd=cwd)


def _listed(output: str) -> dict[str, str]:
    """{package: build type} of the lines `name  path  (type)`."""
    return {line.split()[0]: line.split()[-1] for line in output.splitlines()}


# ---------------------------------------------------------------- what colcon finds

def test_colcon_finds_both_packages_in_a_workspace(workspace: Path) -> None:
    output = _colcon(workspace, "list", "--base-paths", "src", "src/kyvo_ros/kyvo_msgs")
    assert _listed(output) == BOTH_PACKAGES
    assert {line.split()[1] for line in output.splitlines()} == {"src/kyvo_ros", "src/kyvo_ros/kyvo_msgs"}


def test_colcon_finds_both_packages_in_the_repository(workspace: Path) -> None:
    assert _listed(_colcon(workspace / "src" / "kyvo_ros", "list")) == BOTH_PACKAGES


def test_colcon_does_not_see_the_interfaces_of_other_packages(workspace: Path) -> None:
    folder = "src/kyvo_ros/interfaces_without_ros"
    assert (workspace / folder / "vision_msgs" / "package.xml").is_file()
    assert _colcon(workspace, "list", "--base-paths", folder) == ""


# ---------------------------------------------------------------- what colcon installs

@pytest.fixture(scope="module")
def installed(workspace: Path) -> Path:
    """Prefix of kyvo_ros as `colcon build` installs it."""
    _colcon(workspace, "build", "--base-paths", "src", "--packages-select", "kyvo_ros")
    return workspace / "install" / "kyvo_ros"


@pytest.mark.timeout(300)
def test_every_data_file_is_installed(workspace: Path, installed: Path) -> None:
    source, share = workspace / "src" / "kyvo_ros", installed / "share" / "kyvo_ros"
    expected = [name for name in _git("ls-files", "--cached", "--others", *INSTALLED_FOLDERS, cwd=source)
                if (source / name).is_file() and "__pycache__" not in name]
    assert {name.split("/")[0] for name in expected} == set(INSTALLED_FOLDERS)
    for name in ("package.xml", *expected):
        assert (share / name).read_bytes() == (source / name).read_bytes(), name
    assert (installed / "share/ament_index/resource_index/packages/kyvo_ros").is_file()


@pytest.mark.timeout(300)
def test_every_module_is_installed(workspace: Path, installed: Path) -> None:
    source = workspace / "src" / "kyvo_ros" / "kyvo_ros"
    (target,) = installed.glob("lib/python3*/site-packages/kyvo_ros")
    modules = {path.relative_to(source) for path in source.rglob("*.py")}
    assert modules == {path.relative_to(target) for path in target.rglob("*.py")}


@pytest.mark.timeout(300)
def test_executables_run_under_the_python_of_the_shell(installed: Path) -> None:
    scripts = installed / "lib" / "kyvo_ros"
    assert {path.name for path in scripts.iterdir()} == {"kyvo", "kyvo_node", "kyvo_managed_node", "camera_simulator"}
    for script in scripts.iterdir():
        assert script.read_text().splitlines()[0] == "#!/usr/bin/env python3"
        assert os.access(script, os.X_OK)
    (library,) = installed.glob("lib/python3*/site-packages")
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                 "PYTHONPATH": f"{library}:{os.environ.get('PYTHONPATH', '')}"}
    result = subprocess.run([scripts / "kyvo", "--version"], env=variables, cwd=installed, capture_output=True,
                            text=True, timeout=60, check=False)
    assert result.returncode == 0 and kyvo_ros.__version__ in result.stdout, result.stderr


# ---------------------------------------------------------------- what the manifests say

@pytest.fixture(params=["package.xml", "kyvo_msgs/package.xml", "interfaces_without_ros/vision_msgs/package.xml",
                        "interfaces_without_ros/tf2_msgs/package.xml", "interfaces_without_ros/bond/package.xml"])
def manifest(request: pytest.FixtureRequest) -> Package:
    """Each package.xml, parsed the way colcon does."""
    warnings: list[str] = []
    package = parse_package(str(REPOSITORY / request.param), warnings=warnings)  # raises where it is invalid
    assert warnings == []
    return package


def test_manifests_are_valid(manifest: Package) -> None:
    assert manifest.get_build_type() == ("ament_python" if manifest.name == "kyvo_ros" else "ament_cmake")
    if manifest.name != "kyvo_ros":
        assert [group.name for group in manifest.member_of_groups] == ["rosidl_interface_packages"]
        assert {"ament_cmake", "rosidl_default_generators"} <= {d.name for d in manifest.buildtool_depends}
        assert "rosidl_default_runtime" in {d.name for d in manifest.exec_depends}


def test_versions_are_one() -> None:
    versions = {parse_package(str(REPOSITORY / name / "package.xml")).version for name in ("", "kyvo_msgs")}
    versions.add(_run(sys.executable, "setup.py", "--version", cwd=REPOSITORY).split()[-1])
    assert versions == {kyvo_ros.__version__}


def _imports(folder: Path) -> dict[str, str]:
    """{package that is imported: a file that does}, of the files below a folder; the standard library's left out."""
    found = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            found.update({name.split(".")[0]: str(path.relative_to(REPOSITORY)) for name in names})
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | {"kyvo_ros"}}


def test_packages_that_are_imported_are_dependencies() -> None:
    """Each import is an exec_depend by its rosdep key, or one of the pins that `make setup` installs."""
    declared = {depend.name for depend in parse_package(str(REPOSITORY / "package.xml")).exec_depends}
    pinned = {pin.name for name in ("torch", "python") for pin in _pins()[name]}
    imports = {**_imports(REPOSITORY / "launch"), **_imports(REPOSITORY / "kyvo_ros")}
    assert {"rclpy", "launch_ros", "torch", "cv2"} <= set(imports)
    for name, path in imports.items():
        key = ROSDEP_KEYS.get(name, name)
        assert key in declared | OF_RCLPY | OPTIONAL or name in ONLY_FROM_SETUP & pinned, (
            f"{path} imports {name}: no {key} in package.xml")
    unused = declared - {ROSDEP_KEYS.get(name, name) for name in imports}
    assert unused == set(), f"package.xml depends on what nothing imports: {unused}"


def test_license_is_the_one_stated() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    for name in ("package.xml", "kyvo_msgs/package.xml"):
        assert parse_package(str(REPOSITORY / name)).licenses == ["Apache-2.0"]


# ---------------------------------------------------------------- what is pinned

def _pins() -> dict[str, list[Requirement]]:
    """The sections of pins.txt."""
    sections: dict[str, list[Requirement]] = {}
    for line in (REPOSITORY / "tools" / "pins.txt").read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            section.append(Requirement(line))
    return sections


def test_each_python_has_one_exact_pin_a_package() -> None:
    sections = _pins()
    sections.pop("kept")
    for section, pins in sections.items():
        for python in PYTHONS:
            names = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python})]
            assert sorted(names) == sorted({pin.name for pin in pins}), f"[{section}] on Python {python}"
        assert all(str(pin.specifier).startswith("==") for pin in pins), section


def test_pins_meet_each_others_demands() -> None:
    """setuptools is wanted new by torch and old by colcon-core; checked on what is installed."""
    sections = _pins()
    pins = {pin.name: pin for name in ("torch", "python", "tests") for pin in sections[name]
            if pin.marker is None or pin.marker.evaluate()}
    (setuptools,) = pins["setuptools"].specifier
    for name in ("torch", "colcon-core"):
        for demand in map(Requirement, importlib.metadata.requires(name) or ()):
            if demand.name == "setuptools" and (demand.marker is None or demand.marker.evaluate({"extra": ""})):
                assert demand.specifier.contains(setuptools.version), f"{name} wants {demand}"


@pytest.mark.skipif("ROS_DISTRO" in os.environ, reason="packages of a ROS distribution are kept as they are")
def test_installed_versions_are_the_pinned_ones() -> None:
    sections = _pins()
    for pin in (pin for name in ("python", "tests") for pin in sections[name]):
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(importlib.metadata.version(pin.name)), f"{pin}: run make setup"


def test_versions_stand_in_the_pins_only() -> None:
    pinned = {pin.name.lower() for pins in _pins().values() for pin in pins}
    for name in ("Makefile", "setup.py", "setup.cfg", ".ci/run", "tools/setup_environment.py", "package.xml"):
        for match in re.finditer(r"([\w.-]+)\s*(==|>=|~=)\s*\d", (REPOSITORY / name).read_text()):
            assert match.group(1).lower() not in pinned, f"{name}: {match.group()}"


def test_ros_and_the_messages_are_here() -> None:
    """Tests of the node are skipped where ROS is absent; under `make test` it never is."""
    code = "import rclpy, tf2_msgs.msg, vision_msgs.msg; from kyvo_msgs.msg import SceneGraph; SceneGraph()"
    _run(sys.executable, "-c", code, cwd=REPOSITORY)


# ---------------------------------------------------------------- the commands

def test_ci_calls_the_test_command() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert [line for line in commands if "make" in line] == ["exec make test < /dev/null"]


def test_make_knows_the_commands_of_the_readme() -> None:
    for target in ("setup", "demo", "test", "weights"):
        _run("make", "--dry-run", target, cwd=REPOSITORY)
    assert "-m pytest" in _run("make", "--dry-run", "test", cwd=REPOSITORY)
    assert "kyvo_ros.ros.demo" in _run("make", "--dry-run", "demo", cwd=REPOSITORY)


def test_dds_profile_names_the_loopback_only() -> None:
    root = xml.etree.ElementTree.parse(REPOSITORY / "config" / "loopback_dds.xml").getroot()
    space = {"d": root.tag[1:].split("}")[0]}
    assert [node.text for node in root.findall(".//d:address", space)] == ["127.0.0.1"]
    assert [node.text for node in root.findall(".//d:useBuiltinTransports", space)] == ["false"]
