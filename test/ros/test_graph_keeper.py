"""The scene graph as the node keeps it, with a fake pipeline and our own transform buffer; no ROS."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import OBJECTS, FakePipeline

from kyvo_ros.data.assets import make_asset
from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.frames import Frame, WholeObjects
from kyvo_ros.ros.graph import GraphError, GraphKeeper
from kyvo_ros.ros.graph_files import GraphFiles
from kyvo_ros.ros.recognition import Recognizer
from kyvo_ros.ros.settings import SettingError, Settings
from kyvo_ros.ros.status import ERROR, WARN, Status
from kyvo_ros.ros.transforms import TransformBuffer
from kyvo_ros.scene import PlaneCamera, SceneObject, Transform, YawPeriods
from kyvo_ros.scene.memory import Query, Snapshot
from kyvo_ros.scene.mesh import Mesh

S = 10**9
PLANE = PlaneCamera(11.267, 0.4948)
#: The camera looks at this point of the map along its +y, turned by 0.3 rad.
MAP_T_PLANE = Transform.from_yaw(0.3, np.array([2.0, 1.0, 0.1]))
SETTINGS = Settings(memory_frame="map", plane_frame="map", plane_height_m=0.1, tf_timeout_s=0.01)


class Bench:
    """A keeper, its camera, and what it tells."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.told: list[Snapshot] = []
        self.tf, self.status, infos = TransformBuffer(), Status(), CameraInfoCache()
        infos.store(messages.camera_info())
        self.recognizer, self.pipeline = Recognizer(infos, self.tf, self.status), FakePipeline()
        self.now_s = 0.0
        self.keeper = GraphKeeper(self.recognizer.frame_T_plane, self.told.append, lambda: self.now_s)
        self.settings, self.stamp_ns = settings, S
        self.keeper.follow(settings)

    def look(self, shown: int = 255, pose: Transform = MAP_T_PLANE @ PLANE.plane_T_optical(), frames: int = 1,
             epoch: int = 0, parent: str = "map") -> None:
        """Some frames that show the first objects, or all, from a place in the map."""
        for _ in range(frames):
            self.stamp_ns += S // 10
            self.tf.set(parent, "camera", tuple(pose.quaternion()), tuple(pose.translation), self.stamp_ns)
            self.see(shown, self.stamp_ns, epoch)

    def see(self, shown: int, stamp_ns: int, epoch: int = 0) -> None:
        pixels = np.full((240, 320, 3), 255, np.uint8)
        pixels[0, 0] = shown, 0, 0
        frame = Frame(messages.image(pixels, header=messages.header("camera", stamp_ns)), self.now_s, epoch)
        result = self.recognizer.recognize(frame, self.pipeline, self.settings)
        self.keeper.saw(frame, result, self.pipeline.field, self.settings, self.status)

    def reconstruct(self, settings: Settings | None = None, stamped: bool = True, mesh: Mesh | None = None) -> str:
        """What the graph says of the newest frame seen once more, with shapes; all objects but the last have one."""
        pixels, settings = np.full((240, 320, 3), 255, np.uint8), settings or self.settings
        frame = Frame(messages.image(pixels, header=messages.header("camera", self.stamp_ns)), self.now_s)
        result = self.recognizer.recognize_once(frame, None, WholeObjects(self.pipeline), settings)
        if mesh is not None:
            objects = tuple(replace(item, mesh=mesh) for item in result.scene.objects)
            result = replace(result, scene=replace(result.scene, objects=objects))
        if not stamped:
            frame = Frame(messages.image(pixels, header=messages.header("camera", 0)), self.now_s)
        return self.keeper.saw_shapes(frame, result, settings)

    def ids(self) -> list[str]:
        return [known.id for known in self.keeper.snapshot().objects]

    def worst(self) -> tuple[str, int, str]:
        worst = self.status.report().worst()
        return worst.stage, worst.level, worst.message


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_shapes_that_were_seen_once_stay_with_their_objects(bench: Bench) -> None:
    bench.look(frames=5)
    told = len(bench.told)
    assert bench.reconstruct() == "" and len(bench.told) == told + 1
    bench.look(frames=3)
    objects = [known.object for known in bench.keeper.snapshot().objects]
    assert [item.mesh is not None for item in objects] == [True] * (len(objects) - 1) + [False]
    for item in objects[:-1]:
        low, high = item.placed_mesh().bounds
        assert (low < item.position_m).all() and (item.position_m < high).all(), "where the object stands in the map"


def test_shapes_keep_to_the_graph_s_own_budget(bench: Bench) -> None:
    bench.look(frames=5)
    assert bench.reconstruct(replace(SETTINGS, memory_mesh_triangles=0)) == ""
    assert all(known.object.mesh is None for known in bench.keeper.snapshot().objects)
    with pytest.raises(SettingError, match="memory_mesh_triangles must be 0 or at least 4, got 3"):
        replace(SETTINGS, memory_mesh_triangles=3)


def test_shapes_that_the_graph_cannot_keep_are_explained(bench: Bench) -> None:
    bench.look(frames=5)
    said = bench.reconstruct(stamped=False)
    assert said.startswith("the scene graph keeps no shape of this image: the image has no stamp")
    assert all(known.object.mesh is None for known in bench.keeper.snapshot().objects)
    assert bench.reconstruct(replace(SETTINGS, memory_frame="")) == "", "no graph is kept, and none was asked for"
    said = bench.reconstruct(replace(SETTINGS, memory_mesh_triangles=4), mesh=make_asset("mug", 0))
    assert "no grid makes 4 triangles or fewer" in said


def test_objects_stand_in_the_map_after_a_few_frames(bench: Bench) -> None:
    bench.look(frames=2)
    assert bench.ids() == []
    bench.look(frames=2)
    snapshot = bench.keeper.snapshot()
    expected = MAP_T_PLANE.apply([[o["x"], o["y"], 0.0] for o in OBJECTS])
    assert np.allclose(snapshot.scene().positions_m()[:, :2], expected[:, :2], atol=1e-6)
    assert (snapshot.frame_id, snapshot.stamp_ns) == ("map", bench.stamp_ns)
    assert {r.subject_id for r in snapshot.relations if r.predicate == "on"} == set(bench.ids()), (
        "they stand on the plane at 0.1 m")
    assert all(k.first_seen_ns == S + S // 10 and k.last_seen_ns == bench.stamp_ns for k in snapshot.objects)


def test_only_changes_are_told(bench: Bench) -> None:
    assert [len(s.objects) for s in bench.told] == [0], "an empty graph at the start, in place of an older one"
    bench.look(frames=10)
    assert [len(s.objects) for s in bench.told] == [0, 3]
    assert bench.keeper.snapshot().objects[0].last_seen_ns > bench.told[-1].objects[0].last_seen_ns


def test_what_the_camera_does_not_see_stays_and_what_it_misses_goes(bench: Bench) -> None:
    bench.look(frames=5)
    before, away = bench.ids(), MAP_T_PLANE @ Transform.from_yaw(0.0, np.array([40.0, 0.0, 0.0]))
    bench.pipeline = FakePipeline(objects=())
    bench.look(pose=away @ PLANE.plane_T_optical(), frames=30)
    assert bench.ids() == before
    bench.look(frames=30)
    assert bench.ids() == [], "in view and not there"


def test_a_full_scene_says_nothing_of_what_it_does_not_name(bench: Bench) -> None:
    bench.look(frames=5)
    full = replace(bench.pipeline.field(), max_objects=1)
    bench.pipeline.field = lambda: full
    bench.look(1, frames=30)
    assert len(bench.ids()) == 3
    bench.pipeline.field = lambda: replace(full, max_objects=2)
    bench.look(1, frames=30)
    assert len(bench.ids()) == 1


def test_a_scene_is_full_by_what_the_model_names_not_by_what_is_shown(bench: Bench) -> None:
    """One of three names is under the threshold; the model's room for names is used up all the same."""
    bench.look(frames=5)
    full = replace(bench.pipeline.field(), max_objects=2)
    unsure = ({**OBJECTS[0]}, {**OBJECTS[1], "confidence": 0.3})
    bench.pipeline = FakePipeline(objects=unsure)
    bench.pipeline.field = lambda: full
    bench.settings = replace(bench.settings, confidence_threshold=0.5)
    bench.look(frames=30)
    assert len(bench.ids()) == 3


def test_yaws_are_averaged_over_the_period_of_the_model_s_schema(bench: Bench) -> None:
    """A box that looks the same after half a turn, seen in one pose or the other."""
    box = {**OBJECTS[0], "shape": "box"}
    field = replace(bench.pipeline.field(), yaw=YawPeriods(math.pi, "shape", ("box",)))
    for i in range(8):
        bench.pipeline = FakePipeline(objects=({**box, "yaw": 0.5 + math.pi * (i % 2)},))
        bench.pipeline.field = lambda: field
        bench.look(frames=1)
    (known,) = bench.keeper.snapshot().objects
    assert math.remainder(known.object.yaw_rad - 0.3 - 0.5, math.pi) == pytest.approx(0.0, abs=0.05)
    assert known.yaw_sigma_rad < 0.1


def test_without_a_graph_nobody_asks_what_the_camera_can_see() -> None:
    bench = Bench(replace(SETTINGS, memory_frame=""))
    bench.pipeline.field = lambda: pytest.fail("there is no graph that could use it")
    bench.look(frames=1)
    assert bench.told == []


def test_a_missing_transform_is_named_and_leaves_the_frame_out(bench: Bench) -> None:
    bench = Bench(replace(SETTINGS, plane_frame="", memory_frame="odom"))
    bench.look(frames=5)
    assert bench.worst()[:2] == ("transforms", ERROR)
    assert "the scene graph leaves frames out: TF does not know frame 'odom'" in bench.worst()[2]
    assert bench.keeper.figures()["frames left out of the scene graph"] == "5" and bench.ids() == []
    bench.tf.set("odom", "map", (0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0), 0, static=True)
    bench.look(frames=5)
    expected = MAP_T_PLANE.apply([OBJECTS[0]["x"], OBJECTS[0]["y"], 0.0]) + [1.0, 0.0, 0.0]
    assert np.allclose(bench.keeper.snapshot().objects[0].object.position_m[:2], expected[:2], atol=1e-3)
    assert bench.keeper.figures()["frames in the scene graph"] == "5"


def test_the_transform_is_that_of_the_image_s_stamp(bench: Bench) -> None:
    bench = Bench(replace(SETTINGS, plane_frame="", memory_frame="map"))
    bench.look(frames=3)
    moved = MAP_T_PLANE @ Transform.from_yaw(0.0, np.array([9.0, 0.0, 0.0])) @ PLANE.plane_T_optical()
    bench.tf.set("map", "camera", tuple(moved.quaternion()), tuple(moved.translation), bench.stamp_ns + 2 * S)
    bench.see(255, bench.stamp_ns + S)  # half-way between two known poses
    assert len(bench.ids()) == 3
    bench.see(255, bench.stamp_ns + 3 * S)
    assert "after its newest" in bench.worst()[2] and bench.keeper.snapshot().stamp_ns == bench.stamp_ns + S


def test_the_graph_waits_for_no_transform() -> None:
    """The frame has waited for it before it was computed; here it would hold up other cameras."""
    bench = Bench(replace(SETTINGS, memory_frame="odom", tf_timeout_s=5.0))
    start_s = time.monotonic()
    bench.look(frames=1)
    assert time.monotonic() - start_s < 4.5 and bench.keeper.figures()["frames left out of the scene graph"] == "1"


@pytest.mark.parametrize("memory_frame, stamp_ns, stage, text", [
    ("camera", 2 * S, "transforms", "leans by"), ("map", 0, "image", "the image has no stamp")])
def test_what_cannot_be_fused_is_explained(memory_frame: str, stamp_ns: int, stage: str, text: str) -> None:
    bench = Bench(Settings(memory_frame=memory_frame, tf_timeout_s=0.01))
    bench.tf.set("map", "camera", (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 0, static=True)
    bench.see(255, stamp_ns)
    assert bench.worst()[:2] == (stage, ERROR) and text in bench.worst()[2]


def test_an_image_out_of_order_is_left_out_and_a_jump_in_time_is_followed(bench: Bench) -> None:
    bench.look(frames=5)
    before = bench.ids()
    bench.see(255, bench.stamp_ns - S // 10)
    assert bench.worst()[:2] == ("image", WARN) and "went back by 0.100 s" in bench.worst()[2]
    bench.stamp_ns = S
    bench.look(frames=1, epoch=1)
    assert bench.ids() == before and bench.keeper.snapshot().stamp_ns == bench.stamp_ns
    assert all(k.last_seen_ns == bench.stamp_ns for k in bench.keeper.snapshot().objects)


def test_another_frame_starts_an_empty_graph_and_takes_the_old_one_back(bench: Bench) -> None:
    bench.look(frames=5)
    bench.settings = replace(SETTINGS, memory_frame="odom")
    bench.keeper.follow(bench.settings)
    assert [(s.frame_id, len(s.objects)) for s in bench.told[-2:]] == [("map", 0), ("odom", 0)]
    bench.keeper.follow(Settings())
    assert bench.told[-1].frame_id == "odom" and bench.keeper.figures() == {}
    for request in (bench.keeper.snapshot, bench.keeper.reset, bench.keeper.record, lambda: bench.keeper.forget("a")):
        with pytest.raises(GraphError, match="set memory_frame"):
            request()


def test_a_frame_begun_before_the_change_is_not_fused(bench: Bench) -> None:
    bench.keeper.follow(replace(SETTINGS, memory_frame="odom"))
    bench.look(frames=5)  # with the settings as they were
    assert bench.ids() == [] and bench.keeper.snapshot().frame_id == "odom"


def test_settings_of_the_memory_reach_it(bench: Bench) -> None:
    bench.settings = replace(SETTINGS, memory_viewpoint="frame", memory_forget_after_s=2.0)
    bench.look(frames=5)
    snapshot = bench.keeper.snapshot()
    assert (snapshot.viewpoint, snapshot.behind_rad) == ("frame", math.pi / 2)
    away = MAP_T_PLANE @ Transform.from_yaw(0.0, np.array([40.0, 0.0, 0.0])) @ PLANE.plane_T_optical()
    bench.pipeline = FakePipeline(objects=())
    bench.look(pose=away, frames=19)
    assert len(bench.ids()) == 3
    bench.look(pose=away, frames=2)
    assert bench.ids() == [], "unseen for longer than memory_forget_after_s"


def test_lengths_follow_the_scale_of_a_table_top() -> None:
    """Cube and sphere have a gap of 1.1 units, here 0.11 m: not near, since 0.3 units are."""
    bench = Bench(replace(SETTINGS, plane_frame="map", scale="distance"))
    near = PlaneCamera(PLANE.distance_m / 10, PLANE.elevation_rad)
    bench.look(pose=MAP_T_PLANE @ near.plane_T_optical(), frames=5)
    relations = {r.predicate for r in bench.keeper.snapshot().relations}
    assert len(bench.ids()) == 3 and "left" in relations and "near" not in relations


def test_ages_are_counted_from_now(bench: Bench) -> None:
    bench.look(frames=5)
    assert bench.keeper.age_s() == 0.0
    bench.now_s = 7.0
    assert bench.keeper.age_s() == 7.0
    assert len(bench.keeper.snapshot(Query(max_age_s=7.1)).objects) == 3
    assert bench.keeper.snapshot(Query(max_age_s=6.9)).objects == ()


def test_reset_and_forget_are_told_and_names_are_not_used_again(bench: Bench) -> None:
    bench.look(frames=5)
    first, *others = bench.ids()
    bench.keeper.forget(first)
    assert [k.id for k in bench.told[-1].objects] == others
    with pytest.raises(GraphError, match=f"no object '{first}'"):
        bench.keeper.forget(first)
    bench.keeper.reset()
    assert bench.told[-1].objects == ()
    bench.look(frames=5)
    assert len(bench.ids()) == 3 and not {first, *others} & set(bench.ids())


def test_a_graph_comes_back_from_its_file(bench: Bench, tmp_path: Path) -> None:
    bench.look(frames=5)
    files = GraphFiles(str(tmp_path / "graphs"))
    written = Path(files.write_record("rooms/kitchen.json", bench.keeper.record()))
    assert written == (tmp_path / "graphs" / "rooms" / "kitchen.json").resolve()
    other = Bench()
    assert other.keeper.restore(files.read_record("rooms/kitchen.json")) == 3
    assert [k.id for k in other.told[-1].objects] == bench.ids()
    other.stamp_ns = bench.stamp_ns
    other.look(frames=3)
    assert other.ids() == bench.ids(), "it goes on with the names of the file"


def test_a_graph_whose_clock_was_ahead_goes_on_by_the_images_clock(bench: Bench) -> None:
    bench.stamp_ns = 1000 * S  # a bag that is played again, or a robot whose clock is not set yet
    bench.look(shown=1, frames=5)
    other = Bench()
    assert other.keeper.restore(bench.keeper.record()) == 1
    other.look(frames=8)
    snapshot = other.keeper.snapshot()
    assert bench.ids()[0] in other.ids() and len(other.ids()) == len(OBJECTS), "new objects enter"
    assert snapshot.stamp_ns == other.stamp_ns
    assert all(known.last_seen_ns <= other.stamp_ns for known in snapshot.objects)


def test_after_a_load_or_a_reset_no_image_counts_as_seen(bench: Bench) -> None:
    for put in (lambda: bench.keeper.restore(bench.keeper.record()), bench.keeper.reset):
        bench.look(frames=5)
        bench.now_s += 3600.0
        assert bench.keeper.newest() is not None and bench.keeper.age_s() == 3600.0
        put()
        assert bench.keeper.newest() is None and bench.keeper.age_s() is None


def test_a_bad_file_is_one_clear_error_and_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    files = GraphFiles(str(tmp_path))
    bench.look(frames=5)
    (tmp_path / "torn.json").write_text(json.dumps(bench.keeper.record())[:-20])
    (tmp_path / "folder").mkdir()
    for name, text in (("torn.json", "not a JSON document"), ("none.json", "there is no file"),
                       ("folder", "there is no file"), ("../up.json", "memory_folder")):
        with pytest.raises(GraphError, match=text):
            files.read_record(name)
    with pytest.raises(GraphError, match="cannot write .*: Is a directory; an older file"):
        files.write_text("folder", "text")
    (tmp_path / "folder" / "file").write_text("")
    with pytest.raises(GraphError, match="cannot write"):
        files.write_text("folder/file/a.json", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "torn.json"]


def test_the_folder_is_ros_s_own_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    assert GraphFiles("").write_text("a", "text") == str((tmp_path / "kyvo_scene_graphs" / "a").resolve())
    monkeypatch.delenv("ROS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert GraphFiles("").write_text("a", "text") == str((tmp_path / "home/.ros/kyvo_scene_graphs/a").resolve())


def test_numbers_that_cannot_be_are_left_out(bench: Bench) -> None:
    far = SceneObject({"shape": "cube"}, [1e9, 0.0, 0.0], size_m=[1.0] * 3)
    recognize = bench.pipeline.recognize
    bench.pipeline.recognize = lambda *a: replace(recognize(*a), objects=(far,))
    bench.look(frames=1)
    assert bench.worst()[:2] == ("inference", WARN) and "must lie within" in bench.worst()[2]


class Pair(Bench):
    """Two cameras that look at one table from opposite sides; their drivers call both frames `camera`."""

    def __init__(self) -> None:
        super().__init__(replace(SETTINGS, cameras=("front", "back")))
        other, infos = TransformBuffer(), CameraInfoCache()
        infos.store(messages.camera_info())
        self.eyes = {"front": (self.tf, self.recognizer), "back": (other, Recognizer(infos, other, self.status))}

    def look_with(self, camera: str, frames: int, back_s: float = 0.0, epoch: int = 0) -> None:
        tf, recognizer = self.eyes[camera]
        turned = MAP_T_PLANE @ Transform.from_yaw(math.pi if camera == "back" else 0.0, np.zeros(3))
        pose = turned @ PLANE.plane_T_optical()
        for _ in range(frames):
            self.stamp_ns += S // 10
            stamp_ns = self.stamp_ns - int(back_s * S)
            tf.set("map", "camera", tuple(pose.quaternion()), tuple(pose.translation), stamp_ns)
            image = messages.image(np.full((240, 320, 3), 255, np.uint8), header=messages.header("camera", stamp_ns))
            frame = Frame(image, self.now_s, epoch)
            result = recognizer.recognize(frame, self.pipeline, self.settings)
            if camera == "back":  # the same objects, seen from there
                there = result.scene.transformed(Transform.from_yaw(math.pi, np.zeros(3)), result.scene.frame_id)
                result = replace(result, scene=there)
            self.keeper.saw(frame, result, self.pipeline.field, self.settings, self.status, camera)


def test_the_graph_fuses_all_cameras() -> None:
    pair = Pair()
    pair.keeper._locate = lambda target, view, *_: view.world_T_plane
    for _ in range(5):
        pair.look_with("front", 1)
        pair.look_with("back", 1, back_s=0.15)  # images of several cameras come out of order
    assert len(pair.ids()) == 3, "three objects, not six"
    assert pair.keeper.figures()["frames in the scene graph"] == "10" and pair.worst()[1] == 0
    assert all(known.sightings == 10 for known in pair.keeper.snapshot().objects)


def test_left_and_right_are_the_first_camera_s() -> None:
    pair = Pair()
    pair.look_with("front", 5)
    behind_rad, eye_m = pair.keeper.snapshot().behind_rad, pair.keeper.newest().eye_m
    told = len(pair.told)
    pair.look_with("back", 5)
    assert pair.keeper.snapshot().behind_rad == behind_rad and np.array_equal(pair.keeper.newest().eye_m, eye_m)
    assert len(pair.told) == told, "nothing has changed"


def test_the_viewpoint_is_that_of_the_first_camera_that_has_delivered() -> None:
    """The first one in `cameras` is switched off at first; after a reset nobody has delivered."""
    pair = Pair()

    def viewpoint() -> tuple[float, list[float]]:
        return round(pair.keeper.snapshot().behind_rad, 6), pair.keeper.newest().eye_m.round(3).tolist()
    pair.look_with("back", 5)
    of_back = viewpoint()
    assert math.remainder(of_back[0] - 0.3 - math.pi / 2 - math.pi, 2 * math.pi) == pytest.approx(0.0, abs=1e-5)
    pair.look_with("front", 1)
    of_front = viewpoint()
    assert abs(math.remainder(of_front[0] - of_back[0], 2 * math.pi)) == pytest.approx(math.pi)
    pair.look_with("back", 2)
    assert viewpoint() == of_front
    pair.keeper.reset()
    pair.look_with("back", 1)
    assert viewpoint() == of_back
    pair.settings = replace(pair.settings, cameras=("back", "front"))
    pair.look_with("front", 1)
    assert viewpoint() == of_back
    pair.settings = replace(pair.settings, cameras=("front",))  # back has been taken away
    pair.look_with("front", 1)
    assert viewpoint() == of_front


def test_each_camera_s_time_may_jump() -> None:
    pair = Pair()
    pair.look_with("front", 5)
    pair.look_with("back", 5)
    pair.look_with("front", 3, back_s=1.2, epoch=1)
    pair.look_with("back", 3, back_s=1.2, epoch=1)
    assert len(pair.ids()) == 3 and pair.worst()[1] == 0
    assert pair.keeper.figures()["frames in the scene graph"] == "16"


def test_what_a_mask_hides_is_not_missed() -> None:
    hidden = np.zeros((240, 320), bool)
    for mask, left in ((hidden, 3), (~hidden, 0)):
        bench = Bench()
        bench.look(frames=5)
        recognize = bench.recognizer.recognize
        bench.recognizer.recognize = lambda *a: replace(recognize(*a), mask=mask)
        bench.pipeline._objects = ()
        bench.look(0, frames=40)
        assert len(bench.ids()) == left
