"""`kyvo recognize`: the 3D scenes that images show, as a table, as JSON and drawn on the images."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kyvo_ros.commands.common import (
    UsageError, add_effort, add_model_options, check_writable, load_pipeline, write_text,
)
from kyvo_ros.commands.given import GivenScene

if TYPE_CHECKING:
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene

#: From the pixel coordinates of camera calibrations (the first pixel's centre is 0) to ours (0.5).
_PIXEL_CENTRE = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo recognize`."""
    parser.description = (
        "Print what images show, in the frame on the support plane: origin where the optical axis meets it, x right, "
        "y away from the camera, z up. Without camera options an image counts as taken by the model's own camera (a "
        "CLEVR image of any resolution).")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scenes as JSON")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write each image with boxes and labels, as PNG")
    add_model_options(parser)
    add_effort(parser)
    add_camera_options(parser)
    parser.set_defaults(run=run)


def add_camera_options(parser: argparse.ArgumentParser, of: str = "the images") -> None:
    """The camera that took an image; see `camera_view`."""
    camera = parser.add_argument_group(
        "camera", f"of {of}; pixel coordinates as in camera_info: the centre of the first pixel is 0")
    camera.add_argument("--camera", type=Path, metavar="YAML", help="calibration file, as camera_calibration or "
                        "`ros2 topic echo --once camera_info` write it")
    camera.add_argument("--fx", type=float, help="focal length in pixels, instead of --camera")
    camera.add_argument("--fy", type=float, help="the vertical one (default: fx)")
    camera.add_argument("--cx", type=float, help="principal point (default: the image's centre)")
    camera.add_argument("--cy", type=float)
    camera.add_argument("--elevation-deg", type=float, help="angle of the optical axis under the horizon (default: the "
                        "model's nominal one)")
    camera.add_argument("--distance-m", type=float, help="from the camera to the plane along the optical axis "
                        "(default: the model's nominal one)")
    camera.add_argument("--scale", choices=("units", "distance"), default="units", help="metres: the model's own, or "
                        "such that --distance-m is its nominal distance (table-tops) (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run `kyvo recognize`; returns the exit code. Raises UsageError and what loading and recognising raise."""
    for path in args.images:
        if not path.is_file():
            raise UsageError(f"there is no image {path}")
    check_writable(args, "json")
    check_writable(args, "draw", folder=True)
    if args.draw and len({path.stem for path in args.images}) < len(args.images):
        raise UsageError("two images have the same name, so --draw would overwrite one; run them one by one")
    pipeline = load_pipeline(args)
    _warn_of_scale(args, pipeline)
    records, failed = [], 0
    for path in args.images:
        try:
            records.append(_recognized(args, pipeline, path))
        except ValueError as error:  # our own named exceptions: the other images get their turn
            print(f"kyvo: error: {error}", file=sys.stderr)
            failed += 1
    if args.json:
        write_text(args.json, json.dumps({"model": pipeline.name, "scenes": records}, indent=1) + "\n")
    return 2 if failed else 0


def _recognized(args: argparse.Namespace, pipeline: KyvoPipeline, path: Path) -> dict[str, Any]:
    """The record of an image's scene, which is printed and, where that is asked for, drawn."""
    from kyvo_ros.data.images import read_rgb, write_rgb
    from kyvo_ros.drawing import draw_scene

    image = read_rgb(path)
    view = camera_view(args, pipeline, image.shape[1], image.shape[0])
    scene = pipeline.recognize(image, view, args.scale, args.effort)
    milliseconds = 1e3 * sum(pipeline.last_timings_s.values())
    print(f"{path}: {len(scene)} objects, {milliseconds:.0f} ms\n{scene_table(scene)}\n")
    if args.draw:
        write_rgb(args.draw / f"{path.stem}.png", draw_scene(image, scene, view))
    given = GivenScene(scene, view.plane, pipeline.metres_per_unit(view.plane, args.scale))
    return {"image": str(path), **given.to_dict()}


def _warn_of_scale(args: argparse.Namespace, pipeline: KyvoPipeline) -> None:
    """Say on stderr where the camera's distance cannot be meant in the model's own units."""
    plane, nominal = plane_of(args, pipeline.nominal_plane()), pipeline.nominal_plane()
    if args.scale == "units" and not plane.is_about_as_far_as(nominal):
        print(f"the plane is {plane.distance_m:.2f} m away and with --scale units the model expects "
              f"{nominal.distance_m:.2f} m, so that poses and sizes will not fit; give --scale distance", file=sys.stderr)


def scene_table(scene: Scene, numbered: bool = False) -> str:
    """A scene as text, one line an object."""
    if not len(scene):
        return "  nothing recognised"
    lines = [f"  {'object':<28}{'x (m)':>8}{'y (m)':>8}{'z (m)':>8}{'yaw (deg)':>11}{'score':>8}"]
    for number, o in enumerate(scene.objects):
        yaw = "-" if o.yaw_rad is None else f"{math.degrees(o.yaw_rad):.0f}"
        x, y, z = o.position_m
        label = f"#{number} {o.label}" if numbered else o.label
        lines.append(f"  {label:<28}{x:>8.2f}{y:>8.2f}{z:>8.2f}{yaw:>11}{o.confidence:>8.2f}")
    return "\n".join(lines)


def camera_view(args: argparse.Namespace, pipeline: KyvoPipeline, width: int, height: int) -> CameraView:
    """The camera of an image of this size, by the options; where it stands defaults to the model's nominal pose.

    Raises UsageError for options that do not fit together.
    """
    from kyvo_ros.scene import CameraView, PinholeCamera

    if args.camera and args.fx is not None:
        raise UsageError("give --camera or --fx, not both")
    if args.fx is None and any(value is not None for value in (args.fy, args.cx, args.cy)):
        raise UsageError("--fy, --cx and --cy need --fx")
    if args.scale == "distance" and args.distance_m is None:
        raise UsageError("--scale distance needs --distance-m")
    if args.camera:
        intrinsics = _at_size(read_camera(args.camera), width, height, args.camera)
    elif args.fx is not None:
        cx, cy = (size / 2 if value is None else value + _PIXEL_CENTRE
                  for value, size in ((args.cx, width), (args.cy, height)))
        intrinsics = PinholeCamera(width, height, args.fx, args.fx if args.fy is None else args.fy, cx, cy)
    else:
        try:
            intrinsics = pipeline.canonical.assumed_camera(width, height)
        except ValueError as error:
            raise UsageError(f"{error} (--camera YAML, or --fx)") from error
    return CameraView(intrinsics, plane_of(args, pipeline.nominal_plane()))


def plane_of(args: argparse.Namespace, otherwise: PlaneCamera) -> PlaneCamera:
    """Where the camera stands by the options, and as `otherwise` where they do not say."""
    distance_m = otherwise.distance_m if args.distance_m is None else args.distance_m
    elevation = otherwise.elevation_rad if args.elevation_deg is None else math.radians(args.elevation_deg)
    return replace(otherwise, distance_m=distance_m, elevation_rad=elevation)


def _at_size(camera: PinholeCamera, width: int, height: int, path: Path) -> PinholeCamera:
    """The camera for images of another size of the same shape. Raises UsageError."""
    if not camera.has_shape_of(width, height):
        raise UsageError(f"{path} is the calibration of {camera.width}x{camera.height} images and the image has "
                         f"{width}x{height} pixels, another shape")
    return camera.resized(width, height)


def read_camera(path: Path) -> PinholeCamera:
    """The camera of a calibration file: YAML as ROS's camera_calibration or `ros2 topic echo` writes it.

    Raises UsageError where it holds no calibration.
    """
    import yaml

    from kyvo_ros.scene import PinholeCamera

    def numbers(value) -> list[float]:
        return [float(v) for v in (value["data"] if isinstance(value, dict) else value)]

    try:
        document = next(iter(yaml.safe_load_all(path.read_text(encoding="utf-8"))))
        if not isinstance(document, dict):
            raise TypeError("it is no mapping")
        width, height = (int(document.get(f"image_{name}", document.get(name))) for name in ("width", "height"))
        matrix = numbers(document["camera_matrix"] if "camera_matrix" in document else document["k"])
        distortion = numbers(document.get("distortion_coefficients", document.get("d", [])))
        model = document.get("distortion_model") or "plumb_bob"
        fx, _, cx, _, fy, cy = matrix[:6]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise UsageError(f"{path} holds no camera calibration ({type(error).__name__}: {error}); expected image_width, "
                         "image_height, camera_matrix, distortion_model and distortion_coefficients") from error
    return PinholeCamera(width, height, fx, fy, cx + _PIXEL_CENTRE, cy + _PIXEL_CENTRE, tuple(distortion), model)
