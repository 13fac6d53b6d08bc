"""The scene graph that lasts, as the node keeps it: recognised frames in, snapshots out (`kyvo_ros.scene.memory`).

A frame enters at its image's stamp, in the frame that the parameter memory_frame names, together with what of the
world the recogniser looked at; one whose transform is missing is left out and named in the diagnostics. Knows nothing
of messages. Thread-safe: the worker feeds it, services ask it without waiting for the worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kyvo_ros.ros.frames import Frame, FrameDropped, Recognition
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import DROP_REASONS, WARN, Status
from kyvo_ros.scene import RecognizedField, Transform
from kyvo_ros.scene.memory import (
    MemoryConfig, MemoryInputError, MemoryTimeError, Query, SceneMemory, Snapshot, Viewpoint, memory_to_dict,
    restore_memory, upright)
from kyvo_ros.scene.mesh import MeshError
from kyvo_ros.scene.simplification import with_budget

#: Range of a viewpoint that counts nothing as missed.
_NOTHING_M = 1e-9


class GraphError(ValueError):
    """A request about the scene graph cannot be served as it is; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class FusedFrame:
    """Where the newest frame in the graph was taken from; of several cameras that of the first that has delivered."""

    eye_m: np.ndarray  # (3,) of the camera, in the graph's frame
    plane_height_m: float  # z of the support plane there
    unit_m: float  # how many metres a model unit is


class GraphKeeper:
    """Keeps the graph of a node, of all its cameras.

    `locate` gives the pose of a view's support plane in a TF frame (`recognition.frame_T_plane`); `tell` hears of every
    change, one at a time; `clock` gives seconds that never run back.
    """

    def __init__(self, locate: Callable[..., Transform], tell: Callable[[Snapshot], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._locate, self._tell, self._clock = locate, tell, clock
        self._guard = threading.RLock()
        self._memory: SceneMemory | None = None
        self._newest: FusedFrame | None = None
        self._delivered: set[str] = set()  # cameras with a frame in the graph
        self._arrived_s: float | None = None  # time.monotonic() of the newest image in the graph
        self._epochs: dict[str, int] = {}  # of each camera, once its time has jumped
        self._fused = self._left_out = 0

    def follow(self, settings: Settings) -> None:
        """Keep a graph in the frame that the settings name, or none; in another frame it begins empty."""
        with self._guard:
            if settings.memory_frame == ("" if self._memory is None else self._memory.frame_id):
                return
            if self._memory is not None:
                self._memory.reset()
                self._tell(self._memory.snapshot())  # takes back what late comers would still get
            self._memory = None
            self._forget_frames()
            if settings.memory_frame:
                self._memory = SceneMemory(settings.memory_frame, _config(settings, 1.0, 0.0))
                self._tell(self._memory.snapshot())

    def saw(self, frame: Frame, result: Recognition, field: Callable[[], RecognizedField], settings: Settings,
            status: Status, camera: str = "") -> None:
        """Take in what a frame of a camera showed, or say in its `status` why not; `field` is asked where a graph is
        kept.
        """
        if not settings.memory_frame:
            return
        try:
            self._fuse(frame, result, self._frame_T_plane(frame, result, settings), field(), settings, camera)
        except FrameDropped as error:
            self._leave_out(status, *DROP_REASONS[error.reason], error)
        except MemoryTimeError as error:
            self._leave_out(status, "image", WARN, error)
        except MemoryInputError as error:
            self._leave_out(status, "inference", WARN, error)

    def saw_shapes(self, frame: Frame, result: Recognition, settings: Settings) -> str:
        """Keep the meshes that a frame of a camera showed, for objects that are in the graph; why not, where a graph is
        kept and cannot take them in.
        """
        if not settings.memory_frame or not settings.memory_mesh_triangles:
            return ""
        try:
            scene = with_budget(result.scene, settings.memory_mesh_triangles)
            scene = scene.transformed(self._frame_T_plane(frame, result, settings), settings.memory_frame)
            with self._guard:
                memory = self._memory
                if memory is not None and memory.frame_id == scene.frame_id and memory.see_shapes(scene):
                    self._tell(memory.snapshot())
        except (FrameDropped, MemoryInputError, MeshError) as error:
            return f"the scene graph keeps no shape of this image: {error}"
        return ""

    def snapshot(self, query: Query | None = None) -> Snapshot:
        """The graph now, or the part of it that fits; ages are counted from now. Raises GraphError."""
        with self._guard:
            snapshot, age_s = self._known().snapshot(), self.age_s() or 0.0
        return snapshot if query is None else snapshot.select(query, (snapshot.stamp_ns or 0) + int(1e9 * age_s))

    def age_s(self) -> float | None:
        """Seconds since the image of the newest frame in the graph arrived; None where there was none."""
        arrived_s = self._arrived_s
        return None if arrived_s is None else self._clock() - arrived_s

    def newest(self) -> FusedFrame | None:
        """Where the newest frame in the graph was taken from, of several cameras that of the first, in the order of the
        setting `cameras`, that has delivered any; None before there is one.
        """
        return self._newest

    def reset(self) -> None:
        """Forget everything. Raises GraphError."""
        with self._guard:
            self._known().reset()
            self._forget_frames()
            self._tell(self._memory.snapshot())

    def forget(self, object_id: str) -> None:
        """Forget one object. Raises GraphError where there is none of this name."""
        with self._guard:
            if not self._known().forget(object_id):
                raise GraphError(f"there is no object '{object_id}' in the scene graph")
            self._tell(self._memory.snapshot())

    def record(self) -> dict[str, Any]:
        """All that the graph holds, ready for JSON. Inverse of `restore`. Raises GraphError."""
        with self._guard:
            return memory_to_dict(self._known())

    def restore(self, record: Any) -> int:
        """Put a record in place of the graph; how many objects it has. Raises GraphError, MemoryRecordError."""
        with self._guard:
            restore_memory(self._known(), record)
            self._forget_frames()
            self._tell(self._memory.snapshot())
            return len(self._memory)

    def figures(self) -> dict[str, str]:
        """For the diagnostics; empty where no graph is kept."""
        with self._guard:
            if self._memory is None:
                return {}
            return {"scene graph frame": self._memory.frame_id, "scene graph objects": str(len(self._memory)),
                    "frames in the scene graph": str(self._fused),
                    "frames left out of the scene graph": str(self._left_out)}

    def _known(self) -> SceneMemory:
        if self._memory is None:
            raise GraphError("no scene graph is kept; set memory_frame to a TF frame with z up in which objects stand "
                             "still, such as map or odom")
        return self._memory

    def _frame_T_plane(self, frame: Frame, result: Recognition, settings: Settings) -> Transform:
        """Pose of the support plane in the graph's frame, z up. Raises FrameDropped."""
        if frame.stamp_ns == 0:
            raise FrameDropped("bad_image", "the image has no stamp, so that where the camera was is not known; have "
                               "its driver set header.stamp")
        target = settings.memory_frame
        if target == result.frame_id:
            pose = result.frame_T_plane
        else:
            pose = self._locate(target, result.view, result.camera_frame, frame.stamp_ns, settings)
        try:
            return upright(pose, target)
        except MemoryInputError as error:
            raise FrameDropped("no_transform", str(error)) from error

    def _fuse(self, frame: Frame, result: Recognition, frame_T_plane: Transform, field: RecognizedField,
              settings: Settings, camera: str) -> None:
        full = field.max_objects is not None and result.named >= field.max_objects  # others went unnamed
        viewpoint = Viewpoint.of(result.view, frame_T_plane, _NOTHING_M if full else np.inf, field, result.unit_m,
                                 result.mask)
        height_m = float(frame_T_plane.translation[2])
        with self._guard:
            memory = self._memory
            if memory is None or memory.frame_id != settings.memory_frame:  # changed since the frame was begun
                return
            if frame.epoch != self._epochs.get(camera, 0):
                self._epochs[camera] = frame.epoch
                memory.rewind(frame.stamp_ns)
            memory.config = replace(_config(settings, result.unit_m, height_m), yaw=field.yaw)
            first = not camera or camera == self._first(camera, settings)
            fusion = memory.fuse(result.scene.transformed(frame_T_plane, memory.frame_id), viewpoint, frame.stamp_ns,
                                 camera or result.camera_frame, first)
            self._delivered = {*self._delivered.intersection(settings.cameras), camera}
            self._arrived_s = frame.arrived_s
            if first:
                self._newest = FusedFrame(viewpoint.frame_T_optical.translation, height_m, result.unit_m)
            self._fused += 1
            if fusion.changed:
                self._tell(memory.snapshot())

    def _first(self, camera: str, settings: Settings) -> str | None:
        """Whose viewpoint is the graph's once this camera has delivered: a camera that is off or silent has none."""
        return next((name for name in settings.cameras if name == camera or name in self._delivered), None)

    def _forget_frames(self) -> None:
        """Whatever is in the graph, no frame of any camera counts as seen."""
        self._newest = self._arrived_s = None
        self._delivered = set()

    def _leave_out(self, status: Status, stage: str, level: int, error: Exception) -> None:
        self._left_out += 1
        status.failed(stage, level, f"the scene graph leaves frames out: {error}")


def _config(settings: Settings, unit_m: float, plane_height_m: float) -> MemoryConfig:
    return MemoryConfig(viewpoint=settings.memory_viewpoint, plane_height_m=plane_height_m,
                        forget_after_s=settings.memory_forget_after_s or None).scaled(unit_m)
