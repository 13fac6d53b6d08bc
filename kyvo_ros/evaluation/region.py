"""The Jaccard index over a part of the scene: what a camera and a model can see at all.

An object counts where its centre projects into the model's canonical image and its whole box into every raw image in
question (its centre, where its size is unknown). Both sides are cut alike, and by place rather than by who saw it:
  - a true object that does not count is neither found nor missed, and a prediction that matches it is left out;
  - a prediction that matches a true object that counts is right, on whichever side of the border it stands itself;
  - any other prediction is wrong where it counts, and is left out where it does not.
Matching is `jaccard.match_scene` on the whole scenes. A scene in which no true object counts has no score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kyvo_ros.evaluation.jaccard import match_scene
from kyvo_ros.scene import CameraView, PinholeCamera, Scene, SceneObject
from kyvo_ros.scene.visibility import is_seen, is_wholly_seen


def counts_in(canonical: PinholeCamera, raw_views: Sequence[CameraView]) -> Callable[[SceneObject], bool]:
    """Whether an object of PLANE_FRAME counts; see the module. The raw views share their centre and optical axis."""
    level = CameraView(canonical, raw_views[0].plane)

    def counts(item: SceneObject) -> bool:
        return is_seen(item.position_m[None], level) and all(is_wholly_seen(item, view) for view in raw_views)
    return counts


def jaccard_where(predicted: Scene, truth: Scene, tau_m: float,
                  counts: Callable[[SceneObject], bool]) -> float | None:
    """Jaccard index over the objects that count, in [0, 1]; None where no true object does.

    Raises SceneError where the two scenes are in different frames.
    """
    pairs = match_scene(predicted, truth, tau_m)
    counted = [counts(item) for item in truth.objects]
    if not any(counted):
        return None
    paired = {i for i, _ in pairs}
    matches = sum(counted[j] for _, j in pairs)
    wrong = sum(counts(item) for i, item in enumerate(predicted.objects) if i not in paired)
    return matches / (sum(counted) + wrong)
