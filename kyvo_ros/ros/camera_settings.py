"""Settings of several cameras: the node's, and over them what each camera has of its own.

A parameter `front.max_rate_hz` is camera front's own `max_rate_hz`; one that is not set follows the node's. Knows
nothing of ROS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from kyvo_ros.ros.settings import SettingError, Settings

#: What a camera may have of its own.
OWN_SETTINGS = (
    "enabled", "lazy", "max_rate_hz", "effort", "image_transport", "image_qos", "image_rectified",
    "camera_info_required", "camera_frame", "input_timeout_s", "roi", "mask", "depth_source", "depth_refines",
    "depth_tolerance_s", "depth_timeout_s", "plane_source", "plane_frame", "plane_height_m", "plane_distance_m",
    "plane_elevation_rad", "scale", "output_frame", "support_plane_frame", "confidence_threshold", "marker_lifetime_s")

Own = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """Settings of the node and all its cameras; validated on construction. Raises SettingError."""

    node: Settings = Settings()
    own: Mapping[str, Own] = field(default_factory=dict)  # of each named camera

    def __post_init__(self) -> None:
        frames: dict[str, str] = {}
        for name, settings in self.cameras.items():
            frame = settings.support_plane_frame
            if settings.broadcasts_plane and frames.setdefault(frame, name) != name:
                raise SettingError(f"cameras {frames[frame]} and {name} would both broadcast the frame '{frame}'; give "
                                   "each a support_plane_frame of its own")

    @cached_property
    def cameras(self) -> dict[str, Settings]:
        """The settings that hold for each camera, in order; the only one of a node without names has the name ''."""
        if not self.node.cameras:
            return {"": self.node}
        return {name: _of_camera(self.node, name, self.own.get(name, {})) for name in self.node.cameras}

    @property
    def needs_tf(self) -> bool:
        return any(settings.needs_tf for settings in self.cameras.values())

    def changed(self, values: Mapping[str, Any], own: Mapping[str, Own]) -> Configuration:
        """With other values of the node's settings and of cameras; None takes back what a camera has of its own.

        Raises SettingError.
        """
        node = Settings.from_values({**{f.name: getattr(self.node, f.name) for f in fields(Settings)}, **values})
        merged = {name: {**self.own.get(name, {}), **own.get(name, {})} for name in node.cameras}
        return Configuration(node, {name: {key: value for key, value in given.items() if value is not None}
                                    for name, given in merged.items()})


def _of_camera(node: Settings, name: str, own: Own) -> Settings:
    """The node's settings with a camera's own over them; its support plane has its name, unless it says otherwise."""
    unknown = sorted(set(own) - set(OWN_SETTINGS))
    if unknown:
        raise SettingError(f"a camera has no setting of its own '{unknown[0]}' ({name}.{unknown[0]})")
    plane = own.get("support_plane_frame", f"{name}_{node.support_plane_frame}")
    output = own.get("output_frame", node.output_frame)
    if output == node.support_plane_frame:
        output = plane
    try:
        return replace(node, **{**own, "support_plane_frame": plane, "output_frame": output})
    except SettingError as error:
        raise SettingError(f"camera {name}: {error}") from error
