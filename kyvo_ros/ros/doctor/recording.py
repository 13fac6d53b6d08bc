"""A recording under examination: the same checks as of a running camera, on all of its messages. Needs no ROS."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from kyvo_ros.ros.doctor.camera import examine
from kyvo_ros.ros.doctor.findings import Finding
from kyvo_ros.ros.frames import Pipeline
from kyvo_ros.ros.offline.bags import BagError
from kyvo_ros.ros.offline.jobs import Job, open_source
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import ERROR


def examine_recording(source: Path, settings: Settings, pipeline: Pipeline | None, image: str = "",
                      camera_info: str = "", depth: str = "") -> list[Finding]:
    """What is wrong with a rosbag2, a folder of images or a video."""
    try:
        with ExitStack() as stack:
            found = open_source(Job(source, Path(), settings, image, camera_info, depth_topic=depth), stack)
            return examine(found.heard, pipeline, found.settings, found.topics)
    except BagError as error:
        return [Finding(ERROR, "image", str(error), f"ros2 bag info {source}")]
