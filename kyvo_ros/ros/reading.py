"""Messages taken as bytes and read here, since rclpy drops those that it cannot read without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.serialization import deserialize_message


def reader(message_type: type, store: Callable[[Any], None],
           unreadable: Callable[[str], None]) -> Callable[[bytes], None]:
    """The callback of a raw subscription: `store` gets each message, `unreadable` why one cannot be read."""
    def read(data: bytes) -> None:
        try:
            message = deserialize_message(data, message_type)
        except (RuntimeError, ValueError) as error:  # the middleware's, whose names differ, and text that is none
            unreadable(str(error).splitlines()[0])
            return
        store(message)
    return read
