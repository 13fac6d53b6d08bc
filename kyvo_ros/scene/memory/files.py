"""Paths of files below one folder."""

from __future__ import annotations

from pathlib import Path


class PathError(ValueError):
    """A path leads out of the folder, or names no file in it."""


def path_below(folder: str | Path, name: str) -> Path:
    """The absolute path of the file `name` below `folder`, links followed. Raises PathError where it is not there."""
    root = Path(folder).resolve()
    try:
        path = (root / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a zero byte, a name too long, links in a circle
        raise PathError(f"{name!r} is not the name of a file: {error}") from error
    if not name or Path(name).is_absolute() or path == root or not path.is_relative_to(root):
        raise PathError(f"expected the name of a file below {root}, such as kitchen.json, got {name!r}")
    return path
