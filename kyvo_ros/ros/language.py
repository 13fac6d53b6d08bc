"""Questions about what the node sees: which scene is meant, whether it may be used, and what the pipeline says of it.

All that the services `ask`, `edit` and `render` do with a request, without a service: it reads messages by their
fields. Runs in the worker's thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kyvo_ros.questions import ATTRIBUTES, Answer, in_frame
from kyvo_ros.ros.camera import Seen
from kyvo_ros.ros.cameras import Cameras, RequestError, no_image, recognized_once
from kyvo_ros.ros.frames import DEFAULT_CAMERA_FRAME, Frame, Pipeline
from kyvo_ros.ros.graph import GraphKeeper
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import RELATION_EPSILON_UNITS, CameraView, Relation, Scene, Transform, relations_of

#: Stages of a question, as kyvo_msgs/action/Ask names them.
RECOGNIZE, ANSWER = "recognize", "answer"


@dataclass(frozen=True, eq=False)
class Subject:
    """What a question is about."""

    scene: Scene  # PLANE_FRAME, with ids
    camera_position_m: np.ndarray | None  # (3,) in PLANE_FRAME; None where it is not known
    unit_m: float | None  # how many metres a model unit is; None: what the model says
    frame_id: str  # of places in the answer
    frame_T_plane: Transform  # pose of PLANE_FRAME there
    stamp_ns: int
    image_rgb: np.ndarray | None = None  # (H, W, 3) uint8, what shows the scene; None for the scene graph
    view: CameraView | None = None  # of the image, its plane that of the scene


def _subject(seen: Seen) -> Subject:
    """A frame as what a question is about."""
    result = seen.result
    return Subject(result.scene, result.view.plane_T_optical().translation, result.unit_m, result.frame_id,
                   result.frame_T_plane, seen.frame.stamp_ns, result.image_rgb, result.view)


class Language:
    """Answers, edits and drawings on the latest scene, a fresh one or one that is given; answers on the scene graph too.
    """

    def __init__(self, cameras: Cameras, pipeline: Callable[[], Pipeline], settings: Callable[[], Settings],
                 graph: GraphKeeper) -> None:
        """`pipeline` raises where there is none yet."""
        self._cameras, self._pipeline, self._settings, self._graph = cameras, pipeline, settings, graph

    def answer(self, request: Any, at_stage: Callable[[str], None] = lambda stage: None) -> tuple[Answer, Subject]:
        """The answer to a request of kyvo_msgs/Ask, places in the subject's frame, and what it was answered on.

        `at_stage` hears of each stage before it begins, and ends the work by raising. Raises RequestError, GraphError,
        FrameDropped and what the pipeline raises for its question.
        """
        pipeline = self._pipeline()
        pipeline.check_asked(image=not request.on_scene_graph, scene=request.on_scene_graph)
        subject = self._subject_for(request, pipeline, at_stage)
        at_stage(ANSWER)
        answer = pipeline.answer(request.question, subject.scene, subject.camera_position_m, subject.unit_m,
                                 subject.image_rgb, subject.view)
        if not answer.refusal and answer.type == "place":
            answer = in_frame(answer, subject.frame_T_plane.apply(answer.value), subject.frame_id)
        return answer, subject

    def edit(self, instruction: str, scene: Scene, camera: str = "") -> tuple[Scene, list[Relation]]:
        """The scene in PLANE_FRAME as an instruction changes it, and the relations that hold then; what has no id gets
        one. A model unit is as long as in the camera's latest scene. Raises RequestError and as the pipeline does.
        """
        _check_words(scene)
        pipeline = self._pipeline()
        latest = self._cameras.latest(camera)
        unit_m = latest.result.unit_m if latest else pipeline.schema.metres_per_unit
        edited = _with_ids(pipeline.edit(instruction, scene, unit_m))
        return edited, relations_of(edited, RELATION_EPSILON_UNITS * unit_m)

    def render(self, scene: Scene, camera: str = "") -> tuple[np.ndarray, str]:
        """A drawing (h, w, 3) uint8 RGB of a scene in PLANE_FRAME, and the frame of the camera that it is drawn for:
        that of the latest scene of the camera named, or of any; before one the model's nominal camera. Raises
        RequestError and as the pipeline does.
        """
        pipeline = self._pipeline()
        latest = self._cameras.latest(camera)
        if latest is None:
            return pipeline.render(scene), self._settings().camera_frame or DEFAULT_CAMERA_FRAME
        result = latest.result
        return pipeline.render(scene, result.view.plane, result.unit_m), result.camera_frame

    def check_count(self, objects: int) -> None:
        """Raises RequestError where a scene that a caller brings is too large to work on."""
        most = self._settings().max_request_objects
        if objects > most:
            raise RequestError(f"the scene holds {objects} objects, more than max_request_objects = {most}; send those "
                               "that the edit is about")

    def latest(self, camera: str = "") -> Seen:
        """What a camera has published last, or any. Raises RequestError where nothing is."""
        latest = self._cameras.latest(camera)
        if latest is None:
            of = f" by camera '{camera}'" if camera else ""
            raise RequestError(f"no scene has been recognised{of} yet; the diagnostics say what the node waits for")
        return latest

    def frame_T_plane(self, frame_id: str) -> Transform:
        """Pose of the support plane in the frame of a scene that a caller brings. Raises RequestError."""
        planes = {camera.settings.support_plane_frame for camera in self._cameras}
        if frame_id in planes:
            return Transform.identity()
        known = {c.latest.result.frame_id: c.latest.result.frame_T_plane for c in self._cameras if c.latest}
        if frame_id not in known or not frame_id:
            others = f" or {_quoted(known)}, the frame of the latest scene" if known else ""
            raise RequestError(f"how the support plane lies in frame '{frame_id}' is not known; give the scene in "
                               f"{_quoted(planes)}{others}")
        return known[frame_id]

    def _subject_for(self, request: Any, pipeline: Pipeline, at_stage: Callable[[str], None]) -> Subject:
        """What a question is about, recognised where that is asked for."""
        if not request.on_scene_graph:
            return _subject(self._seen_for(request, pipeline, at_stage))
        if request.fresh or len(request.image.data) or request.camera:
            raise RequestError("a question about the scene graph takes neither fresh nor an image nor a camera; leave "
                               "out on_scene_graph to ask about one image")
        _check_max_age(request.max_age_s)
        return self._graph_subject(request.max_age_s)

    def _graph_subject(self, max_age_s: float) -> Subject:
        """The scene graph as its viewpoint sees it. Raises GraphError, RequestError."""
        snapshot, newest, age_s = self._graph.snapshot(), self._graph.newest(), self._graph.age_s()
        if snapshot.stamp_ns is None:
            raise RequestError("no frame is in the scene graph yet; the diagnostics say what the node waits for")
        if max_age_s and (age_s is None or age_s > max_age_s):
            how_old = "was loaded" if age_s is None else f"is {age_s:.1f} s old"
            raise RequestError(f"the newest frame in the scene graph {how_old}, and max_age_s = {max_age_s:g}; does "
                               "the camera run, and is its transform known?")
        scene, frame_T_plane = snapshot.seen_from_viewpoint(newest.plane_height_m if newest else 0.0)
        camera_position_m = frame_T_plane.inverse().apply(newest.eye_m) if newest else None
        return Subject(scene, camera_position_m, newest and newest.unit_m, snapshot.frame_id, frame_T_plane,
                       snapshot.stamp_ns)

    def _seen_for(self, request: Any, pipeline: Pipeline, at_stage: Callable[[str], None]) -> Seen:
        """The frame that a question is about, recognised where that is asked for."""
        if len(request.image.data):
            at_stage(RECOGNIZE)
            shot = self._cameras.meant(request)
            return Seen(shot.frame, recognized_once(shot, request, pipeline))
        _check_max_age(request.max_age_s)
        if not request.fresh:
            seen = self.latest(request.camera)
            _check_age("scene", seen.frame, request.max_age_s)
            return seen
        newest = self._cameras.newest(request.camera)
        if newest is None:
            raise no_image(request)
        camera, frame = newest
        _check_age("image", frame, request.max_age_s)
        at_stage(RECOGNIZE)
        return Seen(frame, camera.recognizer.recognize(frame, pipeline, camera.settings))


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _check_max_age(max_age_s: float) -> None:
    """Raises RequestError for what is no age."""
    if not (math.isfinite(max_age_s) and max_age_s >= 0):
        raise RequestError(f"max_age_s must be 0 for any age or positive seconds, got {max_age_s:g}")


def _check_age(what: str, frame: Frame, max_age_s: float) -> None:
    age_s = time.monotonic() - frame.arrived_s
    if 0 < max_age_s < age_s:
        raise RequestError(f"the newest {what} is {age_s:.1f} s old, more than max_age_s = {max_age_s:g}; does the "
                           "camera run, and is max_age_s longer than recognition takes?")


def _check_words(scene: Scene) -> None:
    """Raises RequestError where a scene, which callers may have made, has words that no edit knows."""
    for item in scene.objects:
        for name, words in ATTRIBUTES.items():
            if item.attributes.get(name) not in words:
                raise RequestError(f"object '{item.id}' has the {name} {item.attributes.get(name)!r}; an edit needs one "
                                   f"of {', '.join(words)}")


def _with_ids(scene: Scene) -> Scene:
    """The scene with names new_0, new_1, ... for objects that have none."""
    taken = {item.id for item in scene.objects}
    free = (name for name in (f"new_{n}" for n in range(2 * len(scene))) if name not in taken)
    return replace(scene, objects=tuple(item if item.id else replace(item, id=next(free)) for item in scene.objects))
