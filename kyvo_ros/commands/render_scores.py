"""`kyvo evaluate render`: true scenes drawn, recognised again in the drawings, and compared with the true images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    add_batch_size, add_data_folder, add_effort, add_model_options, add_report_files, add_sampling, check_counts,
    load_pipeline, recognised, write_report,
)

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.evaluation.drawings import DrawingReport
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import CameraView

#: The distance in the captions of the contact sheet.
_SHEET_TAU_M = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate render`."""
    parser.description = (
        "Draw the true scenes of a CLEVR folder, each for its image's camera, and recognise the drawings with the same "
        "model: the Jaccard index between what was asked for and what is seen (cycle). Beside it PSNR, SSIM and L2 "
        "against the true images in the model's own view, and the same for the image tokenizer's reconstructions of "
        "the true images, which say what codes alone lose.")
    add_data_folder(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--metric", choices=("own", "published"), default="own", help="published: also SSIM and L2 of "
                        "grey images, as the published Kyvo script computes them (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write a contact sheet: what was asked for on the "
                        "true image, the true image, the drawing")
    parser.add_argument("--sheet-images", type=int, default=8, metavar="N", help="scenes on it (default: %(default)s)")
    add_sampling(parser)
    add_report_files(parser)
    add_batch_size(parser)
    add_model_options(parser)
    add_effort(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate render`; returns the exit code. Raises UsageError and what loading and drawing raise."""
    from kyvo_ros.autoencoders.canonical import to_canonical
    from kyvo_ros.data.clevr import read_clevr
    from kyvo_ros.evaluation.drawings import DrawingReport, PictureScores
    from kyvo_ros.scene import CameraView

    check_counts(args, "limit", "batch_size", "top_k", "sheet_images")
    pipeline = load_pipeline(args)
    samples = read_clevr(args.data, args.split, pipeline.schema)[:args.limit]
    asked = [sample.scene for sample in samples]
    lenses = [pipeline.lens(sample.view.plane) for sample in samples]
    views = [CameraView(lens.intrinsics(), sample.view.plane) for lens, sample in zip(lenses, samples)]
    truths = [to_canonical(sample.image(), sample.view, lens) for lens, sample in zip(lenses, samples)]
    drawn = _drawn(pipeline, samples, args)
    held = [pipeline.through_codes(sample.image(), sample.view) for sample in samples]
    report = DrawingReport(*(PictureScores.of(
        asked, recognised(pipeline, pictures, views, args.batch_size, args.effort)[0], pictures, truths)
        for pictures in (drawn, held)))
    print(f"{pipeline.name} on {args.data} ({len(samples)} scenes)\n\n{report.markdown()}")
    scores = _published_scores(drawn, truths) if args.metric == "published" else {}
    document = {**report.to_dict(), **scores, "model": pipeline.name, "data": str(args.data), "effort": args.effort,
                "temperature": args.temperature, "top_k": args.top_k, "seed": args.seed}
    write_report(args, document, report.markdown())
    if args.sheet:
        _write_sheet(args.sheet, samples[:args.sheet_images], views, truths, drawn, report)
    return 0


def _drawn(pipeline: KyvoPipeline, samples: list[ClevrSample], args: argparse.Namespace) -> list[np.ndarray]:
    from tqdm import tqdm

    pictures: list[np.ndarray] = []
    for start in tqdm(range(0, len(samples), args.batch_size), desc="drawing", unit="batch", disable=None):
        part = samples[start:start + args.batch_size]
        pictures += list(pipeline.render_batch(
            [s.scene for s in part], [s.view.plane for s in part], temperature=args.temperature, top_k=args.top_k,
            seed=args.seed + start))
    return pictures


def _published_scores(drawn: list[np.ndarray], truths: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Print the published SSIM and L2, means over pictures (H, W, 3) uint8, and return them for the report's JSON."""
    from kyvo_ros.evaluation.published import mean_image_scores

    structural, squared = mean_image_scores(zip(drawn, truths))
    print(f"\npublished SSIM: {structural:.4f}, L2: {squared:.6f}")
    return {"published": {"ssim": structural, "l2": squared}}


def _write_sheet(path: Path, samples: list[ClevrSample], views: list[CameraView], truths: list[np.ndarray],
                 drawn: list[np.ndarray], report: DrawingReport) -> None:
    """A row a scene: what was asked for on the true image, the true image, the drawing."""
    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.drawing import contact_sheet, draw_scene
    from kyvo_ros.scene import Scene

    panels, captions = [], []
    for sample, view, truth, picture, score in zip(
            samples, views, truths, drawn, report.drawings.jaccard[_SHEET_TAU_M]):
        panels += [draw_scene(truth, sample.scene, view), draw_scene(truth, Scene(), view),
                   draw_scene(picture, Scene(), view)]
        captions += [f"{sample.image_path.name}: asked for", "true image",
                     f"drawn: Jaccard {score:.2f} at {_SHEET_TAU_M} m"]
    write_rgb(path, contact_sheet(panels, captions, columns=3))
