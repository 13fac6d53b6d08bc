"""Where the package's files lie: beside the source, or in share/kyvo_ros where it is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def resource_path(relative: str) -> Path:
    """A file or folder of the package, such as `config/kyvo_node.yaml`.

    Raises FileNotFoundError with the places where it was looked for.
    """
    source = Path(__file__).resolve().parents[2]
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    places = [source / relative, *(Path(prefix) / "share" / "kyvo_ros" / relative for prefix in prefixes if prefix)]
    for place in places:
        if place.exists():
            return place
    tried = ", ".join(map(str, places))
    raise FileNotFoundError(f"{relative} of kyvo_ros is at none of {tried}; build or install again")
