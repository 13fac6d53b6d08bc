"""What whole objects cost: shapes written in sequence order against parallel rows, and meshes in and out.

    python3 benchmarks/shapes.py [--model models/objects-nano | --random] [--objects 5] [--json FILE]

An image of library objects goes through `KyvoPipeline.reconstruct` in both orders, in turn, round by round, so that a
busy machine is busy for both. A random model (--random) has the sizes of recipes/objects-nano.yaml and fills every
scene with --objects objects; its meshes are noise, which takes marching cubes longer than real ones. Beside it: a mesh
of about 100,000 triangles to codes. What the parallel order costs in quality, `kyvo evaluate objects --order` says.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from generation import never_end

from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.autoencoders.shape_meshes import encode_meshes
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.data.assets import make_asset
from kyvo_ros.data.object_scenes import ObjectSettings, objects_schema, sample_object_scene
from kyvo_ros.model import Decoder, DecoderConfig, ModelBundle, load_model
from kyvo_ros.model.shapes import ORDERS
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import CameraView
from kyvo_ros.scene.mesh import Mesh
from kyvo_ros.tokens import LANGUAGE_WORDS, SceneGrammar, Vocabulary, train_text_tokenizer
from kyvo_ros.training.recipe import load_recipe

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "objects-nano.yaml"
TRIANGLES = 100_000


def random_model(objects: int) -> ModelBundle:
    """A model of the recipe's sizes that has learned nothing and fills every scene with `objects` objects."""
    torch.manual_seed(0)
    recipe, shape_config = load_recipe(RECIPE), ShapeTokenizerConfig()
    schema = objects_schema(replace(recipe.objects, min_objects=1, max_objects=objects), shape_config.length)
    text = train_text_tokenizer([], [*schema.vocabulary_words(), *LANGUAGE_WORDS])
    tokenizer = ImageTokenizer(recipe.tokenizer).eval()
    vocabulary = Vocabulary.small(recipe.tokenizer.codebook_size, shape_config.codebook_size)
    cells = tokenizer.grid[0] * tokenizer.grid[1]
    config = DecoderConfig(vocabulary, **vars(recipe.sizes), code_dim=recipe.tokenizer.code_dim,
                           image_grid=tokenizer.grid, shape_length=shape_config.length,
                           max_length=cells + 8 + SceneGrammar(vocabulary, text, schema).max_length)
    decoder = Decoder(config, tokenizer.codebook).eval()
    never_end(decoder)
    return ModelBundle("random", vocabulary, schema, text, decoder, tokenizer, recipe.canonical,
                       tasks=("I->3", "I->S"), shape_tokenizer=ShapeTokenizer(shape_config).eval())


def large_mesh() -> Mesh:
    """An asset whose triangles are divided until more would be over TRIANGLES."""
    asset = make_asset("mug", 0)
    vertices, faces = asset.vertices, asset.faces
    while 4 * len(faces) <= TRIANGLES:
        vertices, faces = trimesh.remesh.subdivide(vertices, faces)
    return Mesh(vertices, faces, np.full(vertices.shape, 128))


def report(args: argparse.Namespace) -> dict:
    """Run the benchmark and put its numbers together."""
    bundle = random_model(args.objects) if args.random else load_model(args.model)
    pipeline = KyvoPipeline(bundle, args.device, args.threads)
    camera = bundle.canonical
    made = sample_object_scene(np.random.default_rng(args.seed), camera.intrinsics(), camera.nominal_plane(),
                               ObjectSettings(min_objects=args.objects, max_objects=args.objects))
    view, stages, found = CameraView(camera.intrinsics(), made.camera), defaultdict(list), {}
    for _ in range(args.rounds + 1):
        for order in ORDERS:
            found[order] = len(pipeline.reconstruct(made.image, view, order=order))
            stages[order].append(dict(pipeline.last_timings_s))
    mesh, seconds = large_mesh(), []
    for _ in range(args.rounds + 1):
        start = time.perf_counter()
        encode_meshes(bundle.shape_tokenizer, [mesh])
        seconds.append(time.perf_counter() - start)
    rows = {order: {"objects": found[order], **{
        name: min(row[name] for row in rounds[1:]) for name in rounds[0]}} for order, rounds in stages.items()}
    for order, rounds in stages.items():
        rows[order]["median_total"] = statistics.median(sum(row.values()) for row in rounds[1:])
    return {"model": bundle.name, "torch": torch.__version__, "threads": torch.get_num_threads(),
            "rounds": args.rounds, "seconds": rows,
            "encode": {"triangles": len(mesh.faces), "fastest_s": min(seconds[1:])}}


def table(numbers: dict) -> str:
    """The numbers for people."""
    stages = [name for name in next(iter(numbers["seconds"].values())) if name not in ("objects", "median_total")]
    lines = [f"model {numbers['model']}, torch {numbers['torch']}, {numbers['threads']} threads, {numbers['rounds']} "
             "rounds; fastest seconds a stage, median of the sum",
             f"{'order':<10}{'objects':>8}" + "".join(f"{name:>10}" for name in stages) + f"{'sum':>10}"]
    lines += [f"{order:<10}{row['objects']:>8}" + "".join(f"{row[name]:>10.3f}" for name in stages)
              + f"{row['median_total']:>10.3f}" for order, row in numbers["seconds"].items()]
    encode = numbers["encode"]
    return "\n".join([*lines, f"a mesh of {encode['triangles']} triangles to codes: {encode['fastest_s']:.2f} s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path, help="model folder that offers I->S")
    which.add_argument("--random", action="store_true", help="a random model of the recipe's sizes instead")
    parser.add_argument("--objects", type=int, default=5, help="in the image (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    numbers = report(args)
    print(table(numbers))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
