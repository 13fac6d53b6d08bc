"""The quality of service of what waits its turn."""

from __future__ import annotations

from rclpy.qos import QoSProfile

#: Requests of a service: by default ROS keeps 10, and of more clients at once some would never be answered.
REQUESTS = QoSProfile(depth=200)
