"""Runs a command with ROS 2 kept on this computer, in a DDS domain of its own, and under a time limit.

    python3 tools/on_loopback.py [--limit-s 600] command [argument ...]

Used by `make test`, `make demo` and the benchmarks. A process of ROS 2 may hang at its end, and so may its children:
past the limit, and when the command has ended, whatever is left of its process group is ended.
"""

import argparse
import importlib.metadata
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

PROFILE = Path(__file__).resolve().parent.parent / "config" / "loopback_dds.xml"
TIMED_OUT = 124


def loopback_variables():
    """The environment variables that keep Fast DDS on the loopback, in a random domain (1 to 101: safe ports)."""
    return {
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        profile_variable(): str(PROFILE),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 101)),
    }


def profile_variable():
    """The variable that names its profile to Fast DDS; it was renamed after ROS 2 Jazzy (rclpy 7)."""
    try:
        release = int(importlib.metadata.version("rclpy").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return "FASTDDS_DEFAULT_PROFILES_FILE"
    return "FASTDDS_DEFAULT_PROFILES_FILE" if release > 7 else "FASTRTPS_DEFAULT_PROFILES_FILE"


def run(command, limit_s):
    """Run a command in a process group of its own. Returns its exit status, 124 where it ran past the limit."""
    process = subprocess.Popen(command, env={**os.environ, **loopback_variables()}, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        print("%s: not finished after %g s, ended" % (command[0], limit_s), file=sys.stderr)
        return TIMED_OUT
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        try:
            return process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return 128 + signal.SIGINT
    finally:
        end_group(process)


def end_group(process):
    """End what is left of a process group: it is asked, and after two seconds made to."""
    for number, patience_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def main():
    """Command line. Returns the exit status of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit-s", type=float, default=3600.0, help="seconds after which the command is ended")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    options = parser.parse_args()
    if not options.command:
        parser.error("a command is needed")
    status = run(options.command, options.limit_s)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
