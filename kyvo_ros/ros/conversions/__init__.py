"""Messages <-> scene types: pure functions, no node.

`images`, `cameras` and `transforms` read messages by their fields and need no ROS to be imported; `scenes`, `markers`,
`results` and `answers` build messages and need the message packages, or `offline.message_packages` in their place.
"""

from kyvo_ros.ros.conversions.cameras import CameraInfoError, camera_from_msg
from kyvo_ros.ros.conversions.images import (
    ENCODINGS,
    ImageMessageError,
    image_from_compressed_msg,
    image_from_msg,
    image_to_msg,
)
from kyvo_ros.ros.conversions.placing import PlacedObject, place

__all__ = [
    "CameraInfoError", "ENCODINGS", "ImageMessageError", "PlacedObject", "camera_from_msg", "image_from_compressed_msg",
    "image_from_msg", "image_to_msg", "place",
]
