"""The cameras of a node: made and let go as the settings name them, and found for a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kyvo_ros.ros.camera import Camera, Seen
from kyvo_ros.ros.camera_settings import Configuration
from kyvo_ros.ros.settings import Settings


class CameraNameError(ValueError):
    """A request names a camera that the node does not have."""


class Cameras:
    """`make` gives a camera of a name and its settings; `in_turn` runs a job when no frame is being computed."""

    def __init__(self, make: Callable[[str, Settings], Camera], in_turn: Callable[[Callable[[], None]], Any]) -> None:
        self._make, self._in_turn = make, in_turn
        self._by_name: dict[str, Camera] = {}  # never changed, only replaced, since several threads read it

    def follow(self, configuration: Configuration) -> None:
        """Make the cameras that are new, let go those that are named no more, and give all their settings."""
        wanted, old = configuration.cameras, self._by_name
        for camera in (camera for name, camera in old.items() if name not in wanted):
            camera.listen(False)
            self._in_turn(camera.destroy)
        self._by_name = {name: old.get(name) or self._make(name, settings) for name, settings in wanted.items()}
        for name, settings in wanted.items():
            if name in old:
                old[name].follow(settings)

    def __iter__(self) -> Iterator[Camera]:
        return iter(tuple(self._by_name.values()))

    def newest(self, name: str = "") -> Camera | None:
        """The named camera, or of all the one with the newest image; None where no image has come.

        Raises CameraNameError.
        """
        having = [camera for camera in self._meant(name) if camera.newest is not None]
        return max(having, key=lambda camera: camera.newest.arrived_s, default=None)

    def latest(self, name: str = "") -> Seen | None:
        """What was seen last by the named camera, or by any; None where nothing was. Raises CameraNameError."""
        seen = [camera.latest for camera in self._meant(name) if camera.latest is not None]
        return max(seen, key=lambda item: item.frame.arrived_s, default=None)

    def of_image(self, name: str, frame_id: str) -> Camera:
        """Whose settings hold for an image that a caller brings: the named camera's, else that of the image's frame,
        else the first's. Raises CameraNameError.
        """
        meant = self._meant(name)
        own = (camera for camera in meant if camera.newest and camera.newest.message.header.frame_id == frame_id)
        return next(own, meant[0])

    def _meant(self, name: str) -> list[Camera]:
        if not name:
            return list(self)
        if name not in self._by_name:
            known = ", ".join(filter(None, self._by_name)) or "only one, without a name"
            raise CameraNameError(f"there is no camera '{name}'; cameras: {known}")
        return [self._by_name[name]]
