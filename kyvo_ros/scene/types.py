"""The types of a scene: objects with attributes and poses in a named frame.

Lengths are metres and angles radians. What a model calls a coordinate unit is the model folder's business: the
grammar divides by `metres_per_unit`. A Scene knows nothing of tokens or ROS.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

import numpy as np

from kyvo_ros.scene.mesh import Mesh
from kyvo_ros.scene.transforms import Transform

#: Name of the frame on the support plane that is tied to the camera (see `kyvo_ros.scene.camera`).
PLANE_FRAME = "support_plane"
#: The eight corners (8, 3) of the unit box about the origin; two that differ in one number share an edge.
BOX_CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))


class SceneError(ValueError):
    """A scene or object is not well formed."""


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object of a scene; its own frame has z up and its origin at the object's centre."""

    attributes: Mapping[str, str]  # words, such as {"size": "large", "color": "red", "shape": "cube"}
    position_m: np.ndarray  # (3,) centre, in the scene's frame
    yaw_rad: float | None = None  # about z of the scene's frame; None where the shape has no visible yaw
    size_m: np.ndarray | None = None  # (3,) full extents along the object's own axes; None when unknown
    id: str = ""  # stable name, empty until somebody gives one
    confidence: float = 1.0  # probability that the object is there with these attributes, near this place
    attribute_confidence: Mapping[str, float] = field(default_factory=dict)  # a probability an attribute
    position_covariance_m2: np.ndarray | None = None  # (3, 3) in the scene's frame; None when unknown
    depth_points: int = 0  # measurements of depth that pose and size were refined by; 0: all is the model's own
    shape_codes: np.ndarray | None = None  # (L,) int64 codes of its geometry by a shape tokenizer; None when unknown
    mesh: Mesh | None = None  # its geometry, metres, in the object's own frame; None when unknown

    def __post_init__(self) -> None:
        position = np.asarray(self.position_m, dtype=np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise SceneError(f"an object's position must be three finite metres, got {self.position_m}")
        if self.yaw_rad is not None and not math.isfinite(self.yaw_rad):
            raise SceneError(f"an object's yaw must be finite or None, got {self.yaw_rad}")
        if not 0.0 <= self.confidence <= 1.0 + 1e-6:
            raise SceneError(f"an object's confidence must lie in [0, 1], got {self.confidence}")
        object.__setattr__(self, "position_m", position)
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        object.__setattr__(self, "attribute_confidence", MappingProxyType(dict(self.attribute_confidence)))
        for name, shape in (("size_m", (3,)), ("position_covariance_m2", (3, 3))):
            value = getattr(self, name)
            if value is not None:
                value = np.asarray(value, dtype=np.float64)
                if value.shape != shape or not np.isfinite(value).all():
                    raise SceneError(f"an object's {name} must be finite and of shape {shape}, got {value}")
                object.__setattr__(self, name, value)
        if self.shape_codes is not None:
            codes = np.asarray(self.shape_codes)
            if codes.ndim != 1 or codes.dtype.kind not in "iu":
                raise SceneError(f"an object's shape_codes must be whole numbers (L,), got {codes.dtype} {codes.shape}")
            object.__setattr__(self, "shape_codes", codes.astype(np.int64))

    def __reduce__(self) -> tuple:
        """For pickle and copy, which know no read-only mappings."""
        values = (getattr(self, f.name) for f in fields(self))
        return SceneObject, tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    @property
    def label(self) -> str:
        """The attributes in words, such as `large red rubber cube`."""
        return " ".join(self.attributes.values())

    def pose(self) -> Transform:
        """`frame_T_object`; a yaw that is None reads as zero."""
        return Transform.from_yaw(self.yaw_rad or 0.0, self.position_m)

    def box_corners_m(self) -> np.ndarray:
        """(8, 3) corners of its box in the scene's frame. Raises SceneError where its size is unknown."""
        if self.size_m is None:
            raise SceneError(f"the size of {self.label or 'an object'} is unknown")
        return self.pose().apply(BOX_CORNERS * self.size_m)

    def placed_mesh(self) -> Mesh | None:
        """The mesh where it stands, in the scene's frame; None where there is none."""
        return None if self.mesh is None else self.mesh.with_vertices(self.pose().apply(self.mesh.vertices))


@dataclass(frozen=True, eq=False)
class Scene:
    """Objects in one frame at one time; z of the frame is up."""

    objects: tuple[SceneObject, ...] = ()
    frame_id: str = PLANE_FRAME
    stamp_ns: int | None = None  # time of the image; None for scenes that come from no image

    def __post_init__(self) -> None:
        object.__setattr__(self, "objects", tuple(self.objects))
        if not self.frame_id:
            raise SceneError("a scene must name its frame")
        ids = [o.id for o in self.objects if o.id]
        if len(ids) != len(set(ids)):
            raise SceneError(f"ids of objects must be unique in a scene, got {ids}")

    def __len__(self) -> int:
        return len(self.objects)

    def positions_m(self) -> np.ndarray:
        """(N, 3) centres in the scene's frame."""
        return np.array([o.position_m for o in self.objects], dtype=np.float64).reshape(-1, 3)

    def scaled(self, factor: float) -> Scene:
        """The same scene with every length multiplied."""
        if factor == 1.0:
            return self
        return replace(self, objects=tuple(replace(
            o, position_m=o.position_m * factor, size_m=None if o.size_m is None else o.size_m * factor,
            position_covariance_m2=None if o.position_covariance_m2 is None else o.position_covariance_m2 * factor**2,
            mesh=None if o.mesh is None else o.mesh.with_vertices(o.mesh.vertices * factor),
        ) for o in self.objects))

    def transformed(self, target_T_frame: Transform, frame_id: str) -> Scene:
        """The same scene in another frame whose z is also up (poses turn, sizes do not).

        Raises SceneError where the transform tilts z, since a yaw cannot hold such a pose.
        """
        if not np.allclose(target_T_frame.rotation[2], [0, 0, 1], atol=1e-4):
            raise SceneError(f"frame {frame_id} does not have z up relative to {self.frame_id}; "
                             "use poses, not yaws, there")
        turn = math.atan2(target_T_frame.rotation[1, 0], target_T_frame.rotation[0, 0])
        moved = [replace(
            o,
            position_m=target_T_frame.apply(o.position_m),
            yaw_rad=None if o.yaw_rad is None else o.yaw_rad + turn,
            position_covariance_m2=None if o.position_covariance_m2 is None
            else target_T_frame.rotate_covariance(o.position_covariance_m2),
        ) for o in self.objects]
        return replace(self, objects=tuple(moved), frame_id=frame_id)
