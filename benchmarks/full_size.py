"""What a decoder of Llama-3.2-1B's size takes on a CPU: memory and time to load, recognise, render and answer.

    python tools/on_loopback.py --limit-s 7200 python benchmarks/full_size.py [--side 16] [--dtype auto] [--json FILE]

Writes a folder of random weights into a temporary directory (3.3 GB, deleted at the end): Llama-3.2-1B's body with rows
for its words, the published image tokenizer's architecture, CLEVR's schema. Every row of the table is a process
of its own, one after the other, that loads the folder as a user's would and does one thing; `node` is kyvo_node, which
is sent an image, then asked a question, then told to draw the scene. What comes out is garbage, but it is valid.
Memory is the largest resident set (VmHWM), in which the pages of the weights' file count as far as they were read.
`--side` is that of an image in codes and `--objects` how many each scene has, which bound what is generated.
Needs ROS 2 for the row `node`, as `make setup` makes it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from kyvo_ros.autoencoders.vqgan import Vqgan, VqganConfig  # noqa: E402
from kyvo_ros.model.config import DecoderConfig, ScaledRope  # noqa: E402
from kyvo_ros.model.decoder import Decoder  # noqa: E402
from kyvo_ros.model.embedding import INIT_STD  # noqa: E402
from kyvo_ros.model.folder import Sight, save_converted  # noqa: E402
from kyvo_ros.model.precision import DTYPES  # noqa: E402
from kyvo_ros.model.published_sight import stretched_camera  # noqa: E402
from kyvo_ros.pipeline import KyvoPipeline  # noqa: E402
from kyvo_ros.scene import Scene, SceneObject  # noqa: E402
from kyvo_ros.tokens import CLEVR_SCHEMA, LANGUAGE_WORDS, Vocabulary, train_text_tokenizer  # noqa: E402

LLAMA_1B = {"dim": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "ffn_dim": 8192, "rope_theta": ScaledRope()}
LLAMA_TEXT = 128256
STRIDE = 16  # of the published image tokenizers
NEEDED_GIB = 8.0
IMAGE = (240, 320, 3)
QUESTION = "How many things are there?"
SEEN = Scene((SceneObject({"size": "large", "color": "red", "material": "rubber", "shape": "sphere"},
                          np.array([0.0, 0.0, 0.7]), size_m=np.array([1.4, 1.4, 1.4])),))


def write_random_folder(folder: Path, side: int, objects: int) -> int:
    """A model that has learned nothing and fills every scene with `objects` objects; returns its parameters."""
    torch.manual_seed(0)
    tokenizer = Vqgan(VqganConfig(resolution=STRIDE * side, attention_at=(side,)))
    vocabulary = replace(Vocabulary.small(), text_size=LLAMA_TEXT)
    config = DecoderConfig(vocabulary, max_length=1024, code_dim=256, image_grid=tokenizer.grid, **LLAMA_1B)
    with torch.device("meta"):
        shapes = Decoder(config, tokenizer.codebook).state_dict()
    weights = {name: _random(name, tensor.shape) for name, tensor in shapes.items()}
    weights["embedding.codebook"] = tokenizer.codebook.bfloat16()
    _never_end(weights, config)
    text = train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])
    sight = Sight(replace(CLEVR_SCHEMA, max_objects=objects), tokenizer, stretched_camera(STRIDE * side, IMAGE[1::-1]),
                  ("I->3", "3->I", "Q->P"))
    save_converted(folder, "random-1b", config, weights, text, sight)
    return sum(tensor.numel() for tensor in weights.values())


def _random(name: str, shape: torch.Size) -> Tensor:
    if "norm" in name:
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(std=INIT_STD)


def _never_end(weights: dict[str, Tensor], config: DecoderConfig) -> None:
    """Make [SCENE-END] unlikely: the first component of every state is positive, its weight there negative."""
    weights["embedding.learned.weight"][:, 0] = 1.0
    weights["embedding.code_projection.weight"][0] = 0.0
    for layer in range(config.layers):
        weights[f"blocks.{layer}.out.weight"][0] = weights[f"blocks.{layer}.down.weight"][0] = 0.0
    weights["head.weight"][config.vocabulary.structure_id("[SCENE-END]"), 0] = -100.0


def recognize(pipeline: KyvoPipeline) -> str:
    return f"{len(pipeline.recognize(np.zeros(IMAGE, np.uint8)))} objects"


def render(pipeline: KyvoPipeline) -> str:
    return "{1}x{0} pixels".format(*pipeline.render(SEEN).shape)


def answer(pipeline: KyvoPipeline) -> str:
    said = pipeline.answer(QUESTION, SEEN, (0.0, -10.0, 5.0))
    return "refused" if said.refusal else "answered"


#: What a process does with a loaded pipeline, and says of it.
TASKS: dict[str, Callable[[KyvoPipeline], str]] = {
    "load": lambda pipeline: "nothing else", "recognize": recognize, "render": render, "answer": answer}


def run_task(task: str, folder: Path, dtype: str) -> dict:
    """Load and do one thing, in this process."""
    start = time.perf_counter()
    pipeline = KyvoPipeline.from_pretrained(folder, "cpu", dtype=dtype)
    loaded = time.perf_counter()
    result = TASKS[task](pipeline)
    return {"load_s": loaded - start, "run_s": time.perf_counter() - loaded, "peak_mib": peak_mib("self"),
            "result": result}


def peak_mib(process: int | str) -> float:
    """Largest resident set of a process so far."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def in_a_process(task: str, folder: Path, dtype: str, limit_s: float) -> dict:
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--dtype", dtype]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit_s, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_node(folder: Path, dtype: str, limit_s: float) -> dict:
    """kyvo_node with the folder: an image, a question and a drawing."""
    import rclpy
    from kyvo_msgs.msg import SceneGraph
    from kyvo_msgs.srv import Ask, Render
    from sensor_msgs.msg import Image

    from kyvo_ros.ros.children import Child
    from kyvo_ros.ros.demo import keep_dds_on_this_computer
    keep_dds_on_this_computer()
    rclpy.init()
    here, scenes, start = rclpy.create_node("full_size"), [], time.perf_counter()
    here.create_subscription(SceneGraph, "scene", scenes.append, 1)
    images = here.create_publisher(Image, "image", 1)
    message = Image(width=IMAGE[1], height=IMAGE[0], encoding="rgb8", step=3 * IMAGE[1], data=bytes(math.prod(IMAGE)))
    message.header.frame_id = "camera"
    settings = {"model": folder, "device": "cpu", "dtype": dtype, "camera_info_required": "false",
                "image_qos": "reliable", "service_timeout_s": 600.0}
    arguments = [part for name, value in settings.items() for part in ("-p", f"{name}:={value}")]
    with Child([sys.executable, "-m", "kyvo_ros.ros.node", "--ros-args", *arguments], folder / "node.log") as child:
        def wait(condition: Callable[[], bool], what: str) -> float:
            while not condition():
                rclpy.spin_once(here, timeout_sec=0.5)
                if not child.running() or time.perf_counter() > start + limit_s:
                    sys.exit(f"{what} did not come; the node's log:\n{(folder / 'node.log').read_text()}")
            return time.perf_counter() - start

        def call(kind: type, name: str, request: object) -> object:
            client = here.create_client(kind, name)
            wait(client.service_is_ready, f"the service {name}")
            future = client.call_async(request)
            wait(future.done, f"the answer of {name}")
            if not future.result().success:
                sys.exit(f"{name}: {future.result().message}")
            return future.result()

        wait(lambda: images.get_subscription_count() > 0, "the node")
        images.publish(message)  # while the model still loads; the node keeps it
        seconds = wait(lambda: bool(scenes), "a scene")
        said = call(Ask, "ask", Ask.Request(question=QUESTION)).answer
        picture = call(Render, "render", Render.Request()).image
        result = {"load_s": math.nan, "run_s": time.perf_counter() - start, "peak_mib": peak_mib(child.process.pid),
                  "scene_s": seconds, "result": f"{len(scenes[-1].objects)} objects, "
                  f"{'refused' if said.refused else 'answered'}, {picture.width}x{picture.height} pixels"}
    here.destroy_node()
    rclpy.try_shutdown()
    return result


def table(rows: dict[str, dict], times: bool) -> str:
    """Markdown, for the documentation."""
    lines = ["| Process | Peak memory |" + (" Load | Then |" if times else "") + " What came out |",
             "|---|---|" + ("---|---|" if times else "") + "---|"]
    for name, row in rows.items():
        seconds = f" {row['load_s']:.0f} s | {row['run_s']:.0f} s |" if times else ""
        lines.append(f"| {name} | {row['peak_mib'] / 1024:.2f} GiB |{seconds} {row['result']} |")
    return "\n".join(lines)


def check_memory() -> None:
    """Ends where the machine has not the memory free that a run may take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 2**20
    if free < NEEDED_GIB:
        sys.exit(f"{free:.1f} GiB of memory are free, a run may take {NEEDED_GIB:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=16, help="codes of an image's side (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=2, help="in every scene (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="of the decoder (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", choices=(*TASKS, "node"), default=[*TASKS, "node"], help="what to run")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="of each process (default: %(default)s)")
    parser.add_argument("--no-times", action="store_true", help="leave times out, where other work fills the machine")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--task", choices=tuple(TASKS), help=argparse.SUPPRESS)  # what a process of the table does
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(run_task(args.task, args.folder, args.dtype)))
        return
    check_memory()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # such as by a time limit: children and files go, too
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "random-1b"
        parameters = write_random_folder(folder, args.side, args.objects)
        print(f"{parameters / 1e9:.3f} billion parameters, {os.cpu_count()} cores, torch {torch.__version__}, "
              f"dtype {args.dtype}, images of {args.side}x{args.side} codes, {args.objects} objects a scene")
        rows = {}
        for name in args.rows:
            rows[name] = (run_node(folder, args.dtype, args.limit_s) if name == "node"
                          else in_a_process(name, folder, args.dtype, args.limit_s))
            print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
    print(table(rows, not args.no_times))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
