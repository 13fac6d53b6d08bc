"""The command line: `kyvo recognize`, `kyvo evaluate recognition` and `published`, `kyvo convert`, `kyvo train`.

It only parses, prints and writes files; the work is in the rooms, which are imported when a command needs them, so
`kyvo --help` needs neither torch nor ROS. Errors take one line and exit with code 2.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import kyvo_ros
from kyvo_ros.commands import convert, published

if TYPE_CHECKING:
    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.drawing import Mark
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import CameraView, PinholeCamera, Scene, SceneObject

#: From the pixel coordinates of camera calibrations (the first pixel's centre is 0) to ours (0.5).
_PIXEL_CENTRE = 0.5
#: In contact sheets a prediction is right when it matches within this distance.
_SHEET_TAU_M = 0.25


class UsageError(ValueError):
    """Options that parse but do not fit together, or a file they name that does not hold what it should."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser(with_training=arguments[:1] == ["train"]).parse_args(arguments)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        print(f"kyvo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _is_for_the_user(error: Exception) -> bool:
    """Whether the message says all: our own named exceptions and files that cannot be used. The rest are bugs."""
    return isinstance(error, (ValueError, OSError)) or type(error).__module__.startswith("kyvo_ros.")


def _parser(with_training: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kyvo", description="Images to structured 3D scenes.")
    parser.add_argument("--version", action="version", version=f"kyvo_ros {kyvo_ros.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_recognize(commands.add_parser("recognize", help="print the 3D scenes that images show"))
    evaluate = commands.add_parser("evaluate", help="score a model against ground truth")
    tasks = evaluate.add_subparsers(required=True, metavar="TASK")
    _add_evaluate_recognition(tasks.add_parser("recognition", help="image to scene, on a CLEVR folder"))
    published.add_arguments(tasks.add_parser("published", help="prediction files of the published code"))
    convert.add_arguments(commands.add_parser("convert", help="checkpoints of the published code, in and out"))
    train = commands.add_parser("train", help="train the image tokenizer and the decoder")
    if with_training:
        from kyvo_ros.training import command
        command.add_arguments(train)
        train.set_defaults(run=command.run)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="model folder (default: the one shipped with the package)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")


def _load(args: argparse.Namespace) -> KyvoPipeline:
    from kyvo_ros.pipeline import KyvoPipeline
    return KyvoPipeline.from_pretrained(args.model, args.device, args.threads)


# kyvo recognize


def _add_recognize(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print what images show, in the frame on the support plane: origin where the optical axis meets it, x right, "
        "y away from the camera, z up. Without camera options an image counts as taken by the model's own camera (a "
        "CLEVR image of any resolution).")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scenes as JSON")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write each image with boxes and labels, as PNG")
    _add_model(parser)
    camera = parser.add_argument_group(
        "camera", "pixel coordinates as in camera_info: the centre of the first pixel is 0")
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
    parser.set_defaults(run=_recognize)


def _recognize(args: argparse.Namespace) -> int:
    from kyvo_ros.data.images import read_rgb, write_rgb
    from kyvo_ros.drawing import draw_scene
    from kyvo_ros.scene.records import scene_to_dict

    if args.draw and len({path.stem for path in args.images}) < len(args.images):
        raise UsageError("two images have the same name, so --draw would overwrite one; run them one by one")
    pipeline = _load(args)
    records = []
    for path in args.images:
        image = read_rgb(path)
        view = _view(args, pipeline, image.shape[1], image.shape[0])
        scene = pipeline.recognize(image, view, args.scale)
        milliseconds = 1e3 * sum(pipeline.last_timings_s.values())
        print(f"{path}: {len(scene)} objects, {milliseconds:.0f} ms\n{scene_table(scene)}\n")
        records.append({"image": str(path), **scene_to_dict(scene)})
        if args.draw:
            write_rgb(args.draw / f"{path.stem}.png", draw_scene(image, scene, view))
    if args.json:
        _write(args.json, json.dumps({"model": pipeline.name, "scenes": records}, indent=1) + "\n")
    return 0


def scene_table(scene: Scene) -> str:
    """A scene as text, one line an object."""
    lines = [f"  {'object':<28}{'x (m)':>8}{'y (m)':>8}{'z (m)':>8}{'yaw (deg)':>11}{'score':>8}"]
    for o in scene.objects:
        yaw = "-" if o.yaw_rad is None else f"{math.degrees(o.yaw_rad):.0f}"
        x, y, z = o.position_m
        lines.append(f"  {o.label:<28}{x:>8.2f}{y:>8.2f}{z:>8.2f}{yaw:>11}{o.confidence:>8.2f}")
    return "\n".join(lines)


def _view(args: argparse.Namespace, pipeline: KyvoPipeline, width: int, height: int) -> CameraView:
    """The camera of an image of this size, by the options; where it stands defaults to the model's nominal pose."""
    from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera

    if args.camera and args.fx:
        raise UsageError("give --camera or --fx, not both")
    if not args.fx and any(value is not None for value in (args.fy, args.cx, args.cy)):
        raise UsageError("--fy, --cx and --cy need --fx")
    if args.scale == "distance" and args.distance_m is None:
        raise UsageError("--scale distance needs --distance-m")
    if args.camera:
        intrinsics = read_camera(args.camera)
    elif args.fx:
        cx, cy = (size / 2 if value is None else value + _PIXEL_CENTRE
                  for value, size in ((args.cx, width), (args.cy, height)))
        intrinsics = PinholeCamera(width, height, args.fx, args.fy or args.fx, cx, cy)
    else:
        intrinsics = pipeline.canonical.assumed_camera(width, height)
    nominal = pipeline.nominal_plane()
    distance_m = nominal.distance_m if args.distance_m is None else args.distance_m
    elevation = nominal.elevation_rad if args.elevation_deg is None else math.radians(args.elevation_deg)
    return CameraView(intrinsics, PlaneCamera(distance_m, elevation))


def read_camera(path: Path) -> PinholeCamera:
    """The camera of a calibration file: YAML as ROS's camera_calibration or `ros2 topic echo` writes it.

    Raises UsageError where it holds no calibration.
    """
    import yaml

    from kyvo_ros.scene import PinholeCamera

    def numbers(value) -> list[float]:
        return [float(v) for v in (value["data"] if isinstance(value, dict) else value)]

    try:
        document = next(iter(yaml.safe_load_all(path.read_text())))
        width, height = (int(document.get(f"image_{name}", document.get(name))) for name in ("width", "height"))
        matrix = numbers(document["camera_matrix"] if "camera_matrix" in document else document["k"])
        distortion = numbers(document.get("distortion_coefficients", document.get("d", [])))
        model = document.get("distortion_model") or "plumb_bob"
        fx, _, cx, _, fy, cy = matrix[:6]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise UsageError(f"{path} holds no camera calibration ({type(error).__name__}: {error}); expected image_width, "
                         "image_height, camera_matrix, distortion_model and distortion_coefficients") from error
    return PinholeCamera(width, height, fx, fy, cx + _PIXEL_CENTRE, cy + _PIXEL_CENTRE, tuple(distortion), model)


# kyvo evaluate recognition


def _add_evaluate_recognition(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Score recognised scenes against the ground truth of a CLEVR folder (scenes.json and images/, or CLEVR v1.0), "
        "in the frame on the support plane that the known camera pose gives.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="CLEVR folder")
    parser.add_argument("--split", default="val", help="of a CLEVR v1.0 folder (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--metric", choices=("own", "published"), default="own", help="published: also the Jaccard "
                        "index as the published Kyvo script computes it (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the scores as Markdown tables")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write a contact sheet of predictions on the images")
    parser.add_argument("--sheet-images", type=int, default=12, metavar="N", help="images on it (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images at once (default: %(default)s)")
    _add_model(parser)
    parser.set_defaults(run=_evaluate_recognition)


def _evaluate_recognition(args: argparse.Namespace) -> int:
    from kyvo_ros.data.clevr import read_clevr
    from kyvo_ros.evaluation import evaluate_recognition

    for name in ("batch_size", "sheet_images", "limit"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    samples = read_clevr(args.data, args.split)[:args.limit]
    pipeline = _load(args)
    predictions, seconds = _predict(pipeline, samples, args.batch_size)
    report = evaluate_recognition((p, s.scene) for p, s in zip(predictions, samples))
    milliseconds, batch_size = 1e3 * seconds / len(samples), min(args.batch_size, len(samples))
    print(f"{pipeline.name} on {args.data} ({pipeline.device}, {milliseconds:.0f} ms an image in batches of "
          f"{batch_size})\n\n{report.table()}")
    scores = _published_scores(predictions, samples) if args.metric == "published" else {}
    if args.json:
        document = {**report.to_dict(), **scores, "model": pipeline.name, "data": str(args.data)}
        _write(args.json, json.dumps(document, indent=1, allow_nan=False) + "\n")
    if args.markdown:
        _write(args.markdown, report.markdown() + "\n")
    if args.sheet:
        _write_sheet(args.sheet, samples, predictions, args.sheet_images)
    return 0


def _published_scores(predictions: list[Scene], samples: list[ClevrSample]) -> dict[str, dict[str, float]]:
    """Print the published Jaccard index at every distance of the report, and return it for its JSON."""
    from kyvo_ros.evaluation.published import clevr_objects, published_jaccard
    from kyvo_ros.evaluation.report import TAUS_M

    pairs = [(clevr_objects(p), clevr_objects(s.scene)) for p, s in zip(predictions, samples)]
    scores = {f"{tau:g}": published_jaccard("CLEVR", pairs, tau).mean for tau in TAUS_M}
    print("\n" + "\n".join(f"published Jaccard index at {tau} m: {score:.4f}" for tau, score in scores.items()))
    return {"published_jaccard": scores}


def _predict(pipeline: KyvoPipeline, samples: list[ClevrSample], batch_size: int) -> tuple[list[Scene], float]:
    """The scene of every sample, and the seconds of the pipeline alone."""
    from tqdm import tqdm

    predictions, seconds = [], 0.0
    with tqdm(total=len(samples), desc="recognising", unit="image", disable=None) as progress:
        for start in range(0, len(samples), batch_size):
            part = samples[start:start + batch_size]
            predictions += pipeline.recognize_batch([s.image() for s in part], [s.view for s in part])
            seconds += sum(pipeline.last_timings_s.values())
            progress.update(len(part))
    return predictions, seconds


def _write_sheet(path: Path, samples: list[ClevrSample], predictions: list[Scene], count: int) -> None:
    """Predictions on images spread evenly over the data: right ones green, wrong ones red, missed objects thin."""
    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.drawing import contact_sheet, draw_scene
    from kyvo_ros.evaluation import jaccard_index
    from kyvo_ros.scene import Scene

    count = min(count, len(samples))
    panels, captions = [], []
    for index in (i * len(samples) // count for i in range(count)):
        sample, predicted = samples[index], predictions[index]
        missed, marks = _verdict(predicted, sample.scene)
        panels.append(draw_scene(sample.image(), Scene((*predicted.objects, *missed)), sample.view, marks=marks))
        score = jaccard_index(predicted, sample.scene, _SHEET_TAU_M)
        captions.append(f"{sample.image_path.name}  Jaccard {score:.2f} at {_SHEET_TAU_M} m")
    write_rgb(path, contact_sheet(panels, captions))


def _verdict(predicted: Scene, truth: Scene) -> tuple[list[SceneObject], list[Mark]]:
    """The true objects that no prediction matches, and how to draw the predictions followed by these."""
    from kyvo_ros.drawing import MISSED_RGB, RIGHT_RGB, WRONG_RGB, Mark, default_mark
    from kyvo_ros.evaluation import match_scene

    pairs = match_scene(predicted, truth, _SHEET_TAU_M)
    right, found = ({pair[side] for pair in pairs} for side in (0, 1))
    missed = [o for j, o in enumerate(truth.objects) if j not in found]
    marks = [Mark(RIGHT_RGB if i in right else WRONG_RGB, default_mark(o).label)
             for i, o in enumerate(predicted.objects)]
    return missed, marks + [Mark(MISSED_RGB, f"missed: {o.label}", thin=True) for o in missed]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
