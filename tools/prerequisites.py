"""What has to be on a computer before `make setup` can download anything, and the messages where it is not.

Runs under any Python >= 3.6, so that an unsuitable one gets a message and not a syntax error.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)


class SetupError(Exception):
    """The set-up cannot go on; the message says what is missing and what to do."""


def sourced_distribution():
    """Name of the ROS distribution that is sourced in this shell, or None."""
    return os.environ.get("ROS_DISTRO") if os.environ.get("AMENT_PREFIX_PATH") else None


def run_with_suitable_python():
    """Go on under a Python of the supported range: this one, or the newest such on the PATH.

    Raises:
        SetupError: there is none.
    """
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        candidate = shutil.which("python3.%d" % minor)
        if candidate and succeeds([candidate, "-c", "import venv"]):
            print("Python %s is outside 3.10 to 3.12: using %s" % (platform.python_version(), candidate), flush=True)
            os.execv(candidate, [candidate] + sys.argv)
    raise SetupError(
        "Python 3.10, 3.11 or 3.12 is needed; %s is Python %s, and no other was found on the PATH.\n"
        "Install one (for example: apt install python3.12 python3.12-venv) and name it: make setup PYTHON=python3.12"
        % (sys.executable, platform.python_version()))


def check_prerequisites(distribution):
    """Raise SetupError for what pip cannot install.

    Args:
        distribution: name of the sourced ROS distribution, or None, where the messages are built here.
    """
    check_venv_module()
    if distribution:
        check_distribution(distribution)
    else:
        check_platform()
        check_build_tools()


def check_venv_module():
    """A Debian Python without its -venv package has venv, but not ensurepip."""
    if not succeeds([sys.executable, "-c", "import ensurepip, venv"]):
        raise SetupError("%s has no venv module. Install it: apt install python%d.%d-venv" %
                         ((sys.executable,) + sys.version_info[:2]))


def check_distribution(distribution):
    """rclpy is an extension module: it belongs to one Python, and the environment is made from that one."""
    if not succeeds([sys.executable, "-c", "import rclpy"]):
        raise SetupError("ROS 2 %s is sourced, but %s cannot import rclpy. Name the Python of the distribution "
                         "(make setup PYTHON=/usr/bin/python3), or use a shell in which no ROS is sourced." %
                         (distribution, sys.executable))


def check_platform():
    """The wheels are built for one platform."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError("The ROS 2 wheels exist for x86-64 Linux, and this is %s on %s. Source a ROS 2 distribution "
                         "and run it again." % (platform.system(), platform.machine()))


def check_build_tools():
    """Compilers and Python's headers, for the extension modules of the messages (cmake comes as a wheel)."""
    if not (compiler("CC", "cc", "gcc") and compiler("CXX", "c++", "g++")):
        raise SetupError("A C and a C++ compiler are needed to build the messages. Install them: apt install gcc g++")
    headers = sysconfig.get_paths()["include"]
    if not (Path(headers) / "Python.h").is_file():
        raise SetupError("%s is missing. Install it: apt install python%d.%d-dev" %
                         ((os.path.join(headers, "Python.h"),) + sys.version_info[:2]))


def compiler(variable, *names):
    """Path of the compiler CMake will take (the environment variable's, or the first of the names), or None."""
    chosen = os.environ.get(variable, "").split()
    return next(filter(None, map(shutil.which, chosen[:1] or names)), None)


def succeeds(command):
    """Whether a command exits with 0; its output is not shown."""
    return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL) == 0
