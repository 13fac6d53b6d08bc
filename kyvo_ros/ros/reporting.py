"""What the node says of its health: once a second on /diagnostics, and in its log where that changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from kyvo_ros.ros.cameras import Cameras
from kyvo_ros.ros.diagnostics import reports_to_msg
from kyvo_ros.ros.gpu_memory import memory_figures
from kyvo_ros.ros.model_slot import ModelSlot
from kyvo_ros.ros.status import OK, Report

REPEAT_LOG_S = 10.0


class Reporter:
    """Reports every second; `figures` gives what belongs to no camera."""

    def __init__(self, node: Node, cameras: Cameras, slot: ModelSlot, figures: Callable[[], Mapping[str, str]]) -> None:
        self._node, self._cameras, self._slot, self._figures = node, cameras, slot, figures
        self._logged: dict[str, tuple[str, float]] = {}  # what was logged of each camera, and when
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on while simulated time stands
        node.create_timer(1.0, self._report, callback_group=MutuallyExclusiveCallbackGroup(), clock=steady)

    def _report(self) -> None:
        model, (name, device) = self._slot.report(), self._slot.name_and_device()
        reports = {camera.name: (camera.report(model), camera.figures()) for camera in self._cameras}
        extra = {"model": name, "device": device, **memory_figures(device), **self._figures()}
        full_name = f"{self._node.get_namespace().rstrip('/')}/{self._node.get_name()}"
        stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(reports_to_msg(reports, full_name, device, extra, stamp))
        for camera, (report, _) in reports.items():
            self._log(camera, report)

    def _log(self, camera: str, report: Report) -> None:
        """Say in the terminal what is wrong: when it changes, and now and then while it lasts."""
        worst, now = report.worst(), time.monotonic()
        state = f"{worst.stage} {worst.level}" if worst.level > OK else ""
        camera = "" if worst.stage == "model" else camera  # which serves all, so that it is said once
        said = f"{camera}: " if camera else ""
        before, when = self._logged.get(camera, ("", -REPEAT_LOG_S))
        if state == before and (not state or now - when < REPEAT_LOG_S):
            return
        self._logged[camera] = (state, now)
        if state:
            self._node.get_logger().warning(f"{said}{worst.stage}: {worst.message}")
        elif when > 0:
            self._node.get_logger().info(f"{said}running again")
