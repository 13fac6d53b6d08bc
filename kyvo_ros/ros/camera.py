"""One camera of the node: what it listens to, its newest image, what was seen last, what it says, and how it fares.

A node without camera names has one whose topics have no prefix; camera `front` has `front/image`, `front/scene` and the
rest, and a service `front/enable`. Callbacks of the executor only store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.depth import DepthStore
from kyvo_ros.ros.depth_input import DepthInput
from kyvo_ros.ros.frames import Frame, Recognition, stamp_to_ns
from kyvo_ros.ros.inputs import Inputs
from kyvo_ros.ros.mailbox import Mailbox
from kyvo_ros.ros.outputs import Outputs
from kyvo_ros.ros.recognition import Recognizer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import ERROR, OK, WARN, Report, StageReport, Status
from kyvo_ros.ros.tf_listener import TransformSource
from kyvo_ros.ros.transforms import JUMP_BACK_NS


class Shot(NamedTuple):
    """A frame and the camera that it comes from."""

    camera: Camera
    frame: Frame


class Seen(NamedTuple):
    """A frame and what it showed."""

    frame: Frame
    result: Recognition


@dataclass(frozen=True, eq=False)
class House:
    """What the cameras of a node share."""

    node: Node
    mailbox: Mailbox[Shot]
    transforms: TransformSource
    has_model: Callable[[], bool]
    group: CallbackGroup  # of all inputs


class Camera:
    """`follow` and `listen` belong in callbacks of the executor, `publish` and `destroy` in the worker's thread."""

    def __init__(self, name: str, settings: Settings, house: House, listens: bool) -> None:
        """`listens`: from the beginning, where it is enabled."""
        self.name, self.settings, self._house = name, settings, house
        self._prefix = f"{name}/" if name else ""
        self.status = Status()
        self.newest: Frame | None = None
        self.latest: Seen | None = None  # what is published
        self._infos = CameraInfoCache(name=f"{self._prefix}camera_info")
        self._depth = DepthStore(prefix=self._prefix)
        self.recognizer = Recognizer(self._infos, house.transforms, self.status, self._depth)
        self._newest_stamp_ns = 0
        self._epoch = 0
        self._outputs = Outputs(house.node, self._prefix)
        self._slot = house.mailbox.slot(
            lambda: self.settings.min_period_s, lambda shot: self.recognizer.patience_s(shot.frame, self.settings),
            self._on_replaced)
        self._service = house.node.create_service(  # in the group of the parameter services, since it sets one
            SetBool, self._prefix + "enable", self._on_enable) if name else None
        self._inputs, self._depth_input = self._make_inputs(), self._make_depth_input()
        self.listen(listens)

    # --- callbacks of the executor

    def follow(self, settings: Settings) -> None:
        """Go on with other settings."""
        old, self.settings = self.settings, settings
        if (old.image_transport, old.image_qos) != (settings.image_transport, settings.image_qos):
            self._inputs.close()
            self._inputs = self._make_inputs()
        if old.depth_source != settings.depth_source:
            self._depth_input.close()
            self._depth_input = self._make_depth_input()
        self.listen(self._listens)

    def listen(self, listens: bool) -> None:
        """Listen where it is enabled, or do not, so that nothing is sent here in vain."""
        self._listens = listens
        if listens and self.settings.enabled:
            self._inputs.open()
            self._depth_input.open()
            return
        self._inputs.close()
        self._depth_input.close()
        self.newest = None  # a service that means the newest image does not mean one of an hour ago
        self._drop_waiting("camera_off")

    def forget(self) -> None:
        """No image has come and nothing was seen yet, as far as the services know."""
        self.newest = self.latest = None

    def _make_inputs(self) -> Inputs:
        return Inputs(self._house.node, self.settings, self._on_image, self._infos.store, False, self._prefix,
                      self._on_unreadable, self._house.group)

    def _make_depth_input(self) -> DepthInput:
        return DepthInput(self._house.node, self.settings, self._depth, False, self._prefix, self._on_unreadable,
                          self._house.group)

    def _on_image(self, message: Any) -> None:
        self.status.image_arrived()
        self._watch_time(stamp_to_ns(message.header.stamp))
        self.newest = Frame(message, time.monotonic(), self._epoch)
        if self.settings.lazy and not self.settings.memory_frame and not self._outputs.wanted():
            self.status.dropped("no_listener")
            return
        self._slot.put(Shot(self, self.newest))

    def _on_replaced(self, shot: Shot) -> None:
        self.status.dropped("no_model" if not self._house.has_model() else "rate_limit" if self._slot.held else
                            "newer_frame")

    def _drop_waiting(self, reason: str) -> None:
        for _ in self._slot.clear():
            self.status.dropped(reason)

    def _on_unreadable(self, name: str, why: str) -> None:
        text = f"a message of {name} cannot be read ({why}); find out who publishes it"
        if name == "image":
            self.status.image_arrived()
            self.status.dropped("bad_message", text)
        elif name in ("depth", "points"):
            self.status.failed("depth", WARN, text)
        else:
            self.status.failed(name, ERROR, text)

    def _watch_time(self, stamp_ns: int) -> None:
        """Where the images' time has gone back, forget what belongs to a future that is no more."""
        if stamp_ns == 0:  # a driver without stamps
            return
        back_ns, self._newest_stamp_ns = self._newest_stamp_ns - stamp_ns, stamp_ns
        if back_ns > JUMP_BACK_NS:
            self._epoch += 1
            self._house.transforms.jumped_back(stamp_ns)
            self._drop_waiting("time_jump")
            self.status.time_jumped(back_ns / 1e9)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """The same as setting the parameter, which says what holds."""
        parameter = Parameter(f"{self.name}.enabled", value=request.data)
        result = self._house.node.set_parameters_atomically([parameter])
        response.success, response.message = result.successful, result.reason
        return response

    # --- the worker's thread

    def publish(self, frame: Frame, result: Recognition, settings: Settings) -> None:
        """Say what a frame showed; `settings` are those that it was computed with."""
        self._outputs.publish(result, frame.message.header.stamp, settings)
        self.latest = Seen(frame, result)

    def done(self, frame: Frame, result: Recognition) -> None:
        """All that is to be done with a frame has been done."""
        now_ns = self._house.node.get_clock().now().nanoseconds
        age_s = (now_ns - frame.stamp_ns) / 1e9 if frame.stamp_ns else None
        self.status.frame_done(time.monotonic() - frame.arrived_s, result.inference_s, len(result.objects), age_s)

    def clear_markers(self) -> None:
        """Delete what is on display."""
        self._outputs.clear_markers()

    def destroy(self) -> None:
        """Take everything back from ROS; it must not listen any more."""
        self._house.mailbox.remove(self._slot)
        self._outputs.destroy()
        if self._service is not None:
            self._house.node.destroy_service(self._service)

    # --- diagnostics

    def report(self, model: StageReport | None) -> Report:
        """How it fares; `model` where there is something to say of that."""
        waiting = self._inputs.waiting(self.settings, self.status.seconds_since_image(), self.newest is not None)
        waiting |= self._depth_input.waiting(self.settings)
        waiting |= self._computing()
        if not self.settings.enabled:
            waiting = {"image": StageReport("image", OK, "the camera is switched off; set enabled to true")}
        return self.status.report({**waiting, **({"model": model} if model else {})})

    def _computing(self) -> dict[str, StageReport]:
        """The stage of inference where an image takes too long."""
        busy_s = self.status.computing_s()
        if busy_s <= self.settings.input_timeout_s:
            return {}
        return {"inference": StageReport("inference", WARN, (
            f"an image has been computed for {busy_s:.0f} s; give the model a faster device, or a smaller model; if it "
            "never ends, start the node again"), busy_s)}

    def figures(self) -> dict[str, str]:
        """What holds for it, for the diagnostics."""
        return {"image topic": self._inputs.image_topic, "camera_info topic": self._inputs.camera_info_topic,
                "depth topic": self._depth_input.topic, "scale": self.settings.scale,
                "output frame": self.settings.output_frame or "camera", **self.recognizer.depth_figures()}
