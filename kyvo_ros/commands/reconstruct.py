"""`kyvo reconstruct`: the scene that an image shows with the shapes of its objects, as a mesh file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kyvo_ros.commands.common import add_model_options, add_shape_options, check_counts, load_pipeline, write_text
from kyvo_ros.commands.recognize import add_camera_options, camera_view, scene_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo reconstruct`."""
    parser.description = (
        "Write the objects that an image shows as meshes where they stand, in the frame on the support plane (see "
        "`kyvo recognize`). The model must know shapes: its config.json lists the task I->S.")
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write: .glb, .ply, .obj, .stl")
    parser.add_argument("--turntable", type=Path, metavar="PNG", help="write a picture of it from all around")
    parser.add_argument("--views", type=int, default=8, metavar="N", help="of --turntable (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scene as JSON, with codes of shapes")
    add_shape_options(parser)
    add_model_options(parser, "the shipped objects-nano")
    add_camera_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo reconstruct`; returns the exit code. Raises UsageError, MeshError and what reconstructing raises."""
    from kyvo_ros.data.images import read_rgb, write_rgb
    from kyvo_ros.data.mesh_files import write_scene
    from kyvo_ros.data.mesh_pictures import turntable
    from kyvo_ros.scene.records import scene_to_dict

    check_counts(args, "views")
    pipeline, image = load_pipeline(args, shapes=True), read_rgb(args.image)
    scene = pipeline.reconstruct(image, camera_view(args, pipeline, image.shape[1], image.shape[0]), args.scale,
                                 args.order, args.effort)
    seconds = sum(pipeline.last_timings_s.values())
    print(f"{args.image}: {len(scene)} objects, {seconds:.1f} s\n{scene_table(scene)}\n")
    if args.json:
        record = {"image": str(args.image), **scene_to_dict(scene)}
        write_text(args.json, json.dumps({"model": pipeline.name, "scenes": [record]}, indent=1) + "\n")
    count = write_scene(args.out, scene)
    triangles = sum(len(item.mesh.faces) for item in scene.objects if item.mesh is not None)
    print(f"{count} meshes of {triangles} triangles, written to {args.out}")
    if args.turntable:
        write_rgb(args.turntable, turntable(scene, args.views))
    return 0
