"""Frames of several cameras that wait at the same time, through one pipeline. Knows nothing of ROS."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kyvo_ros.ros.camera import Waiting
from kyvo_ros.ros.recognition import Pipeline, Recognition, Sight, look_at
from kyvo_ros.ros.settings import Settings


class Computed(NamedTuple):
    """A frame and what came of it."""

    waiting: Waiting
    settings: Settings  # that it was computed with
    outcome: Recognition | Exception


def compute(waiting: Sequence[Waiting], pipeline: Pipeline) -> Iterator[Computed]:
    """What each frame shows, or why it cannot be told: one that fails takes none of the others with it."""
    ready: list[tuple[Waiting, Sight]] = []
    for item in waiting:
        settings = item.camera.settings
        try:
            ready.append((item, item.camera.recognizer.prepare(item.frame, pipeline, settings)))
        except Exception as error:  # the boundary of a frame
            yield Computed(item, settings, error)
    start = time.monotonic()
    scenes = look_at([sight for _, sight in ready], pipeline)
    inference_s = time.monotonic() - start
    for (item, sight), scene in zip(ready, scenes):
        try:
            outcome = scene if isinstance(scene, Exception) else item.camera.recognizer.finish(
                sight, scene, inference_s, pipeline)
        except Exception as error:  # the boundary of a frame
            outcome = error
        yield Computed(item, sight.settings, outcome)
