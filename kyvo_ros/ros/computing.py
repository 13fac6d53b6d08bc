"""Frames of several cameras that wait at the same time, through one pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kyvo_ros.ros.camera import Shot
from kyvo_ros.ros.recognition import Pipeline, Recognition, Sight, look_at
from kyvo_ros.ros.settings import Settings


class Computed(NamedTuple):
    """A frame and what came of it."""

    shot: Shot
    settings: Settings  # that it was computed with
    outcome: Recognition | Exception


def compute(shots: Sequence[Shot], pipeline: Pipeline) -> Iterator[Computed]:
    """What each frame shows, or why it cannot be told: one that fails takes none of the others with it."""
    ready: list[tuple[Shot, Sight]] = []
    for shot in shots:
        settings = shot.camera.settings
        try:
            ready.append((shot, shot.camera.recognizer.prepare(shot.frame, pipeline, settings)))
        except Exception as error:  # the boundary of a frame
            yield Computed(shot, settings, error)
    start = time.monotonic()
    scenes = look_at([sight for _, sight in ready], pipeline)
    inference_s = time.monotonic() - start
    for (shot, sight), scene in zip(ready, scenes):
        try:
            outcome = scene if isinstance(scene, Exception) else shot.camera.recognizer.finish(
                sight, scene, inference_s, pipeline)
        except Exception as error:  # the boundary of a frame
            outcome = error
        yield Computed(shot, sight.settings, outcome)
