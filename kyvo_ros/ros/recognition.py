"""One frame from message to result: decode, camera, pose over the plane, pipeline, names, output frame.

All that the node does with an image, without a node: it reads messages by their fields, asks a TransformSource and a
pipeline, and gives a `Recognition`. A frame of the stream waits for transforms and depth in its camera's slot of the
mailbox, as long as `patience_s` says, and holds up no other camera's; `prepare` does not wait for them. A frame that
cannot be used raises FrameDropped with a reason that the diagnostics count, and a message that says what to do.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions.cameras import CameraInfoError, camera_from_msg
from kyvo_ros.ros.conversions.images import ImageMessageError, image_from_compressed_msg, image_from_msg
from kyvo_ros.ros.conversions.placing import place
from kyvo_ros.ros.depth import DepthGuide, DepthMissing, DepthProblem, DepthRequest, DepthStore
from kyvo_ros.ros.frames import DEFAULT_CAMERA_FRAME, Frame, FrameDropped, Pipeline, Recognition, Sight
from kyvo_ros.ros.identity import IdentityKeeper
from kyvo_ros.ros.regions import Region, RegionError, cut_lens, shown_points
from kyvo_ros.ros.settings import MOST_CAMERAS, Settings
from kyvo_ros.ros.status import OK, WARN, Status
from kyvo_ros.ros.transforms import TransformError
from kyvo_ros.scene import (
    RELATION_EPSILON_UNITS, CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, Scene, Transform, relations_of,
    view_from_pose,
)

#: How far an object may move between frames and keep its name, in model units.
SAME_OBJECT_UNITS = 0.5
#: A frame whose best score is lower shows something else than the model's objects, or none.
_DOUBTFUL_SCORE = 0.5


class Transforms(Protocol):
    """What a frame needs of `tf_listener.TransformSource`."""

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform: ...


def optical_T_plane(view: CameraView) -> Transform:
    """Pose of the support plane in the optical frame of a view with a plane."""
    return _optical_T_plane(view.intrinsics, view.plane, view.roll_rad)


@lru_cache(maxsize=4)
def _optical_T_plane(camera: PinholeCamera, plane: PlaneCamera, roll_rad: float) -> Transform:
    """Kept, since it stays the same while the camera stands still."""
    return CameraView(camera, plane, roll_rad).plane_T_optical().inverse()


class Recognizer:
    """Runs the frames of one camera through a pipeline, in one thread; `depth` holds what comes beside its images."""

    def __init__(self, infos: CameraInfoCache, transforms: Transforms, status: Status,
                 depth: DepthStore | None = None) -> None:
        self._infos = infos
        self._transforms = transforms
        self._status = status
        self._depth_store = depth or DepthStore()
        self._depth = DepthGuide(self._depth_store, transforms.lookup, status)
        self._identities = IdentityKeeper()
        self._region = Region()
        self._epoch = 0

    def depth_figures(self) -> dict[str, str]:
        """For the diagnostics; empty where no depth was used."""
        return self._depth.figures()

    def recognize(self, frame: Frame, pipeline: Pipeline, settings: Settings) -> Recognition:
        """The newest frame of the stream, waiting for what it lacks; objects keep their names from frame to frame.
        Raises FrameDropped.
        """
        self._follow_time(frame)
        return self._recognize(self._sight(frame, None, pipeline, settings, self._identities), pipeline)

    def recognize_once(self, frame: Frame, camera_info: Any | None, pipeline: Pipeline,
                       settings: Settings) -> Recognition:
        """A single image, with its own CameraInfo if given, waiting for what it lacks; names hold within the answer
        only. Raises FrameDropped.
        """
        return self._recognize(self._sight(frame, camera_info, pipeline, settings, IdentityKeeper()), pipeline)

    def prepare(self, frame: Frame, pipeline: Pipeline, settings: Settings) -> Sight:
        """All that comes before the pipeline, for a frame of the stream that has waited enough. Raises FrameDropped."""
        self._follow_time(frame)
        sight = self._sight(frame, None, pipeline, _without_waiting(settings), self._identities)
        return replace(sight, settings=settings)

    def patience_s(self, frame: Frame, settings: Settings) -> float:
        """How many seconds after its arrival a frame may wait for what it lacks now, transforms and depth; 0 where it
        lacks nothing. Does not wait, and may be asked from any thread.
        """
        camera_frame = _camera_frame(frame.message.header, settings)
        needed = _frames_needed(settings, frame.stamp_ns)
        patience_s = 0.0
        if settings.depth_source != "none":
            try:
                depth = self._depth_store.nearest(frame.stamp_ns, settings.depth_tolerance_s, 0.0)
                if not hasattr(depth, "encoding"):
                    needed.add(depth.header.frame_id)
            except DepthMissing:  # it does not come at all
                pass
            except DepthProblem:
                patience_s = settings.depth_timeout_s
        if all(self._knows(name, camera_frame, frame.stamp_ns) for name in needed - {"", camera_frame}):
            return patience_s
        return max(patience_s, settings.tf_timeout_s)

    def finish(self, sight: Sight, scene: Scene, inference_s: float, pipeline: Pipeline) -> Recognition:
        """All that comes after the pipeline, which gave this scene after so long. Raises FrameDropped."""
        settings, view = sight.settings, sight.view
        known = view if view.plane is not None else replace(view, plane=pipeline.nominal_plane())
        self._doubt(scene, settings)
        named = len(scene)
        scene = _confident(scene, settings.confidence_threshold)
        if sight.depth_points is not None and settings.depth_refines:
            scene = self._depth.refined(scene, view, sight.depth_points)
        scene = _named(scene, known, sight)
        frame_id, frame_T_plane = self._output_frame(known, sight)
        relations = relations_of(scene, RELATION_EPSILON_UNITS * sight.unit_m)
        return Recognition(scene, sight.image_rgb, known, sight.camera_frame, frame_id, frame_T_plane, sight.unit_m,
                           place(scene, frame_T_plane), relations, inference_s, named, sight.mask)

    def _recognize(self, sight: Sight, pipeline: Pipeline) -> Recognition:
        start = time.monotonic()
        scene = infer(sight, pipeline)
        return self.finish(sight, scene, time.monotonic() - start, pipeline)

    def _follow_time(self, frame: Frame) -> None:
        """Objects of another time have other names."""
        if frame.epoch != self._epoch:
            self._epoch = frame.epoch
            self._identities.reset()

    def _knows(self, name: str, camera_frame: str, stamp_ns: int) -> bool:
        """Whether TF can tell now where the camera was in a frame, or the other way round."""
        try:
            self._transforms.lookup(name, camera_frame, stamp_ns, 0.0)
        except TransformError:
            return False
        return True

    def _sight(self, frame: Frame, camera_info: Any | None, pipeline: Pipeline, settings: Settings,
               identities: IdentityKeeper) -> Sight:
        image = _image(frame.message, settings.max_image_megapixels * 1e6)
        header = frame.message.header
        camera_frame = _camera_frame(header, settings)
        if not (settings.camera_frame or header.frame_id):
            self._status.failed("image", WARN, "the image's header.frame_id is empty; set it in the driver or give the "
                                f"parameter camera_frame ('{DEFAULT_CAMERA_FRAME}' is used)")
        camera = self._camera(camera_info, header.frame_id, image, settings)
        view = self._view(camera, image, camera_frame, frame.stamp_ns, pipeline, settings)
        try:
            lens = cut_lens(view.intrinsics, settings.roi)
            image, mask = self._region.cut(image, settings)
        except RegionError as error:
            raise FrameDropped("bad_region", str(error)) from error
        streamed = identities is self._identities  # what a caller brings need not have depth
        request = DepthRequest(frame.stamp_ns, header.frame_id, camera_frame, view.intrinsics, streamed,
                               camera_info is not None)
        view, points = self._by_depth(view, request, lens, mask, settings)
        unit_m = self._metres_per_unit(view.plane, pipeline, settings)
        return Sight(frame.stamp_ns, image, mask, replace(view, intrinsics=lens), camera_frame, unit_m, settings,
                     identities, points, settings.tf_timeout_s)

    def _camera(self, camera_info: Any | None, frame_id: str, image: np.ndarray,
                settings: Settings) -> PinholeCamera | None:
        """The image's lens; None where it is unknown and need not be known."""
        remark = ""
        if camera_info is None:
            camera_info, remark = self._infos.latest(frame_id)
        if remark:
            self._status.failed("camera_info", WARN, remark)
        if camera_info is None:
            if not settings.camera_info_required:
                return None
            others = self._infos.frames()
            raise FrameDropped("no_camera_info", (
                f"no camera_info for images of frame '{frame_id}', only for {', '.join(map(repr, others))}; remap "
                f"{self._infos.name} to this camera's topic" if others else
                f"no camera_info has come; remap {self._infos.name} to the camera's topic, or set camera_info_required "
                "to false to assume the model's own lens"))
        try:
            return camera_from_msg(camera_info, image.shape[1], image.shape[0], settings.image_rectified)
        except CameraInfoError as error:
            if settings.camera_info_required:
                raise FrameDropped("bad_camera_info", str(error)) from error
            self._status.failed("camera_info", WARN, f"{error}; the model's own lens is assumed")
            return None

    def _view(self, camera: PinholeCamera | None, image: np.ndarray, camera_frame: str, stamp_ns: int,
              pipeline: Pipeline, settings: Settings) -> CameraView:
        """Lens and pose over the plane, as far as they are known without depth."""
        try:
            view = pipeline.view_of(image, camera)
        except ValueError as error:
            raise FrameDropped("bad_camera_info", str(error)) from error
        try:
            if settings.plane_frame and settings.plane_by in ("tf", "depth"):
                pose = _lookup(self._transforms, settings.plane_frame, camera_frame, stamp_ns, settings.tf_timeout_s)
                return view_from_pose(view.intrinsics, pose, settings.plane_height_m)
            if settings.plane_distance_m > 0 and settings.plane_by in ("parameter", "depth"):
                elevation = settings.plane_elevation_rad or pipeline.nominal_plane().elevation_rad
                return replace(view, plane=PlaneCamera(settings.plane_distance_m, elevation))
        except PlaneNotVisibleError as error:
            raise FrameDropped("plane_not_visible", str(error)) from error
        return view

    def _by_depth(self, stated: CameraView, request: DepthRequest, lens: PinholeCamera, mask: np.ndarray | None,
                  settings: Settings) -> tuple[CameraView, np.ndarray | None]:
        """The view with what depth says of the plane, and the points (N, 3) where they may refine objects; `lens` and
        `mask` are those of the part of the image that is looked at.
        """
        view, usable = stated, None
        points = self._depth.points(request, settings)
        if points is not None:
            if lens != stated.intrinsics or mask is not None:
                points = shown_points(points, lens, mask)
            view, usable = self._depth.view(stated, points, request.stamp_ns, settings)
        if view.plane is None and settings.scale == "distance":
            raise FrameDropped("no_depth", "scale 'distance' needs the distance to the support plane, and depth gave "
                               f"none: {self._depth.trouble}; or set plane_distance_m, too")
        return view, usable

    def _metres_per_unit(self, plane: PlaneCamera | None, pipeline: Pipeline, settings: Settings) -> float:
        """How many metres a model unit is in this frame; warns where the scale cannot be meant."""
        unit_m = pipeline.schema.metres_per_unit
        if plane is None:
            return unit_m
        if settings.scale == "distance":
            return unit_m * plane.distance_m / pipeline.nominal_plane().distance_m
        if not plane.is_about_as_far_as(pipeline.nominal_plane()):
            self._status.failed("transforms", WARN, (
                f"the plane is {plane.distance_m:.2f} m away and with scale 'units' the model expects "
                f"{pipeline.nominal_plane().distance_m:.2f} m, so that poses and sizes will not fit; set scale to "
                "'distance'"))
        return unit_m

    def _doubt(self, scene: Scene, settings: Settings) -> None:
        """Say that nothing was recognised, or nothing to rely on; the former is all right over an empty plane."""
        least = max(settings.confidence_threshold, _DOUBTFUL_SCORE)
        best = max((o.confidence for o in scene.objects), default=0.0)
        if best < least:
            found = f"the best of {len(scene)} has {best:.2f}" if len(scene) else "the model sees none at all"
            self._status.failed("inference", WARN if len(scene) else OK, (
                f"nothing recognised with a score above {least:.2f} ({found}); is the camera looking at objects that "
                "the model knows, at about the height and tilt that it was trained with?"))

    def _output_frame(self, view: CameraView, sight: Sight) -> tuple[str, Transform]:
        """Name of the output's frame, and the transform from the support plane to it."""
        settings = sight.settings
        if settings.broadcasts_plane:
            return settings.support_plane_frame, Transform.identity()
        target = settings.output_frame
        if target in ("", sight.camera_frame):
            return sight.camera_frame, optical_T_plane(view)
        return target, frame_T_plane(self._transforms, target, view, sight.camera_frame, sight.stamp_ns, settings,
                                     sight.tf_timeout_s)

    def frame_T_plane(self, target: str, view: CameraView, camera_frame: str, stamp_ns: int,
                      settings: Settings) -> Transform:
        """As the function `frame_T_plane`, without waiting."""
        return frame_T_plane(self._transforms, target, view, camera_frame, stamp_ns, settings)


def frame_T_plane(transforms: Transforms, target: str, view: CameraView, camera_frame: str, stamp_ns: int,
                  settings: Settings, timeout_s: float = 0.0) -> Transform:
    """Pose of a view's support plane in a TF frame at the image's stamp, waited for so long. Raises FrameDropped."""
    if target == settings.plane_frame and view.world_T_plane is not None:
        return view.world_T_plane
    return _lookup(transforms, target, camera_frame, stamp_ns, timeout_s) @ optical_T_plane(view)


def infer(sight: Sight, pipeline: Pipeline) -> Scene:
    """What a frame shows, in PLANE_FRAME. Raises FrameDropped, and as the pipeline does."""
    try:
        return pipeline.recognize(sight.image_rgb, sight.view, sight.settings.scale, sight.settings.effort)
    except PlaneNotVisibleError as error:
        raise FrameDropped("plane_not_visible", str(error)) from error


@lru_cache(maxsize=MOST_CAMERAS)
def _without_waiting(settings: Settings) -> Settings:
    """Kept, since a copy is checked anew."""
    return replace(settings, tf_timeout_s=0.0, depth_timeout_s=0.0)


def _camera_frame(header: Any, settings: Settings) -> str:
    return settings.camera_frame or header.frame_id or DEFAULT_CAMERA_FRAME


def _frames_needed(settings: Settings, stamp_ns: int) -> set[str]:
    """Names of the TF frames in which a frame's camera must be known; an empty one means none."""
    needed = {settings.plane_frame} if settings.plane_by in ("tf", "depth") else set()
    if not settings.broadcasts_plane:
        needed.add(settings.output_frame)
    if stamp_ns:  # the scene graph takes no image without a stamp
        needed.add(settings.memory_frame)
    return needed


def _lookup(transforms: Transforms, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
    try:
        return transforms.lookup(target, source, stamp_ns, timeout_s)
    except TransformError as error:
        raise FrameDropped("no_transform", str(error)) from error


def _image(message: Any, max_pixels: float) -> np.ndarray:
    read = image_from_msg if hasattr(message, "encoding") else image_from_compressed_msg
    try:
        return read(message, max_pixels)
    except ImageMessageError as error:
        raise FrameDropped("bad_image", str(error)) from error


def _confident(scene: Scene, threshold: float) -> Scene:
    return replace(scene, objects=tuple(o for o in scene.objects if o.confidence >= threshold))


def _named(scene: Scene, view: CameraView, sight: Sight) -> Scene:
    """The scene with stamp and ids; objects are followed in the world where the camera's pose in it is known."""
    positions_m = scene.positions_m()
    if view.world_T_plane is not None:
        positions_m = view.world_T_plane.apply(positions_m)
    names = sight.identities.assign(scene.objects, positions_m, SAME_OBJECT_UNITS * sight.unit_m)
    objects = tuple(replace(item, id=name) for item, name in zip(scene.objects, names))
    return replace(scene, objects=objects, stamp_ns=sight.stamp_ns)
