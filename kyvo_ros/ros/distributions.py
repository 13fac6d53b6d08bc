"""What differs in rclpy between the ROS 2 distributions, in one place: Humble against Jazzy and Kilted.

Between Jazzy and Kilted the node needs no difference. The branch for Humble has tests with a stand-in, but has not been
run on Humble yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ModuleNotFoundError:  # Humble, where the module has another name
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["SubscriptionEventCallbacks", "watch_parameters"]


def watch_parameters(node: Any, check: Callable[[list], Any], accepted: Callable[[list], None]) -> None:
    """Call `check(parameters)`, which returns a SetParametersResult, before parameters are set, `accepted` after it.

    Humble has no callback after the setting. There `accepted` follows on a check that passed, still before the node's
    own store changes; it must take the values from its argument.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_on_set_parameters_callback(check)
        node.add_post_set_parameters_callback(accepted)
        return

    def check_and_accept(parameters: list) -> Any:
        result = check(parameters)
        if result.successful:
            accepted(parameters)
        return result

    node.add_on_set_parameters_callback(check_and_accept)
