"""A recording under examination: the same checks as of a running camera, on all of its messages. Needs no ROS."""

from __future__ import annotations

from contextlib import ExitStack

from kyvo_ros.ros.doctor.camera import examine
from kyvo_ros.ros.doctor.findings import Finding
from kyvo_ros.ros.frames import Pipeline
from kyvo_ros.ros.offline.bags import BagError
from kyvo_ros.ros.offline.jobs import Job, is_bag, open_source
from kyvo_ros.ros.status import ERROR


def examine_recording(job: Job, pipeline: Pipeline | None) -> list[Finding]:
    """What is wrong with the recording of a job: a rosbag2, a folder of images or a video."""
    try:
        with ExitStack() as stack:
            found = open_source(job, stack)
            return examine(found.heard, pipeline, found.settings, found.topics, job.source)
    except BagError as error:
        return [Finding(ERROR, "image", str(error), f"ros2 bag info {job.source}" if is_bag(job.source) else "")]
