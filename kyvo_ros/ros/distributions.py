"""What differs in rclpy between the ROS 2 distributions, in one place: Humble, Jazzy and Kilted.

The branch for Humble has tests with a stand-in, but has not been run on Humble yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action.server import RCLError
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ModuleNotFoundError:  # Humble, where the module has another name
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["ManagedNodeMixin", "SubscriptionEventCallbacks", "once_stored", "watch_parameters"]


class ManagedNodeMixin(LifecycleNodeMixin):
    """rclpy's, of which a transition that the state does not allow is an error.

    Until Jazzy RCLError is raised there: `change_state` then gives no answer, and its client waits for ever.
    """

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        # rclpy's own name: services and the methods that trigger transitions both come through here.
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)
        except RCLError as error:
            self.get_logger().error(f"transition {transition_id} cannot be made: {error}")
            return TransitionCallbackReturn.ERROR


def watch_parameters(node: Any, check: Callable[[list], Any], accepted: Callable[[list], None]) -> None:
    """Call `check(parameters)`, which returns a SetParametersResult, before parameters are set, `accepted` after it.

    Humble has no callback after the setting. There `accepted` follows on a check that passed, still before the node's
    own store changes; it must take the values from its argument.
    """
    if _tells_after_setting(node):
        node.add_on_set_parameters_callback(check)
        node.add_post_set_parameters_callback(accepted)
        return

    def check_and_accept(parameters: list) -> Any:
        result = check(parameters)
        if result.successful:
            accepted(parameters)
        return result

    node.add_on_set_parameters_callback(check_and_accept)


def once_stored(node: Any, errand: Callable[[], None]) -> None:
    """Do an errand, from the `accepted` of `watch_parameters`, once the node's store has what is being accepted.

    That is now, but on Humble. There it is done when the parameter service that calls has ended: by a timer in its
    callback group, of which one callback runs at a time.
    """
    if _tells_after_setting(node):
        errand()
        return

    def once() -> None:
        node.destroy_timer(timer)
        errand()

    steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on while simulated time stands
    timer = node.create_timer(0.0, once, callback_group=node.default_callback_group, clock=steady)


def _tells_after_setting(node: Any) -> bool:
    """False on Humble."""
    return hasattr(node, "add_post_set_parameters_callback")
