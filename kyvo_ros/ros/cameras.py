"""The cameras of a node: made and let go as the settings name them, and found for a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from kyvo_ros.ros.camera import Camera, Seen, Shot
from kyvo_ros.ros.camera_settings import Configuration
from kyvo_ros.ros.frames import Frame, FrameDropped, Pipeline, Recognition
from kyvo_ros.ros.settings import Settings


class RequestError(ValueError):
    """A request cannot be served as it is; the message says why and what to do."""


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

    def named(self, name: str) -> tuple[Camera, ...]:
        """The camera of a name, all where it is empty. Raises RequestError where there is no such."""
        if not name:
            return tuple(self)
        if name not in self._by_name:
            known = ", ".join(f"'{other}'" for other in self._by_name if other)
            raise RequestError(f"there is no camera '{name}'; leave camera empty{' or name ' + known if known else ''}")
        return (self._by_name[name],)

    def newest(self, name: str = "") -> Shot | None:
        """The newest image of a camera, or of all; None where none has come. Raises RequestError as `named` does."""
        shots = [Shot(camera, frame) for camera in self.named(name) if (frame := camera.newest) is not None]
        return max(shots, key=lambda shot: shot.frame.arrived_s, default=None)

    def meant(self, request: Any) -> Shot | None:
        """The image that a request brings, or the newest of the camera that it names; None where there is neither.
        Raises RequestError as `named` does.
        """
        if not len(request.image.data):
            return self.newest(request.camera)
        camera = self.named(request.camera)[0] if request.camera else self.of_image(request.image.header.frame_id)
        return Shot(camera, Frame(request.image, time.monotonic()))

    def latest(self, name: str = "") -> Seen | None:
        """What a camera has seen last, or any; None where nothing was. Raises RequestError as `named` does."""
        seen = [camera.latest for camera in self.named(name) if camera.latest is not None]
        return max(seen, key=lambda item: item.frame.arrived_s, default=None)

    def of_image(self, frame_id: str) -> Camera:
        """Whose settings and calibrations hold for an image that a caller brings: those of the camera whose images are
        of the same frame, else the first's.
        """
        cameras = tuple(self)
        own = (c for c in cameras if (frame := c.newest) is not None and frame.message.header.frame_id == frame_id)
        return next(own, cameras[0])


def recognized_once(shot: Shot | None, request: Any, pipeline: Pipeline) -> Recognition:
    """What the image that a request means shows, with the request's own camera_info where it brings one.

    Raises FrameDropped, also where there is no image.
    """
    if shot is None:
        raise no_image(request)
    info = request.camera_info if request.camera_info.width else None
    return shot.camera.recognizer.recognize_once(shot.frame, info, pipeline, shot.camera.settings)


def no_image(request: Any) -> FrameDropped:
    """Why a request that means the newest image has none."""
    of = f" of camera '{request.camera}'" if request.camera else ""
    return FrameDropped("bad_image", f"the request holds no image and the node has received none{of} yet")
