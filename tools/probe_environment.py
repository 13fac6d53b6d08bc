"""Prints what an environment has of its own and keeps. Run by setup_environment.py with the environment's Python.

Arguments: requirements such as `numpy>=1.26`. Prints JSON: {name of the pin it replaces: constraint for pip or ""}.
A distribution counts where it lies outside the environment (a ROS distribution's, seen through
--system-site-packages); a cv2 counts wherever it comes from, unless from the pinned opencv-python-headless.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

OPENCV_PIN = "opencv-python-headless"


def from_outside(name):
    """Version of a distribution that lies outside the environment, or None."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    inside = Path(sys.prefix).resolve() in Path(distribution.locate_file("")).resolve().parents
    return None if inside else distribution.version


def other_opencv():
    """Version of a cv2 that is not the pinned package's, or None."""
    try:
        importlib.metadata.distribution(OPENCV_PIN)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        if not from_outside(OPENCV_PIN):
            return None
    try:
        import cv2
    except ImportError:
        return None
    return cv2.__version__


def kept(requirements):
    """The pins that are left out, with the constraint that keeps pip's hands off what is there."""
    result = {}
    for requirement in map(Requirement, requirements):
        version = other_opencv() if requirement.name == "cv2" else from_outside(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            continue
        if requirement.name == "cv2":
            result[OPENCV_PIN] = ""
        else:
            result[requirement.name] = "%s==%s" % (requirement.name, version)
    return result


if __name__ == "__main__":
    print(json.dumps(kept(sys.argv[1:])))
