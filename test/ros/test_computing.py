"""Frames of several cameras through one pipeline: together where that is possible, and each on its own account."""

from __future__ import annotations

from types import SimpleNamespace

import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import RAISES, FakePipeline

pytest.importorskip("rclpy", reason="needs ROS 2")

from kyvo_ros.ros.camera import Shot  # noqa: E402
from kyvo_ros.ros.camera_infos import CameraInfoCache  # noqa: E402
from kyvo_ros.ros.computing import Computed, finished, prepared, seen  # noqa: E402
from kyvo_ros.ros.frames import Frame, FrameDropped, Recognition  # noqa: E402
from kyvo_ros.ros.recognition import Recognizer  # noqa: E402
from kyvo_ros.ros.settings import Settings  # noqa: E402
from kyvo_ros.ros.status import Status  # noqa: E402
from kyvo_ros.ros.transforms import TransformBuffer  # noqa: E402


def _camera(**settings) -> SimpleNamespace:
    """What `compute` needs of a camera."""
    infos, status = CameraInfoCache(), Status()
    infos.store(messages.camera_info())
    return SimpleNamespace(settings=Settings(tf_timeout_s=0.0, **settings), status=status,
                           recognizer=Recognizer(infos, TransformBuffer(), status))


def _shot(camera: SimpleNamespace, first: tuple[int, int, int], **fields) -> Shot:
    pixels = np.full((24, 32, 3), 255, np.uint8)
    pixels[0, 0] = first
    message = messages.image(pixels, **fields)
    return Shot(camera, Frame(message, 0.0))


def compute(shots: list[Shot], pipeline: FakePipeline) -> list[Computed]:
    """All that the node does with frames, one step after the other."""
    ready, failed = prepared(shots, pipeline)
    return [*failed, *finished(ready, *seen(ready, pipeline), pipeline)]


def _counts(shots: list[Shot], pipeline: FakePipeline) -> list[int | str]:
    """Objects of each frame, or the name of what went wrong, in the order of the frames."""
    found = {id(c.shot.frame): c.outcome for c in compute(shots, pipeline)}
    outcomes = [found[id(shot.frame)] for shot in shots]
    return [len(o.objects) if isinstance(o, Recognition) else getattr(o, "reason", type(o).__name__) for o in outcomes]


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


def test_frames_that_wait_together_are_one_batch(pipeline: FakePipeline) -> None:
    shots = [_shot(_camera(), (n, 0, 0)) for n in (1, 2, 3)]
    assert _counts(shots, pipeline) == [1, 2, 3] and pipeline.batches == [3]
    times = {c.outcome.inference_s for c in compute(shots, pipeline)}
    assert len(times) == 1, "each took as long as all"


def test_a_single_frame_is_no_batch(pipeline: FakePipeline) -> None:
    assert _counts([_shot(_camera(), (2, 0, 0))], pipeline) == [2] and pipeline.batches == []


def test_a_frame_that_breaks_the_model_takes_no_other_with_it(pipeline: FakePipeline) -> None:
    shots = [_shot(_camera(), first) for first in ((1, 0, 0), RAISES, (3, 0, 0))]
    assert _counts(shots, pipeline) == [1, "RuntimeError", 3]


def test_frames_that_cannot_be_prepared_stay_out_of_the_batch(pipeline: FakePipeline) -> None:
    shots = [_shot(_camera(), (1, 0, 0), encoding="nv99"), _shot(_camera(plane_frame="map"), (1, 0, 0)),
             _shot(_camera(), (2, 0, 0)), _shot(_camera(), (3, 0, 0))]
    assert _counts(shots, pipeline) == ["bad_image", "no_transform", 2, 3] and pipeline.batches == [2]


def test_cameras_that_look_in_different_ways_are_computed_apart(pipeline: FakePipeline) -> None:
    near = {"plane_distance_m": 1.0, "scale": "distance"}
    shots = [_shot(_camera(**settings), (3, 0, 0)) for settings in ({}, near, {"effort": "accurate"}, near)]
    assert _counts(shots, pipeline) == [3] * 4 and pipeline.batches == [2]
    outcomes = [c.outcome for c in compute(shots, pipeline)]
    assert [round(o.unit_m, 3) for o in outcomes] == [1.0, 0.089, 1.0, 0.089]


def test_each_frame_has_the_settings_that_it_was_computed_with(pipeline: FakePipeline) -> None:
    camera = _camera(confidence_threshold=0.95)
    computed = compute([_shot(camera, (3, 0, 0))], pipeline)[0]
    assert computed.settings is camera.settings and not computed.outcome.objects


def test_errors_keep_their_reason(pipeline: FakePipeline) -> None:
    computed, = compute([_shot(_camera(), (0, 0, 0), data=b"")], pipeline)
    assert isinstance(computed.outcome, FrameDropped) and computed.outcome.reason == "bad_image"
