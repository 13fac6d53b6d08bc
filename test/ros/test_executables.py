"""The executables find a Python with torch, or say what to do."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kyvo_ros.ros import executables

REPOSITORY = Path(__file__).resolve().parents[2]


class Started(Exception):
    """Stands for the process being replaced: execv does not return."""


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    def execv(path: str, arguments: list[str]) -> None:
        raise Started(path, arguments)

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["/ws/lib/kyvo_ros/kyvo_node", "--ros-args"])
    for name in ("VIRTUAL_ENV", "AMENT_PREFIX_PATH", executables.PYTHON_VARIABLE, executables.GUARD_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def _python(folder: Path) -> Path:
    """A file that could be the Python of an environment."""
    path = folder / "bin" / "python3"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return path


def _install(prefix: Path, python: Path) -> None:
    """What colcon installs after `make setup` in a shell with ROS."""
    record = prefix / "share" / "kyvo_ros" / executables.RECORD
    record.parent.mkdir(parents=True)
    record.write_text(f"{python}\n")


def _started() -> str:
    with pytest.raises(Started) as caught:
        executables.kyvo_node()
    path, arguments = caught.value.args
    assert arguments == [path, "/ws/lib/kyvo_ros/kyvo_node", "--ros-args"]
    return path


def test_a_python_with_torch_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(main=lambda: f"main of {name}"))
    assert executables.kyvo_node() == "main of kyvo_ros.ros.node"
    assert executables.camera_simulator() == "main of kyvo_ros.ros.camera_simulator"
    assert executables.kyvo() == "main of kyvo_ros.cli"


@pytest.mark.usefixtures("without_torch")
def test_the_most_explicit_python_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded, activated, named = (_python(tmp_path / name) for name in ("recorded", "activated", "named"))
    _install(tmp_path / "ws", recorded)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'ros'}:{tmp_path / 'ws'}")
    assert _started() == str(recorded)
    monkeypatch.delenv(executables.GUARD_VARIABLE)
    monkeypatch.setenv("VIRTUAL_ENV", str(activated.parents[1]))
    assert _started() == str(activated)
    monkeypatch.delenv(executables.GUARD_VARIABLE)
    monkeypatch.setenv(executables.PYTHON_VARIABLE, str(named))
    assert _started() == str(named)


def test_a_named_python_overrules_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    named = _python(tmp_path / "named")
    monkeypatch.setenv(executables.PYTHON_VARIABLE, str(named))
    assert _started() == str(named)


@pytest.mark.usefixtures("without_torch")
def test_it_starts_again_only_once(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = _python(tmp_path / "named")
    monkeypatch.setenv(executables.PYTHON_VARIABLE, str(named))
    _started()
    assert executables.kyvo_node() == 1  # the environment now says that this was the second start
    message = capsys.readouterr().err
    assert message.startswith("kyvo_node: no torch in")
    assert str(named) in message and "make setup" in message and executables.PYTHON_VARIABLE in message


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("named", ["", "/nowhere/bin/python3"])
def test_without_any_python_it_says_what_to_do(
        named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(executables.PYTHON_VARIABLE, named)
    assert executables.kyvo_node() == 1
    assert f"no torch in {named or sys.executable}" in capsys.readouterr().err


def test_a_real_second_start(tmp_path: Path) -> None:
    """A Python that sees no site-packages (so no torch) hands over to this one, which has it."""
    script = tmp_path / "kyvo"
    script.write_text("import sys\nfrom kyvo_ros.ros.executables import kyvo\nsys.exit(kyvo())\n")
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "KYVO_PYTHON": "", "VIRTUAL_ENV": sys.prefix}
    bare = getattr(sys, "_base_executable", sys.executable)
    result = subprocess.run([bare, "-S", str(script), "--help"], env=variables, capture_output=True, text=True,
                            timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: kyvo")
