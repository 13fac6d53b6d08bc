"""Frames of several cameras that wait at the same time, through one pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kyvo_ros.ros.camera import Shot
from kyvo_ros.ros.recognition import Pipeline, Recognition, Sight, look_at
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import Scene


class Ready(NamedTuple):
    """A frame that the pipeline can look at."""

    shot: Shot
    sight: Sight


class Computed(NamedTuple):
    """A frame and what came of it."""

    shot: Shot
    settings: Settings  # that it was computed with
    outcome: Recognition | Exception


def prepared(shots: Sequence[Shot], pipeline: Pipeline) -> tuple[list[Ready], list[Computed]]:
    """The frames that are ready for the pipeline, and what came of the others."""
    ready, failed = [], []
    for shot in shots:
        settings = shot.camera.settings
        try:
            ready.append(Ready(shot, shot.camera.recognizer.prepare(shot.frame, pipeline, settings)))
        except Exception as error:  # the boundary of a frame
            failed.append(Computed(shot, settings, error))
    return ready, failed


def seen(ready: Sequence[Ready], pipeline: Pipeline) -> tuple[list[Scene | Exception], float]:
    """What each frame shows, or why it cannot be told: one that fails takes none of the others with it; and how many
    seconds they took together. Has no state, so that several may run at the same time.
    """
    start = time.monotonic()
    scenes = look_at([sight for _, sight in ready], pipeline)
    return scenes, time.monotonic() - start


def finished(ready: Sequence[Ready], scenes: Sequence[Scene | Exception], inference_s: float,
             pipeline: Pipeline) -> Iterator[Computed]:
    """The results of frames in which these scenes were seen."""
    for (shot, sight), scene in zip(ready, scenes):
        try:
            outcome = scene if isinstance(scene, Exception) else shot.camera.recognizer.finish(
                sight, scene, inference_s, pipeline)
        except Exception as error:  # the boundary of a frame
            outcome = error
        yield Computed(shot, sight.settings, outcome)
