"""The demo end to end over real DDS with a fake model, and what it was made from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import FAKE_NODE  # noqa: E402
from kyvo_msgs.msg import Answer, SceneGraph  # noqa: E402
from kyvo_msgs.srv import Ask, Edit, Render  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from kyvo_ros.ros.camera_simulator import read_recording  # noqa: E402
from kyvo_ros.ros.children import Child  # noqa: E402
from kyvo_ros.ros.conversions import image_to_msg  # noqa: E402
from kyvo_ros.ros.conversions.placing import place  # noqa: E402
from kyvo_ros.ros.conversions.scenes import scene_to_graph_msg  # noqa: E402
from kyvo_ros.ros.demo import DemoError, _wait, read_truth  # noqa: E402
from kyvo_ros.ros.demo_language import INSTRUCTION, QUESTIONS, converse  # noqa: E402
from kyvo_ros.scene import Scene, SceneObject, Transform  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDING = REPOSITORY / "demo" / "recording"
#: Runs the demo with the fake node and a short measurement; in a process and domain of its own.
_RUN = """
import sys
from pathlib import Path
from kyvo_ros.ros.demo import Options, run_demo
run_demo(Options(output=Path(sys.argv[1]), node_command=sys.argv[2:], rate_s=1.0, shown_hz=5.0))
"""


def _run_demo(tmp_path: Path) -> tuple[int, str]:
    log = tmp_path / "demo.log"
    domain = {"ROS_DOMAIN_ID": str(harness.next_domain())}
    with Child([sys.executable, "-c", _RUN, str(tmp_path / "out"), *FAKE_NODE], log, domain) as child:
        status = child.process.wait(240.0)
    return status, log.read_text()


@pytest.mark.timeout(300)  # on a busy machine it plays the recording up to four times, slower each time
def test_the_demo_shows_every_frame_scores_them_and_writes_files(tmp_path: Path) -> None:
    status, text = _run_demo(tmp_path)
    assert status == 0, text
    truth = read_truth(REPOSITORY / "demo" / "ground_truth.json")
    scenes = json.loads((tmp_path / "out" / "scenes.json").read_text())
    assert [s["image_filename"] for s in scenes] == [name for name, _ in truth.values()]
    assert all(name in text for name, _ in truth.values()) and text.count("large red rubber cube") == len(truth)
    assert all(s["frame_id"] == "world" and len(s["objects"]) == 3 for s in scenes)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["scenes"] == 12 and report["frames_per_s"] > 1 and "Jaccard index" in text
    assert all(sentence in text for sentence in (*QUESTIONS, INSTRUCTION)) and "no answer" not in text
    assert (tmp_path / "out" / "conversation.png").exists() and (tmp_path / "out" / "imagined.png").exists()
    pictures = sorted((tmp_path / "out").glob("CLEVR*.png"))
    assert len(pictures) == 12 and cv2.imread(str(pictures[0])).shape[0] >= 240


def _message(scene: Scene) -> SceneGraph:
    return scene_to_graph_msg(place(scene, Transform.identity()), [], Header(frame_id="world"))


def test_the_conversation_is_printed_and_drawn(tmp_path: Path, capsys) -> None:
    items = [SceneObject({"size": "large", "color": color, "material": "metal", "shape": "cube"}, [x, 0.0, 0.5], 0.1,
                         [1.0, 1.0, 1.0], id=color) for color, x in (("red", -1.0), ("blue", 1.0))]
    before, after = (_message(Scene(part)) for part in (items, items[:1]))
    responses = {"ask": Ask.Response(success=True, answer=Answer(text="4", object_ids=["red"], confidence=0.5)),
                 "edit": Edit.Response(success=True, scene=after),
                 "render": Render.Response(success=True, image=image_to_msg(np.full((4, 6, 3), 90, np.uint8), Header()))}
    asked = []

    def call(kind: type, name: str, request: Any) -> Any:
        asked.append(request)
        return responses[name]
    converse(call, before, tmp_path)
    printed = capsys.readouterr().out
    assert asked[-1].scene == after and "6x4 pixels from 1 objects" in printed
    assert (cv2.imread(str(tmp_path / "imagined.png")) == 90).all()
    assert printed.count("4   (confidence 0.50, rests on red") == len(QUESTIONS) and "gone: blue" in printed
    drawn = cv2.imread(str(tmp_path / "conversation.png"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50


def test_a_model_without_questions_says_so(tmp_path: Path, capsys) -> None:
    untrained = Ask.Response(success=False, message="this model was not trained for task Q->P")
    converse(lambda *_: untrained, _message(Scene(())), tmp_path)
    assert "no answer: this model was not trained for task Q->P" in capsys.readouterr().out


def test_a_model_that_does_not_draw_says_so(tmp_path: Path, capsys) -> None:
    responses = {"ask": Ask.Response(success=True), "edit": Edit.Response(success=False, message="no"),
                 "render": Render.Response(success=False, message="this model was not trained for task 3->I")}
    converse(lambda kind, name, request: responses[name], _message(Scene(())), tmp_path)
    assert "not drawn: this model was not trained for task 3->I" in capsys.readouterr().out
    assert not (tmp_path / "imagined.png").exists()


@pytest.mark.parametrize("running, error, limit_s, reason", [
    (True, "cannot load the model: it is gone", 5.0, "cannot load the model: it is gone"),
    (False, "", 5.0, "the node ended:\nits log"),
    (True, "", 0.05, "the model was not ready within 0 s; the node says: loading"),
])
def test_the_demo_fails_with_the_node_s_reason(tmp_path: Path, running, error, limit_s, reason) -> None:
    log = tmp_path / "log"
    log.write_text("its log")
    listener = SimpleNamespace(spin=lambda s: None, model_error=lambda: error, message=lambda: "loading")
    node = SimpleNamespace(running=lambda: running)
    with pytest.raises(DemoError, match=reason):
        _wait(listener, node, lambda: False, limit_s, "the model was not ready", log)


def test_the_recording_is_small_and_holds_what_a_robot_says() -> None:
    messages = read_recording(RECORDING)
    topics = {m.topic: m.type_name for m in messages}
    assert topics == {
        "/camera/image/compressed": "sensor_msgs/msg/CompressedImage",
        "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
        "/tf": "tf2_msgs/msg/TFMessage", "/tf_static": "tf2_msgs/msg/TFMessage"}
    assert sum(m.topic == "/tf" for m in messages) == 12
    assert sum(f.stat().st_size for f in (REPOSITORY / "demo").rglob("*") if f.is_file()) < 1_000_000


def test_the_images_of_the_recording_are_the_renders_byte_for_byte(shared_dir: Path) -> None:
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CompressedImage
    truth = read_truth(REPOSITORY / "demo" / "ground_truth.json")
    for recorded in (m for m in read_recording(RECORDING) if m.topic.endswith("compressed")):
        message = deserialize_message(recorded.data, CompressedImage)
        name, _ = truth[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec]
        assert bytes(message.data) == (shared_dir / "clevr" / "val" / "images" / name).read_bytes()


def test_the_recorded_poses_put_the_true_objects_where_the_images_show_them(shared_dir: Path) -> None:
    from kyvo_ros.ros.conversions import camera_from_msg
    from kyvo_ros.ros.transforms import TransformBuffer
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CameraInfo
    from tf2_msgs.msg import TFMessage
    documents = {s["image_filename"]: s for s in
                 json.loads((shared_dir / "clevr" / "val" / "scenes.json").read_text())["scenes"]}
    messages, buffer = read_recording(RECORDING), TransformBuffer()
    for recorded in (m for m in messages if m.topic.startswith("/tf")):
        item, = deserialize_message(recorded.data, TFMessage).transforms
        q, t, when = item.transform.rotation, item.transform.translation, item.header.stamp
        buffer.set(item.header.frame_id, item.child_frame_id, (q.x, q.y, q.z, q.w), (t.x, t.y, t.z),
                   when.sec * 10**9 + when.nanosec, recorded.topic == "/tf_static")
    info = next(deserialize_message(m.data, CameraInfo) for m in messages if m.topic.endswith("camera_info"))
    camera = camera_from_msg(info, 320, 240)
    for stamp_ns, (name, scene) in read_truth(REPOSITORY / "demo" / "ground_truth.json").items():
        optical_T_world = buffer.lookup("camera_optical_frame", "world", stamp_ns)
        found = camera.project(optical_T_world.apply(scene.positions_m()))
        expected = np.array([o["pixel_coords"][:2] for o in documents[name]["objects"]])
        assert np.abs(found - expected).max() < 1.0, name
