"""Recorded messages through the recogniser: patience, faults, jumps in time, rate; no ROS."""

from __future__ import annotations

import math

import fake_messages as messages
import numpy as np
import pytest
import recordings
from fake_pipeline import RAISES, FakePipeline
from test_depth import depth_image, table_scene

from kyvo_ros.ros.offline.bags import (
    CAMERA_INFO, CLOUD, COMPRESSED, DEPTH, IMAGE, INFO, RAW, TF, BagError, Heard, Topics, choose_topics)
from kyvo_ros.ros.offline.replay import Ledger, Replay
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import WARN
from kyvo_ros.scene import PlaneCamera, Transform

S = 10**9
WHITE = np.full((240, 320, 3), 255, np.uint8)
POSE = Transform.identity() @ PlaneCamera(4.0, math.radians(30)).plane_T_optical()
INFO_HEARD = Heard(0, CAMERA_INFO, messages.camera_info())


def _image(when_s: float, stamp_s: float | None = None, pixels: np.ndarray = WHITE, frame_id: str = "camera") -> Heard:
    stamp_ns = round((when_s if stamp_s is None else stamp_s) * S)
    return Heard(round(when_s * S), IMAGE, messages.image(pixels, header=messages.header(frame_id, stamp_ns)))


def _tf(when_s: float, stamp_s: float) -> Heard:
    return Heard(round(when_s * S), TF, recordings.transform(round(stamp_s * S), POSE))


def _replayed(heard: list[Heard], **settings):
    ledger = Ledger()
    replay = Replay(FakePipeline(), Settings(**settings), ledger)
    return list(replay.frames(heard)), ledger


def test_no_frame_is_lost_and_order_and_names_hold() -> None:
    done, ledger = _replayed([INFO_HEARD, *(_image(1 + i / 100) for i in range(50))])
    assert [frame.stamp_ns for _, frame, _ in done] == [S + i * S // 100 for i in range(50)]
    assert (ledger.images, ledger.scenes, ledger.drops) == (50, 50, {})
    assert {tuple(o.object.id for o in result.objects) for _, _, result in done} == {
        ("object_0", "object_1", "object_2")}


def test_transforms_that_come_a_little_later_are_waited_for_in_the_recording_s_time() -> None:
    late = [INFO_HEARD, _tf(0.9, 0.9), _image(1.0), _tf(1.15, 1.1)]
    done, _ = _replayed(late, plane_frame="world")
    assert len(done) == 1 and done[0][2].view.plane.distance_m == pytest.approx(4.0)
    done, ledger = _replayed(late, plane_frame="world", tf_timeout_s=0.1)
    assert not done and ledger.drops == {"no_transform": 1} and "after its newest" in ledger.reasons["no_transform"]


def test_a_camera_info_right_after_its_image_counts() -> None:
    done, _ = _replayed([_image(1.0), Heard(S + 1000, CAMERA_INFO, messages.camera_info())])
    assert len(done) == 1


def test_what_is_wrong_is_counted_by_reason_with_the_node_s_words() -> None:
    broken = WHITE.copy()
    broken[0, 0] = RAISES
    done, ledger = _replayed([_image(1.0)])
    assert not done and "no camera_info has come" in ledger.reasons["no_camera_info"]
    done, ledger = _replayed([INFO_HEARD, _image(1.0), _image(2.0, pixels=broken), _image(3.0, frame_id="other")])
    assert len(done) == 2 and ledger.drops == {"inference_failed": 1}
    assert "breaks the model" in ledger.reasons["inference_failed"]
    assert "the image 'other'" in ledger.remarks["camera_info", WARN]


def test_depth_that_comes_a_little_later_is_used_and_none_at_all_is_said() -> None:
    deep = Heard(round(1.15 * S), DEPTH, depth_image(table_scene(), S))
    done, ledger = _replayed([INFO_HEARD, _image(1.0), deep, _image(2.0)], depth_source="image", scale="distance",
                             plane_source="depth", plane_distance_m=1.1)
    assert [any(o.depth_points for o in result.scene.objects) for _, _, result in done] == [True, False]
    assert "the nearest depth is 1.000 s" in ledger.remarks["depth", WARN]
    done, ledger = _replayed([INFO_HEARD, _image(1.0)], depth_source="points")
    assert len(done) == 1 and "depth_source is points, but no depth has come" in ledger.remarks["depth", WARN]


def test_depth_is_kept_as_long_as_an_image_waits() -> None:
    heard, depth = [INFO_HEARD], table_scene()
    for i in range(120):  # 30 Hz of depth, while an image waits for its transform for two seconds
        when_s = 1.0 + i / 30
        heard.append(Heard(round(when_s * S), DEPTH, depth_image(depth, round(when_s * S))))
        if i % 15 == 0:
            heard.append(_image(when_s + 0.001, when_s))
    done, ledger = _replayed(heard, depth_source="image", scale="distance", tf_timeout_s=2.0,
                             plane_distance_m=1.1, plane_source="depth")
    assert len(done) == 8 and not ledger.remarks
    assert all(any(o.depth_points for o in result.scene.objects) for _, _, result in done)


def test_a_recording_that_jumps_back_in_time_goes_on_with_fresh_names() -> None:
    heard = [INFO_HEARD, _tf(9.0, 9.0), _image(10.0, 9.5), _tf(10.01, 10.0),
             _tf(11.0, 1.0), _image(11.1, 1.05), _tf(11.2, 1.2)]
    done, ledger = _replayed(heard, plane_frame="world")
    assert (len(done), ledger.time_jumps, ledger.drops) == (2, 1, {})
    first, second = ({o.object.id for o in result.objects} for _, _, result in done)
    assert not first & second


def test_the_rate_is_limited_in_the_recording_s_time() -> None:
    done, ledger = _replayed([INFO_HEARD, *(_image(1 + i / 10) for i in range(10))], max_rate_hz=5.0)
    assert len(done) == 5 and ledger.drops == {"rate_limit": 5}


@pytest.mark.parametrize("types, named, expected", [
    ({"/c/image_raw": RAW, "/c/camera_info": INFO, "/tf": "t"}, {}, Topics("/c/image_raw", "/c/camera_info", "/tf")),
    ({"/c/image_raw": RAW, "/c/image_raw/compressed": COMPRESSED}, {}, Topics("/c/image_raw")),
    ({"/c/image/compressed": COMPRESSED, "/c/camera_info": INFO, "/d/camera_info": INFO}, {},
     Topics("/c/image/compressed", "/c/camera_info")),
    ({"/c/color/image": RAW, "/c/depth/image": RAW}, {}, Topics("/c/color/image")),
    ({"/c/color/image": RAW, "/c/depth/image": RAW, "/l": CLOUD}, {"depth_source": "image"},
     Topics("/c/color/image", depth="/c/depth/image")),
    ({"/c/image": RAW, "/l": CLOUD, "/m": CLOUD}, {"depth_source": "points", "depth": "/m"},
     Topics("/c/image", depth="/m")),
    ({"/c/image": RAW}, {"depth_source": "points"}, Topics("/c/image")),
    ({"/a/image": RAW, "/b/image": RAW, "/x": INFO}, {"image": "/b/image"}, Topics("/b/image", "/x")),
    ({"/a/image": RAW, "/a/camera_info": INFO, "/x": INFO}, {"camera_info": "/x"}, Topics("/a/image", "/x")),
])
def test_the_camera_s_topics(types, named, expected) -> None:
    assert choose_topics(types, **named) == expected


@pytest.mark.parametrize("types, named, reason", [
    ({"/a/image": RAW, "/b/image": RAW}, {}, "name one with --image: /a/image, /b/image"),
    ({"/scan": "sensor_msgs/msg/LaserScan"}, {}, r"0 topics with images.*scan \(sensor_msgs/msg/LaserScan\)"),
    ({"/a/image": RAW}, {"image": "/b/image"}, "/b/image is no topic .* there are: /a/image"),
    ({"/a/image": RAW}, {"camera_info": "/a/image"}, "there are: none"),
    ({"/a/image": RAW, "/l": CLOUD, "/m": CLOUD}, {"depth_source": "points"}, "2 topics with depth.*--depth: /l, /m"),
])
def test_topics_that_are_not_clear_are_named(types, named, reason) -> None:
    with pytest.raises(BagError, match=reason):
        choose_topics(types, **named)
