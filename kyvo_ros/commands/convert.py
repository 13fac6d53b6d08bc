"""`kyvo convert`: checkpoints of the published Kyvo code to model folders and back, and a start from Llama."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import UsageError, check_counts

if TYPE_CHECKING:
    from kyvo_ros.model.folder import Sight

#: As those of `kyvo_ros.model.published`, which needs torch; a test compares them.
LAYOUTS = ("clevr", "objectron")
HEADS = 32
MAX_LENGTH = 4096
TASKS = ("I->3", "3->I", "I+3+Q->A", "3+I+Q->A")
#: As `kyvo_ros.model.config.NUMBER_EMBEDDINGS` and `kyvo_ros.tokens.published_sequences.DRAWN_ORDER`, likewise.
NUMBER_EMBEDDINGS = ("both", "learned", "fixed")
DRAWN_ORDER = "alternating"
_DRAWING = "3->I"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo convert`."""
    parser.description = (
        "Turn a checkpoint of the published Kyvo code into a model folder, or such a folder back into a checkpoint; or "
        "make a decoder to be trained that starts from Llama's weights. Files are read without running any code in "
        "them.")
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from-published", type=Path, metavar="FILE", help="meta_model_N.pt to read")
    direction.add_argument("--from-llama", type=Path, metavar="DIR", help="Llama 3.2 as downloaded, from Hugging Face "
                           "(config.json, *.safetensors) or Meta (params.json, consolidated.00.pth)")
    direction.add_argument("--to-published", type=Path, metavar="DIR", help="model folder to read")
    parser.add_argument("--out", type=Path, required=True, help="model folder, or checkpoint file, to write")
    target = parser.add_argument_group("with --to-published")
    target.add_argument("--codebook-out", type=Path, metavar="NPY", help="write the codebook too")
    target.add_argument("--vqgan-out", type=Path, metavar="FILE", help="write the image tokenizer too, as a checkpoint "
                        "of taming-transformers")
    source = parser.add_argument_group("with --from-published and --from-llama")
    source.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0], help="ids of CLEVR and ObjaWorld, or those of "
                        "Omni3D-Objectron (default: %(default)s)")
    source.add_argument("--codebook", type=Path, metavar="NPY", help="codebook of the image tokenizer: needed from "
                        "Llama; a published checkpoint holds a copy, which is compared with it")
    source.add_argument("--tokenizer", type=Path, metavar="DIR", help="folder with Llama's tokenizer.json, to copy")
    source.add_argument("--heads", type=int, default=HEADS, metavar="N", help="query heads, which a published file "
                        "does not tell (default: %(default)s, Llama-3.2-1B)")
    source.add_argument("--max-length", type=int, default=MAX_LENGTH, metavar="N", help="longest sequence in tokens "
                        "(default: %(default)s)")
    source.add_argument("--seed", type=int, default=0, help="of the rows that Llama lacks (default: %(default)s)")
    source.add_argument("--number-embedding", choices=NUMBER_EMBEDDINGS, default=NUMBER_EMBEDDINGS[0], help="of a "
                        "start from Llama: learned rows, fixed features, or their sum; a published checkpoint tells "
                        "its own (default: %(default)s)")
    sight = parser.add_argument_group("with --from-published, for a model that sees or draws (needs --tokenizer)")
    sight.add_argument("--vqgan", type=Path, metavar="FILE", help="image tokenizer, a taming-transformers checkpoint")
    sight.add_argument("--vqgan-config", type=Path, metavar="YAML", help="its configuration (...-project.yaml)")
    sight.add_argument("--names", nargs="+", default=[], metavar="NAME", help="what ObjaWorld calls its shapes or "
                       "Objectron its categories; none: CLEVR's objects")
    sight.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", help="what it was trained for: I->3 to "
                       "see, 3->I to draw, I+3+Q->A or 3+I+Q->A to answer (default: I->3)")
    sight.add_argument("--image-order", choices=("raster", DRAWN_ORDER), help="in which it draws images; alternating "
                       "is the published reorder_image_tokens (default: alternating for a model that only draws, as in "
                       "the published configurations)")
    sight.add_argument("--image-size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"), help="of "
                       "the images that the model was trained on, before they were stretched to a square, seen "
                       "through CLEVR's lens (default: 320 240)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo convert`; returns the exit code. Raises UsageError, PublishedCheckpointError, ModelFolderError."""
    from kyvo_ros.model import checkpoint

    check_counts(args, "heads", "max_length")
    _check_options(args)
    if args.to_published:
        checkpoint.to_published(args.to_published, args.out, codebook=args.codebook_out, vqgan=args.vqgan_out)
    elif args.from_llama:
        _start_from_llama(args)
    else:
        checkpoint.from_published(args.from_published, args.layout, args.out, codebook=args.codebook,
                                  tokenizer=args.tokenizer, heads=args.heads, max_length=args.max_length,
                                  image_order=_image_order(args), sight=_sight(args))
    print(f"written to {args.out}")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Raises UsageError for options of another direction, which would go unheard."""
    if args.from_published is None and (args.vqgan or args.vqgan_config):
        raise UsageError("--vqgan belongs to --from-published; train the decoder first")
    if args.to_published is None and (args.codebook_out or args.vqgan_out):
        raise UsageError("--codebook-out and --vqgan-out belong to --to-published")
    if args.vqgan is None and (args.tasks or args.image_order):
        raise UsageError("--tasks and --image-order say what a model that sees or draws can do; give its image "
                         "tokenizer too (--vqgan, --vqgan-config)")


def _image_order(args: argparse.Namespace) -> str:
    """That of the published configurations, unless it is stated.

    Raises UsageError for a model that would read images in another order than row by row.
    """
    sees = set(args.tasks or TASKS) != {_DRAWING}
    if sees and args.image_order == DRAWN_ORDER:
        raise UsageError("the published code reorders the images that a model sees together with those that it draws; "
                         "a model that sees them reordered is not supported. Train without reorder_image_tokens")
    return args.image_order or ("raster" if sees else DRAWN_ORDER)


def _sight(args: argparse.Namespace) -> Sight | None:
    from kyvo_ros.model import checkpoint
    from kyvo_ros.model.folder import Sight
    from kyvo_ros.model.published_sight import published_schema, stretched_camera

    if args.vqgan is None and args.vqgan_config is None:
        return None
    if args.vqgan is None or args.vqgan_config is None:
        raise checkpoint.PublishedCheckpointError("--vqgan and --vqgan-config belong together; give both")
    tokenizer = checkpoint.read_vqgan(args.vqgan, args.vqgan_config)
    camera = stretched_camera(tokenizer.config.resolution, tuple(args.image_size))
    return Sight(published_schema(args.layout, args.names), tokenizer, camera, tuple(args.tasks or TASKS[:1]))


def _start_from_llama(args: argparse.Namespace) -> None:
    from kyvo_ros.model import checkpoint
    from kyvo_ros.model.folder import save_converted
    from kyvo_ros.model.llama_start import llama_start

    if args.codebook is None:
        raise checkpoint.PublishedCheckpointError("--from-llama needs --codebook, the codebook of the image tokenizer")
    config, weights = llama_start(args.from_llama, args.layout, checkpoint.read_codebook(args.codebook),
                                  max_length=args.max_length, seed=args.seed,
                                  number_embedding=args.number_embedding)
    save_converted(args.out, args.out.name, config, weights, checkpoint.read_tokenizer(args.tokenizer, config))
