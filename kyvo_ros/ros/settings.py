"""Every setting of the node, once: default, meaning, unit, range, and whether it may change while the node runs.

A setting is a field of `Settings`; `parameters.py` turns the fields into ROS parameters, and the README's table and
the check of the parameter files come from here, too. What each of several cameras may have of its own is in
`camera_settings.py`. Knows nothing of ROS.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from kyvo_ros.scene.camera import MAX_ELEVATION_RAD, MIN_ELEVATION_RAD
from kyvo_ros.scene.simplification import LEAST_TRIANGLES

#: More than this are a mistake.
MOST_CAMERAS = 64
_LONGEST_NAME = 64
_CAMERA_NAME = re.compile(rf"(?=.{{1,{_LONGEST_NAME}}}$)[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
#: Parameters of the node that are no settings.
_OTHER_PARAMETERS = {"use_sim_time", "autostart", "start_type_description_service", "qos_overrides"}


class SettingError(ValueError):
    """A setting has a value it cannot have; the message names it, the value, and what is allowed."""


def _setting(default: Any, meaning: str, *, unit: str = "", minimum: float | None = None, maximum: float | None = None,
             choices: tuple[str, ...] = (), live: bool = True) -> Any:
    return field(default=default, metadata={
        "meaning": meaning, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices, "live": live})


@dataclass(frozen=True)
class Settings:
    """The node's settings; validated on construction. Raises SettingError."""

    # --- model
    model: str = _setting("", (
        "Folder of the model; empty means the model shipped with the package. A change loads the "
        "new model between two frames; the old one stays where that fails."))
    device: str = _setting("auto", "Where the model runs: auto (the GPU where there is one), cpu, cuda, or cuda:N.")
    dtype: str = _setting("auto", (
        "Arithmetic of the decoder: auto takes float32 for small models, for large ones what their folder stores."
    ), choices=("auto", "float32", "bfloat16", "float16"))
    parallel_frames: int = _setting(0, (
        "Images that are computed at the same time, each on its threads; results keep the order of the images. 0: two "
        "of a small model on a CPU of several cores, otherwise one. 1 is for the least delay of a single image, more for "
        "more images a second."), minimum=0, maximum=16)
    threads: int = _setting(0, (
        "CPU threads for each image that is being computed; 0 shares the cores among them."), minimum=0, maximum=256)
    effort: str = _setting("fast", (
        "fast looks at an image once; accurate looks five times, thorough 24 times, shifted against the cells of "
        "the model's image tokens, and gives what the looks agree on: better places, fewer frames."
    ), choices=("fast", "accurate", "thorough"))
    # --- cameras
    cameras: tuple[str, ...] = _setting((), (
        "Names of the cameras, each with its own topics (front: front/image, front/camera_info, front/scene, ...) and "
        "parameters (front.max_rate_hz, ...) below its name. Empty: one camera without a name (image, camera_info, "
        "scene, ...). A change adds and removes cameras."))
    batch: int = _setting(1, (
        "Most images of different cameras that wait at the same time and are computed at once; 0 means all of them. "
        "More scenes a second, but each is out only when all of them are (benchmarks/batches.py)."
    ), minimum=0, maximum=64)
    enabled: bool = _setting(True, "false: the camera is not listened to.")
    lazy: bool = _setting(False, (
        "true: images are computed only while somebody listens to the camera's scene, detections, markers or "
        "annotated_image, or memory_frame is set. The latest scene, which ask and edit speak of, then grows old."))
    # --- input
    image_transport: str = _setting("raw", (
        "raw subscribes to `image` (sensor_msgs/Image), compressed to `image/compressed` "
        "(sensor_msgs/CompressedImage)."
    ), choices=("raw", "compressed"), live=False)
    image_qos: str = _setting("sensor_data", (
        "sensor_data (best effort: matches every publisher) or reliable (big images over a lossy network; "
        "matches reliable publishers only)."
    ), choices=("sensor_data", "reliable"), live=False)
    image_rectified: bool = _setting(False, (
        "true: the images are rectified (image_rect), so P of camera_info holds and no distortion; false: they are "
        "raw, so K and D hold."))
    camera_info_required: bool = _setting(True, (
        "false: images without camera_info are taken as from the model's own camera (CLEVR's lens) instead of"
        " being dropped."))
    camera_frame: str = _setting("", (
        "Name of the camera's optical frame; empty takes the image's header.frame_id (and "
        "`camera_optical_frame` where that is empty)."))
    input_timeout_s: float = _setting(5.0, (
        "Without an image for this long the diagnostics warn that the node is starved."
    ), unit="s", minimum=0.1, maximum=3600.0)
    roi: tuple[int, ...] = _setting((0, 0, 0, 0), (
        "Part of the image that is looked at: x and y of its upper left corner, width and height, pixels. Width or "
        "height 0: up to the image's edge. The calibration is that of the whole image."
    ), minimum=0, maximum=65535)
    mask: str = _setting("", (
        "Picture of 8 bits grey and of the whole image's size: what is white in it is looked at, what is black is "
        "filled with the mean colour of the rest. A path below mask_folder, or an absolute one; empty: no mask."))
    mask_folder: str = _setting("", (
        "Folder of the masks; empty means kyvo_masks in $ROS_HOME, or in ~/.ros where that is not set."), live=False)
    depth_source: str = _setting("none", (
        "Depth that helps: none; image subscribes to `depth` (sensor_msgs/Image, 16UC1 or 32FC1, registered to the "
        "camera's picture), points to `points` (sensor_msgs/PointCloud2)."
    ), choices=("none", "image", "points"), live=False)
    depth_refines: bool = _setting(True, (
        "true: depth refines position and size of recognised objects, and SceneObject.depth_points says so; false: it "
        "is used for the support plane alone."))
    depth_tolerance_s: float = _setting(0.03, (
        "Largest difference between the stamps of an image and of its depth; without such depth a frame goes on "
        "without."
    ), unit="s", minimum=0.0, maximum=10.0)
    depth_timeout_s: float = _setting(0.1, (
        "Longest wait for an image's depth, in real time, while depth comes at all."
    ), unit="s", minimum=0.0, maximum=5.0)
    # --- bounds on what comes in
    max_image_megapixels: float = _setting(32.0, (
        "Larger images, of topics and of requests, are dropped before they are decoded; depth and clouds, too."
    ), unit="Mpx", minimum=0.01, maximum=1000.0)
    max_request_objects: int = _setting(100, (
        "A request of `edit` whose scene holds more objects is refused."
    ), minimum=1, maximum=10000)
    max_tf_frames: int = _setting(10000, (
        "Most frames that are remembered of /tf and /tf_static, where tf2_ros is not installed; transforms of further "
        "ones are ignored."
    ), minimum=2, maximum=1000000, live=False)
    # --- support plane and scale
    plane_source: str = _setting("auto", (
        "Where the support plane comes from: tf (plane_frame), parameter (plane_distance_m), depth (found in it, near "
        "where plane_frame or plane_distance_m have it, as far as these are set); auto is the first of them that is "
        "set up, else the model's nominal one."
    ), choices=("auto", "tf", "parameter", "depth"))
    plane_frame: str = _setting("", (
        "TF frame with z up in which the support plane is z = plane_height_m (map, world, table, ...), looked"
        " up at the image's stamp. Empty: no TF is used for it."))
    plane_height_m: float = _setting(0.0, (
        "Height of the support plane in plane_frame."
    ), unit="m", minimum=-1000.0, maximum=1000.0)
    plane_distance_m: float = _setting(0.0, (
        "True distance from the camera to the support plane along the optical axis, for a fixed camera "
        "without TF; 0 means unknown. plane_frame, where set, wins."
    ), unit="m", minimum=0.0, maximum=1000.0)
    plane_elevation_rad: float = _setting(0.0, (
        f"Angle by which the optical axis looks down on the plane, {MIN_ELEVATION_RAD:.2f} to "
        f"{MAX_ELEVATION_RAD:.2f}, used with plane_distance_m; 0 means the model's nominal one."
    ), unit="rad", minimum=0.0, maximum=round(MAX_ELEVATION_RAD, 4))
    scale: str = _setting("units", (
        "units: a model unit is as many metres as the model folder says. distance: the true distance to the "
        "plane (by plane_source) scales the model's units to metres; for table-tops."
    ), choices=("units", "distance"))
    tf_timeout_s: float = _setting(0.2, (
        "Longest wait for a transform at the image's stamp, in real time; the frame is dropped after it."
    ), unit="s", minimum=0.0, maximum=5.0)
    tf_buffer_s: float = _setting(30.0, (
        "History of transforms kept; must exceed the worst time of inference."
    ), unit="s", minimum=1.0, maximum=600.0, live=False)
    # --- output
    output_frame: str = _setting("", (
        "Frame of the output: empty is the camera's optical frame; the name in support_plane_frame is the "
        "frame on the plane, which the node then broadcasts on /tf; any other name is a TF frame."))
    support_plane_frame: str = _setting("support_plane", (
        "Name of the frame on the support plane tied to the camera (origin where the optical axis meets it, x"
        " right, y away, z up). Give each camera its own."))
    confidence_threshold: float = _setting(0.0, "Objects with a lower score are left out.", minimum=0.0, maximum=1.0)
    max_rate_hz: float = _setting(0.0, (
        "Most frames computed in a second; 0 means as many as the machine can."
    ), unit="Hz", minimum=0.0, maximum=1000.0)
    marker_lifetime_s: float = _setting(2.0, (
        "Markers vanish this long after the last frame that showed them; 0 means never by themselves. Markers"
        " of objects that vanish are deleted in any case."
    ), unit="s", minimum=0.0, maximum=3600.0)
    # --- the scene graph that lasts
    memory_frame: str = _setting("", (
        "TF frame with z up in which objects stand still (map, odom, ...): what is seen is fused there into the graph "
        "of the topic `scene_graph`. Empty: no graph is kept. A change starts an empty one."))
    memory_viewpoint: str = _setting("camera", (
        "From where left and behind hold in the graph: camera is that of the newest image (of several cameras, of the "
        "first that has delivered), frame is somebody who looks along +y of memory_frame."
    ), choices=("camera", "frame"))
    memory_forget_after_s: float = _setting(0.0, (
        "Objects of the graph that no image showed for this long are forgotten; 0 means never."
    ), unit="s", minimum=0.0, maximum=1e7)
    memory_mesh_triangles: int = _setting(500, (
        "Triangles of each mesh in the graph, of objects that `reconstruct` has seen: from 4 on; 0 means that the graph "
        "keeps no meshes."
    ), minimum=0, maximum=20000)
    memory_folder: str = _setting("", (
        "Folder that save_scene_graph, load_scene_graph and export_scene_graph are kept to; empty means "
        "kyvo_scene_graphs in $ROS_HOME, or in ~/.ros where that is not set."), live=False)
    # --- services
    service_timeout_s: float = _setting(10.0, (
        "Longest time a call of `recognize`, `ask`, `edit`, `render` or `reconstruct` waits for its answer, once it is "
        "its turn: calls that come at the same time wait for one another."
    ), unit="s", minimum=0.1, maximum=600.0)

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, _checked(item, getattr(self, item.name)))
        object.__setattr__(self, "cameras", tuple(name for name in self.cameras if name))  # ROS knows no empty list
        check_camera_names(self.cameras)
        if len(self.roi) != 4:
            raise SettingError(f"roi must be four numbers, x, y, width and height, got {list(self.roi)}")
        if 0 < self.memory_mesh_triangles < LEAST_TRIANGLES:
            raise SettingError(f"memory_mesh_triangles must be 0 or at least {LEAST_TRIANGLES}, got "
                               f"{self.memory_mesh_triangles}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise SettingError(f"device must be auto, cpu, cuda or cuda:N, got '{self.device}'")
        if not self.support_plane_frame:
            raise SettingError("support_plane_frame must not be empty; its default is support_plane")
        if self.memory_frame == self.support_plane_frame:
            raise SettingError(f"memory_frame must be a frame in which objects stand still, such as map or odom; "
                               f"'{self.memory_frame}' moves with the camera")
        if 0.0 < self.plane_elevation_rad < MIN_ELEVATION_RAD:
            raise SettingError(f"plane_elevation_rad must be 0 (the model's nominal) or {MIN_ELEVATION_RAD:.4f} to "
                               f"{MAX_ELEVATION_RAD:.4f} rad, got {self.plane_elevation_rad}; is it in degrees?")
        if self.plane_elevation_rad > 0 and self.plane_distance_m == 0 and not self.plane_frame:
            raise SettingError("plane_elevation_rad says nothing without plane_distance_m; set plane_distance_m first "
                               "or both at once")
        self._check_plane_source()

    def _check_plane_source(self) -> None:
        needed = {"tf": ("plane_frame", self.plane_frame), "parameter": ("plane_distance_m", self.plane_distance_m),
                  "depth": ("depth_source", self.depth_source != "none")}
        name, given = needed.get(self.plane_source, ("", True))
        if not given:
            raise SettingError(f"plane_source '{self.plane_source}' needs {name}; set it first or both at once")
        if self.scale == "distance" and self.plane_by == "model":
            raise SettingError("scale 'distance' needs the distance to the plane; set plane_frame, plane_distance_m or "
                               "depth_source first")

    @property
    def plane_by(self) -> str:
        """What gives the support plane: tf, parameter, depth, or model where nothing is set up."""
        if self.plane_source != "auto":
            return self.plane_source
        if self.plane_frame or self.plane_distance_m > 0:
            return "tf" if self.plane_frame else "parameter"
        return "depth" if self.depth_source != "none" else "model"

    @property
    def broadcasts_plane(self) -> bool:
        """Whether the output is in the support-plane frame, which the node then broadcasts."""
        return self.output_frame == self.support_plane_frame

    @property
    def needs_tf(self) -> bool:
        return bool(self.plane_frame or self.memory_frame or (self.output_frame and not self.broadcasts_plane)
                    or self.depth_source == "points")

    @property
    def min_period_s(self) -> float:
        """Least time between two frames; 0 without a limit."""
        return 1.0 / self.max_rate_hz if self.max_rate_hz > 0 else 0.0

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """From names and values; unknown names raise SettingError."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingError(f"there is no setting '{unknown[0]}'; settings are {', '.join(sorted(known))}")
        return cls(**values)


def check_camera_names(names: tuple[str, ...]) -> None:
    """Raises SettingError where a name cannot be one of topics and parameters, or is taken."""
    for name in names:
        if not _CAMERA_NAME.fullmatch(name):
            raise SettingError(f"a camera's name must begin with a letter and consist of letters, digits and single "
                               f"underscores, at most {_LONGEST_NAME}, got '{name}'")
        if name in {item.name for item in fields(Settings)} | _OTHER_PARAMETERS:
            raise SettingError(f"a camera cannot be named '{name}', which is a parameter; give it another name")
        if names.count(name) > 1:
            raise SettingError(f"cameras names '{name}' twice; each camera needs a name of its own")
    if len(names) > MOST_CAMERAS:
        raise SettingError(f"cameras may name {MOST_CAMERAS}, got {len(names)}")


def _checked(item: Field, value: Any) -> Any:
    """The value in the type of the field's default. Raises SettingError for a wrong type, range or choice."""
    if isinstance(item.default, tuple):
        return _checked_list(item, value)
    return _checked_item(item, type(item.default), value)


def _checked_list(item: Field, value: Any) -> tuple:
    """As `_checked`, for a list; ROS gives those of whole numbers as arrays, and no list for an empty one in a file."""
    kind = type(item.default[0]) if item.default else str
    if not isinstance(value, (list, tuple, array, type(None))):
        raise SettingError(f"{item.name} must be a list of {kind.__name__}, got {value!r}")
    return tuple(_checked_item(item, kind, element) for element in value or ())


def _checked_item(item: Field, kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        value = float(value)  # `ros2 param set` reads "5" as an integer
    if type(value) is not kind:
        raise SettingError(f"{item.name} must be of type {kind.__name__}, got {value!r}")
    if kind is float and not math.isfinite(value):
        raise SettingError(f"{item.name} must be a finite number, got {value}")
    minimum, maximum, choices = (item.metadata[k] for k in ("minimum", "maximum", "choices"))
    if minimum is not None and not minimum <= value <= maximum:
        allowed = f"{minimum:g} to {maximum:g} {item.metadata['unit']}".rstrip()
        raise SettingError(f"{item.name} must be from {allowed}, got {value:g}")
    if choices and value not in choices:
        raise SettingError(f"{item.name} must be one of {', '.join(choices)}, got '{value}'")
    return value
