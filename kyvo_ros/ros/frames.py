"""What an image is on its way through the node: a frame as it arrived, a sight ready for the pipeline, a recognition; and
what the node needs of a pipeline. Knows no ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kyvo_ros.questions import Answer
from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.identity import IdentityKeeper
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, RecognizedField, Relation, Scene, Transform

#: Frame of an image whose header names none.
DEFAULT_CAMERA_FRAME = "camera_optical_frame"


class FrameDropped(Exception):
    """A frame cannot be used; `reason` is a key of `status.DROP_REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Pipeline(Protocol):
    """What the node needs of `kyvo_ros.pipeline.KyvoPipeline`."""

    name: str
    device: Any
    schema: Any  # with metres_per_unit
    images_at_once: int  # that are best computed at the same time

    def recognize(self, image: np.ndarray, camera: CameraView | None = None, scale: str = "units",
                  effort: str = "fast") -> Scene: ...

    def recognize_batch(self, images: Sequence[np.ndarray], cameras: Sequence[CameraView], scale: str = "units",
                        effort: str = "fast") -> list[Scene]: ...

    def view_of(self, image: np.ndarray, camera: CameraView | PinholeCamera | None) -> CameraView: ...

    def nominal_plane(self) -> PlaneCamera: ...

    def field(self, plane: PlaneCamera | None, metres_per_unit: float | None = None) -> RecognizedField: ...

    def check_asked(self, image: bool, scene: bool) -> None: ...

    def answer(self, question: str, scene: Scene, camera_position_m: Sequence[float] | None = None,
               metres_per_unit: float | None = None, image: np.ndarray | None = None,
               camera: CameraView | None = None) -> Answer: ...

    def edit(self, instruction: str, scene: Scene, metres_per_unit: float | None = None) -> Scene: ...

    def reconstruct(self, image: np.ndarray, camera: CameraView | None = None, scale: str = "units",
                    *, effort: str | None = None) -> Scene: ...

    def render(self, scene: Scene, camera: PlaneCamera | None = None,
               metres_per_unit: float | None = None) -> np.ndarray: ...


class WholeObjects:
    """A pipeline whose scenes hold meshes, in place of one that recognises poses alone."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def recognize(self, image: np.ndarray, camera: CameraView | None = None, scale: str = "units",
                  effort: str = "fast") -> Scene:
        """What takes seconds anyway looks at least five times for what stands where (`KyvoPipeline.reconstruct`)."""
        return self._pipeline.reconstruct(image, camera, scale, effort=None if effort == "fast" else effort)


@dataclass(frozen=True, eq=False)
class Frame:
    """An image as it arrived."""

    message: Any  # sensor_msgs/Image or CompressedImage
    arrived_s: float  # time.monotonic()
    epoch: int = 0  # counts the jumps back in time before it

    @property
    def stamp_ns(self) -> int:
        return stamp_to_ns(self.message.header.stamp)


@dataclass(frozen=True, eq=False)
class Sight:
    """A frame that is ready for the pipeline."""

    stamp_ns: int
    image_rgb: np.ndarray  # (H, W, 3) uint8, what region and mask leave of it
    mask: np.ndarray | None  # (H, W) bool, True where it is looked at; None: everywhere
    view: CameraView  # its plane is None where nobody knows it
    camera_frame: str
    unit_m: float  # how many metres a model unit is
    settings: Settings
    identities: IdentityKeeper
    depth_points: np.ndarray | None = None  # (N, 3) in the optical frame, metres, where they may refine objects
    tf_timeout_s: float = 0.0  # how long a transform may still be waited for


@dataclass(frozen=True, eq=False)
class Recognition:
    """What came out of a frame."""

    scene: Scene  # PLANE_FRAME, with ids
    image_rgb: np.ndarray  # (H, W, 3) uint8
    view: CameraView  # with a plane, the nominal one where nobody knows it
    camera_frame: str
    frame_id: str  # of the output
    frame_T_plane: Transform  # pose of the scene's frame in the output's
    unit_m: float  # how many metres a model unit is
    objects: list[PlacedObject]  # in the output's frame
    relations: list[Relation]
    inference_s: float
    named: int  # objects that the model has named, also those below the threshold
    mask: np.ndarray | None = None  # (H, W) bool, True where the image was looked at; None: everywhere


def stamp_to_ns(stamp: Any) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec
