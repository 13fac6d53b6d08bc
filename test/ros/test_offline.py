"""`kyvo bag`: recordings, folders and videos to bags of results, with and without ROS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import pytest
import recordings
from fake_pipeline import NOMINAL, OBJECTS, FakePipeline
from tiny_model import tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.commands.bag import report
from kyvo_ros.model.folder import save_model
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.ros.conversions import camera_from_msg, image_from_compressed_msg
from kyvo_ros.ros.offline import jobs
from kyvo_ros.ros.offline.bags import BagError, BagWriter
from kyvo_ros.ros.offline.jobs import Job, run_job
from kyvo_ros.ros.offline.pictures import camera_info_of, heard_in_video
from kyvo_ros.ros.setting_options import settings_of
from kyvo_ros.ros.settings import SettingError, Settings
from kyvo_ros.ros.transforms import TransformBuffer
from kyvo_ros.scene import PinholeCamera, Transform, view_from_pose

ROOT = Path(__file__).resolve().parents[2]
RECORDING = ROOT / "demo" / "recording"
S = 10**9
WHITE = np.full((240, 320, 3), 255, np.uint8)
WORLD = ("-p", "plane_frame:=world", "-p", "output_frame:=world")
#: Runs the demo's recording as if nothing of ROS were installed, with the fake pipeline, which needs no torch.
WITHOUT_ROS = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path
class NoRos:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.split(".")[0]
        hidden = top.endswith("_msgs") or top in ("rclpy", "builtin_interfaces", "rosidl_parser", "ament_index_python")
        return None if hidden else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [NoRos if finder is PathFinder else finder for finder in sys.meta_path]
from fake_pipeline import FakePipeline
from kyvo_ros.ros.offline.jobs import Job, run_job
from kyvo_ros.ros.settings import Settings
settings = Settings(plane_frame="world", memory_frame="world")
job = Job(Path("demo/recording"), Path(sys.argv[1]), settings, storage="sqlite3")
assert run_job(job, lambda settings: FakePipeline()).scenes == 12
assert "rclpy" not in sys.modules
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, tiny_bundle())
    return str(folder)


@pytest.fixture(scope="module")
def results(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's recording through the tiny model, by the command."""
    out = tmp_path_factory.mktemp("out") / "results"
    assert main(["bag", str(RECORDING), "--out", str(out), "-p", f"model:={model}", *WORLD]) == 0
    return out


def _fake(settings: Settings) -> FakePipeline:
    return FakePipeline()


def _own_scenes(pipeline: KyvoPipeline) -> dict[int, list]:
    """By stamp: what the pipeline itself sees in the recording, in the world."""
    buffer, info, scenes = TransformBuffer(), None, {}
    heard = recordings.read_bag(RECORDING)
    for _, topic, message in (m for m in heard if m[1].startswith("/tf")):
        item, = message.transforms
        q, t, stamp = item.transform.rotation, item.transform.translation, item.header.stamp
        buffer.set(item.header.frame_id, item.child_frame_id, (q.x, q.y, q.z, q.w), (t.x, t.y, t.z),
                   stamp.sec * S + stamp.nanosec, topic == "/tf_static")
    for _, topic, message in heard:
        if topic.endswith("camera_info"):
            info = message
        if topic.endswith("compressed"):
            stamp_ns = message.header.stamp.sec * S + message.header.stamp.nanosec
            pose = buffer.lookup("world", message.header.frame_id, stamp_ns)
            view = view_from_pose(camera_from_msg(info, 320, 240), pose, 0.0)
            seen = pipeline.recognize(image_from_compressed_msg(message), view)
            scenes[stamp_ns] = seen.transformed(view.world_T_plane, "world").objects
    return scenes


def test_the_scenes_of_a_recording_are_the_pipeline_s_own(model: str, results: Path) -> None:
    own = _own_scenes(KyvoPipeline.from_pretrained(model, "cpu"))
    graphs = [(when_ns, m) for when_ns, topic, m in recordings.read_bag(results) if topic == "/scene"]
    assert len(graphs) == len(own) == 12 and sum(map(len, own.values())) > 0
    for when_ns, graph in graphs:
        stamp_ns = graph.header.stamp.sec * S + graph.header.stamp.nanosec
        assert graph.header.frame_id == "world" and when_ns == stamp_ns  # this recording's times are its stamps
        expected = own[stamp_ns]
        assert [o.label for o in graph.objects] == [o.label for o in expected]
        for found, true in zip(graph.objects, expected):
            p = found.pose.pose.position
            assert np.allclose([p.x, p.y, p.z], true.position_m) and found.score == pytest.approx(true.confidence)


def test_detections_and_markers_come_with_each_scene_at_the_image_s_stamp(results: Path) -> None:
    by_topic: dict[str, list] = {}
    for when_ns, topic, message in recordings.read_bag(results):
        by_topic.setdefault(topic, []).append((when_ns, message))
    topics = ("/scene", "/detections", "/markers")
    assert {topic: len(found) for topic, found in by_topic.items()} == dict.fromkeys(topics, 12)
    for (_, graph), (_, boxes), (_, markers) in zip(*(by_topic[topic] for topic in topics)):
        assert boxes.header == graph.header and [d.id for d in boxes.detections] == [o.id for o in graph.objects]
        assert sum(m.ns == "objects" and m.action == 0 for m in markers.markers) == len(graph.objects)
        assert all(m.header == graph.header for m in markers.markers)


def test_without_ros_the_messages_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="with ROS or without, it would be the same run")
    run_job(Job(RECORDING, tmp_path / "ros", Settings(plane_frame="world", memory_frame="world")), _fake)
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, "-c", WITHOUT_ROS, str(tmp_path / "bare")], cwd=ROOT, text=True,
                          capture_output=True, timeout=100, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    with_ros, without = (recordings.read_bag(tmp_path / name) for name in ("ros", "bare"))
    assert len(with_ros) == len(without)
    assert {topic.strip("/") for _, topic, _ in with_ros} == {
        "scene", "detections", "markers", "scene_graph", "scene_graph_markers"}
    for (when_a, topic_a, a), (when_b, topic_b, b) in zip(with_ros, without):
        assert (when_a, topic_a) == (when_b, topic_b)
        assert recordings.typestore().serialize_cdr(a, a.__msgtype__) == recordings.typestore().serialize_cdr(
            b, b.__msgtype__)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_raw_images_the_plane_s_frame_and_a_namespace(tmp_path: Path, storage: str) -> None:
    heard = [(S, "/cam/camera_info", recordings.camera_info(S))]
    heard += [(S + i, "/cam/image_raw", recordings.image(S + i, WHITE)) for i in range(1, 4)]
    bag = recordings.write_bag(tmp_path / "in", heard, storage)
    job = Job(bag, tmp_path / "out", Settings(output_frame="support_plane"), namespace="/robot", storage=storage)
    ledger = run_job(job, _fake)
    assert (ledger.images, ledger.scenes) == (3, 3)
    found = recordings.read_bag(tmp_path / "out")
    assert {topic for _, topic, _ in found} == {"/tf", "/robot/scene", "/robot/detections", "/robot/markers"}
    transform = next(m for _, topic, m in found if topic == "/tf").transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("camera", "support_plane")
    assert [len(m.objects) for _, topic, m in found if topic == "/robot/scene"] == [3, 3, 3]


def test_the_scene_graph_of_a_recording(tmp_path: Path) -> None:
    place = Transform.from_yaw(0.3, np.array([2.0, 1.0, 0.0]))
    heard = [(S, "/cam/camera_info", recordings.camera_info(S)),
             (S, "/tf_static", recordings.transform(S, place @ NOMINAL.plane_T_optical(), "map"))]
    heard += [(S + i, "/cam/image_raw", recordings.image(S + i, WHITE)) for i in range(S // 10, S, S // 10)]
    bag = recordings.write_bag(tmp_path / "in", heard)
    settings = Settings(memory_frame="map", plane_frame="map")
    ledger = run_job(Job(bag, tmp_path / "out", settings, namespace="robot"), _fake)
    found = recordings.read_bag(tmp_path / "out")
    told = [(when_ns, m) for when_ns, topic, m in found if topic == "/robot/scene_graph"]
    assert [(when_ns, len(m.objects)) for when_ns, m in told] == [(S + S // 10, 0), (S + 3 * S // 10, 3)], (
        "empty at the first image, and when all three are sure")
    last = told[-1][1]
    assert (last.header.frame_id, last.header.stamp.nanosec, last.objects[0].sightings) == ("map", 3 * S // 10, 3)
    places = [[o.pose.pose.position.x, o.pose.pose.position.y] for o in last.objects]
    assert np.allclose(places, place.apply([[o["x"], o["y"], 0.0] for o in OBJECTS])[:, :2], atol=1e-6)
    drawn = [m.markers for _, topic, m in found if topic == "/robot/scene_graph_markers"]
    assert [sum(m.ns == "objects" for m in markers) for markers in drawn] == [0, 3]
    assert ledger.graph == {"scene graph frame": "map", "scene graph objects": "3",
                            "frames in the scene graph": "9", "frames left out of the scene graph": "0"}


def test_frames_without_a_transform_to_the_graph_s_frame_are_explained(tmp_path: Path) -> None:
    heard = [(S, "/camera_info", recordings.camera_info(S)), (S + 1, "/image", recordings.image(S + 1, WHITE))]
    job = Job(recordings.write_bag(tmp_path / "in", heard), tmp_path / "out", Settings(memory_frame="map"))
    ledger = run_job(job, _fake)
    said = report(jobs.Outcome(job, ledger))
    assert ledger.scenes == 1 and "the scene graph leaves frames out: TF does not know frame 'map'" in said
    assert "scene graph objects: 0" in said and "frames left out of the scene graph: 1" in said
    graphs = [m for _, topic, m in recordings.read_bag(tmp_path / "out") if topic == "/scene_graph"]
    assert [len(graph.objects) for graph in graphs] == [0]


def test_folders_of_images(tmp_path: Path, capsys: pytest.CaptureFixture, model: str) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b.png", "a.jpg", "notes.txt"):
        (folder / name).write_text("") if name.endswith("txt") else cv2.imwrite(str(folder / name), WHITE)
    out = tmp_path / "out"
    assert main(["bag", str(folder), "--out", str(out), "--rate-hz", "4", "-p", f"model:={model}"]) == 0
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for _, t, m in recordings.read_bag(out) if t == "/scene"]
    assert stamps == [(0, 0), (0, S // 4)]
    assert "2 scenes of 2 images" in capsys.readouterr().out
    whole = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))[1].tobytes()
    for broken in (b"no picture", whole[:len(whole) // 2]):
        (folder / "c.png").write_bytes(broken)
        assert main(["bag", str(folder), "--out", str(tmp_path / "other"), "-p", f"model:={model}"]) == 1
        assert "c.png is not a whole image" in capsys.readouterr().out and not (tmp_path / "other").exists()


def test_videos_with_a_calibration(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (320, 240))
    for _ in range(3):
        video.write(WHITE)
    video.release()
    camera = PinholeCamera(320, 240, 300.0, 310.0, 161.0, 118.5, (0.1, 0.0, 0.0, 0.0, 0.0))
    pipeline = FakePipeline()
    ledger = run_job(Job(path, tmp_path / "out", camera=camera), lambda settings: pipeline)
    assert ledger.scenes == 3 and pipeline.seen[0][0].intrinsics == camera
    stamps = [m.header.stamp.nanosec for _, topic, m in recordings.read_bag(tmp_path / "out") if topic == "/scene"]
    assert stamps == [0, S // 10, S // 5]


def test_a_calibration_survives_the_round_trip() -> None:
    camera = PinholeCamera(640, 480, 500.0, 510.0, 300.5, 241.0, (0.1, -0.2, 0.0, 0.0, 0.0))
    assert camera_from_msg(camera_info_of(camera), 640, 480) == camera


@pytest.mark.timeout(120)
@pytest.mark.timeout(300)  # each process imports torch
def test_many_recordings_in_processes_of_their_own(tmp_path: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    sources = []
    for name in ("one", "two"):
        heard = [(S, "/camera_info", recordings.camera_info(S)), (S + 1, "/image", recordings.image(S + 1, WHITE))]
        sources.append(recordings.write_bag(tmp_path / name, heard))
    (tmp_path / "three").mkdir()
    given = [str(path) for path in (*sources, tmp_path / "three")]
    assert main(["bag", *given, "--out", str(tmp_path / "out"), "--jobs", "2", "-p", f"model:={model}"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("1 scenes of 1 images") == 2 and "three: failed" in printed
    for name in ("one", "two"):
        assert [topic for _, topic, _ in recordings.read_bag(tmp_path / "out" / f"{name}_kyvo")][0] == "/scene"
    assert not (tmp_path / "out" / "three_kyvo").exists()


def test_a_process_that_is_lost_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def lost(*_: object) -> None:
        raise BrokenProcessPool
    monkeypatch.setattr(jobs.ProcessPoolExecutor, "map", lost)
    assert main(["bag", str(RECORDING), "other", "--jobs", "2"]) == 2
    assert "fewer --jobs" in capsys.readouterr().err


def test_results_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="meanwhile"), BagWriter(tmp_path / "bag") as writer:
        writer.write("/image", recordings.image(S, WHITE), S)
        raise RuntimeError("something else failed meanwhile")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")


@pytest.mark.parametrize("make, reason", [
    (lambda path: None, "cannot read the recording"),
    (lambda path: path.write_bytes(b"not a video"), "OpenCV reads no frame"),
    (lambda path: path.mkdir(), "neither a rosbag2"),
    (lambda path: (path.mkdir(), (path / "metadata.yaml").write_text("a: [")), "is broken"),
])
def test_what_is_no_recording_is_named(tmp_path: Path, make, reason: str) -> None:
    make(tmp_path / "source")
    with pytest.raises(BagError, match=reason):
        run_job(Job(tmp_path / "source", tmp_path / "out"), _fake)
    assert not (tmp_path / "out").exists()


def test_a_damaged_recording_keeps_no_other_from_its_turn(tmp_path: Path, model: str) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(RECORDING, damaged)
    path = next(damaged.glob("*.mcap"))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 6000] = bytes(255 - byte for byte in data[middle:middle + 6000])
    path.write_bytes(data)
    jobs_ = [Job(source, tmp_path / f"out_{number}", Settings(model=model))
             for number, source in enumerate((damaged, RECORDING))]
    first, second = jobs.run_jobs(jobs_, 1)
    assert f"the recording {damaged} is damaged" in first.error and not first.job.output.exists()
    assert not second.error and second.job.output.exists()


def test_a_job_that_fails_in_an_unforeseen_way_keeps_no_other_from_its_turn(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(job: Job, factory) -> jobs.Ledger:
        if job.output.name == "bad":
            raise RuntimeError("CUDA error: out of memory")
        return jobs.Ledger()
    monkeypatch.setattr(jobs, "run_job", run)
    outcomes = jobs.run_jobs([Job(RECORDING, tmp_path / name) for name in ("bad", "good")], 1)
    assert [outcome.error for outcome in outcomes] == ["RuntimeError: CUDA error: out of memory", ""]


def test_frames_that_give_no_scene_are_explained(tmp_path: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    bag = recordings.write_bag(tmp_path / "in", [(S, "/image", recordings.image(S, WHITE))])
    assert main(["bag", str(bag), "--out", str(tmp_path / "out"), "-p", f"model:={model}"]) == 1
    assert "1 dropped (no_camera_info): no camera_info has come" in capsys.readouterr().out


def test_settings_of_files_and_assignments(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("/**:\n  ros__parameters: {use_sim_time: true, effort: accurate}\n"
                    "/robot/kyvo_node:\n  ros__parameters: {plane_frame: map}\nother:\n  ros__parameters: {scale: x}\n")
    assert settings_of(path, ["plane_frame:=world", "max_rate_hz:=5"]) == Settings(
        effort="accurate", plane_frame="world", max_rate_hz=5.0)
    assert settings_of(None, ["camera_frame:="]) == Settings()
    for assignment, reason in (("plane_frame", "NAME:=VALUE"), ("colour:=red", "no setting 'colour'"),
                               ("effort:=slow", "must be one of"), ("model:={", "no YAML")):
        with pytest.raises(SettingError, match=reason):
            settings_of(None, [assignment])
    path.write_text("kyvo_node: 3\n")
    with pytest.raises(SettingError, match="no ROS parameter file"):
        settings_of(path, [])


def test_settings_of_one_of_several_cameras(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("kyvo_node:\n  ros__parameters:\n    cameras: [front, arm]\n    effort: accurate\n"
                    "    front: {plane_frame: table, roi: [10, 20, 100, 90]}\n    arm.camera_frame: eye\n"
                    "    qos_overrides: {x: 1}\n")
    front = settings_of(path, ["front.max_rate_hz:=5"], "front")
    assert (front.plane_frame, front.roi, front.max_rate_hz) == ("table", (10, 20, 100, 90), 5.0)
    assert (front.effort, front.cameras) == ("accurate", ())
    arm = settings_of(path, [], "arm")
    assert (arm.plane_frame, arm.camera_frame, arm.effort) == ("", "eye", "accurate")
    for camera, assignments, reason in (("", [], "--camera-name must be one of front, arm"), ("rear", [], "got 'rear'"),
                                        ("arm", ["arm.model:=x"], "no setting of its own 'model'"),
                                        ("arm", ["rear.roi:=[0, 0, 1, 1]"], "no setting 'rear.roi'")):
        with pytest.raises(SettingError, match=reason):
            settings_of(path, assignments, camera)
    with pytest.raises(SettingError, match="name no cameras"):
        settings_of(None, [], "front")


def test_a_video_that_was_cut_off_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for value in range(20):
        writer.write(np.full((48, 64, 3), 10 * value, np.uint8))
    writer.release()
    heard = list(heard_in_video(tmp_path / "clip.avi"))
    assert [item.when_ns for item in heard] == pytest.approx([i * S // 10 for i in range(20)], abs=1000)
    assert not caplog.records
    reader = cv2.VideoCapture

    class Cut:
        """Reads the first half, as OpenCV does of a file whose end is missing."""

        def __init__(self, path: str) -> None:
            self.inner, self.left = reader(path), 10

        def get(self, what: int) -> float:
            return self.inner.get(what)

        def read(self) -> tuple:
            self.left -= 1
            return self.inner.read() if self.left >= 0 else (False, None)

        def release(self) -> None:
            self.inner.release()
    monkeypatch.setattr(cv2, "VideoCapture", Cut)
    assert len(list(heard_in_video(tmp_path / "clip.avi"))) == 10
    assert "claims 20 frames and OpenCV reads 10" in caplog.text


@pytest.mark.parametrize("text, reason", [
    ("kyvo_node:\n  ros__parameters: {planeframe: map}\n", "no parameter 'planeframe'; did you mean plane_frame"),
    ("image_width: 640\ncamera_matrix: {data: [1]}\n", "says nothing to kyvo_node"),
    ("other_node:\n  ros__parameters: {plane_frame: map}\n", "says nothing to kyvo_node")])
def test_a_parameter_file_that_is_none_or_has_a_slip_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    with pytest.raises(SettingError, match=reason):
        settings_of(path, [])


def test_parameters_that_are_another_s_or_ros_s_own_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("/**:\n  ros__parameters: {frame_rate: 3}\nkyvo_node:\n  ros__parameters: {autostart: true, "
                    "use_sim_time: true, plane_frame: map}\n")
    assert settings_of(path, []) == Settings(plane_frame="map")


@pytest.mark.parametrize("options, reason", [
    (["--namespace", "bad name"], "--namespace"), (["--camera", "CAMERA"], "--camera is for folders"),
    (["--jobs", "0"], "--jobs"), (["--rate-hz", "0"], "--rate-hz"), ([str(RECORDING)], "same name")])
def test_options_that_do_not_fit(options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    camera = tmp_path / "camera.yaml"
    camera.write_text("image_width: 320\nimage_height: 240\ncamera_matrix: {data: [350, 0, 160, 0, 350, 120, 0, 0, 1]}\n")
    assert main(["bag", str(RECORDING), *(str(camera) if o == "CAMERA" else o for o in options)]) == 2
    assert reason in capsys.readouterr().err
