"""`kyvo assets`: objects of the procedural library, as a contact sheet and as mesh files."""

from __future__ import annotations

import argparse
from pathlib import Path

from kyvo_ros.commands.common import UsageError, check_counts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo assets`."""
    parser.description = "Show or write objects of the procedural library that shapes are trained on."
    parser.add_argument("--categories", nargs="+", metavar="NAME", help="of these categories (default: all)")
    parser.add_argument("--count", type=int, default=2, metavar="N", help="of each category (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="first instance (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write a picture of them all")
    parser.add_argument("--columns", type=int, default=12, metavar="N", help="of the picture (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, metavar="PX", help="of each object (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write NAME_INDEX.glb files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo assets`; returns the exit code. Raises UsageError, AssetError, MeshError, ImageFileError."""
    from tqdm import tqdm

    from kyvo_ros.data.assets import CATEGORIES, HELD_OUT_CATEGORIES, make_asset
    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.data.mesh_files import write_mesh
    from kyvo_ros.data.mesh_pictures import mesh_picture, sheet

    check_counts(args, "count", "columns", "size")
    if args.first < 0:
        raise UsageError(f"--first must not be negative, got {args.first}")
    pictures, labels = [], []
    chosen = [(name, args.first + i) for name in args.categories or CATEGORIES for i in range(args.count)]
    for name, index in tqdm(chosen if args.sheet or args.out else [], desc="objects", disable=None):
        mesh = make_asset(name, index)
        if args.sheet:
            pictures.append(mesh_picture(mesh, args.size))
            labels.append(name)
        if args.out:
            write_mesh(args.out / f"{name}_{index}.glb", mesh)
    if args.sheet:
        write_rgb(args.sheet, sheet(pictures, args.columns, labels))
    written = [*([f"{len(chosen)} meshes in {args.out}"] if args.out else []), *([str(args.sheet)] if args.sheet else [])]
    print(f"written: {', '.join(written)}" if written else f"categories: {', '.join(CATEGORIES)}")
    print(f"{len(CATEGORIES)} categories, {len(HELD_OUT_CATEGORIES)} of them held out of training: "
          f"{', '.join(HELD_OUT_CATEGORIES)}")
    return 0
