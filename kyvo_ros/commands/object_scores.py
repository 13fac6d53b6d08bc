"""`kyvo evaluate objects`: scenes of whole objects from single images, against the true meshes where they stand."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    UsageError, add_model_options, add_report_files, add_shape_options, check_counts, load_pipeline, write_report)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from kyvo_ros.data.object_scenes import ObjectScene, ObjectSettings
    from kyvo_ros.evaluation.object_scores import Surface
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import CameraView, Scene
    from kyvo_ros.tokens.schema import SceneSchema

_SCENES = 50
_POINTS_AN_OBJECT = 4000
#: Scenes on a sheet, and the height of their pictures.
_SHOWN, _PICTURE_PX = 8, 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate objects`."""
    parser.description = (
        "Draw scenes of objects of the library that training has held out, or take those of a folder, reconstruct them "
        "from their pictures, and score layout, poses and surfaces (kyvo_ros/evaluation/object_scores.py says how).")
    parser.add_argument("--scenes", type=Path, metavar="DIR", help="pictures of the library's objects by another "
                        "renderer (docs/shapes.md), instead of drawing any")
    parser.add_argument("--count", type=int, metavar="N", help=f"scenes (default: {_SCENES}, or all of --scenes)")
    parser.add_argument("--seed", type=int, help="of the scenes that are drawn (default: 0)")
    add_shape_options(parser)
    parser.add_argument("--draw", action="store_true", help="also have the model draw the true scenes, of their meshes "
                        "where it was trained to, and score what it recognises in its drawings (drawn_jaccard)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write the first pictures beside the true and the "
                        "reconstructed meshes, and the drawings")
    add_report_files(parser)
    add_model_options(parser, "the shipped objects-nano")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate objects`; returns the exit code. Raises UsageError and what reconstructing raises."""
    import numpy as np
    from tqdm import tqdm

    from kyvo_ros.evaluation.object_scores import TAUS_M, mean_scores, object_scores
    from kyvo_ros.model.shapes import default_effort

    check_counts(args, "count")
    pipeline = load_pipeline(args, shapes=True)
    pictures, count, source = _given(args, pipeline.schema) if args.scenes else _drawn(args, pipeline)
    scores, seconds, shown, cycles = [], [], [], []
    for made, view in tqdm(pictures, total=count, desc="scenes", unit="scene", disable=None):
        found = pipeline.reconstruct(made.image, view, order=args.order, effort=args.effort)
        seconds.append(sum(pipeline.last_timings_s.values()))
        scores.append(object_scores(found, made.scene, _surfaces(found), _surfaces(made.scene, outer=True)))
        drawing = None
        if args.draw:
            drawing, cycle = _drawn_again(pipeline, made, view, args.effort)
            cycles.append(cycle)
        if len(shown) < _SHOWN:
            shown.append((made, found, drawing))
    drawn = {f"drawn_jaccard_{tau:g}": float(np.mean([cycle[tau] for cycle in cycles])) for tau in TAUS_M if cycles}
    means = {**mean_scores(scores), **drawn, "seconds_a_scene": float(np.mean(seconds))}
    table = "\n".join(["| score | mean |", "|---|---|", *(
        f"| {name} | {'-' if value is None else f'{value:.3f}'} |" for name, value in means.items())])
    what = f"scenes of {args.scenes}" if args.scenes else "scenes of held-out objects"
    effort = args.effort or default_effort(args.order)
    print(f"{pipeline.name}: {count} {what}, shapes in order {args.order}, effort {effort}\n\n{table}")
    write_report(args, {"model": pipeline.name, "scenes": count, **source, "order": args.order, "effort": effort, **means},
                 table)
    if args.sheet:
        _write_sheet(args.sheet, shown)
    return 0


def _drawn(args: argparse.Namespace, pipeline: KyvoPipeline
           ) -> tuple[Iterator[tuple[ObjectScene, CameraView]], int, dict[str, int]]:
    """Scenes drawn by the rasteriser with their cameras, how many, and what the report says of them."""
    import numpy as np

    from kyvo_ros.data.object_scenes import sample_object_scene
    from kyvo_ros.scene import CameraView

    seed, count, canonical = args.seed or 0, args.count or _SCENES, pipeline.canonical
    settings, rng = _settings(pipeline.schema), np.random.default_rng(seed)
    made = (sample_object_scene(rng, canonical.intrinsics(), canonical.nominal_plane(), settings, "instances")
            for _ in range(count))
    return ((scene, CameraView(canonical.intrinsics(), scene.camera)) for scene in made), count, {"seed": seed}


def _given(args: argparse.Namespace, schema: SceneSchema
           ) -> tuple[Iterator[tuple[ObjectScene, CameraView]], int, dict[str, str]]:
    """As `_drawn`, of a folder. Raises UsageError where the model has no word for an object, ObjectFolderError."""
    from kyvo_ros.data.object_folders import read_object_folder

    if args.seed is not None:
        raise UsageError("--seed is of scenes that are drawn; leave it out with --scenes")
    known, pictures = set(_settings(schema).names), read_object_folder(args.scenes)[:args.count]
    for picture in pictures:
        unknown = sorted({record["asset"] for record in picture.records} - known)
        if unknown:
            raise UsageError(f"{picture.image_path} shows {', '.join(unknown)}, which the model does not know; it "
                             f"knows {', '.join(sorted(known))}")
    return ((item.load(), item.view) for item in pictures), len(pictures), {"data": str(args.scenes)}


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


def _drawn_again(pipeline: KyvoPipeline, made: ObjectScene, view: CameraView, effort: str | None
                 ) -> tuple[np.ndarray, dict[float, float]]:
    """What the model draws for a true scene, and the Jaccard indices between the scene and what it recognises there."""
    from kyvo_ros.evaluation.jaccard import jaccard_index
    from kyvo_ros.evaluation.object_scores import TAUS_M
    from kyvo_ros.model.shapes import default_effort
    from kyvo_ros.scene import CameraView

    drawing, lens = pipeline.render(made.scene, view.plane), pipeline.lens(view.plane).intrinsics()
    seen = pipeline.recognize(drawing, CameraView(lens, view.plane), effort=effort or default_effort("parallel"))
    return drawing, {tau: jaccard_index(seen, made.scene, tau) for tau in TAUS_M}


def _surfaces(scene: Scene, outer: bool = False) -> list[Surface | None]:
    """Of each object with a mesh; with `outer`, without what lies within it."""
    import numpy as np

    from kyvo_ros.autoencoders.slats import CubeFrame
    from kyvo_ros.commands.shape_scores import outer_points
    from kyvo_ros.evaluation.object_scores import Surface

    rng, surfaces = np.random.default_rng(0), []
    for mesh in (item.mesh for item in scene.objects):
        if mesh is None:
            surfaces.append(None)
            continue
        points, _, colors = (outer_points(mesh, CubeFrame.around(mesh.bounds), rng, _POINTS_AN_OBJECT) if outer
                             else mesh.sample(_POINTS_AN_OBJECT, rng))
        surfaces.append(Surface(points, colors))
    return surfaces


def _write_sheet(path: Path, shown: list[tuple[ObjectScene, Scene, np.ndarray | None]]) -> None:
    """A row a scene: the picture, the drawing where there is one, the true meshes, the reconstructed ones."""
    import numpy as np

    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.data.mesh_pictures import BACKGROUND_RGB, turntable

    pictures, rows = [_fitted(made.image) for made, _, _ in shown], []
    widest = max(_PICTURE_PX, *(picture.shape[1] for picture in pictures))
    blank = np.full((_PICTURE_PX, _PICTURE_PX, 3), BACKGROUND_RGB, np.uint8)
    for picture, (made, found, drawing) in zip(pictures, shown):
        turns = [turntable(scene, 1, _PICTURE_PX) if any(o.mesh is not None for o in scene.objects) else blank
                 for scene in (made.scene, found)]
        cards = [picture] if drawing is None else [picture, _fitted(drawing)]
        rows.append(np.concatenate([*(_on_card(card, widest) for card in cards), *turns], axis=1))
    write_rgb(path, np.concatenate(rows))


def _on_card(picture: np.ndarray, width: int) -> np.ndarray:
    """A picture in the upper left corner of one of _PICTURE_PX x width."""
    import numpy as np

    from kyvo_ros.data.mesh_pictures import BACKGROUND_RGB

    card = np.full((_PICTURE_PX, width, 3), BACKGROUND_RGB, np.uint8)
    card[:picture.shape[0], :picture.shape[1]] = picture
    return card


def _fitted(image: np.ndarray) -> np.ndarray:
    """An image that is no higher than a picture of a sheet."""
    import cv2

    height, width = image.shape[:2]
    if height <= _PICTURE_PX:
        return image
    return cv2.resize(image, (round(width * _PICTURE_PX / height), _PICTURE_PX), interpolation=cv2.INTER_AREA)
