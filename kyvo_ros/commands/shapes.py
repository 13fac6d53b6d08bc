"""`kyvo tokenize` and `kyvo detokenize`: a mesh as codes of a shape tokenizer in a JSON file, and back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import UsageError, write_text

if TYPE_CHECKING:
    import torch

    from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
    from kyvo_ros.autoencoders.slats import CubeFrame

FORMAT = "kyvo_ros shape 1"


def add_tokenize_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo tokenize`."""
    parser.description = "Write the codes of a mesh file (any that trimesh reads), with its place and size, as JSON."
    parser.add_argument("mesh", type=Path, metavar="MESH")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="file to write")
    add_tokenizer_options(parser)
    parser.set_defaults(run=tokenize)


def add_detokenize_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo detokenize`."""
    parser.description = "Write the mesh of a file that `kyvo tokenize` wrote, by the same shape tokenizer."
    parser.add_argument("tokens", type=Path, metavar="JSON")
    parser.add_argument("--out", type=Path, required=True, metavar="MESH", help="file to write: .glb, .ply, .obj, .stl")
    add_tokenizer_options(parser)
    parser.set_defaults(run=detokenize)


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    """Which shape tokenizer runs, and on what."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of the shape tokenizer, as `kyvo train "
                        "shapes` writes it (default: the one that ships with the package)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")


def open_tokenizer(args: argparse.Namespace) -> tuple[str, ShapeTokenizer, torch.device]:
    """Name and tokenizer of these options, and its device. Raises ModelFolderError, DeviceError."""
    from kyvo_ros.model.folder import load_shape_tokenizer
    from kyvo_ros.pipeline import SHIPPED_SHAPES, choose_device, shipped_model

    device = choose_device(args.device)
    return *load_shape_tokenizer(args.model or shipped_model(SHIPPED_SHAPES), device), device


def tokenize(args: argparse.Namespace) -> int:
    """Run `kyvo tokenize`; returns the exit code. Raises MeshError, ModelFolderError, DeviceError."""
    import torch

    from kyvo_ros.autoencoders.slat_encoding import encode_slat
    from kyvo_ros.autoencoders.slats import to_grid
    from kyvo_ros.data.mesh_files import read_mesh

    name, tokenizer, device = open_tokenizer(args)
    slat = encode_slat(read_mesh(args.mesh), tokenizer.config.resolution)
    codes = tokenizer.encode(torch.as_tensor(to_grid(slat))[None].to(device))[0].tolist()
    record = {"format": FORMAT, "model": name, "center_m": slat.frame.center_m, "edge_m": slat.frame.edge_m,
              "codes": codes}
    write_text(args.out, json.dumps(record) + "\n")
    print(f"{args.mesh}: {len(codes)} codes, {len(set(codes))} different, written to {args.out}")
    return 0


def detokenize(args: argparse.Namespace) -> int:
    """Run `kyvo detokenize`; returns the exit code.

    Raises UsageError, SlatError, MeshError, ModelFolderError, DeviceError.
    """
    import torch

    from kyvo_ros.autoencoders.slat_meshing import mesh_of_grid
    from kyvo_ros.data.mesh_files import write_mesh

    model, codes, frame = _read_tokens(args.tokens)
    name, tokenizer, device = open_tokenizer(args)
    if name != model:
        raise UsageError(f"{args.tokens} holds codes of {model!r}, and this tokenizer is {name!r}; codes of one "
                         "mean nothing to another; name the right one with --model")
    grid = tokenizer.decode(torch.tensor([codes], device=device))[0].cpu().numpy()
    mesh = mesh_of_grid(grid, frame)
    write_mesh(args.out, mesh)
    print(f"{args.tokens}: {len(mesh.faces)} triangles, written to {args.out}")
    return 0


def _read_tokens(path: Path) -> tuple[str, list[int], CubeFrame]:
    """Name of the tokenizer, codes, and where the cube stands. Raises UsageError."""
    from kyvo_ros.autoencoders.slats import CubeFrame

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}, expected {FORMAT!r}")
        codes = record["codes"]
        if not isinstance(codes, list) or not all(type(code) is int for code in codes):
            raise ValueError("codes must be a list of whole numbers")
        return str(record["model"]), codes, CubeFrame(tuple(record["center_m"]), float(record["edge_m"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} holds no codes as `kyvo tokenize` writes them: {error!r}") from error
