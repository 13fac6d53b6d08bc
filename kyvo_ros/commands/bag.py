"""`kyvo bag`: the scenes of recordings, folders of images and videos, written as a rosbag2. Needs no ROS."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import UsageError, check_counts
from kyvo_ros.commands.recognize import read_camera

if TYPE_CHECKING:
    from kyvo_ros.ros.offline.jobs import Job, Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo bag`."""
    parser.description = (
        "Run the recogniser over every image of a rosbag2 (sqlite3 or mcap; camera_info and TF are taken from it, as "
        "kyvo_node does), of a folder of images, or of a video, and write scene, detections and markers into a bag; "
        "with the parameter memory_frame the scene graph, too.")
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE", help="rosbag2, folder of images, or video")
    parser.add_argument("--out", type=Path, metavar="BAG", help="where the results go; with several FILEs the folder "
                        "that holds a bag for each (default: FILE with _kyvo at the end, in the current folder)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, each with a model of its own "
                        "(default: %(default)s)")
    parser.add_argument("--namespace", default="", help="of the topics of the results")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="of the results (default: "
                        "%(default)s)")
    add_recording_options(parser)
    add_setting_options(parser)
    parser.set_defaults(run=run)


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Which topics are the camera's, and what folders and videos do not say."""
    parser.add_argument("--image", default="", metavar="TOPIC", help="of the images (default: the only one)")
    parser.add_argument("--camera-info", default="", metavar="TOPIC", help="(default: the one beside the images)")
    parser.add_argument("--depth", default="", metavar="TOPIC", help="where the parameter depth_source asks for depth "
                        "(default: the only one)")
    pictures = parser.add_argument_group("folders and videos")
    pictures.add_argument("--camera", type=Path, metavar="YAML", help="calibration file, as camera_calibration writes "
                          "it (default: the model's own lens, for images of its aspect and of 4:3 to 3:2)")
    pictures.add_argument("--rate-hz", type=float, default=1.0, help="images of a folder a second (default: "
                          "%(default)s)")


def add_setting_options(parser: argparse.ArgumentParser) -> None:
    """The node's parameters."""
    group = parser.add_argument_group("parameters of kyvo_node")
    group.add_argument("--params-file", type=Path, metavar="YAML", help="parameter file, as for the node")
    group.add_argument("-p", dest="assignments", action="append", default=[], metavar="NAME:=VALUE",
                       help="one parameter, such as plane_frame:=world; may be given again")
    group.add_argument("--camera-name", default="", metavar="NAME", help="where the parameters name several cameras: "
                       "the one whose parameters hold")


def run(args: argparse.Namespace) -> int:
    """Run `kyvo bag`; returns the exit code: 1 where a recording failed or gave no scene. Raises UsageError."""
    from tqdm import tqdm

    from kyvo_ros.ros.offline.jobs import run_jobs

    jobs = jobs_of(args)
    failures = 0
    with tqdm(total=len(jobs), desc="recordings", unit="bag", disable=None if len(jobs) > 1 else True) as progress:
        for outcome in run_jobs(jobs, args.jobs):
            progress.write(report(outcome))
            progress.update()
            failures += bool(outcome.error) or outcome.ledger.scenes == 0
    return 1 if failures else 0


def jobs_of(args: argparse.Namespace) -> list[Job]:
    """A job for each recording. Raises UsageError, SettingError."""
    from kyvo_ros.ros.offline.jobs import Job
    from kyvo_ros.ros.setting_options import settings_of

    check_counts(args, "jobs")
    check_rate(args)
    settings = settings_of(args.params_file, args.assignments, args.camera_name)
    camera = read_camera(args.camera) if args.camera else None
    _check_options(args)
    several = len(args.sources) > 1
    names = [f"{source.resolve().stem}_kyvo" for source in args.sources]
    if len(set(names)) < len(names):
        raise UsageError("two recordings have the same name, so that one's results would replace the other's; run them "
                         "one by one")
    outputs = [(args.out or Path()) / name if several or not args.out else args.out for name in names]
    return [Job(source, output, settings, args.image, args.camera_info, args.namespace, args.storage, camera,
                args.rate_hz, args.depth) for source, output in zip(args.sources, outputs)]


def _check_options(args: argparse.Namespace) -> None:
    """Raises UsageError for options that would do nothing, or make names that ROS refuses."""
    from kyvo_ros.ros.offline.jobs import is_bag

    if not re.fullmatch(r"(/?[A-Za-z_]\w*)*/?", args.namespace):
        raise UsageError(f"--namespace must be names of letters, digits and _ with / between, got {args.namespace!r}")
    bags = [is_bag(source) for source in args.sources]
    named = [f"--{name.replace('_', '-')}" for name in ("image", "camera_info", "depth") if getattr(args, name)]
    if named and not any(bags):
        raise UsageError(f"{', '.join(named)} name topics of bags, and folders and videos have none")
    if args.camera and all(bags):
        raise UsageError("--camera is for folders and videos; a bag has its own camera_info (--camera-info TOPIC)")


def check_rate(args: argparse.Namespace) -> None:
    """Raises UsageError."""
    if not args.rate_hz > 0:
        raise UsageError(f"--rate-hz must be positive, got {args.rate_hz:g}")


def report(outcome: Outcome) -> str:
    """What to say of a job: figures, and why frames were left out."""
    if outcome.error:
        return f"{outcome.job.source}: failed: {outcome.error}"
    ledger = outcome.ledger
    lines = [f"{outcome.job.source}: {ledger.scenes} scenes of {ledger.images} images -> {outcome.job.output}"]
    lines += [f"  {count} dropped ({reason}){': ' if ledger.reasons[reason] else ''}{ledger.reasons[reason]}"
              for reason, count in ledger.drops.items()]
    lines += [f"  {stage}: {message}" for (stage, _), message in ledger.remarks.items()]
    if ledger.graph:
        lines.append("  " + ", ".join(f"{name}: {value}" for name, value in ledger.graph.items()))
    return "\n".join(lines)
