"""Whether images of several cameras are computed faster together than one by one, on this machine.

    python benchmarks/batches.py [--model DIR] [--device cpu] [--threads N] [--sizes 1 2 4 8] [--repeats 10]
        [--json FILE]

The demo's images go through `KyvoPipeline.recognize_batch` in batches of each size, sizes in turn so that a change of
the machine's speed meets all of them; medians over the repeats. Wall time is what a quiet machine shows; CPU time of
the process is nearly the same on a busy one. What is best is a value for the node's parameter `batch`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from node import cpu_name  # noqa: E402

WARM_UP_BATCHES = 2


def demo_images() -> list[np.ndarray]:
    """The images of the demo's recording, (H, W, 3) uint8 RGB."""
    from kyvo_ros.ros.conversions.images import image_from_compressed_msg
    from kyvo_ros.ros.offline.bags import IMAGE, Bag, choose_topics
    from kyvo_ros.ros.resources import resource_path
    with Bag(Path(resource_path("demo/recording"))) as bag:
        heard = bag.heard(choose_topics(bag.types()))
        return [image_from_compressed_msg(item.message) for item in heard if item.kind == IMAGE]


def measure(pipeline: Any, images: list[np.ndarray], sizes: list[int], repeats: int) -> dict[int, tuple[float, float]]:
    """Milliseconds an image by size: wall time and CPU time, medians."""
    taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for repeat in range(-WARM_UP_BATCHES, repeats):
        for size in sizes:
            batch = [images[(repeat + i) % len(images)] for i in range(size)]
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            pipeline.recognize_batch(batch)
            if repeat >= 0:
                taken[size].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    return {size: tuple(1000 * np.median(seconds, axis=0) / size) for size, seconds in taken.items()}


def main() -> None:
    from kyvo_ros.pipeline import KyvoPipeline
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model folder (default: the shipped one)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model, 0: the pipeline's choice")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8], help="images in a batch")
    parser.add_argument("--repeats", type=int, default=10, help="batches of each size")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    pipeline = KyvoPipeline.from_pretrained(given.model or None, given.device, given.threads or None)
    figures = measure(pipeline, demo_images(), given.sizes, given.repeats)
    print(f"{cpu_name()}, device {pipeline.device}, model {pipeline.name}, medians of {given.repeats} batches")
    print("images in a batch    ms an image    CPU ms an image")
    for size, (wall_ms, cpu_ms) in figures.items():
        print(f"{size:17d} {wall_ms:14.1f} {cpu_ms:18.1f}")
    if given.json:
        named = {size: {"wall_ms": wall_ms, "cpu_ms": cpu_ms} for size, (wall_ms, cpu_ms) in figures.items()}
        given.json.write_text(json.dumps(named) + "\n")


if __name__ == "__main__":
    main()
