"""Depth beside the images: messages, which one belongs to an image, the plane, objects; a fake pipeline and no ROS."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import NOMINAL, FakePipeline

from kyvo_ros.depth.points import points_from_depth
from kyvo_ros.evaluation.depth_scenes import cast_depth
from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions.clouds import CloudMessageError, points_from_msg
from kyvo_ros.ros.conversions.images import ImageMessageError, depth_from_msg
from kyvo_ros.ros.depth import DepthProblem, DepthStore
from kyvo_ros.ros.frames import Frame, FrameDropped, Recognition
from kyvo_ros.ros.recognition import Recognizer, infer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import OK, WARN, Status
from kyvo_ros.ros.transforms import TransformBuffer
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject, Transform

S = 10**9
WHITE = np.full((240, 320, 3), 255, np.uint8)
LENS = PinholeCamera(160, 120, 176.0, 176.0, 80.0, 60.0)  # of depth images that go with the fake calibration
#: The fake pipeline's objects are a tenth as large under a camera a tenth as far away; depth has them elsewhere.
TABLE = CameraView(LENS, PlaneCamera(NOMINAL.distance_m / 10, NOMINAL.elevation_rad + 0.1), 0.04)
SHIFT_M = np.array([0.02, -0.03, 0.0])


def table_scene(view: CameraView = TABLE) -> np.ndarray:
    """Depth (H, W), metres, of the fake pipeline's objects, shifted."""
    unit_m = view.plane.distance_m / NOMINAL.distance_m
    predicted = FakePipeline().recognize(WHITE, view, "distance").objects
    shift = SHIFT_M * unit_m / 0.1
    return cast_depth(view, [replace(o, position_m=o.position_m + shift) for o in predicted])


def depth_image(depth_m: np.ndarray, stamp_ns: int = S, frame_id: str = "camera") -> SimpleNamespace:
    millimetres = np.nan_to_num(1000 * depth_m, posinf=0).round().astype(np.uint16)
    return messages.image(millimetres, "16UC1", header=messages.header(frame_id, stamp_ns))


def cloud(points: np.ndarray, stamp_ns: int = S, frame_id: str = "camera", kind: str = "<f4",
          **values) -> SimpleNamespace:
    """A PointCloud2 of points (N, 3): y, x, a gap, z."""
    layout = np.dtype({"names": ["y", "x", "z"], "formats": [kind] * 3, "itemsize": 40,
                       "offsets": [0, np.dtype(kind).itemsize, 24]})
    data = np.zeros(len(points), layout)
    for axis, column in zip("xyz", np.asarray(points).T):
        data[axis] = column
    fields = [SimpleNamespace(name=n, offset=layout.fields[n][1], datatype=7 if kind[1:] == "f4" else 8, count=1)
              for n in "yxz"] + [SimpleNamespace(name="rgb", offset=20, datatype=7, count=1)]
    given = {"header": messages.header(frame_id, stamp_ns), "height": 1, "width": len(points), "fields": fields,
             "is_bigendian": kind[0] == ">", "point_step": 40, "row_step": 40 * len(points), "data": data.tobytes()}
    return SimpleNamespace(**{**given, **values})


# ---------------------------------------------------------------- messages

@pytest.mark.parametrize("encoding, kind", [("16UC1", np.uint16), ("mono16", np.uint16), ("32FC1", np.float32)])
@pytest.mark.parametrize("big_endian", [False, True])
def test_depth_images_are_read_as_they_are(encoding: str, kind: type, big_endian: bool) -> None:
    pixels = np.arange(300, 348).reshape(6, 8).astype(kind)
    found = depth_from_msg(messages.image(pixels, encoding, padding=6, big_endian=big_endian))
    assert found.dtype == kind and np.array_equal(found, pixels)


def test_what_is_no_depth_image_is_refused() -> None:
    with pytest.raises(ImageMessageError, match="'rgb8' is no depth image; remap `depth`"):
        depth_from_msg(messages.image(WHITE))
    with pytest.raises(ImageMessageError, match="max_image_megapixels"):
        depth_from_msg(messages.image(np.zeros((20, 20), np.uint16), "16UC1"), 399)


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
def test_clouds_are_read_by_their_fields(kind: str) -> None:
    points = np.arange(30.0).reshape(10, 3) / 4
    points[3, 1], points[6, 0], points[8, 2] = np.nan, 1e30, -np.inf
    found = points_from_msg(cloud(points, kind=kind))
    assert np.allclose(found, np.delete(points, [3, 6, 8], axis=0))
    two_rows = cloud(points, kind=kind, height=2, width=5, row_step=200)
    assert np.allclose(points_from_msg(two_rows), found)
    assert len(points_from_msg(cloud(np.ones((1000, 3))), 50)) == 50
    assert points_from_msg(cloud(np.empty((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize("values, words", [
    ({"fields": []}, "no fields x, y and z"), ({"point_step": 12}, "no fields x, y and z"),
    ({"data": bytes(5)}, "5 bytes in 1 rows"), ({"row_step": 4}, "rows of 4"), ({"width": 11}, "for 11 points"),
    ({"width": 2**31, "height": 2**31}, "more than the 1000 of max_image_megapixels"),
])
def test_broken_clouds_are_refused(values: dict, words: str) -> None:
    with pytest.raises(CloudMessageError, match=words):
        points_from_msg(cloud(np.ones((10, 3)), **values), most_sent=1000)


# ---------------------------------------------------------------- which message belongs to an image

def stored(*stamps_ns: int) -> DepthStore:
    store = DepthStore()
    for stamp_ns in stamps_ns:
        store.store(depth_image(np.ones((2, 2)), stamp_ns))
    return store


def test_the_nearest_message_within_the_tolerance_is_taken() -> None:
    store = stored(S, S + 40_000_000, S + 80_000_000)
    assert messages.stamp(S + 40_000_000) == store.nearest(S + 45_000_000, 0.03, 0.0).header.stamp
    with pytest.raises(DepthProblem, match="nearest depth is 0.120 s from the image's stamp, more than depth_tol"):
        store.nearest(S + 200_000_000, 0.03, 0.0)


def test_only_the_newest_messages_are_kept() -> None:
    store = stored(*(S + i for i in range(1000)))
    with pytest.raises(DepthProblem):
        store.nearest(S + 500, 1e-8, 0.0)
    assert store.nearest(S + 999, 0.0, 0.0)


def test_depth_that_comes_a_little_later_is_waited_for() -> None:
    store = stored(S)
    threading.Timer(0.05, lambda: store.store(depth_image(np.ones((2, 2)), 2 * S))).start()
    assert store.nearest(2 * S, 0.03, 60.0).header.stamp.sec == 2


def test_nothing_is_waited_for_in_vain() -> None:
    start = time.monotonic()
    with pytest.raises(DepthProblem, match="no depth has come; remap `depth` or `points`"):
        stored().nearest(S, 0.03, 30.0)
    with pytest.raises(DepthProblem, match="the nearest depth is 1.000 s"):  # what fits would have come before
        stored(2 * S).nearest(S, 0.03, 30.0)
    now = [0.0]
    silent = DepthStore(clock=lambda: now[0])
    silent.store(depth_image(np.ones((2, 2)), S))
    now[0] = 4.0
    with pytest.raises(DepthProblem, match="no depth for 4.0 s"):
        silent.nearest(5 * S, 0.03, 30.0)
    assert time.monotonic() - start < 10.0


# ---------------------------------------------------------------- frames

class Bench:
    """A recogniser with depth; the newest frame's settings are those of a table-top by depth alone."""

    def __init__(self) -> None:
        self.infos, self.tf, self.status, self.store = CameraInfoCache(), TransformBuffer(), Status(), DepthStore()
        self.recognizer = Recognizer(self.infos, self.tf, self.status, self.store)
        self.infos.store(messages.camera_info())

    def run(self, stamp_ns: int = S, **settings) -> Recognition:
        frame = Frame(messages.image(WHITE, header=messages.header("camera", stamp_ns)), 0.0)
        chosen = {"depth_source": "image", "scale": "distance", "output_frame": "support_plane", "tf_timeout_s": 0.01,
                  "depth_timeout_s": 0.0, **settings}
        return self.recognizer.recognize(frame, FakePipeline(), Settings(**chosen))

    def depth_says(self) -> tuple[int, str]:
        stage = next(stage for stage in self.status.report().stages if stage.stage == "depth")
        return stage.level, stage.message


@pytest.fixture
def bench() -> Bench:
    return Bench()


def assert_follows_depth(result: Recognition, view: CameraView = TABLE) -> None:
    """The plane is the view's, and objects stand where depth has them."""
    unit_m = view.plane.distance_m / NOMINAL.distance_m
    assert result.view.plane.distance_m == pytest.approx(view.plane.distance_m, rel=0.003)
    assert result.view.plane.elevation_rad == pytest.approx(view.plane.elevation_rad, abs=0.005)
    assert result.view.roll_rad == pytest.approx(view.roll_rad, abs=0.005)
    predicted = FakePipeline().recognize(WHITE, view, "distance").objects
    for found, before in zip(result.scene.objects, predicted, strict=True):
        assert found.depth_points > 25
        assert found.position_m == pytest.approx(before.position_m + SHIFT_M * unit_m / 0.1, abs=0.06 * unit_m)


def test_depth_gives_the_plane_the_scale_and_the_objects(bench: Bench) -> None:
    bench.store.store(depth_image(table_scene()))
    assert_follows_depth(bench.run())
    figures = bench.recognizer.depth_figures()
    assert figures["plane from"] == "depth" and figures["objects refined by depth"] == "3 of 3"
    assert float(figures["plane inliers [%]"]) > 80 and float(figures["plane rms [mm]"]) < 5
    assert bench.depth_says() == (OK, "ok")
    bench.run(5 * S, plane_distance_m=1.0)
    assert bench.recognizer.depth_figures() == {}, "what was is not what is"


def test_a_cloud_does_as_much(bench: Bench) -> None:
    pixels = np.stack(np.meshgrid(np.arange(160) + 0.5, np.arange(120) + 0.5), axis=-1)
    points = (LENS.rays(pixels) * table_scene()[..., None]).reshape(-1, 3)
    bench.store.store(cloud(points))
    assert_follows_depth(bench.run(depth_source="points"))
    side = Transform.from_yaw(0.3, np.array([0.1, 0.2, 0.3]))
    bench.store.store(cloud(side.apply(points), 2 * S, "lidar"))
    bench.run(2 * S, depth_source="points", plane_distance_m=1.0)
    assert "the cloud is in the frame 'lidar': " in bench.depth_says()[1]
    pose = side.inverse()
    bench.tf.set("camera", "lidar", tuple(pose.quaternion()), tuple(pose.translation), 0, static=True)
    assert_follows_depth(bench.run(2 * S, depth_source="points"))


def test_depth_can_be_kept_to_the_plane(bench: Bench) -> None:
    bench.store.store(depth_image(table_scene()))
    result = bench.run(depth_refines=False)
    assert result.view.plane.distance_m == pytest.approx(TABLE.plane.distance_m, rel=0.003)
    assert not any(o.depth_points for o in result.scene.objects)


@pytest.mark.parametrize("stated, source, kept", [
    ({"plane_distance_m": 1.2}, "auto", 1.2), ({"plane_distance_m": 1.2}, "parameter", 1.2),
    ({"plane_distance_m": 1.2, "plane_elevation_rad": 0.55}, "depth", None)])
def test_the_source_of_the_plane_is_the_one_that_is_set(bench: Bench, stated: dict, source: str,
                                                       kept: float | None) -> None:
    bench.store.store(depth_image(table_scene()))
    found = bench.run(plane_source=source, **stated).view.plane.distance_m
    assert found == pytest.approx(kept or TABLE.plane.distance_m, rel=0.003)
    assert bench.recognizer.depth_figures()["plane from"] == ("parameter" if kept else "depth")


def test_a_rough_pose_from_tf_is_corrected_and_keeps_its_world(bench: Bench) -> None:
    world_T_plane = Transform.from_yaw(0.7, np.array([3.0, 1.0, 0.0]))
    true = world_T_plane @ TABLE.plane_T_optical()
    rough = Transform(true.rotation, true.translation + [0.0, 0.0, 0.05])
    bench.tf.set("world", "camera", tuple(rough.quaternion()), tuple(rough.translation), S)
    bench.store.store(depth_image(table_scene()))
    result = bench.run(plane_frame="world", plane_source="depth")
    assert_follows_depth(result)
    assert np.allclose((result.view.world_T_plane @ result.view.plane_T_optical()).matrix(), rough.matrix(), atol=1e-6)
    assert bench.run(plane_frame="world").view.plane.height_m() == pytest.approx(TABLE.plane.height_m() + 0.05)
    level, message = bench.depth_says()
    assert level == WARN and "only 0% of the depth points lie on the support plane as tf has it" in message


def test_a_plane_that_is_not_where_it_is_expected_is_not_taken(bench: Bench) -> None:
    bench.store.store(depth_image(table_scene()))
    result = bench.run(plane_source="depth", plane_distance_m=2.5)
    assert result.view.plane.distance_m == 2.5 and not any(o.depth_points for o in result.scene.objects)
    assert "expected to be level and about 2.50 m away" in bench.depth_says()[1]


def test_the_plane_before_tells_what_is_up(bench: Bench) -> None:
    bench.store.store(depth_image(table_scene()))
    bench.run()
    lying = replace(TABLE, plane=PlaneCamera(TABLE.plane.distance_m, TABLE.plane.elevation_rad + math.radians(25)))
    bench.store.store(depth_image(table_scene(lying), S + S // 2))
    with pytest.raises(FrameDropped, match="no plane in the depth points is within 15 degrees"):
        bench.run(S + S // 2)
    bench.store.store(depth_image(table_scene(lying), 3 * S))
    assert bench.run(3 * S).view.plane.elevation_rad == pytest.approx(lying.plane.elevation_rad, abs=0.005)


@pytest.mark.parametrize("message, words", [
    (None, "no depth has come"), (depth_image(np.ones((120, 160)), 5 * S), "the nearest depth is 4.000 s"),
    (depth_image(np.ones((120, 160)), frame_id="left_ir"), "depth image is of frame 'left_ir' and the picture of 'cam"),
    (depth_image(np.ones((120, 120))), "120x120 pixels and the picture 320x240, another shape"),
    (depth_image(np.ones((120, 160))), "no plane in the depth points is one that the camera looks down on"),
    (depth_image(np.zeros((120, 160))), "depth shows 0 points, a plane needs 200"),
    (messages.image(WHITE), "'rgb8' is no depth image"),
    (messages.image(np.zeros((9, 12), np.uint16), "16UC1", data=b"1"), "image data has 1 bytes"),
])
def test_without_usable_depth_the_node_goes_on_and_says_so(bench: Bench, message: object, words: str) -> None:
    if message is not None:
        bench.store.store(message)
    result = bench.run(scale="units")
    assert result.view.plane == NOMINAL and not any(o.depth_points for o in result.scene.objects)
    level, said = bench.depth_says()
    assert level == (OK if message is None else WARN) and words in said


def test_depth_without_a_point_is_not_said_to_lie_off_the_plane(bench: Bench) -> None:
    bench.store.store(depth_image(np.zeros((120, 160))))
    result = bench.run(plane_distance_m=1.2)
    assert result.view.plane.distance_m == 1.2 and not any(o.depth_points for o in result.scene.objects)
    level, said = bench.depth_says()
    assert level == WARN and "depth shows 0 points where the image is looked at" in said
    assert bench.recognizer.depth_figures() == {}


def test_a_scale_by_distance_needs_depth_or_a_number(bench: Bench) -> None:
    with pytest.raises(FrameDropped, match="depth gave none: no depth has come; remap.* or set plane_dist") as caught:
        bench.run()
    assert caught.value.reason == "no_depth"
    assert bench.run(plane_distance_m=1.1).view.plane.distance_m == 1.1


# ---------------------------------------------------------------- a part of the image

#: A quarter of the image's shape that holds all objects, not in its middle.
ROI = (40, 60, 200, 150)


def _with_a_wall(columns: slice, rows: slice) -> np.ndarray:
    """Depth (120, 160) of the table, with something near and slanted before a part of it that would pass for a plane."""
    depth = table_scene()
    wall = cast_depth(CameraView(LENS, PlaneCamera(TABLE.plane.distance_m / 3, 1.2)), [])
    depth[rows, columns] = wall[rows, columns]
    return depth


def test_depth_is_the_whole_image_s_also_where_a_region_is_cut(bench: Bench) -> None:
    bench.store.store(depth_image(table_scene()))
    whole, part = bench.run(), bench.run(roi=ROI)
    assert_follows_depth(part)
    assert (part.view.intrinsics.width, part.view.intrinsics.cx) == (200, whole.view.intrinsics.cx - 40)
    for found, before in zip(part.scene.objects, whole.scene.objects, strict=True):
        assert found.position_m == pytest.approx(before.position_m, abs=0.002)


def test_what_a_region_hides_is_hidden_from_depth(bench: Bench) -> None:
    rows, columns = slice(ROI[1] // 2, (ROI[1] + ROI[3]) // 2), slice(ROI[0] // 2, (ROI[0] + ROI[2]) // 2)
    depth = _with_a_wall(slice(None), slice(None))
    depth[rows, columns] = table_scene()[rows, columns]
    bench.store.store(depth_image(depth))
    assert_follows_depth(bench.run(roi=ROI))
    bench.store.store(depth_image(depth, 9 * S))  # so late that the plane before tells nothing
    assert bench.run(9 * S).view.plane.distance_m < 0.5 * TABLE.plane.distance_m, "the wall has more points"


def test_what_a_mask_hides_is_hidden_from_depth(bench: Bench, tmp_path: Path) -> None:
    picture = np.full((240, 320), 255, np.uint8)
    picture[:, :40] = picture[:, 280:] = 0
    assert cv2.imwrite(str(tmp_path / "mask.png"), picture)
    depth = _with_a_wall(slice(0, 20), slice(None))
    depth[:, 140:] = np.inf
    bench.store.store(depth_image(depth))
    settings = {"plane_distance_m": 1.127, "plane_source": "depth"}
    plain, masked = bench.run(**settings), bench.run(mask=str(tmp_path / "mask.png"), **settings)
    assert_follows_depth(masked)
    inliers = float(bench.recognizer.depth_figures()["plane inliers [%]"])
    bench.run(**settings)
    assert inliers > float(bench.recognizer.depth_figures()["plane inliers [%]"]) + 5
    assert plain.view.plane.distance_m == pytest.approx(masked.view.plane.distance_m, rel=0.01)


def test_a_lidar_s_points_beside_and_behind_the_camera_do_not_count(bench: Bench) -> None:
    seen = points_from_depth(table_scene(), LENS)
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(6 * len(seen), 3))
    around = 2.0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    around = around[(around[:, 2] < 0.3) | (np.abs(around[:, 0]) > np.abs(around[:, 2]))]
    bench.store.store(cloud(rng.permutation(np.concatenate([seen, around, np.zeros((500, 3))]))))
    assert_follows_depth(bench.run())
    assert float(bench.recognizer.depth_figures()["plane inliers [%]"]) > 50


def test_frames_that_overlap_keep_their_depth_and_figures_are_the_newest(bench: Bench) -> None:
    """The second frame is prepared while the first is computed, as in the node."""
    pipeline, settings = FakePipeline(), Settings(depth_source="image", depth_timeout_s=0.0, plane_distance_m=1.127,
                                                  plane_source="depth", scale="distance")
    bench.store.store(depth_image(table_scene()))
    frames = [Frame(messages.image(WHITE, header=messages.header("camera", stamp_ns)), 0.0) for stamp_ns in (S, 9 * S)]
    sights = [bench.recognizer.prepare(frame, pipeline, settings) for frame in frames]
    first, second = [bench.recognizer.finish(sight, infer(sight, pipeline), 0.1, pipeline) for sight in sights]
    assert_follows_depth(first)
    assert second.view.plane.distance_m == 1.127 and not any(o.depth_points for o in second.scene.objects)
    assert bench.recognizer.depth_figures() == {}, "the newest frame had no depth"


def test_names_go_with_the_refined_places(bench: Bench) -> None:
    """Objects keep their names over frames with and without depth."""
    bench.store.store(depth_image(table_scene()))
    names = [[o.id for o in bench.run(stamp_ns, plane_distance_m=1.127).scene.objects] for stamp_ns in (S, 9 * S)]
    assert names[0] == names[1] and all(names[0])


def test_what_waits_is_read_as_what_it_is(bench: Bench) -> None:
    """The source may have changed since it came."""
    bench.store.store(depth_image(table_scene()))
    assert_follows_depth(bench.run(depth_source="points"))


def test_a_request_takes_depth_of_its_stamp_and_never_complains(bench: Bench) -> None:
    frame = Frame(messages.image(WHITE, header=messages.header("camera", S)), 0.0)
    settings = Settings(depth_source="image")
    once = bench.recognizer.recognize_once(frame, None, FakePipeline(), settings)
    assert once.view.plane == NOMINAL and bench.depth_says() == (OK, "ok")
    bench.store.store(depth_image(table_scene()))
    assert bench.recognizer.recognize_once(frame, None, FakePipeline(), settings).view.plane != NOMINAL
    own_lens = bench.recognizer.recognize_once(frame, messages.camera_info(), FakePipeline(), settings)
    assert own_lens.view.plane == NOMINAL
    scaled = replace(settings, scale="distance")
    with pytest.raises(FrameDropped, match="depth gave none: what depth there is belongs to the stream's camera"):
        bench.recognizer.recognize_once(frame, messages.camera_info(), FakePipeline(), scaled)


def test_depth_that_is_not_asked_for_is_not_looked_at(bench: Bench) -> None:
    bench.store.store(depth_image(table_scene()))
    assert bench.run(depth_source="none", scale="units").view.plane == NOMINAL
    assert bench.recognizer.depth_figures() == {} and bench.depth_says() == (OK, "ok")


@pytest.mark.parametrize("instruction", ["move the sphere 0.5 m behind", "make the sphere blue"])
def test_an_object_that_was_edited_is_no_longer_measured(instruction: str) -> None:
    words = {"size": "small", "color": "red", "material": "metal", "shape": "sphere"}
    scene = Scene((SceneObject(words, [0.8, -0.7, 0.35], size_m=[0.7] * 3, depth_points=90),))
    assert FakePipeline().edit(instruction, scene).objects[0].depth_points == 0
