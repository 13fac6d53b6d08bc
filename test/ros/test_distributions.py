"""What is alike where rclpy differs: parameters without a callback after the setting, transitions that raise."""

from __future__ import annotations

import runpy
import sys
import types

import pytest

pytest.importorskip("rclpy")

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn

from kyvo_ros.ros import distributions
from kyvo_ros.ros.distributions import ManagedNodeMixin, RCLError, watch_parameters
from kyvo_ros.ros.parameters import NodeParameters


class HumbleNode:
    """Sets parameters as Humble's rclpy does: checked first, nothing called afterwards; None deletes one."""

    def __init__(self, **overrides: object) -> None:
        self.values: dict[str, object] = {}
        self.timers: list[types.SimpleNamespace] = []
        self.default_callback_group = object()
        self._overrides = overrides
        self._check = None

    def declare_parameter(self, name: str, value: object, descriptor: object, ignore_override: bool = False):
        value = value if ignore_override else self._overrides.get(name, value)
        parameter = types.SimpleNamespace(name=name, value=value)
        if self._check is not None:
            assert self._check([parameter]).successful
        self.values[name] = parameter.value
        return parameter

    def has_parameter(self, name: str) -> bool:
        return name in self.values

    def create_timer(self, period_s: float, callback, callback_group: object, clock: object) -> types.SimpleNamespace:
        assert callback_group is self.default_callback_group, "so that it waits for the parameter service"
        self.timers.append(types.SimpleNamespace(callback=callback))
        return self.timers[-1]

    def destroy_timer(self, timer: types.SimpleNamespace) -> None:
        self.timers.remove(timer)

    def spin(self) -> None:
        for timer in list(self.timers):
            timer.callback()

    def add_on_set_parameters_callback(self, callback) -> None:
        self._check = callback

    def set(self, values: dict[str, object]) -> bool:
        parameters = [types.SimpleNamespace(name=name, value=value) for name, value in values.items()]
        accepted = self._check(parameters).successful
        self.values.update(values if accepted else {})
        for name in [name for name, value in values.items() if accepted and value is None]:
            del self.values[name]
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


@pytest.mark.parametrize("make", [HumbleNode, LaterNode])
def test_what_a_camera_had_of_its_own_may_be_set_again_after_it_was_deleted(make: type[HumbleNode]) -> None:
    node, rates = make(cameras=["front"]), []
    NodeParameters(node, lambda old, new: rates.append(new.cameras["front"].max_rate_hz))
    assert node.set({"front.max_rate_hz": 5.0}) and node.set({"front.max_rate_hz": None})
    node.spin()
    assert node.has_parameter("front.max_rate_hz") and node.timers == []
    assert node.set({"front.max_rate_hz": 7.0}) and rates == [5.0, 0.0, 7.0]


def test_event_callbacks_are_found_under_humble_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    humble = types.ModuleType("rclpy.qos_event")
    humble.SubscriptionEventCallbacks = type("SubscriptionEventCallbacks", (), {})
    monkeypatch.setitem(sys.modules, "rclpy.event_handler", None)  # importing it raises ModuleNotFoundError
    monkeypatch.setitem(sys.modules, "rclpy.qos_event", humble)
    source = runpy.run_path(distributions.__file__)  # a copy: the module that others hold stays as it is
    assert source["SubscriptionEventCallbacks"] is humble.SubscriptionEventCallbacks


def test_a_transition_that_the_state_does_not_allow_is_an_error_on_jazzy(monkeypatch: pytest.MonkeyPatch) -> None:
    def change_state(node: LifecycleNodeMixin, transition_id: int) -> TransitionCallbackReturn:
        raise RCLError("Transition is not registered.")

    class Node(ManagedNodeMixin):
        def __init__(self) -> None:
            self.logged: list[str] = []

        def get_logger(self) -> types.SimpleNamespace:
            return types.SimpleNamespace(error=self.logged.append)

    monkeypatch.setattr(LifecycleNodeMixin, "_LifecycleNodeMixin__change_state", change_state)
    node = Node()
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert node.logged == ["transition 3 cannot be made: Transition is not registered."]
