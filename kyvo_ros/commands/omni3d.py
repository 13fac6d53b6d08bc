"""`kyvo omni3d`: data in Omni3D's format, written by the ray caster, turned into tokens, and read by a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kyvo_ros.commands.common import UsageError

_BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands of `kyvo omni3d`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    write = commands.add_parser("write", help="a synthetic data set: images, cameras and 3D boxes in metres")
    write.add_argument("--out", type=Path, required=True, metavar="DIR")
    write.add_argument("--split", default="train", help="name of the part (default: %(default)s)")
    write.add_argument("--scenes", type=int, default=100, metavar="N", help="images (default: %(default)s)")
    write.add_argument("--seed", type=int, default=0, help="decides everything (default: %(default)s)")
    write.set_defaults(run=_write)
    for name, run, about in (("tokenize", _tokenize, "published pre-tokenised JSON, to train on"),
                             ("predict", _predict, "scenes that a model sees, for `kyvo evaluate published`")):
        command = commands.add_parser(name, help=about)
        command.add_argument("--json", type=Path, required=True, metavar="FILE", help="Omni3D's, such as "
                             "Objectron_train.json")
        command.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of all images")
        command.add_argument("--model", type=Path, required=True, metavar="DIR", help="converted model folder")
        command.add_argument("--out", type=Path, required=True, help="folder to write" if name == "tokenize"
                             else "JSON file to write")
        command.set_defaults(run=run)


def _write(args: argparse.Namespace) -> int:
    from kyvo_ros.data.omni3d_synthetic import write_omni3d

    if args.scenes < 1:
        raise ValueError(f"--scenes must be positive, got {args.scenes}")
    print(f"written to {write_omni3d(args.out, args.split, args.scenes, args.seed)}")
    return 0


def _tokenize(args: argparse.Namespace) -> int:
    from kyvo_ros.data.omni3d import read_omni3d
    from kyvo_ros.model.folder import load_model
    from kyvo_ros.training.tokenising import tokenise_omni3d

    samples = read_omni3d(args.json, args.images)
    print("written to", *tokenise_omni3d(samples, load_model(args.model, dtype="auto"), args.out))
    return 0


def _predict(args: argparse.Namespace) -> int:
    import torch

    from kyvo_ros.data.omni3d import read_omni3d
    from kyvo_ros.model.folder import load_model
    from kyvo_ros.model.generation import generate
    from kyvo_ros.model.inference import CachedDecoder
    from kyvo_ros.model.precision import is_large
    from kyvo_ros.training.tokenising import codes_of

    bundle, samples, scenes = load_model(args.model, dtype="auto"), read_omni3d(args.json, args.images), []
    if "category" not in {word.name for word in bundle.schema.words}:
        raise UsageError(f"{args.model} names no categories; give a model of Omni3D's objects, such as one that `kyvo "
                         "convert --layout objectron` has written")
    decoder = CachedDecoder(bundle.decoder, shared=is_large(bundle.decoder))
    for start in range(0, len(samples), _BATCH):
        part = samples[start:start + _BATCH]
        codes = codes_of([sample.image() for sample in part], bundle.image_tokenizer)
        prompts = torch.stack([torch.from_numpy(bundle.builder.prompt("I->3", image_codes=c).token_ids) for c in codes])
        for sample, written in zip(part, generate(decoder, prompts, grammar=bundle.grammar)):
            scene = bundle.grammar.decode_scene(written.token_ids)
            objects = [{"category": o.attributes["category"], "center_cam": o.position_m.tolist(),
                        "dimensions": o.size_m.tolist()} for o in scene.objects]
            scenes.append({"key": sample.file_path, "objects": objects})
    args.out.write_text(json.dumps({"scenes": scenes}), encoding="utf-8")
    print(f"written to {args.out}")
    return 0
