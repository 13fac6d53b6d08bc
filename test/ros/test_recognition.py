"""A frame from message to result, with a fake pipeline and our own transform buffer; no ROS."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import NOMINAL, OBJECTS, FakePipeline

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions.placing import UNKNOWN_YAW_VARIANCE
from kyvo_ros.ros.depth import DepthStore
from kyvo_ros.ros.frames import DEFAULT_CAMERA_FRAME, Frame, FrameDropped
from kyvo_ros.ros.recognition import Recognizer, infer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import OK, WARN, Status
from kyvo_ros.ros.transforms import TransformBuffer
from kyvo_ros.scene import PlaneCamera, Transform

S = 10**9
WHITE = np.full((240, 320, 3), 255, np.uint8)
#: A camera 2 m over the table that looks down by 30 degrees, turned by 40 degrees and shifted in the world.
PLANE = PlaneCamera(4.0, math.radians(30))
WORLD_T_PLANE = Transform.from_yaw(math.radians(40), np.array([3.0, -1.0, 0.5]))


class Bench:
    def __init__(self) -> None:
        self.infos, self.tf, self.status = CameraInfoCache(), TransformBuffer(), Status()
        self.recognizer = Recognizer(self.infos, self.tf, self.status)
        self.pipeline = FakePipeline()
        self.infos.store(messages.camera_info())

    def look_from(self, pose: Transform, stamp_ns: int = S, parent: str = "world") -> None:
        self.tf.set(parent, "camera", tuple(pose.quaternion()), tuple(pose.translation), stamp_ns)

    def run(self, pixels: np.ndarray = WHITE, stamp_ns: int = S, epoch: int = 0, frame_id: str = "camera", **settings):
        message = messages.image(pixels, header=messages.header(frame_id, stamp_ns))
        chosen = Settings(tf_timeout_s=0.01, **settings)
        return self.recognizer.recognize(Frame(message, 0.0, epoch), self.pipeline, chosen)

    def drop(self, **arguments) -> FrameDropped:
        with pytest.raises(FrameDropped) as caught:
            self.run(**arguments)
        return caught.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _positions(result) -> np.ndarray:
    return np.array([placed.position_m for placed in result.objects])


def test_the_output_is_in_the_optical_frame_by_default(bench: Bench) -> None:
    result = bench.run()
    assert result.frame_id == "camera" and result.scene.stamp_ns == S
    optical_T_plane = NOMINAL.plane_T_optical().inverse()
    assert np.allclose(_positions(result), optical_T_plane.apply(result.scene.positions_m()))
    assert (_positions(result)[:, 2] > 8).all(), "objects lie in front of the camera"
    assert [o.object.id for o in result.objects] == ["object_0", "object_1", "object_2"]


def test_the_plane_s_pose_comes_from_tf_at_the_image_s_stamp(bench: Bench) -> None:
    bench.look_from(WORLD_T_PLANE @ PLANE.plane_T_optical(), 2 * S)
    result = bench.run(stamp_ns=2 * S, plane_frame="world", plane_height_m=0.5, output_frame="world")
    assert result.view.plane.distance_m == pytest.approx(4.0)
    assert result.view.plane.elevation_rad == pytest.approx(math.radians(30))
    assert np.allclose(_positions(result), WORLD_T_PLANE.apply(result.scene.positions_m()), atol=1e-9)
    assert bench.drop(stamp_ns=3 * S, plane_frame="world").reason == "no_transform"


def test_a_moving_camera_is_interpolated(bench: Bench) -> None:
    for second, x in ((1, 0.0), (2, 1.0)):
        pose = WORLD_T_PLANE @ PLANE.plane_T_optical()
        bench.look_from(Transform(pose.rotation, pose.translation + [x, 0.0, 0.0]), second * S)
    results = [bench.run(stamp_ns=ns, plane_frame="world", output_frame="world") for ns in (S, S + S // 2, 2 * S)]
    moved = [_positions(r)[0] - _positions(results[0])[0] for r in results]
    assert np.allclose(moved, [[0, 0, 0], [0.5, 0, 0], [1, 0, 0]], atol=1e-9)


def test_a_change_of_frame_turns_boxes_and_never_stretches_them(bench: Bench) -> None:
    bench.look_from(WORLD_T_PLANE @ PLANE.plane_T_optical())
    bench.tf.set("world", "map", (0.0, 0.0, 1.0, 0.0), (5.0, 0.0, 0.0), 0, static=True)
    outputs = [bench.run(plane_frame="world", plane_height_m=0.5, output_frame=name)
               for name in ("", "support_plane", "world", "map")]
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    pose = WORLD_T_PLANE @ PLANE.plane_T_optical()
    map_T_world = Transform.from_quaternion(np.array([0, 0, 1.0, 0]), np.array([5.0, 0, 0])).inverse()
    to_world = {"camera": pose, "support_plane": WORLD_T_PLANE, "world": Transform.identity(),
                "map": map_T_world.inverse()}
    boxes = []
    for result in outputs:
        placed = result.objects[0]
        assert np.allclose(placed.object.size_m, [1.4] * 3)
        own = Transform.from_quaternion(placed.quaternion_xyzw, placed.position_m)
        boxes.append(to_world[result.frame_id].apply(own.apply(corners * placed.object.size_m)))
    for box in boxes[1:]:
        assert np.allclose(box, boxes[0], atol=1e-9)
    assert [r.frame_id for r in outputs] == ["camera", "support_plane", "world", "map"]


def test_covariances_turn_with_the_frame(bench: Bench) -> None:
    plane, optical = bench.run(output_frame="support_plane"), bench.run()
    assert np.allclose(np.diag(plane.objects[0].covariance), [0.01, 0.04, 0, 0, 0, 0])
    assert np.allclose(np.diag(plane.objects[1].covariance)[3:], [0, 0, UNKNOWN_YAW_VARIANCE])
    turned = optical.objects[1].covariance
    assert np.linalg.eigvalsh(turned[:3, :3]) == pytest.approx([0.0, 0.01, 0.04], abs=1e-12)
    up = optical.objects[1].up()
    assert up @ turned[3:, 3:] @ up == pytest.approx(UNKNOWN_YAW_VARIANCE)
    assert np.allclose(up, NOMINAL.plane_T_optical().rotation.T[:, 2])


def test_the_true_distance_scales_the_model_s_units_to_metres(bench: Bench) -> None:
    result = bench.run(scale="distance", plane_distance_m=1.1267, output_frame="support_plane")
    assert result.view.plane.elevation_rad == NOMINAL.elevation_rad
    assert _positions(result)[0] == pytest.approx([-0.1, 0.05, 0.07])
    assert result.objects[0].object.size_m == pytest.approx([0.14] * 3)
    units = bench.run(output_frame="support_plane")
    assert result.relations == units.relations, "relations scale with the scene"
    camera, scale = bench.pipeline.seen[0]
    assert scale == "distance" and camera.plane.distance_m == pytest.approx(1.1267)


def test_elevation_by_parameter(bench: Bench) -> None:
    assert bench.run(plane_distance_m=11.0, plane_elevation_rad=0.6).view.plane == PlaneCamera(11.0, 0.6)


@pytest.mark.parametrize("effort", ["fast", "accurate"])
def test_the_effort_reaches_the_pipeline(bench: Bench, effort: str) -> None:
    bench.run(effort=effort)
    assert bench.pipeline.effort == effort


def test_a_scale_that_cannot_be_meant_is_said(bench: Bench) -> None:
    bench.run(plane_distance_m=0.8)
    assert "set scale to 'distance'" in bench.status.report().worst().message


def test_relations_are_clevr_s(bench: Bench) -> None:
    result = bench.run()
    said = {(r.subject, r.predicate, r.object) for r in result.relations}
    assert (0, "left", 1) in said and (1, "right", 0) in said and (1, "front", 0) in said and (2, "behind", 0) in said
    assert (0, "right", 1) not in said


def test_names_last_over_frames_and_not_over_a_jump_in_time(bench: Bench) -> None:
    assert [o.object.id for o in bench.run().objects] == [o.object.id for o in bench.run(stamp_ns=2 * S).objects]
    assert [o.object.id for o in bench.run(stamp_ns=S, epoch=1).objects] == ["object_3", "object_4", "object_5"]


def test_names_follow_the_world_where_the_camera_s_pose_is_known(bench: Bench) -> None:
    pose = WORLD_T_PLANE @ PLANE.plane_T_optical()
    bench.look_from(pose, S)
    before = bench.run(plane_frame="world", plane_height_m=0.5)
    bench.look_from(Transform(pose.rotation, pose.translation + [5.0, 0.0, 0.0]), 2 * S)  # the scene moves with it
    after = bench.run(stamp_ns=2 * S, plane_frame="world", plane_height_m=0.5)
    assert not {o.object.id for o in before.objects} & {o.object.id for o in after.objects}


def test_a_single_call_leaves_the_stream_s_names_alone(bench: Bench) -> None:
    frame = Frame(messages.image(WHITE), 0.0)
    assert [o.object.id for o in bench.run().objects] == ["object_0", "object_1", "object_2"]
    once = bench.recognizer.recognize_once(frame, messages.camera_info(k=[400, 0, 159.5, 0, 400, 119.5, 0, 0, 1]),
                                           bench.pipeline, Settings())
    assert once.view.intrinsics.fx == 400 and once.objects[0].object.id == "object_0"
    assert [o.object.id for o in bench.run().objects] == ["object_0", "object_1", "object_2"]


def test_the_confidence_threshold_leaves_objects_out(bench: Bench) -> None:
    bench.pipeline = FakePipeline(objects=tuple({**o, "confidence": c} for o, c in zip(OBJECTS, (0.9, 0.2, 0.5))))
    assert len(bench.run(confidence_threshold=0.0).objects) == 3
    kept = bench.run(confidence_threshold=0.5)
    assert [o.object.attributes["color"] for o in kept.objects] == ["red", "green"]
    assert all(r.subject < 2 and r.object < 2 for r in kept.relations)


@pytest.mark.parametrize("scores, threshold, level, words", [
    ((0.9, 0.2, 0.1), 0.0, OK, None),
    ((0.3, 0.4, 0.1), 0.0, WARN, "score above 0.50 (the best of 3 has 0.40)"),
    ((0.3, 0.6, 0.1), 0.7, WARN, "score above 0.70 (the best of 3 has 0.60)"),
    ((), 0.0, OK, "score above 0.50 (the model sees none at all)"),
])
def test_a_frame_without_a_sure_object_is_named(bench: Bench, scores: tuple, threshold: float, level: int,
                                                words: str | None) -> None:
    bench.pipeline = FakePipeline(objects=tuple({**o, "confidence": c} for o, c in zip(OBJECTS, scores)))
    bench.run(confidence_threshold=threshold)
    stage = next(stage for stage in bench.status.report().stages if stage.stage == "inference")
    assert stage.level == level
    if words is None:
        assert "nothing recognised" not in stage.message
    else:
        assert words in stage.message and "is the camera looking at" in stage.message


def test_images_without_a_frame_get_one_and_a_warning(bench: Bench) -> None:
    bench.infos.store(messages.camera_info(header=messages.header("")))
    assert bench.run(frame_id="").frame_id == DEFAULT_CAMERA_FRAME
    assert "camera_frame" in bench.status.report().worst().message
    assert bench.run(frame_id="", camera_frame="eye").frame_id == "eye"


def test_rectified_images_use_p(bench: Bench) -> None:
    bench.infos.store(messages.camera_info(d=[0.3, 0, 0, 0, 0], p=[300.0, 0, 150, 0, 0, 300.0, 110, 0, 0, 0, 1, 0]))
    assert bench.run(image_rectified=True).view.intrinsics.fx == 300.0
    assert bench.run().view.intrinsics.distortion == (0.3, 0, 0, 0, 0)


def test_a_lens_that_need_not_be_known_is_assumed(bench: Bench) -> None:
    bench.infos = CameraInfoCache()
    bench.recognizer = Recognizer(bench.infos, bench.tf, bench.status)
    assert bench.drop().reason == "no_camera_info"
    assert bench.run(camera_info_required=False).view.intrinsics.fx == pytest.approx(352.0)
    bench.infos.store(messages.camera_info(k=[0.0] * 9))
    assert bench.drop().reason == "bad_camera_info"
    assert bench.run(camera_info_required=False).view.intrinsics.fx == pytest.approx(352.0)
    assert "uncalibrated" in bench.status.report().worst().message


@pytest.mark.parametrize("arguments, reason, text", [
    ({"pixels": WHITE[:200]}, "bad_camera_info", "another shape"),
    ({"plane_frame": "table"}, "no_transform", "TF does not know frame 'table'"),
    ({"output_frame": "map"}, "no_transform", "TF does not know frame 'map'"),
    ({"frame_id": "rear"}, "no_camera_info", "for images of frame 'rear', only for 'camera', 'left'"),
])
def test_frames_that_cannot_be_used_say_why(bench: Bench, arguments: dict, reason: str, text: str) -> None:
    bench.infos.store(messages.camera_info(header=messages.header("left")))
    dropped = bench.drop(**arguments)
    assert dropped.reason == reason and text in str(dropped)


def test_a_camera_that_looks_up_is_told_so(bench: Bench) -> None:
    bench.look_from(Transform(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.array([0.0, 0, 1.0])))
    dropped = bench.drop(plane_frame="world")
    assert dropped.reason == "plane_not_visible" and "look down on the support plane" in str(dropped)


def test_a_plane_above_the_camera_is_not_visible(bench: Bench) -> None:
    bench.look_from(WORLD_T_PLANE @ PLANE.plane_T_optical())
    assert bench.drop(plane_frame="world", plane_height_m=50.0).reason == "plane_not_visible"


@pytest.mark.parametrize("settings, waits", [
    ({}, False), ({"plane_frame": "world"}, True), ({"output_frame": "world"}, True), ({"memory_frame": "world"}, True),
    ({"output_frame": "support_plane"}, False), ({"output_frame": "camera"}, False),
    ({"plane_frame": "world", "plane_source": "parameter", "plane_distance_m": 2.0}, False),
])
def test_a_frame_waits_for_the_transforms_that_it_needs(bench: Bench, settings: dict, waits: bool) -> None:
    chosen, frame = Settings(tf_timeout_s=0.7, **settings), _frame(2 * S)
    assert bench.recognizer.patience_s(frame, chosen) == (0.7 if waits else 0.0)
    bench.look_from(WORLD_T_PLANE @ PLANE.plane_T_optical(), S)
    assert bench.recognizer.patience_s(frame, chosen) == (0.7 if waits else 0.0), "not at the image's stamp yet"
    bench.look_from(WORLD_T_PLANE @ PLANE.plane_T_optical(), 3 * S)
    assert bench.recognizer.patience_s(frame, chosen) == 0.0


def test_an_image_without_a_stamp_does_not_wait_for_the_scene_graph(bench: Bench) -> None:
    settings = Settings(memory_frame="world", tf_timeout_s=0.7)
    assert bench.recognizer.patience_s(_frame(0), settings) == 0.0


def test_a_frame_waits_for_depth_while_depth_comes() -> None:
    now_s = [0.0]
    store = DepthStore(clock=lambda: now_s[0])
    recognizer = Recognizer(CameraInfoCache(), TransformBuffer(), Status(), store)
    settings = Settings(depth_source="image", depth_timeout_s=0.3, plane_source="depth")
    assert recognizer.patience_s(_frame(2 * S), settings) == 0.0, "none has ever come"
    store.store(messages.image(np.ones((240, 320), np.uint16), "16UC1", header=messages.header("camera", S)))
    assert recognizer.patience_s(_frame(2 * S), settings) == 0.3
    assert recognizer.patience_s(_frame(S), settings) == 0.0
    now_s[0] = 5.0
    assert recognizer.patience_s(_frame(2 * S), settings) == 0.0, "it comes no more"


def test_a_frame_waits_for_the_place_of_its_cloud() -> None:
    store, tf = DepthStore(), TransformBuffer()
    recognizer = Recognizer(CameraInfoCache(), tf, Status(), store)
    settings = Settings(depth_source="points", plane_source="depth", tf_timeout_s=0.7, depth_timeout_s=0.3)
    store.store(SimpleNamespace(header=messages.header("lidar", S)))
    assert recognizer.patience_s(_frame(S), settings) == 0.7
    tf.set("lidar", "camera", (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 0, static=True)
    assert recognizer.patience_s(_frame(S), settings) == 0.0


def test_a_frame_that_has_waited_is_prepared_and_finished_at_once(bench: Bench) -> None:
    settings = Settings(plane_frame="world", output_frame="map", tf_timeout_s=5.0)
    start_s = time.monotonic()
    with pytest.raises(FrameDropped, match="TF does not know frame 'world'"):
        bench.recognizer.prepare(_frame(S), bench.pipeline, settings)
    bench.look_from(WORLD_T_PLANE @ PLANE.plane_T_optical())
    sight = bench.recognizer.prepare(_frame(S), bench.pipeline, settings)
    assert sight.settings is settings
    with pytest.raises(FrameDropped, match="TF does not know frame 'map'"):
        bench.recognizer.finish(sight, infer(sight, bench.pipeline), 0.1, bench.pipeline)
    assert time.monotonic() - start_s < 4.5


def _frame(stamp_ns: int) -> Frame:
    return Frame(messages.image(WHITE, header=messages.header("camera", stamp_ns)), 0.0)
