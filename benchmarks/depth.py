"""What depth adds: errors of positions and sizes before and after, and of the plane that is found in depth.

    python3 benchmarks/depth.py [--scenes 50] [--images 0] [--json FILE]

Each row is a setting of `kyvo_ros.evaluation.depth_scenes`: predictions with errors, depth with a sensor's faults. The
first is a table-top under a stereo camera, the others change one thing of it. `--images N` adds two rows with what the
shipped model says of N ray-cast images of CLEVR's size: over the plane as it is known, and as depth shows it. Lengths
are in model units (a tenth of a metre on the table-top). Errors are those of objects that depth refined; with the
model, those of predictions within a unit of an object, refined or not.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kyvo_ros.depth import Expected, find_plane, points_from_depth, refine
from kyvo_ros.evaluation.depth_scenes import DepthSettings, cast_depth, depth_scene, faulty
from kyvo_ros.evaluation.place import match_by_place
from kyvo_ros.scene import CameraView, Scene, SceneObject

STANDARD = DepthSettings()
SETTINGS = {
    "table-top": STANDARD,
    "640x480": replace(STANDARD, width=640, height=480),
    "160x120": replace(STANDARD, width=160, height=120),
    "1 % noise, 20 % missing": replace(STANDARD, noise=0.01, missing=0.2),
    "no faults": replace(STANDARD, noise=0.0, missing=0.0),
    "9 objects, close": replace(STANDARD, objects=9, gap_units=0.1),
    "twice the errors": replace(STANDARD, along_sigma_units=0.4, across_sigma_units=0.16),
    "true sizes known": replace(STANDARD, size_sigma=0.0),
}


@dataclass
class Tally:
    """Errors of one row, before and after, in model units; sizes as a share."""

    objects: int = 0
    refined: int = 0
    position: list[tuple[float, float]] = field(default_factory=list)
    size: list[tuple[float, float]] = field(default_factory=list)
    plane: list[tuple[float, float]] = field(default_factory=list)  # distance as a share, angle in degrees

    def add(self, before: SceneObject, after: SceneObject, true: SceneObject, unit_m: float) -> None:
        """One object."""
        self.position.append(tuple(float(np.linalg.norm(o.position_m - true.position_m)) / unit_m
                                   for o in (before, after)))
        self.size.append(tuple(float(np.abs(o.size_m / true.size_m - 1.0).max()) for o in (before, after)))

    def summary(self) -> dict[str, float]:
        """The numbers of a row."""
        before, after = np.array(self.position).T
        size_before, size_after = np.array(self.size).T
        distance, angle = np.array(self.plane).T
        return {"objects": self.objects, "refined": self.refined / max(self.objects, 1),
                "position_mean_before": before.mean(), "position_mean_after": after.mean(),
                "position_95_before": np.percentile(before, 95), "position_95_after": np.percentile(after, 95),
                "worse": float((after > before).mean()), "size_before": size_before.mean(),
                "size_after": size_after.mean(), "plane_distance": distance.mean(), "plane_angle_deg": angle.mean()}


def synthetic(settings: DepthSettings, scenes: int) -> Tally:
    """Predictions with errors, refined over the true plane."""
    tally = Tally()
    for seed in tqdm(range(scenes), leave=False):
        made = depth_scene(seed, settings)
        points = points_from_depth(made.depth_m, made.view.intrinsics)
        tally.plane.append(plane_error(made.view, points))
        outcome = refine(made.predicted, made.view, points)
        tally.objects, tally.refined = tally.objects + len(made.truth), tally.refined + outcome.refined
        for before, after, true in zip(made.predicted.objects, outcome.scene.objects, made.truth.objects):
            if after.depth_points:
                tally.add(before, after, true, settings.unit_m)
    return tally


def plane_error(view: CameraView, points: np.ndarray) -> tuple[float, float]:
    """Error of the plane in points: of its distance as a share, of its normal in degrees."""
    found = find_plane(points).view(view.intrinsics)
    normals = [v.plane_T_optical().rotation[2] for v in (view, found)]
    angle = math.acos(min(1.0, float(normals[0] @ normals[1])))
    return abs(found.plane.distance_m / view.plane.distance_m - 1.0), math.degrees(angle)


def recognised(images: int, measured_plane: bool) -> Tally:
    """What the shipped model says of ray-cast images; the plane is the true one, or found in depth."""
    from kyvo_ros.pipeline import KyvoPipeline
    pipeline, tally, rng = KyvoPipeline.from_pretrained(device="cpu"), Tally(), np.random.default_rng(0)
    for image, truth, view in tqdm(pictures(images), total=images, leave=False):
        points = points_from_depth(faulty(rng, cast_depth(view, truth.objects), STANDARD), view.intrinsics)
        tally.plane.append(plane_error(view, points))
        known = find_plane(points, Expected.of(view)).view(view.intrinsics) if measured_plane else view
        predicted = pipeline.recognize(image, known)
        outcome = refine(predicted, known, points)
        tally.objects, tally.refined = tally.objects + len(predicted), tally.refined + outcome.refined
        for row, column in match_by_place(predicted, truth, 1.0):
            tally.add(predicted.objects[row], outcome.scene.objects[row], truth.objects[column], 1.0)
    return tally


def pictures(images: int) -> Iterator[tuple[np.ndarray, Scene, CameraView]]:
    """Ray-cast images (240, 320, 3), their scenes and their cameras."""
    from kyvo_ros.data.clevr import clevr_camera
    from kyvo_ros.data.convert import scenes_from_batch
    from kyvo_ros.data.placement import PlacementSettings
    from kyvo_ros.data.raycaster import Raycaster
    from kyvo_ros.data.stream import stream_scenes
    lens = clevr_camera()
    caster = Raycaster(lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy)
    for rendered, batch, _ in stream_scenes(7, 10, PlacementSettings(), caster):
        for image, (scene, view) in zip(rendered.cpu().numpy(), scenes_from_batch(batch)):
            yield image, scene, view
            images -= 1
            if not images:
                return


def table(rows: dict[str, dict[str, float]]) -> str:
    """The numbers for people."""
    lines = [f"{'':26}{'objects':>8}{'refined':>8}{'position':>17}{'95 %':>17}{'worse':>7}{'size %':>14}"
             f"{'plane %':>9}{'deg':>6}"]
    for name, row in rows.items():
        changes = [f"{row[f'{key}_before']:.3f} -> {row[f'{key}_after']:.3f}"
                   for key in ("position_mean", "position_95")]
        size = f"{100 * row['size_before']:.1f} -> {100 * row['size_after']:.1f}"
        lines.append(f"{name:26}{row['objects']:8.0f}{row['refined']:8.1%}{changes[0]:>17}{changes[1]:>17}"
                     f"{row['worse']:7.1%}{size:>14}{100 * row['plane_distance']:9.2f}{row['plane_angle_deg']:6.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=50, help="a row (default: %(default)s)")
    parser.add_argument("--images", type=int, default=0, help="for the rows of the shipped model (default: none)")
    parser.add_argument("--only", choices=tuple(SETTINGS), help="one row of synthetic predictions instead of all")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    rows = {name: synthetic(SETTINGS[name], args.scenes).summary() for name in ([args.only] if args.only else SETTINGS)}
    if args.images:
        rows["shipped model"] = recognised(args.images, False).summary()
        rows["same, plane from depth"] = recognised(args.images, True).summary()
    print(f"{args.scenes} scenes a row" + (f", {args.images} images" if args.images else ""))
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
