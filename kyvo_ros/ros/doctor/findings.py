"""What the doctor finds: a level, what it is about, plain words, and a line to type. Knows no ROS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kyvo_ros.ros.offline.bags import Topics
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import ERROR, OK, WARN

_WORDS = {OK: "ok", WARN: "check", ERROR: "WRONG"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: int  # OK, WARN or ERROR of `status`
    about: str  # a stage of `status.STAGES`, with its camera's name before it, or versions, device, node, system
    message: str
    type_this: str = ""  # a command that helps; empty where there is none


def report(findings: Iterable[Finding]) -> str:
    """The findings as text, a line each and what to type below it, and a summary."""
    findings = list(findings)
    lines = []
    for finding in findings:
        lines.append(f"{_WORDS[finding.level]:<6}{finding.about}: {finding.message}")
        if finding.type_this:
            lines.append(f"      type: {finding.type_this}")
    worse = sum(finding.level > OK for finding in findings)
    lines.append("nothing stands in the way" if not worse else f"{worse} thing{'s' * (worse > 1)} to put right")
    return "\n".join(lines)


def exit_code(findings: Iterable[Finding]) -> int:
    """1 where something is to be put right."""
    return int(any(finding.level > OK for finding in findings))


def what_to_type_again(reason: str, source: Path, of_camera: bool) -> str:
    """The same for a recording, which only says something else when it is asked in another way; `of_camera`: a bag."""
    calibrated = "--camera-info TOPIC" if of_camera else "--camera camera.yaml"
    options = {
        "no_camera_info": calibrated, "bad_camera_info": calibrated, "no_depth": "--depth TOPIC",
        "no_transform": "-p plane_frame:=FRAME -p camera_frame:=FRAME", "plane_not_visible": "-p plane_frame:=FRAME"}
    if of_camera:
        options["bad_image"] = "--image TOPIC"
    return f"kyvo doctor {source} {options[reason]}" if reason in options else ""


def what_to_type(reason: str, settings: Settings, topics: Topics, camera_frame: str = "CAMERA_FRAME") -> str:
    """A command that helps against a reason of `status.DROP_REASONS`, with the names of this running system."""
    plane = settings.plane_frame or settings.output_frame or "world"
    camera = settings.camera_frame or camera_frame
    base = topics.image.removesuffix("/compressed")
    return {
        "bad_image": f"ros2 topic echo --once --no-arr {topics.image}",
        "no_camera_info": "ros2 topic list -t | grep CameraInfo",
        "bad_camera_info": "ros2 run camera_calibration cameracalibrator --size 8x6 --square 0.025 --ros-args "
                           f"-r image:={base} -r camera:={base.rpartition('/')[0] or '/'}",
        "no_transform": f"ros2 run tf2_ros tf2_echo {plane} {camera}",
        "plane_not_visible": f"ros2 run tf2_ros tf2_echo {plane} {camera}",
        "no_depth": f"ros2 topic list -t | grep {'PointCloud2' if settings.depth_source == 'points' else 'depth'}",
    }.get(reason, "")
