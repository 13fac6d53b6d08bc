"""Several looks at one image: the canonical camera turned by parts of a token's cell, through a longer lens, or seen in
a mirror.

A token stands for a cell of the image, and what an encoder loses in rounding to the codebook depends on where an
object lies in its cells and how large it is there. Looks that shift or shrink the cells lose something else, so that
their mean is nearer to the truth than each of them. Turn and lens are a homography of the image, and what is seen comes
back to the first frame exactly. Knows no tokens and no model. Numpy and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.scene import (
    PLANE_FRAME, CameraView, PlaneCamera, PlaneNotVisibleError, Scene, SceneObject, Transform,
)
from kyvo_ros.scene.consensus import mirrored
from kyvo_ros.scene.turns import levelled, turn_transform, turned_view
from kyvo_ros.scene.visibility import is_wholly_seen


@dataclass(frozen=True)
class Look:
    """A turn of the canonical camera, in cells of the token grid at the image's centre, whether in a mirror, and how
    much longer the lens is.
    """

    right: float = 0.0
    down: float = 0.0
    mirror: bool = False
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if not self.zoom > 0:
            raise ValueError(f"zoom must be positive, got {self.zoom}")


_EIGHTHS, _LENSES = (-0.375, -0.125, 0.125, 0.375), (0.97, 1.0, 1.1, 1.2)
#: Up by nearly two cells the longest lens shows all that lies behind the point that a camera aims at.
_FAR_LENS, _FAR_UP = 1.3, -1.8


def _quarters() -> tuple[Look, ...]:
    """Turns that make cells of a quarter of the size, half of them mirrored, each lens in every row and column; and
    half of these turns once more for what is far.
    """
    turns = [(i, j, (i // 2 + j) % 2 == 1) for i in range(4) for j in range(4)]
    return (*(Look(_EIGHTHS[i], _EIGHTHS[j], mirror, _LENSES[i ^ j]) for i, j, mirror in turns),
            *(Look(_EIGHTHS[i], _FAR_UP + _EIGHTHS[j], mirror, _FAR_LENS) for i, j, mirror in turns if (i + j) % 2))


#: The looks of each effort. The four of `accurate` that turn put the borders of the cells a quarter to either side,
#: which makes cells of half the size out of the four, and two of them are mirrored and through a longer lens.
EFFORTS: dict[str, tuple[Look, ...]] = {
    "fast": (Look(),),
    "accurate": (Look(), Look(-0.25, -0.25), Look(-0.25, 0.25, True, 1.1), Look(0.25, -0.25, True, 1.1),
                 Look(0.25, 0.25)),
    "thorough": _quarters(),
}


@dataclass(frozen=True, eq=False)
class Sight:
    """One look at the images of a camera."""

    view: CameraView  # of the images
    lens: CanonicalCamera  # through which they are seen
    stands: PlaneCamera  # where the turned camera stands, or is taken to stand where nobody knows
    level_T_look: Transform | None  # from the canonical frame along the image's axis to the turned one; None: the same
    plane_T_look: Transform  # from the support-plane frame of the turned camera to that of the image's
    mirror: bool

    @property
    def plane(self) -> PlaneCamera | None:
        """Where the turned camera stands; None where nobody knows."""
        return self.view.plane and self.stands

    def picture(self, image_rgb: np.ndarray) -> np.ndarray:
        """What the look shows of an image (H, W, 3): (h, w, 3) uint8. Raises as `to_canonical` does."""
        image = to_canonical(image_rgb, self.view, self.lens, self.level_T_look)
        return image[:, ::-1] if self.mirror else image

    def shows(self, item: SceneObject) -> bool:
        """Whether the middle half of an object, in the support-plane frame of the image's camera, is in the picture."""
        half = item if item.size_m is None else replace(item, size_m=item.size_m / 2)
        (turned,) = Scene((half,)).transformed(self.plane_T_look.inverse(), PLANE_FRAME).objects
        return is_wholly_seen(turned, CameraView(self.lens.intrinsics(), self.stands))  # a mirror hides nothing

    def brought_back(self, scene: Scene) -> Scene:
        """A scene that was seen in this look, in the support-plane frame of the image's camera."""
        return (mirrored(scene) if self.mirror else scene).transformed(self.plane_T_look, scene.frame_id)


def sights(view: CameraView, canonical: CanonicalCamera, grid: tuple[int, int], nominal: PlaneCamera,
           looks: Sequence[Look]) -> list[Sight]:
    """Each look at the images of a view.

    Args:
        grid: (h, w) cells of the canonical image; nominal: where a camera without a known plane is taken to stand, in
            the unit of `view.plane`.

    Looks that would leave the elevations at which a plane is seen are left out, and so is the mirror where the
    principal point is not in the middle column, since the mirrored image is then not canonical.
    """
    level = CameraView(canonical.intrinsics(), view.plane or nominal, 0.0, Transform.identity())
    seen = []
    for look in looks:
        if look.mirror and 2 * canonical.cx != canonical.width:
            continue
        lens = canonical.zoomed(look.zoom)
        stands, level_T_look, plane_T_look = level.plane, None, Transform.identity()
        if look.right or look.down:
            turn = turn_transform(math.atan(look.right * lens.width / grid[1] / lens.fx),
                                  math.atan(look.down * lens.height / grid[0] / lens.fy))
            try:
                turned = turned_view(level, turn)
            except PlaneNotVisibleError:  # a camera at the limit of usable tilts makes do with fewer looks
                continue
            stands, level_T_look, plane_T_look = turned.plane, levelled(level, turn, turned), turned.world_T_plane
        seen.append(Sight(view, lens, stands, level_T_look, plane_T_look, look.mirror))
    return seen
