"""How long each service of the node takes, request to response over DDS, one after the other on an idle node.

    python tools/on_loopback.py python benchmarks/services.py [--model DIR] [--calls 20] [--json FILE]

The node is a process of its own with one image of the demo received; `recognize` and `ask` with `fresh` see that image
again, `ask`, `edit` and `render` mean the scene that is there. A service that the model was not trained for is named so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from node import ANSWER_LIMIT_S, START_LIMIT_S, Bench, Options, cpu_name, recorded_images  # noqa: E402

from kyvo_ros.machine import cores  # noqa: E402
from kyvo_ros.ros.demo import keep_dds_on_this_computer  # noqa: E402

WARM_UP_CALLS = 3


def requests() -> dict[str, tuple[type, str, Any]]:
    """What is asked, by name: type, service, request."""
    from kyvo_msgs.srv import Ask, Edit, Recognize, Render
    question = "how many metal things are there?"
    return {
        "recognize (newest image)": (Recognize, "recognize", Recognize.Request()),
        "ask (latest scene)": (Ask, "ask", Ask.Request(question=question)),
        "ask (fresh image)": (Ask, "ask", Ask.Request(question=question, fresh=True)),
        "edit (latest scene)": (Edit, "edit", Edit.Request(instruction="remove the large yellow sphere")),
        "render (latest scene)": (Render, "render", Render.Request()),
    }


def time_service(bench: Bench, kind: type, name: str, request: Any, calls: int) -> dict:
    """Milliseconds of the calls, or why there are none."""
    client = bench.node.create_client(kind, name)
    bench.wait(client.service_is_ready, START_LIMIT_S, f"service {name}")
    took_ms = []
    for _ in range(WARM_UP_CALLS + calls):
        start = time.perf_counter()
        future = client.call_async(request)
        bench.wait(future.done, ANSWER_LIMIT_S, f"the response of {name}")
        took_ms.append(1000 * (time.perf_counter() - start))
        response = future.result()
        if not response.success and not getattr(response, "refusal", ""):
            return {"refused": response.message}
    p50, p95 = np.percentile(took_ms[WARM_UP_CALLS:], [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "calls": calls}


def run(model: str, calls: int) -> dict:
    """All services of one node."""
    messages, _, info = recorded_images()
    results = {"cpu": cpu_name(), "cores": cores(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Options(model, parallel=0, threads=0, seconds=0.0, pairs=0, frames=0), Path(scratch) / "node.log")
        try:
            bench.wait(lambda: bench.values.get("model", "none") != "none", START_LIMIT_S, "the model")
            bench.wait(lambda: bench.infos.get_subscription_count() > 0, START_LIMIT_S, "the node's subscription")
            bench.infos.publish(info)
            bench.round_trip_s(messages[-1])
            results["services"] = {name: time_service(bench, *asked, calls) for name, asked in requests().items()}
        finally:
            bench.close()
    return results


def table(results: dict) -> str:
    """For a terminal."""
    lines = [f"{results['cpu']}, {results['cores']} cores, load {results['load_before']:.1f} before the start"]
    for name, figures in results["services"].items():
        lines.append(f"{name:<26} not served: {figures['refused']}" if "refused" in figures else
                     f"{name:<26} {figures['p50_ms']:7.1f} ms (p95 {figures['p95_ms']:.1f}, {figures['calls']} calls)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model folder (default: the shipped one)")
    parser.add_argument("--calls", type=int, default=20, help="calls of each service")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    keep_dds_on_this_computer()
    results = run(given.model, given.calls)
    print(table(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
