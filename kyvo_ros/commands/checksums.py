"""`kyvo checksums`: the manifest of a model folder, written anew after its files were changed on purpose."""

from __future__ import annotations

import argparse
from pathlib import Path

from kyvo_ros.commands.common import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo checksums`."""
    parser.description = "Write SHA256SUMS of a model folder anew, and print it. Loading compares the files with it."
    parser.add_argument("folder", type=Path)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo checksums`; returns the exit code. Raises UsageError."""
    from kyvo_ros.model.checksums import MANIFEST, write_checksums
    from kyvo_ros.model.files import CONFIG, LISTED_FILES

    if not (args.folder / CONFIG).is_file():
        raise UsageError(f"{args.folder} is no model folder: it has no {CONFIG}")
    write_checksums(args.folder, LISTED_FILES)
    print((args.folder / MANIFEST).read_text(encoding="utf-8"), end="")
    return 0
