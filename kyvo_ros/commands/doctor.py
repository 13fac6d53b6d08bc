"""`kyvo doctor`: what keeps scenes from coming in a running system or in a recording, and what to type."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.bag import add_recording_options, add_setting_options, check_rate
from kyvo_ros.commands.common import UsageError
from kyvo_ros.commands.recognize import read_camera

if TYPE_CHECKING:
    from kyvo_ros.ros.doctor.findings import Finding
    from kyvo_ros.ros.frames import Pipeline
    from kyvo_ros.ros.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo doctor`."""
    parser.description = (
        "Look at the running system, or at a recording, and say in plain words what is wrong and what to type. Exits "
        "with 1 where something is to be put right. Give it the parameters and topics that kyvo_node gets.")
    parser.add_argument("source", nargs="?", type=Path, metavar="FILE", help="rosbag2, folder of images, or video "
                        "(default: the running system)")
    parser.add_argument("--listen-s", type=float, default=4.0, metavar="S", help="seconds to listen to a running "
                        "system (default: %(default)s)")
    add_recording_options(parser)
    add_setting_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo doctor`; returns the exit code. Raises UsageError, SettingError."""
    from kyvo_ros.ros.doctor import machine
    from kyvo_ros.ros.doctor.findings import exit_code, report
    from kyvo_ros.ros.model_slot import kyvo_pipeline
    from kyvo_ros.ros.setting_options import settings_of

    if not args.listen_s > 0:
        raise UsageError(f"--listen-s must be positive, got {args.listen_s:g}")
    check_rate(args)
    settings = settings_of(args.params_file, args.assignments, args.camera_name)
    of_model, pipeline = machine.model(settings, kyvo_pipeline, args.source)
    look = _recording if args.source else _system
    findings = [*machine.versions(), *of_model, *look(args, settings, pipeline)]
    print(report(findings))
    return exit_code(findings)


def _recording(args: argparse.Namespace, settings: Settings, pipeline: Pipeline | None) -> list[Finding]:
    from kyvo_ros.ros.doctor.recording import examine_recording
    from kyvo_ros.ros.offline.jobs import Job
    camera = read_camera(args.camera) if args.camera else None
    return examine_recording(Job(args.source, Path(), settings, args.image, args.camera_info, camera=camera,
                                 rate_hz=args.rate_hz, depth_topic=args.depth), pipeline)


def _system(args: argparse.Namespace, settings: Settings, pipeline: Pipeline | None) -> list[Finding]:
    from kyvo_ros.ros.doctor import machine
    from kyvo_ros.ros.doctor.findings import Finding
    from kyvo_ros.ros.status import ERROR
    try:
        from kyvo_ros.ros.doctor.system import examine_system
    except ImportError as error:
        return [Finding(ERROR, "system", f"a running system cannot be looked at without ROS ({error}); a recording can",
                        "source /opt/ros/$ROS_DISTRO/setup.bash")]
    found = examine_system(settings, pipeline, args.image, args.camera_info, args.listen_s, args.depth,
                           args.camera_name)
    return [*machine.messages(), *found]
