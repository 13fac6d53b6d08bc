"""The newest CameraInfo of each frame_id.

Images are not bound to a CameraInfo of the same stamp: a calibration holds until another one comes. Reads messages by
their fields only.
"""

from __future__ import annotations

import threading
from typing import Any


class CameraInfoCache:
    """Thread-safe; bounded by the number of frame names, oldest out first. `name` is the topic's before remapping."""

    def __init__(self, most_frames: int = 16, name: str = "camera_info") -> None:
        self._most_frames, self.name = most_frames, name
        self._by_frame: dict[str, Any] = {}
        self._guard = threading.Lock()

    def store(self, message: Any) -> None:
        frame_id = message.header.frame_id
        with self._guard:
            self._by_frame.pop(frame_id, None)  # so that the newest is last
            self._by_frame[frame_id] = message
            while len(self._by_frame) > self._most_frames:
                del self._by_frame[next(iter(self._by_frame))]

    def latest(self, frame_id: str) -> tuple[Any | None, str]:
        """The CameraInfo for images of `frame_id`, and a remark where it is not an exact match.

        Where no CameraInfo has this frame_id but all that came have one name, that one is taken: drivers often name
        the two differently. None where nothing fits.
        """
        with self._guard:
            exact = self._by_frame.get(frame_id)
            if exact is not None or not self._by_frame:
                return exact, ""
            if len(self._by_frame) == 1:
                name, message = next(iter(self._by_frame.items()))
                return message, (f"camera_info has frame_id '{name}' and the image '{frame_id}'; it is used all the "
                                 "same, but the driver should give both one name")
            return None, ""

    def frames(self) -> list[str]:
        with self._guard:
            return sorted(self._by_frame)
