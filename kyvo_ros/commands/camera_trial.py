"""`kyvo evaluate cameras`: what other cameras cost a model, on the objects that the canonical view shows.

Three parts. The data set's own images as other cameras in the same place take them (`data.reprojection`), paired with
the originals; its images without the camera's pose, paired too; and a folder of renders from cameras elsewhere, with
and without their pose, which have no originals to be paired with. It parses nothing and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from tqdm import tqdm

from kyvo_ros.data.clevr import ClevrSample
from kyvo_ros.data.reprojection import other_cameras, reprojected, with_camera
from kyvo_ros.evaluation.cameras import CAMERA_TAUS_M, CameraScore
from kyvo_ros.evaluation.region import counts_in, jaccard_where
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import CameraView, Scene, SceneObject

_BATCH_SIZE = 16


def camera_trial(pipeline: KyvoPipeline, samples: Sequence[ClevrSample], others: Sequence[ClevrSample] = (),
                 effort: str = "fast") -> list[CameraScore]:
    """The scores of every camera. `samples` and `others` come from undistorted cameras of known pose, each data set
    from one lens or, `others`, from one an image; `effort` is that of `KyvoPipeline.recognize`.
    """
    trial = _Trial(pipeline, effort)
    scores = [*trial.same_place(samples), trial.without_pose("pose unknown", samples)]
    if others:
        scores += [trial.alone("other renders", others), trial.alone("other renders, pose unknown", others, False)]
    return scores


class _Trial:
    """Recognition under the cameras of a trial; originals are recognised once."""

    def __init__(self, pipeline: KyvoPipeline, effort: str) -> None:
        self._pipeline = pipeline
        self._effort = effort
        self._originals: list[Scene] = []

    def same_place(self, samples: Sequence[ClevrSample]) -> Iterator[CameraScore]:
        """Every camera of `other_cameras`, in the place of the data set's."""
        self._originals = self._scenes("originals", ((s.image(), s.view) for s in samples), len(samples))
        for name in other_cameras(samples[0].view.intrinsics):
            cameras = [other_cameras(s.view.intrinsics)[name] for s in samples]
            views = [with_camera(s.view, *camera) for s, camera in zip(samples, cameras)]
            images = (reprojected(s.image(), s.view.intrinsics, *camera) for s, camera in zip(samples, cameras))
            yield self._paired(name, samples, self._scenes(name, zip(images, views), len(samples)), views)

    def without_pose(self, name: str, samples: Sequence[ClevrSample]) -> CameraScore:
        """The originals, taken to come from the nominal pose; call `same_place` first."""
        scenes = self._scenes(name, ((s.image(), _poseless(s.view)) for s in samples), len(samples))
        return self._paired(name, samples, scenes, [s.view for s in samples])

    def alone(self, name: str, samples: Sequence[ClevrSample], pose_known: bool = True) -> CameraScore:
        """A data set by itself."""
        views = [s.view if pose_known else _poseless(s.view) for s in samples]
        scenes = self._scenes(name, ((s.image(), view) for s, view in zip(samples, views)), len(samples))
        rows = [_scores(scene, sample.scene, self._counts([sample.view])) for scene, sample in zip(scenes, samples)]
        return CameraScore.of(name, [row for row in rows if row is not None])

    def _paired(self, name: str, samples: Sequence[ClevrSample], scenes: Sequence[Scene],
                views: Sequence[CameraView]) -> CameraScore:
        pairs = []
        for original, scene, sample, view in zip(self._originals, scenes, samples, views):
            counts = self._counts([sample.view, view])
            pairs.append((_scores(scene, sample.scene, counts), _scores(original, sample.scene, counts)))
        here, there = zip(*(pair for pair in pairs if None not in pair))
        return CameraScore.of(name, here, there)

    def _counts(self, raw_views: Sequence[CameraView]) -> Callable[[SceneObject], bool]:
        return counts_in(self._pipeline.lens(raw_views[0].plane).intrinsics(), raw_views)

    def _scenes(self, name: str, frames: Iterable[tuple[np.ndarray, CameraView]], count: int) -> list[Scene]:
        scenes: list[Scene] = []
        frames = iter(frames)
        with tqdm(total=count, desc=name, unit="image", disable=None) as progress:
            while part := list(islice(frames, _BATCH_SIZE)):
                images, views = zip(*part)
                scenes += self._pipeline.recognize_batch(images, views, effort=self._effort)
                progress.update(len(part))
        return scenes


def _poseless(view: CameraView) -> CameraView:
    """What is left of a view where nobody knows how it stands; CLEVR's cameras have no roll to forget."""
    return replace(view, plane=None, world_T_plane=None)


def _scores(scene: Scene, truth: Scene, counts: Callable[[SceneObject], bool]) -> dict[float, float] | None:
    """Jaccard indices by tau; None where no true object counts."""
    scores = {tau: jaccard_where(scene, truth, tau, counts) for tau in CAMERA_TAUS_M}
    return None if None in scores.values() else scores
