"""deploy/ names what exists: Dockerfiles, the systemd unit and its environment. Neither can be run here."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import kyvo_ros
from kyvo_ros.ros.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
DEPLOY = REPOSITORY / "deploy"
DOCKERFILES = ("Dockerfile", "Dockerfile.jetson")
INSTRUCTIONS = {"FROM", "ARG", "ENV", "SHELL", "RUN", "WORKDIR", "COPY", "ENTRYPOINT", "STOPSIGNAL", "CMD"}
#: Sections of the unit -> the keys it may use (systemd.unit(5), .service(5), .exec(5), .kill(5)).
UNIT_KEYS = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec", "StartLimitBurst"},
    "Service": {"Type", "User", "EnvironmentFile", "Environment", "ExecStart", "KillSignal", "KillMode",
                "TimeoutStopSec", "Restart", "RestartSec", "OOMScoreAdjust", "StateDirectory", "NoNewPrivileges",
                "ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules",
                "ProtectControlGroups", "ProtectClock", "ProtectHostname", "RestrictSUIDSGID", "RestrictRealtime",
                "RestrictNamespaces", "LockPersonality", "CapabilityBoundingSet", "RestrictAddressFamilies",
                "SystemCallArchitectures"},
    "Install": {"WantedBy"},
}
#: Would cut the node off from DDS (UDP, shared memory in /dev/shm), the GPU's devices, or compilers at run time.
BREAKS_DDS_OR_CUDA = {"PrivateNetwork", "PrivateIPC", "PrivateTmp", "PrivateDevices", "PrivateUsers",
                      "MemoryDenyWriteExecute", "IPAddressDeny", "DevicePolicy"}


def _instructions(name: str) -> list[tuple[str, str]]:
    """[(instruction, its argument)] of a Dockerfile; comments are left out and continued lines joined."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined if line.strip()]


def _arguments(name: str, instruction: str) -> list[str]:
    return [argument for found, argument in _instructions(name) if found == instruction]


# ---------------------------------------------------------------- images

@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_hold_known_instructions_and_one_base(name: str) -> None:
    found = _instructions(name)
    assert {instruction for instruction, _ in found} <= INSTRUCTIONS
    bases = _arguments(name, "FROM")
    before = found[:[instruction for instruction, _ in found].index("FROM")]
    assert bases == ["${BASE_IMAGE}"] and [instruction for instruction, _ in before] == ["ARG"]
    assert re.fullmatch(r"BASE_IMAGE(=.+:[\w.-]+)?", before[0][1]), "the base has no tag"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_exists_and_is_not_ignored(name: str) -> None:
    ignored = {line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if "*" not in line}
    copied = [source for argument in _arguments(name, "COPY") for source in argument.split()[:-1]]
    assert {"package.xml", "kyvo_msgs/package.xml", "tools", "Makefile", "."} <= set(copied)
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert source.split("/")[0] not in ignored, source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_shell_of_the_images_parses(name: str) -> None:
    commands = _arguments(name, "RUN")
    assert commands
    for command in commands:
        result = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}\n{result.stderr}"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_built_as_the_readme_builds(name: str) -> None:
    commands = "\n".join(" ".join(argument.split()) for argument in _arguments(name, "RUN"))
    readme = (REPOSITORY / "README.md").read_text()
    for command in ("rosdep install --from-paths src src/kyvo_ros/kyvo_msgs --ignore-src",
                    "make -C src/kyvo_ros setup", "colcon build --base-paths src src/kyvo_ros/kyvo_msgs"):
        assert command in commands and command in readme, command
    options = set(re.findall(r"\b([A-Z_]+)=\"\$", commands))
    known = set(re.findall(r"^([A-Z_]+) \?=", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert options == {"TORCH_SPEC", "TORCH_INDEX"} and options <= known
    assert options <= {argument.split("=")[0] for argument in _arguments(name, "ARG")}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_start_a_launch_file_through_the_entrypoint(name: str) -> None:
    (entrypoint,), (command,) = _arguments(name, "ENTRYPOINT"), _arguments(name, "CMD")
    (copied,) = [argument.split() for argument in _arguments(name, "COPY") if "entrypoint" in argument]
    assert entrypoint == f'["{copied[1]}"]' and os.access(REPOSITORY / copied[0], os.X_OK)
    words = re.findall(r'"([^"]+)"', command)
    assert words[:3] == ["ros2", "launch", "kyvo_ros"] and (REPOSITORY / "launch" / words[3]).is_file()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_stopped_as_by_ctrl_c(name: str) -> None:
    """launch hands SIGINT on to its nodes; at SIGTERM it goes and leaves them."""
    assert _arguments(name, "STOPSIGNAL") == ["SIGINT"]


@pytest.mark.parametrize("name", [*DOCKERFILES, "kyvo-node.service"])
def test_what_was_not_run_says_so(name: str) -> None:
    header = (DEPLOY / name).read_text().split("\n\n")[0]
    assert "# Not run: " in header and f"deploy/{name}" in header
    for path in re.findall(r"\b(?:test|deploy|docs)/[\w./-]+\w", header):
        assert (REPOSITORY / path).is_file(), path


# ---------------------------------------------------------------- systemd

@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read(DEPLOY / "kyvo-node.service")
    return parser


def _variables() -> dict[str, str]:
    lines = [line for line in (DEPLOY / "kyvo-node.env").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.match(r"[A-Z_]+=", line) for line in lines)
    return {name: "".join(shlex.split(value)) for name, value in (line.split("=", 1) for line in lines)}


def test_unit_has_known_sections_and_keys(unit: configparser.ConfigParser) -> None:
    assert set(unit.sections()) == set(UNIT_KEYS)
    for section in unit.sections():
        assert set(unit[section]) <= UNIT_KEYS[section], section


def test_unit_leaves_dds_and_the_gpu_alone(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert not BREAKS_DDS_OR_CUDA & set(service)
    assert {"AF_INET", "AF_UNIX", "AF_NETLINK"} <= set(service["RestrictAddressFamilies"].split())
    assert service["NoNewPrivileges"] == "yes" and service["ProtectSystem"] == "strict"


def test_unit_restarts_a_node_that_died(unit: configparser.ConfigParser) -> None:
    """launch exits with 0 where its node has died, so on-failure would leave it dead."""
    assert unit["Service"]["Restart"] == "always"
    assert int(unit["Unit"]["StartLimitIntervalSec"]) > int(unit["Service"]["RestartSec"])


def test_unit_starts_what_its_header_installs(unit: configparser.ConfigParser) -> None:
    header = (DEPLOY / "kyvo-node.service").read_text()
    installed = dict(re.findall(r"install (?:-D )?-m \d+ (deploy/\S+) (/\S+)", header))
    assert installed["deploy/run_node.sh"] == unit["Service"]["ExecStart"]
    assert installed["deploy/kyvo-node.env"] == unit["Service"]["EnvironmentFile"]
    assert "deploy/kyvo-node.service" in installed
    assert os.access(DEPLOY / "run_node.sh", os.X_OK)


def test_environment_keeps_dds_on_the_loopback() -> None:
    variables = _variables()
    profile = variables["FASTDDS_DEFAULT_PROFILES_FILE"]
    assert profile == variables["FASTRTPS_DEFAULT_PROFILES_FILE"]
    assert profile.startswith(variables["KYVO_WORKSPACE"] + "/src/kyvo_ros/")
    assert (REPOSITORY / profile.split("/src/kyvo_ros/")[1]).is_file()
    assert variables["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_arguments_of_the_environment_are_the_launch_file_s() -> None:
    declared = (REPOSITORY / "launch" / "kyvo.launch.py").read_text()
    given = [argument.split(":=")[0] for argument in _variables()["KYVO_ARGUMENTS"].split()]
    assert given and all(f'"{name}": (' in declared for name in given)


def test_run_node_passes_the_arguments_on(tmp_path: Path) -> None:
    """The script for real, with a ros2 that prints how it was called."""
    setup = tmp_path / "install" / "setup.bash"
    setup.parent.mkdir()
    setup.write_text(f'export PATH="{tmp_path}:$PATH"\n')
    (tmp_path / "ros2").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "ros2").chmod(0o755)
    variables = {**os.environ, **_variables(), "KYVO_WORKSPACE": str(tmp_path)}
    words = subprocess.check_output([DEPLOY / "run_node.sh"], env=variables, text=True, timeout=60).splitlines()
    assert words == ["launch", "kyvo_ros", "kyvo.launch.py", *_variables()["KYVO_ARGUMENTS"].split()]
    assert (REPOSITORY / "launch" / words[2]).is_file()
    del variables["KYVO_WORKSPACE"]
    failed = subprocess.run([DEPLOY / "run_node.sh"], env=variables, capture_output=True, text=True, check=False)
    assert failed.returncode != 0 and "kyvo-node.env" in failed.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here; the keys are checked above")
def test_systemd_accepts_the_unit() -> None:
    result = subprocess.run(["systemd-analyze", "verify", DEPLOY / "kyvo-node.service"], capture_output=True, text=True,
                            timeout=60, check=False)
    said = [line for line in result.stderr.splitlines() if "kyvo-node" in line]
    assert all("is not executable: No such file" in line for line in said), result.stderr  # it is not installed here


# ---------------------------------------------------------------- pages

@pytest.mark.parametrize("page", ["docs/jetson.md", "docs/from_another_detector.md", "CHANGELOG.md"])
def test_pages_name_what_exists(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for link in links:
        assert ((REPOSITORY / page).parent / link).exists(), link
    for path in re.findall(r"\b((?:config|launch|tools|deploy|benchmarks|kyvo_ros/ros)/[\w./-]*\w)", text):
        assert (REPOSITORY / path).exists(), path


def test_pages_name_parameters_that_exist() -> None:
    known = set(Settings.__dataclass_fields__)
    text = (REPOSITORY / "docs" / "from_another_detector.md").read_text()
    ours = text.split("## Parameters")[1].split("The README")[0]
    right = " ".join(line.split("|")[2] for line in ours.splitlines() if line.startswith("| "))
    named = set(re.findall(r"`([a-z_]+)`", right))
    assert {"model", "device", "image_qos"} <= named and named <= known, named - known
    table = (REPOSITORY / "docs" / "jetson.md").read_text().split("## Memory")[1].split("## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE)) <= known


def test_changelog_has_the_version_and_the_shape_of_keep_a_changelog() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased" and versions[1] == kyvo_ros.__version__
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (\w+)", text, re.MULTILINE)) <= kinds
