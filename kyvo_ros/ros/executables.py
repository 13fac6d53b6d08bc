"""The executables colcon installs: node, camera simulator and command line, each under a Python that has torch.

ROS starts executables with the Python of the shell, and torch is often in a virtual environment that this Python does
not see. So before anything is imported, the executable looks for torch, and where it is absent starts itself again
under, in this order: the Python named by KYVO_PYTHON, the activated virtual environment's, the one `make setup` made
beside the sources (its path is installed as share/kyvo_ros/kyvo_python). Knows nothing of the node.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Names a Python to start the executables with.
PYTHON_VARIABLE = "KYVO_PYTHON"
#: Set in the environment of an executable that was started again, so that it happens once.
GUARD_VARIABLE = "KYVO_PYTHON_FOUND"
RECORD = "kyvo_python"


def kyvo_node() -> int:
    """`ros2 run kyvo_ros kyvo_node`."""
    return _run("kyvo_ros.ros.node")


def kyvo_managed_node() -> int:
    """`ros2 run kyvo_ros kyvo_managed_node`."""
    return _run("kyvo_ros.ros.managed_node")


def camera_simulator() -> int:
    """`ros2 run kyvo_ros camera_simulator`."""
    return _run("kyvo_ros.ros.camera_simulator")


def kyvo() -> int:
    """`ros2 run kyvo_ros kyvo`."""
    return _run("kyvo_ros.cli")


def _run(module: str) -> int:
    if not _is_right_python(os.environ):
        python = None if GUARD_VARIABLE in os.environ else next(_candidates(os.environ), None)
        if python is None:
            print(f"{Path(sys.argv[0]).name}: {_advice(os.environ)}", file=sys.stderr)
            return 1
        os.environ[GUARD_VARIABLE] = python
        os.execv(python, [python, *sys.argv])
    os.environ.pop(GUARD_VARIABLE, None)  # it is not for what this process may start
    return importlib.import_module(module).main()


def _is_right_python(environment: Mapping[str, str]) -> bool:
    """Whether this Python has torch, and no other was asked for."""
    wanted = environment.get(PYTHON_VARIABLE)
    if wanted and GUARD_VARIABLE not in environment and not _is_this_python(Path(wanted)):
        return False
    return importlib.util.find_spec("torch") is not None


def _is_this_python(python: Path) -> bool:
    """Compares the environments: the executables of a virtual environment and of its base are one file."""
    return os.path.abspath(python.parent.parent) == os.path.abspath(sys.prefix)


def _candidates(environment: Mapping[str, str]) -> Iterator[str]:
    """Paths of other Pythons that may have torch, the most explicit first."""
    if environment.get(PYTHON_VARIABLE):  # what is asked for by name is not replaced by something else
        paths = [Path(environment[PYTHON_VARIABLE])]
    else:
        prefixes = [prefix for prefix in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
        records = [Path(prefix, "share", "kyvo_ros", RECORD) for prefix in prefixes]
        paths = [Path(environment["VIRTUAL_ENV"], "bin", "python3")] if environment.get("VIRTUAL_ENV") else []
        paths += [Path(record.read_text(encoding="utf-8").strip()) for record in records if record.is_file()]
    yield from (str(path) for path in paths if os.access(path, os.X_OK) and not _is_this_python(path))


def _advice(environment: Mapping[str, str]) -> str:
    tried = environment.get(GUARD_VARIABLE) or environment.get(PYTHON_VARIABLE) or sys.executable
    return (f"no torch in {tried}. Run `make setup` in the sources of kyvo_ros, with ROS sourced, and build again with "
            f"colcon; or activate the virtual environment that has torch; or name its Python: "
            f"export {PYTHON_VARIABLE}=/path/to/venv/bin/python3")
