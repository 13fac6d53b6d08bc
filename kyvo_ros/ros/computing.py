"""Frames of several cameras that wait at the same time, through one pipeline."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kyvo_ros.ros.camera import Shot
from kyvo_ros.ros.frames import Pipeline, Recognition, Sight
from kyvo_ros.ros.recognition import infer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import Scene

_LOG = logging.getLogger(__name__)


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
    scenes = _look_at([sight for _, sight in ready], pipeline)
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


def _look_at(sights: Sequence[Sight], pipeline: Pipeline) -> list[Scene | Exception]:
    """What each of several frames shows, or why it cannot be told; those that are to be seen in the same way are
    looked at together, and one that cannot be takes none of the others with it.
    """
    found: list[Scene | Exception] = [Scene(())] * len(sights)
    ways: dict[tuple[str, str], list[int]] = {}
    for index, sight in enumerate(sights):
        ways.setdefault((sight.settings.scale, sight.settings.effort), []).append(index)
    for indices in ways.values():
        for index, outcome in zip(indices, _together([sights[i] for i in indices], pipeline)):
            found[index] = outcome
    return found


def _together(sights: Sequence[Sight], pipeline: Pipeline) -> Sequence[Scene | Exception]:
    if len(sights) > 1:
        settings = sights[0].settings
        try:
            return pipeline.recognize_batch([s.image_rgb for s in sights], [s.view for s in sights], settings.scale,
                                            settings.effort)
        except Exception as error:  # of one of them: one by one it shows whose it is
            _LOG.debug("a batch of %d images failed (%s) and is computed one by one", len(sights), error)
    return [_attempt(sight, pipeline) for sight in sights]


def _attempt(sight: Sight, pipeline: Pipeline) -> Scene | Exception:
    try:
        return infer(sight, pipeline)
    except Exception as error:  # the boundary of a frame: whoever asked decides what becomes of it
        return error
