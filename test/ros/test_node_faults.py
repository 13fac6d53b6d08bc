"""The six faults, over real DDS: each has one clear message that says what to do, and the node goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_pipeline import RAISES, write_model

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import S, WHITE, FakeNode, Tester, calibration, pixels, sending  # noqa: E402

from kyvo_ros.scene import Transform  # noqa: E402

WARN, ERROR = 1, 2


def test_fault_1_unknown_encoding(node, tester) -> None:
    message = tester.wait_said(ERROR, "unknown image encoding 'nv99'", lambda: tester.send_image(encoding="nv99"))
    assert message.startswith("image: ") and "set the camera driver to one of rgb8" in message
    tester.answer()
    assert int(tester.wait(lambda: tester.values().get("dropped: bad_image"), "the count")) >= 1


@pytest.mark.parametrize("fields, text", [
    ({"step": 100}, "image step 100 is too small: 320 pixels of rgb8 take 960 bytes"),
    ({"data": bytes(99)}, "image data has 99 bytes, expected step x height = 960 x 240"),
    ({"height": 0, "width": 0, "step": 0, "data": b""}, "the image is empty: 0x0 pixels"),
])
def test_fault_2_wrong_step_or_size(node, tester, fields: dict, text: str) -> None:
    message = tester.wait_said(ERROR, text, lambda: tester.send_image(**fields))
    assert message.startswith("image: ") and "driver" in message
    tester.answer()


def test_fault_3_no_camera_info_for_the_image_s_frame(node, tester) -> None:
    def look() -> None:
        tester.infos.publish(calibration("left"))
        tester.send_image(frame_id="rear")
    message = tester.wait_said(WARN, "no camera_info for images of frame 'rear'", look)
    assert message.startswith("camera_info: ") and "remap camera_info" in message
    tester.answer(info=calibration("rear"), frame_id="rear")


def test_fault_3_uncalibrated_camera(node, tester) -> None:
    def look() -> None:
        tester.infos.publish(calibration("blind", k=[0.0] * 9))
        tester.send_image(frame_id="blind")
    message = tester.wait_said(ERROR, "uncalibrated", look)
    assert message.startswith("camera_info: ") and "calibrate it" in message
    assert tester.set_parameters(camera_info_required=False) == ""
    tester.answer(frame_id="blind")


def test_fault_4_images_faster_than_inference(node, tester, model_folder) -> None:
    assert tester.set_parameters(model=write_model(model_folder, "slow", latency_s=0.25)) == ""
    tester.wait(lambda: tester.values().get("model") == "slow", "the slow model")
    tester.forget()
    first_ns = tester.now_ns

    def wins() -> bool:
        message = tester.statuses().get("inference", (0, ""))[1]
        return (len(tester.heard["scene"]) > 12 and "newest frame wins" in message and "Hz are computed" in message
                and int(tester.values().get("dropped: newer_frame", 0)) > 20)
    with sending(tester.send_image, 0.03):
        tester.wait(wins, "frames that give way to newer ones")
    newest = tester.heard["scene"][-1].header.stamp
    # Eight scenes a second at most of more than twenty images: with a queue it would be one of the first third.
    assert newest.sec * S + newest.nanosec > (first_ns + tester.now_ns) / 2, "the newest scene is of a recent image"
    level, values = tester.statuses()["inference"][0], tester.values()
    assert level == 0
    lost = int(values["images received"]) - int(values["frames published"]) - int(values["frames dropped"])
    assert 0 <= lost <= 4, "every image is published, counted as dropped, or on its way: two are computed, one waits"
    assert float(values["latency p50 [ms]"]) < 2000


def test_fault_5_time_that_jumps_back(node, tester) -> None:
    assert tester.set_parameters(plane_frame="world", tf_timeout_s=0.3) == ""
    tester.wait(lambda: tester.tf.get_subscription_count(), "the node to listen to /tf")
    pose = Transform.from_matrix([[1, 0, 0, 0], [0, -0.5, 0.866025, -9.5], [0, -0.866025, -0.5, 5.5], [0, 0, 0, 1]])

    def see(stamp_ns: int):
        tester.send_tf(pose, "world", "camera", stamp_ns)
        return tester.answer(stamp_ns=stamp_ns)
    begin = tester.next_stamp()
    time.sleep(0.5)
    first = [o.id for o in see(begin + 20 * S).objects]
    assert [o.id for o in see(begin + 21 * S).objects] == first
    again = see(begin)  # the transform has just come with the image: it must survive the jump
    assert not set(first) & {o.id for o in again.objects}, "objects of another time have other names"
    tester.wait(lambda: any(s.name.endswith(": image") and s.message.startswith("time jumped back by 21.00 s")
                            for m in tester.heard["/diagnostics"] for s in m.status), "a word on the jump")
    assert [o.id for o in see(begin + S).objects] == [o.id for o in again.objects]
    assert int(tester.values()["time jumps back"]) >= 1
    tester.now_ns += 30 * S


@pytest.fixture(scope="module")
def second(tester) -> Iterator[Tester]:
    """A client in another namespace, for a node of its own."""
    with Tester("/second") as made:
        yield made


def test_fault_6_a_missing_model_folder(second, tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    with FakeNode(second, tmp_path / "node.log", ("-p", f"model:={missing}"), ready=False) as node:
        second.wait(second.statuses, "diagnostics")
        message = second.wait_said(ERROR, "cannot load the model", lambda: second.send_image())
        assert message.startswith("model: ") and str(missing) in message
        answer = second.call(second.recognize, harness.Recognize.Request())
        assert not answer.success and "cannot load the model" in answer.message
        assert second.set_parameters(model=write_model(missing, "found")) == ""
        second.answer(info=calibration("camera"))
        second.wait(lambda: second.values().get("model") == "found", "the new model")
        assert node.child.end() == 0


def test_fault_6_a_broken_model_folder(node, tester, model_folder) -> None:
    (model_folder / "empty").mkdir(parents=True)
    assert "has no config.json" in tester.set_parameters(model=str(model_folder / "empty"))
    broken = write_model(model_folder, "broken", broken="layers.0.weight")
    assert tester.set_parameters(model=broken) == ""
    message = tester.wait_said(WARN, "lacks tensor 'layers.0.weight'")
    assert message.startswith("model: cannot load the model") and "(fake) goes on" in message
    tester.answer()
    assert tester.set_parameters(model=write_model(model_folder / "good", "good")) == ""
    tester.wait(lambda: tester.values().get("model") == "good", "the good model")
    tester.answer()


def test_a_frame_that_breaks_the_model_is_dropped_and_named(node, tester) -> None:
    message = tester.wait_said(ERROR, "RuntimeError: this frame breaks the model",
                               lambda: tester.send_image(pixels(RAISES)))
    assert message.startswith("inference: ")
    tester.answer(WHITE)
    tester.wait_said(0, "running", tester.send_image)
    assert "this frame breaks the model" in node.log.read_text(), "the traceback is in the log"
