"""The set-up program and the loopback runner in tools/."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import on_loopback  # noqa: E402
import prerequisites  # noqa: E402
import probe_environment  # noqa: E402
import setup_environment as setup  # noqa: E402


def _options(**changes: str) -> argparse.Namespace:
    return argparse.Namespace(**{"torch_spec": "", "torch_index": "", "ros_wheels": "kilted", **changes})


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> setup.Environment:
    """An environment on a computer without ROS, whose steps do nothing but leave their names."""
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.setattr(setup, "check_prerequisites", lambda distribution: None)
    definitions = tmp_path / "kyvo_msgs"
    definitions.mkdir()
    (definitions / "A.msg").write_text("string a\n")
    monkeypatch.setattr(setup, "INTERFACES", (definitions,))
    result = setup.Environment(tmp_path / "venv", _options())
    result.done = []
    for step in ("create", "install_packages", "build_interfaces", "link_checkout", "check"):
        monkeypatch.setattr(result, step, lambda step=step: result.done.append(step))
    result.state.mkdir(parents=True)
    return result


# ---------------------------------------------------------------- set-up

def test_a_second_set_up_does_nothing(environment: setup.Environment, capsys: pytest.CaptureFixture[str]) -> None:
    assert environment.set_up() == 5
    capsys.readouterr()
    assert environment.set_up() == 0
    assert len(environment.done) == 5 and capsys.readouterr().out == ""


def test_changed_definitions_are_built_again(environment: setup.Environment) -> None:
    environment.set_up()
    environment.done.clear()
    (setup.INTERFACES[0] / "A.msg").write_text("string b\n")
    environment.set_up()
    assert environment.done == ["build_interfaces", "link_checkout", "check"]


def test_changed_pins_are_installed_and_messages_stay(environment: setup.Environment) -> None:
    environment.set_up()
    environment.done.clear()
    environment.pins["python"][0] = "setuptools==0"
    environment.set_up()
    assert environment.done == ["install_packages", "link_checkout", "check"]


def test_a_step_that_failed_is_done_again(environment: setup.Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise setup.SetupError("no network")

    with monkeypatch.context() as context:
        context.setattr(environment, "install_packages", fail)
        with pytest.raises(setup.SetupError, match="no network"):
            environment.set_up()
    environment.set_up()
    assert environment.done == ["create", "install_packages", "build_interfaces", "link_checkout", "check"]


def test_with_a_distribution_messages_are_left_to_colcon(
        environment: setup.Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.distribution = "jazzy"
    environment.set_up()
    assert "build_interfaces" not in environment.done
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert prerequisites.sourced_distribution() is None
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    assert prerequisites.sourced_distribution() == "jazzy"


def test_a_folder_that_is_no_environment_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(setup.SetupError, match="not a virtual environment"):
        setup.Environment(tmp_path, _options()).create()
    assert (tmp_path / "precious").exists()


def test_unknown_wheels_are_named(tmp_path: Path) -> None:
    with pytest.raises(setup.SetupError, match="ros lunar"):
        setup.Environment(tmp_path, _options(ros_wheels="lunar"))


def test_headers_in_cmake_files_are_repaired(tmp_path: Path) -> None:
    path = tmp_path / "share" / "std_msgs" / "cmake" / "export.cmake"
    path.parent.mkdir(parents=True)
    include, numpy = "/gone/py/include/python3.11", "/gone/py/lib/python3.11/site-packages/numpy/_core/include"
    untouched = f'"\nOTHER "${{_PREFIX}}/include/std_msgs;{tmp_path}"\n'
    path.write_text(f'DIRECTORIES "{include};{numpy}{untouched}')
    setup.repair_cmake_files(tmp_path, {"python": "/here/include", "numpy": "/here/numpy"})
    assert path.read_text() == f'DIRECTORIES "/here/include;/here/numpy{untouched}'


def test_no_cmake_file_of_this_environment_names_missing_headers() -> None:
    for path in Path(sys.prefix).glob("share/*/cmake/*.cmake"):
        for match in setup.HEADER_FOLDER.finditer(path.read_text(encoding="utf-8")):
            assert os.path.isdir(match.group()), f"{path}: {match.group()}"


def test_deleted_messages_are_removed(tmp_path: Path) -> None:
    old = tmp_path / "old.py"
    old.touch()
    manifest = tmp_path / "manifest.txt"
    setup.remove_files(manifest)  # the first build: there is none
    manifest.write_text(f"{old}\n{tmp_path / 'never'}\n")
    setup.remove_files(manifest)
    assert not old.exists()


def test_a_missing_network_is_told_from_other_failures(tmp_path: Path) -> None:
    refused = setup.explain("pip could not.", ["NewConnectionError: [Errno 111]"], tmp_path)
    assert "index cannot be reached" in refused and str(tmp_path) in refused
    assert "index cannot be reached" not in setup.explain("pip could not.", ["No space left on device"], tmp_path)


# ---------------------------------------------------------------- prerequisites

def test_an_unsuitable_python_gets_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites.sys, "version_info", (3, 8, 1))
    monkeypatch.setattr(prerequisites.shutil, "which", lambda name: None)
    with pytest.raises(prerequisites.SetupError, match="3.10, 3.11 or 3.12"):
        prerequisites.run_with_suitable_python()


def test_a_missing_compiler_gets_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites.shutil, "which", lambda name: None)
    with pytest.raises(prerequisites.SetupError, match="gcc"):
        prerequisites.check_build_tools()


def test_missing_headers_get_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prerequisites.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(prerequisites.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(prerequisites.SetupError, match=r"Python.h.*-dev"):
        prerequisites.check_build_tools()


def test_a_missing_venv_module_gets_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "succeeds", lambda command: False)
    with pytest.raises(prerequisites.SetupError, match="-venv"):
        prerequisites.check_venv_module()
    with pytest.raises(prerequisites.SetupError, match="rclpy"):
        prerequisites.check_distribution("jazzy")


def test_another_platform_gets_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites.platform, "machine", lambda: "aarch64")
    with pytest.raises(prerequisites.SetupError, match="aarch64"):
        prerequisites.check_platform()


@pytest.mark.parametrize("version, stays", [("4.6.0", True), ("5.0.0", True), ("4.5.4", False), (None, False)])
def test_a_cv2_in_the_range_is_kept(version: str | None, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_environment, "other_opencv", lambda: version)
    kept = probe_environment.kept(["cv2>=4.6,<6"])
    assert kept == ({probe_environment.OPENCV_PIN: ""} if stays else {})


def test_a_package_of_the_system_in_the_range_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = SimpleNamespace(version="1.26.4", locate_file=lambda name: tmp_path)
    monkeypatch.setattr(probe_environment.importlib.metadata, "distribution", lambda name: found)
    assert probe_environment.kept(["numpy>=1.26"]) == {"numpy": "numpy==1.26.4"}
    assert probe_environment.kept(["numpy>=2"]) == {}
    found.locate_file = lambda name: Path(sys.prefix) / "lib"  # of the environment: the pin decides
    assert probe_environment.kept(["numpy>=1.26"]) == {}


# ---------------------------------------------------------------- the loopback runner

NODE = """
import os, rclpy
rclpy.init()
node = rclpy.create_node("probe")
links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
own = {os.readlink(link) for link in links if os.path.islink(link)}
table = [line.split() for line in open("/proc/self/net/udp").readlines()[1:]]
print("probe", os.environ["ROS_DOMAIN_ID"], *(row[1] for row in table if f"socket:[{row[9]}]" in own))
node.destroy_node()
rclpy.shutdown()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_node_listens_on_the_loopback_only() -> None:
    """In its domain's ports (7400 + 250 a domain); the sockets it only sends from have ports of the system's choice."""
    command = [sys.executable, str(TOOLS / "on_loopback.py"), "--limit-s", "60", sys.executable, "-c", NODE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("probe"))
    domain, *addresses = line.split()[1:]
    assert 1 <= int(domain) <= 101
    base = 7400 + 250 * int(domain)
    heard = [address.split(":")[0] for address in addresses if base <= int(address.split(":")[1], 16) < base + 250]
    assert heard and set(heard) == {"0100007F"}, addresses


@pytest.mark.parametrize("release, name", [
    ("7.1.6", "FASTRTPS_DEFAULT_PROFILES_FILE"), ("9.1.2", "FASTDDS_DEFAULT_PROFILES_FILE")])
def test_the_profile_has_the_name_of_the_release(release: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_loopback.importlib.metadata, "version", lambda package: release)
    profile = Path(on_loopback.loopback_variables()[name])
    assert profile.is_file() and profile.name == "loopback_dds.xml"


def test_the_status_of_the_command_is_passed_on() -> None:
    assert on_loopback.run([sys.executable, "-S", "-c", "raise SystemExit(3)"], limit_s=30) == 3


def test_a_command_past_its_limit_is_ended_with_its_children(tmp_path: Path) -> None:
    script = (f"import subprocess, sys, time\n"
              f"child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
              f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\ntime.sleep(60)\n")
    started = time.monotonic()
    assert on_loopback.run([sys.executable, "-S", "-c", script], limit_s=8) == on_loopback.TIMED_OUT
    assert time.monotonic() - started < 50
    child = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split(") ")[1][:1]:
            return
        time.sleep(0.1)
    pytest.fail("a child outlived the command")
