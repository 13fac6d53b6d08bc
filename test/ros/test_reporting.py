"""The reports of a node and what its log says of them, with a node that only takes down what it is told."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from builtin_interfaces.msg import Time  # noqa: E402
from test_gpu_memory import _torch  # noqa: E402

from kyvo_ros.ros import reporting  # noqa: E402
from kyvo_ros.ros.status import Status  # noqa: E402


class Desk:
    """A reporter of one camera whose clock is in the test's hand; `log` is what a terminal shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> None:
        self.now, self.log, self.published = 100.0, [], []
        self.status = Status(lambda: self.now)
        monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: self.now))
        camera = SimpleNamespace(name="", report=lambda model: self.status.report(), figures=dict)
        slot = SimpleNamespace(report=lambda: None, name_and_device=lambda: ("m", device))
        reporting.Reporter(self, [camera], slot, lambda: {"transforms ignored": "0"})

    def report(self) -> dict[str, str]:
        """A second passes; the figures of the report that follows."""
        self.now += 1.0
        self._timer()
        return {value.key: value.value for value in self.published[-1].status[0].values}

    # --- what a reporter asks of a node

    def create_publisher(self, *_: Any) -> SimpleNamespace:
        return SimpleNamespace(publish=self.published.append)

    def create_timer(self, period_s: float, callback: Any, **_: Any) -> None:
        self._timer = callback

    def get_namespace(self) -> str:
        return "/"

    def get_name(self) -> str:
        return "kyvo_node"

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=Time))

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(warning=self.log.append, info=self.log.append)


def test_a_gpu_s_memory_stands_beside_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", _torch())
    assert Desk(monkeypatch, "cuda:1").report()["GPU memory allocated [MiB]"] == "110"
    figures = Desk(monkeypatch, "cpu").report()
    assert figures["device"] == "cpu" and not any(name.startswith("GPU") for name in figures)


def test_a_fault_that_comes_rarely_is_said_to_last(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    for _ in range(2):  # five seconds from fault to fault
        desk.status.dropped("no_transform", "TF does not know frame 'map'")
        for _ in range(5):
            desk.report()
    assert desk.log == ["transforms: TF does not know frame 'map'"]
    desk.status.frame_done(0.1, 0.1, 1)
    desk.report()
    assert desk.log[1:] == ["running again"]
