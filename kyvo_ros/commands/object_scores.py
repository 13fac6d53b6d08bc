"""`kyvo evaluate objects`: scenes of whole objects from single images, against the true meshes where they stand."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    UsageError, add_model_options, add_report_files, add_shape_order, check_counts, load_pipeline, write_report)

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.data.object_scenes import ObjectScene, ObjectSettings
    from kyvo_ros.scene import Scene
    from kyvo_ros.tokens.schema import SceneSchema

_POINTS_AN_OBJECT = 4000
_PICTURE_PX = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate objects`."""
    parser.description = (
        "Draw scenes of objects of the library that training has held out, reconstruct them from their pictures, and "
        "score layout, poses and surfaces (kyvo_ros/evaluation/object_scores.py says how).")
    parser.add_argument("--count", type=int, default=50, metavar="N", help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: %(default)s)")
    add_shape_order(parser)
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write the first pictures beside the true and the "
                        "reconstructed meshes")
    add_report_files(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate objects`; returns the exit code. Raises UsageError and what reconstructing raises."""
    import numpy as np
    from tqdm import tqdm

    from kyvo_ros.data.object_scenes import sample_object_scene
    from kyvo_ros.evaluation.object_scores import mean_scores, object_scores
    from kyvo_ros.scene import CameraView

    check_counts(args, "count")
    pipeline = load_pipeline(args)
    settings, rng = _settings(pipeline.schema), np.random.default_rng(args.seed)
    scores, seconds, shown = [], [], []
    for _ in tqdm(range(args.count), desc="scenes", unit="scene", disable=None):
        made = sample_object_scene(rng, pipeline.canonical.intrinsics(), pipeline.canonical.nominal_plane(), settings,
                                   "instances")
        found = pipeline.reconstruct(made.image, CameraView(pipeline.canonical.intrinsics(), made.camera),
                                     order=args.order)
        seconds.append(sum(pipeline.last_timings_s.values()))
        scores.append(object_scores(found, made.scene, _points(found), _points(made.scene, outer=True)))
        shown.append((made, found))
    means = {**mean_scores(scores), "seconds_a_scene": float(np.mean(seconds))}
    table = "\n".join(["| score | mean |", "|---|---|", *(
        f"| {name} | {'-' if value is None else f'{value:.3f}'} |" for name, value in means.items())])
    print(f"{pipeline.name}: {args.count} scenes of held-out objects, shapes in order {args.order}\n\n{table}")
    write_report(args, {"model": pipeline.name, "scenes": args.count, "seed": args.seed, "order": args.order, **means},
                 table)
    if args.sheet:
        _write_sheet(args.sheet, shown[:8])
    return 0


def _settings(schema: SceneSchema) -> ObjectSettings:
    """Scenes of the categories that a model knows. Raises UsageError where it knows none of the library's."""
    from kyvo_ros.data.assets import categories
    from kyvo_ros.data.object_scenes import ObjectSettings, category_word

    known = {value for attribute in schema.words if attribute.name == "category" for value in attribute.values}
    names = tuple(name for name in categories("train") if category_word(name) in known)
    if not names:
        raise UsageError(f"the model's schema {schema.name!r} knows no category of the library; give the folder of a "
                         "model that was trained on its objects")
    most = schema.max_objects
    return ObjectSettings(min_objects=min(2, most), max_objects=most, categories=names)


def _points(scene: Scene, outer: bool = False) -> np.ndarray:
    """(N, 3) points on the surfaces of a scene's meshes; with `outer`, without those that lie within their objects."""
    import numpy as np

    from kyvo_ros.autoencoders.slats import CubeFrame
    from kyvo_ros.commands.shape_scores import outer_points

    rng, clouds = np.random.default_rng(0), [np.zeros((0, 3))]
    for item in scene.objects:
        if item.mesh is not None and outer:
            points, _ = outer_points(item.mesh, CubeFrame.around(item.mesh.bounds), rng, _POINTS_AN_OBJECT)
            clouds.append(item.pose().apply(points))
        elif item.mesh is not None:
            clouds.append(item.pose().apply(item.mesh.sample(_POINTS_AN_OBJECT, rng)[0]))
    return np.concatenate(clouds)


def _write_sheet(path: Path, shown: list[tuple[ObjectScene, Scene]]) -> None:
    """A row a scene: the picture, the true meshes, the reconstructed ones."""
    import numpy as np

    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.data.mesh_pictures import BACKGROUND_RGB, turntable

    rows = []
    for made, found in shown:
        height, width = made.image.shape[:2]
        picture = np.full((_PICTURE_PX, max(width, _PICTURE_PX), 3), BACKGROUND_RGB, np.uint8)
        picture[:height, :width] = made.image[:_PICTURE_PX]
        blank = np.full((_PICTURE_PX, _PICTURE_PX, 3), BACKGROUND_RGB, np.uint8)
        rows.append(np.concatenate([picture, *(
            turntable(scene, 1, _PICTURE_PX) if any(o.mesh is not None for o in scene.objects) else blank
            for scene in (made.scene, found))], axis=1))
    write_rgb(path, np.concatenate(rows))
