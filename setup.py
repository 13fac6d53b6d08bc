"""The ament_python package: what colcon installs. Versions of what it needs: tools/pins.txt."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "kyvo_ros"
#: Installed into share/kyvo_ros, each with the folders below it.
SHARED_FOLDERS = ("launch", "config", "rviz", "models", "recipes", "demo")
#: Left by `make setup` where ROS is sourced: the Python that has torch. It spares the node an activated environment.
PYTHON_RECORD = Path(".venv/kyvo_python")


def version():
    """The version that kyvo_ros/__init__.py states."""
    text = Path(NAME, "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def data_files():
    """[(folder below the prefix, [files])], as setuptools wants them."""
    share = os.path.join("share", NAME)
    result = [
        ("share/ament_index/resource_index/packages", ["resource/" + NAME]),
        (share, ["package.xml"] + ([str(PYTHON_RECORD)] if PYTHON_RECORD.is_file() else [])),
    ]
    for folder in SHARED_FOLDERS:
        for place, subfolders, files in os.walk(folder):
            subfolders[:] = [name for name in subfolders if name != "__pycache__"]
            if files:
                result.append((os.path.join(share, place), sorted(os.path.join(place, name) for name in files)))
    return result


setup(
    name=NAME,
    version=version(),
    packages=find_packages(include=[NAME, NAME + ".*"]),
    data_files=data_files(),
    python_requires=">=3.10",
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="kyvo_ros maintainers",
    maintainer_email="maintainers@example.org",
    description="Turns camera images into a structured 3D scene with Kyvo.",
    license="Apache-2.0",
    extras_require={"test": ["pytest"], "benchmarks": ["DracoPy", "fast-simplification"], "train": ["peft", "torchao"]},
    entry_points={
        "console_scripts": [
            "kyvo_node = kyvo_ros.ros.executables:kyvo_node",
            "kyvo_managed_node = kyvo_ros.ros.executables:kyvo_managed_node",
            "camera_simulator = kyvo_ros.ros.executables:camera_simulator",
            "kyvo = kyvo_ros.ros.executables:kyvo",
        ],
    },
)
