"""`kyvo doctor`: every finding, on recordings and the machine without ROS, on a running system over DDS."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import recordings
from fake_pipeline import FakePipeline, fake_factory, write_model
from tiny_model import tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.model.folder import save_model
from kyvo_ros.ros.doctor import camera, machine
from kyvo_ros.ros.doctor.camera import LOOKS
from kyvo_ros.ros.doctor.findings import Finding, exit_code, report, what_to_type
from kyvo_ros.ros.doctor.recording import examine_recording
from kyvo_ros.ros.offline.bags import Topics
from kyvo_ros.ros.offline.jobs import Job
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import ERROR, OK, WARN
from kyvo_ros.scene import PlaneCamera, Transform

RECORDING = Path(__file__).resolve().parents[2] / "demo" / "recording"
S = 10**9
WHITE = np.full((240, 320, 3), 255, np.uint8)
DOWN = PlaneCamera(4.0, math.radians(30)).plane_T_optical()


def _image(second: float, pixels: np.ndarray = WHITE, **fields: Any) -> tuple[int, str, Any]:
    return round(second * S), "/cam/image_raw", recordings.image(round(second * S), pixels, **fields)


def _info(second: float = 0.5, **fields: Any) -> tuple[int, str, Any]:
    return round(second * S), "/cam/camera_info", recordings.camera_info(round(second * S), **fields)


def _tf(second: float, pose: Transform = DOWN, stamp: float | None = None) -> tuple[int, str, Any]:
    return round(second * S), "/tf", recordings.transform(round((stamp or second) * S), pose)


def _examined(tmp_path: Path, messages: list, pipeline: Any = FakePipeline(), image: str = "",
              **settings: Any) -> list[Finding]:
    bag = recordings.write_bag(tmp_path / "bag", messages)
    return examine_recording(Job(bag, Path(), Settings(**settings), image), pipeline)


def _found(findings: list[Finding], about: str, text: str) -> Finding:
    fitting = [f for f in findings if f.about == about and text in f.message]
    assert len(fitting) == 1, f"{about} with '{text}' among:\n{report(findings)}"
    return fitting[0]


@pytest.mark.parametrize("pipeline", [FakePipeline(), None], ids=["with a model", "without"])
def test_a_healthy_recording(tmp_path: Path, pipeline: Any) -> None:
    findings = _examined(tmp_path, [_info(), *(_image(1 + i) for i in range(5))], pipeline)
    assert exit_code(findings) == 0 and "nothing stands in the way" in report(findings)
    seen = "; the first 3 show 3, 3, 3 objects" if pipeline else ""
    assert _found(findings, "image", "5 of 5 images can be used" + seen).level == OK and LOOKS == 3


@pytest.mark.parametrize("messages, settings, about, text, to_type", [
    ([_image(1)], {}, "camera_info", "no camera_info has come", "--camera-info TOPIC"),
    ([_info(frame_id="a"), _info(frame_id="b"), _image(1)], {}, "camera_info", "only for 'a', 'b'",
     "--camera-info TOPIC"),
    ([_info(focal=0.0), _image(1)], {}, "camera_info", "uncalibrated", "--camera-info TOPIC"),
    ([_info(width=320, height=320), _image(1)], {}, "camera_info", "another shape", "--camera-info TOPIC"),
    ([_info(), _image(1, encoding="32FC1")], {}, "image", "is a depth image", "--image TOPIC"),
    ([_info(), _image(1, encoding="rgb48")], {}, "image", "unknown image encoding 'rgb48'", "--image TOPIC"),
    ([_info(), _image(1)], {"plane_frame": "map"}, "transforms", "TF does not know frame", "-p plane_frame:=FRAME"),
    ([_info(), _tf(0.9, stamp=5), _image(1)], {"output_frame": "world"}, "transforms", "before its oldest",
     "-p plane_frame:=FRAME"),
    ([_info(), _tf(1, Transform.identity()), _image(1)], {"plane_frame": "world"}, "transforms", "look down",
     "-p plane_frame:=FRAME"),
    ([_info()], {}, "image", "there are 0 topics with images", "ros2 bag info"),
    ([_image(1), (S, "/other/image", _image(1)[2])], {}, "image", "name one with --image: /cam/image_raw, /other/image",
     "ros2 bag info"),
])
def test_what_keeps_scenes_from_coming(tmp_path: Path, messages, settings, about, text, to_type) -> None:
    findings = _examined(tmp_path, messages, **settings)
    finding = _found(findings, about, text)
    assert finding.level == ERROR and to_type in finding.type_this and exit_code(findings) == 1
    assert f"WRONG {about}: " in report(findings) and "1 thing to put right" in report(findings)


@pytest.mark.parametrize("reason, text", [
    ("no_camera_info", "grep CameraInfo"), ("bad_image", "echo --once --no-arr /cam/image_raw/compressed"),
    ("bad_camera_info", "cameracalibrator --size 8x6 --square 0.025 --ros-args -r image:=/cam/image_raw -r camera:=/cam"),
    ("no_transform", "tf2_echo map camera"), ("plane_not_visible", "tf2_echo map camera"), ("no_depth", "grep depth"),
    ("inference_failed", "")])
def test_what_to_type_in_a_running_system(reason: str, text: str) -> None:
    topics = Topics("/cam/image_raw/compressed", "/cam/camera_info")
    line = what_to_type(reason, Settings(plane_frame="map", depth_source="image"), topics, "camera")
    assert text in line and bool(text) == bool(line)


@pytest.mark.parametrize("messages, settings, about, text", [
    ([_info(frame_id="other"), _image(1)], {}, "camera_info", "frame_id 'other' and the image 'camera'"),
    ([_info(), _info(0.6, focal=500.0), _image(1)], {}, "camera_info", "changes (2 different ones)"),
    ([_info(), _image(10), (11 * S, "/cam/image_raw", _image(2)[2])], {}, "image", "jumps back 1 times"),
    ([_info(), *[(i * S, "/cam/image_raw", _image(0)[2]) for i in (1, 2)]], {}, "image", "2 images have no stamp"),
    ([_info(), _image(1)], {"plane_distance_m": 1.0}, "transforms", "set scale to 'distance'"),
])
def test_what_is_worth_a_look(tmp_path: Path, messages, settings, about, text) -> None:
    findings = _examined(tmp_path, messages, **settings)
    assert _found(findings, about, text).level == WARN and exit_code(findings) == 1


def test_images_without_stamps_and_tf_do_not_go_together(tmp_path: Path) -> None:
    silent = [(i * S, "/cam/image_raw", _image(0)[2]) for i in (1, 2)]
    findings = _examined(tmp_path, [_info(), _tf(1), *silent], plane_frame="world")
    assert _found(findings, "image", "no stamp").level == ERROR


def test_a_model_that_sees_nothing_to_rely_on_is_named(tmp_path: Path) -> None:
    doubtful = FakePipeline(objects=({"size": "small", "color": "red", "material": "metal", "shape": "cube", "x": 0.0,
                                      "y": 0.0, "yaw": 0.0, "confidence": 0.2},))
    findings = _examined(tmp_path, [_info(), _image(1)], doubtful)
    assert "looking at objects that the model knows" in _found(findings, "inference", "the best of 1 has 0.20").message


def test_a_model_that_sees_nothing_at_all_is_worth_a_look(tmp_path: Path) -> None:
    findings = _examined(tmp_path, [_info(), *(_image(1 + i) for i in range(4))], FakePipeline(objects=()))
    assert _found(findings, "inference", "no object at all in the first 3 images").level == WARN
    assert exit_code(findings) == 1


def test_a_device_that_is_not_there_is_not_the_model_s_fault(tmp_path: Path) -> None:
    def no_gpu(settings: Settings) -> None:
        raise ValueError("device 'cuda' cannot be used; try cpu or auto")
    findings, _ = machine.model(Settings(device="cuda"), no_gpu, tmp_path / "bag")
    assert findings[0].type_this == f"kyvo doctor {tmp_path / 'bag'} -p device:=auto"


def test_a_long_recording_is_judged_by_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "MOST_IMAGES", 2)
    findings = _examined(tmp_path, [_info(), *(_image(1 + i) for i in range(4))])
    assert _found(findings, "image", "2 of 2 images can be used").level == OK


def test_tf_that_is_there_and_not_used_is_offered(tmp_path: Path) -> None:
    finding = _found(_examined(tmp_path, [_info(), _tf(1), _image(1)]), "transforms", "it is not used")
    assert (finding.level, finding.type_this) == (OK, f"kyvo doctor {tmp_path / 'bag'} -p plane_frame:=world")


def test_what_is_no_recording(tmp_path: Path) -> None:
    finding, = examine_recording(Job(tmp_path / "nowhere", Path()), None)
    assert finding.level == ERROR and "cannot read the recording" in finding.message


def test_models_that_load_and_that_do_not(tmp_path: Path) -> None:
    findings, pipeline = machine.model(Settings(model=write_model(tmp_path / "good", "good")), fake_factory)
    assert pipeline.name == "good" and _found(findings, "model", "good loads").level == OK
    assert _found(findings, "device", "the model runs on cpu").level == OK
    findings, pipeline = machine.model(Settings(model=write_model(tmp_path / "bad", "b", broken="x")), fake_factory)
    assert pipeline is None and "lacks tensor 'x'" in _found(findings, "model", "cannot load").message
    findings, _ = machine.model(Settings(model=str(tmp_path / "none")), fake_factory)
    assert exit_code(findings) == 1 and findings[0].type_this.startswith("kyvo doctor -p model:=")


def test_a_gpu_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os.path, "exists", lambda path: True)
    assert _found(machine.model(Settings(), fake_factory)[0], "device", "NVIDIA GPU").level == WARN


def test_versions_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    finding, = machine.versions()
    assert finding.level == OK and "numpy" in finding.message and "torch" in finding.message
    monkeypatch.setattr(machine, "_MODULES", ("numpy", "no_such_module"))
    missing, _ = machine.versions()
    assert (missing.level, missing.type_this) == (ERROR, "make setup") and "no_such_module" in missing.message


def test_a_library_that_torch_misses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str):
        raise OSError("libcurand.so.10: cannot open shared object file")
    monkeypatch.setattr(machine, "import_module", load)
    findings = list(machine.versions())
    assert [f.level for f in findings] == [ERROR] * 3 + [OK] and "libcurand.so.10" in findings[0].message


@pytest.mark.timeout(300)  # it imports torch
def test_a_folder_of_pictures_of_a_camera_that_nothing_is_known_of(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_model(tmp_path / "tiny", tiny_bundle())
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((108, 192, 3), 255, np.uint8))
    options = [str(folder), "-p", f"model:={tmp_path / 'tiny'}"]
    assert main(["doctor", *options]) == 1
    said = capsys.readouterr().out
    assert "WRONG camera_info: nothing is known of the camera of a 192x108 image" in said and "can be used" not in said
    assert f"type: kyvo doctor {folder} --camera" in said and "ros2" not in said
    (tmp_path / "camera.yaml").write_text("image_width: 192\nimage_height: 108\ncamera_matrix: {data: [180, 0, 96, 0, "
                                          "180, 54, 0, 0, 1]}\ndistortion_coefficients: {data: [0, 0, 0, 0, 0]}\n")
    main(["doctor", *options, "--camera", str(tmp_path / "camera.yaml")])
    assert "1 of 1 images can be used" in capsys.readouterr().out


@pytest.mark.timeout(300)  # likewise
def test_the_command_on_the_demo_s_recording(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_model(tmp_path / "tiny", tiny_bundle())
    options = ["-p", f"model:={tmp_path / 'tiny'}", "-p", "plane_frame:=world"]
    main(["doctor", str(RECORDING), *options])  # a model of random weights may see nothing that it is sure of
    assert "12 of 12 images can be used" in capsys.readouterr().out
    assert main(["doctor", str(RECORDING), *options, "-p", "camera_frame:=elsewhere"]) == 1
    assert "TF does not know frame 'elsewhere'" in capsys.readouterr().out
    assert main(["doctor", "--listen-s", "0"]) == 2


# ---------------------------------------------------------------- a running system

@pytest.fixture
def publish(tester: Any) -> Iterator[Any]:
    """Starts to publish messages on topics, 20 times a second, until the test ends."""
    stop, threads, publishers = threading.Event(), [], []

    def start(topic: str, kind: type, make: Any, qos: Any = 10) -> None:
        publisher = tester.node.create_publisher(kind, topic, qos)
        publishers.append(publisher)

        def repeat() -> None:
            while not stop.wait(0.05):
                publisher.publish(make())
        threads.append(threading.Thread(target=repeat))
        threads[-1].start()
    yield start
    stop.set()
    for thread in threads:
        thread.join()
    for publisher in publishers:
        tester.node.destroy_publisher(publisher)


def _live(image: str, camera_info: str = "", camera: str = "", **settings: Any) -> list[Finding]:
    from kyvo_ros.ros.doctor.system import examine_system
    return examine_system(Settings(**settings), FakePipeline(), image, camera_info, 2.0, camera=camera)


def _camera(tester: Any, publish: Any, qos: Any = 10, infos: bool = True) -> None:
    import harness
    from sensor_msgs.msg import CameraInfo, Image
    stamp = SimpleNamespace(ns=S)

    def picture() -> Image:
        stamp.ns += S // 20
        return harness.image_to_msg(WHITE, harness.Header(stamp=harness.stamp(stamp.ns), frame_id="camera"))
    publish("/clinic/image_raw", Image, picture, qos)
    if infos:
        publish("/clinic/camera_info", CameraInfo, lambda: harness.calibration("camera"))


def test_a_healthy_camera(tester, publish) -> None:
    _camera(tester, publish)
    findings = [f for f in _live("/clinic/image_raw") if f.about != "node"]
    assert exit_code(findings) == 0 and "images can be used; the first 3 show" in _found(findings, "image", "").message


def test_a_topic_that_nobody_publishes(tester, publish) -> None:
    _camera(tester, publish)
    finding = _found(_live("/nowhere/image"), "image", "nobody publishes it")
    assert finding.level == ERROR and "/clinic/image_raw" in finding.message


def test_qos_that_does_not_match(tester, publish) -> None:
    from rclpy.qos import qos_profile_sensor_data
    _camera(tester, publish, qos_profile_sensor_data)
    findings = _live("/clinic/image_raw", image_qos="reliable")
    assert "set image_qos to sensor_data" in _found(findings, "image", "QoS does not match (RELIABILITY)").message


def test_a_camera_without_a_calibration(tester, publish) -> None:
    _camera(tester, publish, infos=False)
    findings = _live("/clinic/image_raw", "/clinic/camera_info")
    finding = _found(findings, "camera_info", "waiting for camera_info on /clinic/camera_info: nobody publishes it")
    assert finding.level == ERROR and "grep CameraInfo" in finding.type_this
    assert "no camera_info has come" not in report(findings), "one cause is said once"


def test_what_the_node_says_of_itself(node, tester, publish) -> None:
    _camera(tester, publish)
    tester.wait_said(2, "unknown image encoding", lambda: tester.send_image(encoding="purple8"))
    stop = threading.Event()

    def spoil() -> None:
        while not stop.wait(0.1):
            tester.send_image(encoding="purple8")
    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        findings = _live("/clinic/image_raw")
    finally:
        stop.set()
        thread.join()
    assert _found(findings, "node", "/kyvo_node runs with model fake").level == OK
    assert "unknown image encoding 'purple8'" in _found(findings, "node", "it says of its image").message
    assert "diagnostics" in _found(findings, "node", "it says of its image").type_this


@pytest.fixture
def ward(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A node with the cameras front and left, which see something, in a DDS domain where nothing else runs."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    import harness
    from rclpy.executors import SingleThreadedExecutor
    domain = harness.next_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    arguments = ("-p", "cameras:=[front, left]", "-r", "front/image:=/bed/image_raw", "-r",
                 "front/camera_info:=/bed/camera_info")
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    patient, executor = rclpy.create_node("patient", context=context), SingleThreadedExecutor(context=context)
    executor.add_node(patient)
    stop = threading.Event()
    with harness.Child([*harness.FAKE_NODE, "--ros-args", *arguments], tmp_path / "log") as node:
        cameras = threading.Thread(target=_two_cameras, args=(patient, stop))
        cameras.start()
        try:
            _until_scenes_come(patient, executor, node)
            yield
        finally:
            stop.set()
            cameras.join()
            executor.shutdown()
            patient.destroy_node()
            rclpy.shutdown(context=context)


def _two_cameras(patient: Any, stop: threading.Event) -> None:
    """Publish the images and calibrations of front, at /bed, and of left."""
    import harness
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image
    images = [patient.create_publisher(Image, topic, qos_profile_sensor_data)
              for topic in ("/bed/image_raw", "/left/image")]
    infos = [patient.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in ("/bed", "/left")]
    stamp_ns = S
    while not stop.wait(0.05):
        stamp_ns += S // 20
        for image, info in zip(images, infos):
            info.publish(harness.calibration("camera"))
            image.publish(harness.image_to_msg(WHITE, harness.Header(stamp=harness.stamp(stamp_ns), frame_id="camera")))


def _until_scenes_come(patient: Any, executor: Any, node: Any) -> None:
    from diagnostic_msgs.msg import DiagnosticArray
    said: list[Any] = []
    ear = patient.create_subscription(DiagnosticArray, "/diagnostics", said.append, 10)
    deadline = time.monotonic() + 60.0
    while not (said and all(status.level == b"\0" for status in said[-1].status) and any(
            value.key == "frames published" and int(value.value) > 10 for value in said[-1].status[0].values)):
        assert time.monotonic() < deadline and node.running(), said[-1:]
        executor.spin_once(timeout_sec=0.2)
    patient.destroy_subscription(ear)


def test_the_cameras_of_a_running_node_are_looked_at_in_turn(ward) -> None:
    findings = _live("")
    assert exit_code(findings) == 0, report(findings)
    for name in ("front", "left"):
        assert "the first 3 show 3, 3, 3 objects" in _found(findings, f"{name}: image", "can be used").message
    assert len([f for f in findings if f.about == "node"]) == 1


def test_one_camera_of_a_running_node_is_asked_for(ward) -> None:
    findings = _live("", camera="left")
    assert exit_code(findings) == 0, report(findings)
    assert {f.about for f in findings} == {"node", "left: image"}
    unknown = _live("", camera="rear")
    said = _found(unknown, "node", "it has no camera 'rear'; it has front, left")
    assert exit_code(unknown) == 1 and said.type_this == "ros2 param get /kyvo_node cameras"


def test_a_node_that_speaks_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its diagnostics come once a second, the graph may stand still before."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    import harness
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from kyvo_ros.ros.doctor import system
    monkeypatch.setattr(system, "_DISCOVERY_S", 0.2)
    domain = harness.next_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    node = rclpy.create_node("kyvo_node", context=context)
    said = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    said.publish(DiagnosticArray())
    words = [DiagnosticStatus(name="/kyvo_node"), DiagnosticStatus(name="/kyvo_node: model")]
    ended = threading.Event()

    def speak() -> None:
        ended.wait(1.5)
        while not ended.wait(0.2):
            said.publish(DiagnosticArray(status=words))
    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        findings = system.examine_system(Settings(), FakePipeline(), "/nothing", "", 0.2)
    finally:
        ended.set()
        speaking.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert not any("no kyvo_node runs here" in finding.message for finding in findings), report(findings)


def test_the_node_s_own_pictures_are_no_camera_s(node, tester, publish) -> None:
    _camera(tester, publish)
    said = _found(_live("", "/clinic/camera_info"), "image", "topics with images; name one with --image").message
    assert "/clinic/image_raw" in said and "/annotated_image" not in said


def test_messages_that_were_built_from_other_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kyvo_msgs", reason="needs ROS 2")
    from kyvo_ros.ros.offline import message_packages
    assert list(machine.messages()) == []
    changed = {"kyvo_msgs/msg/Attribute": ([], [("name", None), ("colour", None)])}
    monkeypatch.setattr(message_packages, "typestore", lambda: SimpleNamespace(fielddefs=changed))
    finding, = machine.messages()
    assert finding.level == ERROR and "other definitions of Attribute" in finding.message
    assert "colcon build" in finding.type_this
