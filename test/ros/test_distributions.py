"""Parameters are watched alike where rclpy has a callback after the setting, and where it has none (Humble)."""

from __future__ import annotations

import runpy
import sys
import types

import pytest

pytest.importorskip("rclpy")

from rcl_interfaces.msg import SetParametersResult

from kyvo_ros.ros import distributions
from kyvo_ros.ros.distributions import watch_parameters


class HumbleNode:
    """Sets parameters as Humble's rclpy does: checked first, nothing called afterwards."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self._check = None

    def add_on_set_parameters_callback(self, callback) -> None:
        self._check = callback

    def set(self, values: dict[str, object]) -> bool:
        parameters = [types.SimpleNamespace(name=name, value=value) for name, value in values.items()]
        accepted = self._check(parameters).successful
        self.values.update(values if accepted else {})
        return accepted


class LaterNode(HumbleNode):
    """Sets parameters as rclpy has done since Iron."""

    def add_post_set_parameters_callback(self, callback) -> None:
        self._after = callback

    def set(self, values: dict[str, object]) -> bool:
        accepted = super().set(values)
        if accepted:
            self._after([types.SimpleNamespace(name=name, value=value) for name, value in values.items()])
        return accepted


@pytest.mark.parametrize("node", [HumbleNode(), LaterNode()], ids=["humble", "later"])
def test_accepted_once_and_only_after_a_check_that_passed(node: HumbleNode) -> None:
    seen: list[tuple[str, object]] = []

    def check(parameters: list) -> SetParametersResult:
        seen.append(("check", parameters[0].value))
        return SetParametersResult(successful=parameters[0].value != "bad")

    watch_parameters(node, check, lambda parameters: seen.append(("accepted", parameters[0].value)))
    assert node.set({"device": "cpu"}) and not node.set({"device": "bad"})
    assert seen == [("check", "cpu"), ("accepted", "cpu"), ("check", "bad")]


def test_event_callbacks_are_found_under_humble_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    humble = types.ModuleType("rclpy.qos_event")
    humble.SubscriptionEventCallbacks = type("SubscriptionEventCallbacks", (), {})
    monkeypatch.setitem(sys.modules, "rclpy.event_handler", None)  # importing it raises ModuleNotFoundError
    monkeypatch.setitem(sys.modules, "rclpy.qos_event", humble)
    source = runpy.run_path(distributions.__file__)  # a copy: the module that others hold stays as it is
    assert source["SubscriptionEventCallbacks"] is humble.SubscriptionEventCallbacks
