"""The machine: versions, the messages' build, the device, and whether the model loads. Needs neither ROS nor torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import kyvo_ros
from kyvo_ros.ros.doctor.findings import Finding
from kyvo_ros.ros.frames import Pipeline
from kyvo_ros.ros.model_slot import ModelSlot, PipelineFactory
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import ERROR, OK, WARN

_MODULES = ("numpy", "cv2", "torch")
_BUILD = "colcon build --packages-select kyvo_msgs kyvo_ros && source install/setup.bash"


def versions() -> Iterator[Finding]:
    """What is installed, and what is missing."""
    found = [f"kyvo_ros {kyvo_ros.__version__}", f"Python {platform.python_version()}"]
    for name in _MODULES:
        try:
            found.append(f"{name} {import_module(name).__version__}")
        except (ImportError, OSError, AttributeError) as error:  # a library of CUDA is missing, or another numpy's ABI
            yield Finding(ERROR, "versions", f"{name} cannot be imported in {sys.executable}: {error}", "make setup")
    found.append(f"ROS {os.environ.get('ROS_DISTRO', 'of wheels')}" if importlib.util.find_spec("rclpy") else "no ROS")
    yield Finding(OK, "versions", ", ".join(found))


def messages() -> Iterator[Finding]:
    """Whether kyvo_msgs is there and was built from the definitions that this code was written for."""
    from kyvo_ros.ros.offline.message_packages import typestore
    try:
        built = import_module("kyvo_msgs.msg")
    except ImportError as error:
        yield Finding(ERROR, "versions", f"kyvo_msgs cannot be imported: {error}", _BUILD)
        return
    stale = []
    for name, (_, fields) in typestore().fielddefs.items():
        package, _, short = name.split("/")
        kind = getattr(built, short, None)
        names = list(kind.get_fields_and_field_types()) if kind else []
        if package == "kyvo_msgs" and names != [field for field, _ in fields]:
            stale.append(short)
    if stale:
        yield Finding(ERROR, "versions", f"kyvo_msgs was built from other definitions of {', '.join(sorted(stale))} "
                      "than lie beside this code", _BUILD)


def model(settings: Settings, factory: PipelineFactory,
          source: Path | None = None) -> tuple[list[Finding], Pipeline | None]:
    """Load the settings' model, and say so; None where that fails. `source`: the recording that is looked at."""
    slot = ModelSlot(factory)
    try:
        slot.load(settings)
    except Exception:  # whatever it is, the slot explains it as it does to the node
        device = settings.device != "auto" and f"'{settings.device}'" in slot.report().message
        change = "device:=auto" if device else "model:=PATH/OF/A/MODEL/FOLDER"
        again = f"kyvo doctor {source} " if source else "kyvo doctor "
        return [Finding(ERROR, "model", slot.report().message, f"{again}-p {change}")], None
    name, device = slot.name_and_device()
    return [Finding(OK, "model", f"{name} loads"), *_device(device)], slot.pipeline


def _device(device: str) -> Iterator[Finding]:
    """What the model runs on; a GPU that torch cannot use is worth a word."""
    yield Finding(OK, "device", f"the model runs on {device}")
    if device == "cpu" and os.path.exists("/proc/driver/nvidia/version"):
        yield Finding(WARN, "device", "this machine has an NVIDIA GPU that this torch does not use",
                      "python3 -c 'import torch; print(torch.__version__, torch.version.cuda)'")
