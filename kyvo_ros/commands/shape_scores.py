"""`kyvo evaluate shapes`: what a shape tokenizer keeps of objects that it has not seen.

Two groups, held-out instances and held-out categories; three columns each: through the codes, through the unquantised
latents (what a better codebook could reach), and through the slat alone (what any network could). With baselines, two
more that hold as many bytes as the codes: voxels, and simplified meshes compressed by Draco (`shape_baselines`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import check_counts, write_text
from kyvo_ros.commands.shapes import add_tokenizer_options, open_tokenizer

if TYPE_CHECKING:
    import numpy as np
    import torch

    from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
    from kyvo_ros.autoencoders.slats import CubeFrame, Slat
    from kyvo_ros.scene.mesh import Mesh

GROUPS = ("instances", "categories")
VARIANTS = ("codes", "unquantised", "slat")
BASELINES = ("voxels", "draco")
_POINTS = 20_000
_VIEWS = 4
_PICTURE_PX = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate shapes`."""
    parser.description = (
        "Score a shape tokenizer on objects of the library that were held out of training: Chamfer distance and "
        "F-scores against the diagonal of the bounding box, volume IoU, normal consistency, PSNR and SSIM of views.")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="objects a group (default: %(default)s)")
    parser.add_argument("--baselines", action="store_true", help="also what voxels and meshes of as many bytes hold "
                        "(Draco needs the packages DracoPy and fast-simplification)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write pictures: truth left, through the codes right")
    add_tokenizer_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate shapes`; returns the exit code. Raises UsageError, ModelFolderError, DeviceError."""
    from kyvo_ros.commands.shape_baselines import code_bytes

    check_counts(args, "count")
    name, tokenizer, device = open_tokenizer(args)
    report, pairs, used = score(tokenizer, device, args.count, _baselines() if args.baselines else ())
    usage, most_bytes = len(used) / tokenizer.config.codebook_size, code_bytes(tokenizer.config)
    print(f"{name}: {args.count} objects a group, {most_bytes} bytes a shape, {len(used)} codes used ({usage:.0%})\n\n"
          f"{score_table(report)}")
    if args.json:
        document = {"model": name, "objects_a_group": args.count, "codes_used": len(used), "code_usage": usage,
                    "bytes_a_shape": most_bytes}
        write_text(args.json, json.dumps({**document, **report}, indent=1, allow_nan=False) + "\n")
    if args.sheet:
        _write_sheet(args.sheet, pairs)
    return 0


def score(tokenizer: ShapeTokenizer, device: torch.device, count: int, baselines: tuple[str, ...] = ()
          ) -> tuple[dict[str, dict[str, dict[str, float]]], list[tuple[Mesh, Mesh | None]], set[int]]:
    """Scores by group and column on so many objects a group; pairs of the truth and what came through the codes; and
    the codes used.
    """
    from tqdm import tqdm

    from kyvo_ros.autoencoders.slat_encoding import encode_slat
    from kyvo_ros.commands.shape_baselines import code_bytes
    from kyvo_ros.data.assets import assets, make_asset

    report, pairs, used, most_bytes = {}, [], set(), code_bytes(tokenizer.config)
    for group in GROUPS:
        rows = {variant: [] for variant in (*VARIANTS, *baselines)}
        for category, index in tqdm(list(assets(group, count)), desc=group, unit="object", disable=None):
            truth = make_asset(category, index)
            slat = encode_slat(truth, tokenizer.config.resolution)
            grids, codes = _grids(tokenizer, slat, device)
            used |= set(codes)
            meshes = {variant: _mesh(grid, slat.frame) for variant, grid in grids.items()}
            for variant, mesh in meshes.items():
                views = _view_scores(grids[variant], grids["slat"])
                rows[variant].append({**_scores(mesh, truth, slat.frame), **views})
            for variant in baselines:
                rows[variant].append(_scores(_baseline(variant, truth, meshes["slat"], most_bytes), truth, slat.frame))
            pairs.append((truth, meshes["codes"]))
        report[group] = {variant: _means(part) for variant, part in rows.items()}
    return report, pairs, used


def _baselines() -> tuple[str, ...]:
    """Those that can be made here."""
    from kyvo_ros.commands.shape_baselines import draco_is_here

    if draco_is_here():
        return BASELINES
    print("without the column draco: the packages DracoPy and fast-simplification are not installed", file=sys.stderr)
    return BASELINES[:1]


def _baseline(variant: str, truth: Mesh, outer: Mesh, most_bytes: int) -> Mesh | None:
    """`outer` is the truth without the surfaces within it, which Draco need not hold."""
    from kyvo_ros.commands.shape_baselines import through_draco, through_voxels

    return through_voxels(truth, most_bytes) if variant == "voxels" else through_draco(outer, most_bytes)


def _grids(tokenizer: ShapeTokenizer, slat: Slat, device: torch.device) -> tuple[dict[str, np.ndarray], list[int]]:
    """Feature grids by variant, and the codes."""
    import torch

    from kyvo_ros.autoencoders.slats import to_grid

    grid = torch.as_tensor(to_grid(slat))[None].to(device)
    with torch.no_grad():
        codes = tokenizer.encode(grid)
        blocks, kinds = tokenizer.split(grid)
        free = tokenizer.assemble(tokenizer(blocks, kinds, quantise=False)[0], kinds)
        made = {"codes": tokenizer.decode(codes), "unquantised": free, "slat": grid}
    return {name: value[0].cpu().numpy() for name, value in made.items()}, codes[0].tolist()


def _mesh(grid: np.ndarray, frame: CubeFrame) -> Mesh | None:
    """The mesh of a grid; None where nothing is inside."""
    from kyvo_ros.autoencoders.slat_meshing import mesh_of_grid

    return mesh_of_grid(grid, frame) if (grid[0] < 0).any() else None


def _scores(mesh: Mesh | None, truth: Mesh, frame: CubeFrame) -> dict[str, float]:
    """Scores of surfaces and volumes. A mesh that is not there counts as a point at the cube's centre."""
    import numpy as np

    from kyvo_ros.autoencoders.slat_encoding import occupancy
    from kyvo_ros.evaluation.shape_metrics import surface_scores, volume_iou

    rng = np.random.default_rng(0)
    points, normals, _ = outer_points(truth, frame, rng, _POINTS)
    if mesh is None:
        found, found_normals, overlap = np.array([frame.center_m]), np.zeros((1, 3)), 0.0
    else:
        found, found_normals, _ = mesh.sample(_POINTS, rng)
        overlap = volume_iou(occupancy(mesh, frame), occupancy(truth, frame))
    scores = surface_scores(found, found_normals, points, normals, truth.diagonal_m)
    return {"chamfer": scores.chamfer, **{f"f_score_{t:g}": value for t, value in scores.f_scores.items()},
            "volume_iou": overlap, "normal_consistency": scores.normal_consistency}


def outer_points(truth: Mesh, frame: CubeFrame, rng: np.random.Generator, count: int
                 ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3), up to `count`, normals and colours of the truth, without the surfaces that lie within it where its
    parts overlap.
    """
    import numpy as np
    from scipy.ndimage import binary_erosion

    from kyvo_ros.autoencoders.slat_encoding import occupancy

    inside = occupancy(truth, frame)
    points, normals, colors = truth.sample(2 * count, rng)
    voxels = np.round(frame.to_grid(points, len(inside))).astype(int).clip(0, len(inside) - 1)
    outer = ~binary_erosion(inside, np.ones((3, 3, 3)))[tuple(voxels.T)]
    return points[outer][:count], normals[outer][:count], colors[outer][:count]


def _view_scores(grid: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM over views around; equal pictures count as 60 dB."""
    import numpy as np
    import torch

    from kyvo_ros.autoencoders.volume_renderer import RenderSettings, render_shapes, view_directions
    from kyvo_ros.evaluation.image_metrics import psnr, ssim

    angles = torch.arange(_VIEWS) * 2 * torch.pi / _VIEWS
    views = view_directions(angles, torch.full_like(angles, 0.45))
    with torch.no_grad():
        pictures = [render_shapes(torch.as_tensor(g)[None].expand(_VIEWS, *g.shape), views, RenderSettings(_PICTURE_PX))
                    .permute(0, 2, 3, 1).numpy() for g in (grid, truth)]
    pairs = list(zip(*pictures))
    return {"psnr_db": float(np.mean([min(60.0, psnr(a, b)) for a, b in pairs])),
            "ssim": float(np.mean([ssim(a, b) for a, b in pairs]))}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def score_table(report: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row a score, a column a group and what shapes came through; `-` where there is no such score."""
    columns = [(f"{group[:4]}. {variant}", scores) for group, variants in report.items()
               for variant, scores in variants.items()]
    lines = [f"{'':<20}" + "".join(f"{name:>19}" for name, _ in columns)]
    lines += [f"{score:<20}" + "".join(f"{scores[score]:>19.4f}" if score in scores else f"{'-':>19}"
                                       for _, scores in columns) for score in columns[0][1]]
    return "\n".join(lines)


def _write_sheet(path: Path, pairs: list[tuple[Mesh, Mesh | None]]) -> None:
    import numpy as np

    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.data.mesh_pictures import BACKGROUND_RGB, mesh_picture, sheet

    blank = np.full((96, 96, 3), BACKGROUND_RGB, np.uint8)
    write_rgb(path, sheet([blank if mesh is None else mesh_picture(mesh) for pair in pairs for mesh in pair], 12))
