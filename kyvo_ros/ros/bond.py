"""The bond to a lifecycle manager such as nav2's: while it holds, each side tells the other that it is alive.

A manager whose `bond_timeout` is above zero takes a node for dead that does not answer, and takes all its nodes down.
Both sides publish their status on one topic, under the id of the bond (the node's name) and an id of their own; who
breaks the bond says so until the other does, too. Source: the ROS 2 package bond, whose message this needs.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from kyvo_ros.ros.executor import BriefCallbackGroup

TOPIC = "bond"
#: How often a side tells of itself, and how long it waits for the other before it takes it for dead; seconds.
HEARTBEAT_PERIOD_S, HEARTBEAT_TIMEOUT_S = 0.1, 4.0
#: How long the end of a bond is told where the other side does not answer, and where it was the first to tell, seconds.
#: Once is too little: what a publisher has just sent may be lost when it is destroyed.
FAREWELL_S, ANSWER_S = 2.0, 0.5


def status_type() -> type | None:
    """bond/msg/Status; None where the package is not installed."""
    try:
        from bond.msg import Status
    except ImportError:
        return None
    return Status


class Bond:
    """A node's side. Does nothing where the package bond is not installed."""

    def __init__(self, node: Node) -> None:
        self._node, self._type = node, status_type()
        self._group = BriefCallbackGroup()
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)  # goes on while simulated time stands
        self._lock = threading.Lock()
        self._side: _Side | None = None

    @property
    def possible(self) -> bool:
        return self._type is not None

    def form(self) -> None:
        """Begin to tell that the node is alive, as a new side, whatever was before."""
        self.end()
        if not self.possible:
            return
        with self._lock:
            node, group = self._node, self._group
            self._side = _Side(
                uuid.uuid4().hex, node.create_publisher(self._type, TOPIC, 5),
                node.create_subscription(self._type, TOPIC, self._on_status, 100, callback_group=group),
                node.create_timer(HEARTBEAT_PERIOD_S, self._on_time, callback_group=group, clock=self._clock))

    def dissolve(self) -> None:
        """Tell that the node is not active any more, until the other side has heard it."""
        with self._lock:
            if self._side is not None and self._side.active:
                self._side.active = False
                self._tell(self._side)

    def end(self) -> None:
        """Be silent, after a last word."""
        self.dissolve()
        self._forget(self._side)

    # --- callbacks of the executor

    def _on_time(self) -> None:
        with self._lock:
            side = self._side
            if side is None:
                return
            self._tell(side)
            side.left_s -= 0.0 if side.active else HEARTBEAT_PERIOD_S
        if side.left_s <= 0:
            self._forget(side)

    def _on_status(self, status: Any) -> None:
        with self._lock:
            side = self._side
            if (side is None or status.id != self._node.get_name() or status.instance_id == side.name or status.active):
                return
            broken_there, side.active = side.active, False
            if broken_there:
                side.left_s = ANSWER_S
                self._tell(side)
        if not broken_there:  # the other side has heard of it
            self._forget(side)

    def _tell(self, side: _Side) -> None:
        status = self._type(id=self._node.get_name(), instance_id=side.name, active=side.active,
                            heartbeat_timeout=HEARTBEAT_TIMEOUT_S, heartbeat_period=HEARTBEAT_PERIOD_S)
        status.header.stamp = self._node.get_clock().now().to_msg()
        side.publisher.publish(status)

    def _forget(self, side: _Side | None) -> None:
        """Unless another thread has done so, and perhaps formed the next bond."""
        with self._lock:
            there = side is not None and self._side is side
            if there:
                self._side = None
        if there:
            self._node.destroy_timer(side.timer)
            self._node.destroy_subscription(side.subscription)
            self._node.destroy_publisher(side.publisher)


@dataclass(eq=False)
class _Side:
    """What is there while a bond is."""

    name: str  # of this side
    publisher: Any
    subscription: Any
    timer: Any
    active: bool = True
    left_s: float = FAREWELL_S  # in which it tells that it is not active any more
