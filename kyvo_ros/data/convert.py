"""Arrays of synthetic scenes (`kyvo_ros.data.placement.SceneBatch`) as scenes in the support-plane frame."""

from __future__ import annotations

from kyvo_ros.data.clevr import clevr_camera, clevr_object, in_plane_frame
from kyvo_ros.data.placement import COLORS, MATERIALS, SHAPES, SIZES, SceneBatch
from kyvo_ros.scene import CameraView, PinholeCamera, Scene, Transform, view_from_pose
from kyvo_ros.tokens.schema import CLEVR_SCHEMA, SceneSchema


def scenes_from_batch(batch: SceneBatch, intrinsics: PinholeCamera | None = None,
                      schema: SceneSchema = CLEVR_SCHEMA) -> list[tuple[Scene, CameraView]]:
    """Each scene in PLANE_FRAME (metres, one a CLEVR unit) with the view of its camera.

    `intrinsics` are those of the image that was rendered; None means CLEVR's 320x240. `schema` says how large an object
    is and whether it shows its yaw. Raises PlaneNotVisibleError for
    a camera that does not look down on the plane.
    """
    intrinsics = intrinsics or clevr_camera()
    pairs = []
    for row in range(len(batch)):
        view = view_from_pose(intrinsics, Transform.from_matrix(batch.world_T_optical[row]))
        objects = [clevr_object(_attributes(batch, row, i), batch.position[row, i], float(batch.yaw_rad[row, i]),
                                schema)
                   for i in range(int(batch.count[row]))]
        pairs.append((in_plane_frame(objects, view), view))
    return pairs


def _attributes(batch: SceneBatch, row: int, i: int) -> dict[str, str]:
    return {"size": SIZES[batch.size[row, i]], "color": COLORS[batch.color[row, i]],
            "material": MATERIALS[batch.material[row, i]], "shape": SHAPES[batch.shape[row, i]]}
