"""What a model of Llama-3.2-1B's size in the published format takes on a CPU: memory and time to load, recognise, draw
and answer.

    python benchmarks/full_size.py [--dtype auto float32] [--draw-s 30] [--limit-s 60] [--json FILE]

Writes a folder of random weights into a temporary directory (3.3 GB, deleted at the end): the published vocabulary and
embedding on Llama-3.2-1B's body, the published image tokenizer's architecture with its 16x16 codes, CLEVR's schema.
Every row of the table is a process of its own, one after the other, that loads the folder as a user's would, in one of
the dtypes, and does one thing. What comes out is garbage, but it is valid. Memory is the largest resident set (VmHWM),
in which the pages of the weights' file count as far as they were read.

The work is bounded, so that the defaults take about six minutes: a scene has `--objects` objects, a drawing stops at
the first code after `--draw-s` seconds (the table says how many of its 256 codes were drawn), and a process that is not
done `--limit-s` seconds after its start is ended (the table says so, with the memory it had taken by then).
The row `node`, not among the defaults, is one kyvo_node and its user, who waits for the model, sends an image and waits
for its scene, asks (`ask`, answered directly) and has the scene drawn (`render`, whole): four things in one process, so
that `--limit-s` must be longer. It needs ROS 2, as `make setup` makes it, and `python tools/on_loopback.py` before the
command:

    python tools/on_loopback.py --limit-s 900 python benchmarks/full_size.py --rows node --dtype auto --limit-s 400
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from kyvo_ros.autoencoders.vqgan import Vqgan, VqganConfig  # noqa: E402
from kyvo_ros.model.config import DecoderConfig  # noqa: E402
from kyvo_ros.model.decoder import Decoder  # noqa: E402
from kyvo_ros.model.direct_answers import answer_words  # noqa: E402
from kyvo_ros.model.embedding import INIT_STD  # noqa: E402
from kyvo_ros.model.folder import Sight, save_converted  # noqa: E402
from kyvo_ros.model.inference import CachedDecoder  # noqa: E402
from kyvo_ros.model.precision import DTYPES  # noqa: E402
from kyvo_ros.model.published import IMAGE_GRID, published_config  # noqa: E402
from kyvo_ros.model.published_sight import stretched_camera  # noqa: E402
from kyvo_ros.pipeline import KyvoPipeline  # noqa: E402
from kyvo_ros.scene import Scene, SceneObject  # noqa: E402
from kyvo_ros.tokens import LANGUAGE_WORDS, train_text_tokenizer  # noqa: E402
from kyvo_ros.tokens.published_schemas import CLEVR  # noqa: E402

LLAMA_1B = {"dim": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "ffn_dim": 8192}
#: Memory that has to be free, by what the decoder takes.
NEEDED_GIB = {"auto": 8.0, "bfloat16": 8.0, "float16": 8.0, "float32": 14.0}
IMAGE = (240, 320, 3)
QUESTION = "How many things are there?"
FOLDER, NAMESPACE = "random-1b", "/full_size"
SEEN = Scene((SceneObject({"size": "large", "color": "red", "material": "rubber", "shape": "sphere"},
                          np.array([0.0, 0.0, 0.7]), size_m=np.array([1.4, 1.4, 1.4])),))


def write_random_folder(folder: Path, objects: int, image_tokenizer: VqganConfig = VqganConfig(),
                        sizes: dict[str, int] = LLAMA_1B) -> int:
    """A model that has learned nothing and fills every scene with `objects` objects; returns its parameters."""
    torch.manual_seed(0)
    tokenizer = Vqgan(image_tokenizer)
    config = published_config("clevr", image_tokenizer.codebook_size, max_length=1024,
                              code_dim=image_tokenizer.code_dim, **sizes)
    with torch.device("meta"):
        state = Decoder(config, tokenizer.codebook).state_dict()
    weights = {name: _random(name, tensor) for name, tensor in state.items()}
    _never_end(weights, config)
    schema = replace(CLEVR, max_objects=objects)
    text = train_text_tokenizer([], [*answer_words(schema), *LANGUAGE_WORDS])
    camera = stretched_camera(image_tokenizer.resolution, IMAGE[1::-1])
    save_converted(folder, FOLDER, config, weights, text,
                   Sight(schema, tokenizer, camera, ("I->3", "3->I", "I+3+Q->A")))
    return sum(tensor.numel() for tensor in weights.values())


def _random(name: str, known: Tensor) -> Tensor:
    if not known.is_meta:  # the codebook, and the features of numbers
        return known.bfloat16()
    if "norm" in name:
        return torch.ones(known.shape, dtype=torch.bfloat16)
    return torch.empty(known.shape, dtype=torch.bfloat16, device="cpu").normal_(std=INIT_STD)


def _never_end(weights: dict[str, Tensor], config: DecoderConfig) -> None:
    """Make [SCENE-END] unlikely: the first component of every state of a structure token is positive, its weight there
    negative.
    """
    weights["embedding.learned.weight"][:, 0] = 1.0
    weights["embedding.code_projection.weight"][0] = 0.0
    for layer in range(config.layers):
        weights[f"blocks.{layer}.out.weight"][0] = weights[f"blocks.{layer}.down.weight"][0] = 0.0
    weights["head.weight"][config.vocabulary.structure_id("[SCENE-END]"), 0] = -100.0


class Stopped(Exception):
    """A generation has taken as long as it may."""


@contextmanager
def stopped_after(seconds: float) -> Iterator[list[float]]:
    """Ends a generation at the first token after so long; the times at which it began, and read each token it wrote."""
    step, times = CachedDecoder.step, [time.perf_counter()]

    def timed(self: CachedDecoder, *arguments: object) -> Tensor:
        result = step(self, *arguments)
        times.append(time.perf_counter())
        if times[-1] - times[0] > seconds:
            raise Stopped
        return result

    CachedDecoder.step = timed
    try:
        yield times
    except Stopped:
        pass
    finally:
        CachedDecoder.step = step


def recognize(pipeline: KyvoPipeline, draw_s: float) -> str:
    return f"{len(pipeline.recognize(np.zeros(IMAGE, np.uint8)))} objects"


def draw(pipeline: KyvoPipeline, draw_s: float) -> str:
    picture, total = None, math.prod(IMAGE_GRID)
    with stopped_after(draw_s) as times:
        picture = pipeline.render(SEEN)
    if picture is not None:
        return f"all {total} codes, " + "{1}x{0} pixels".format(*picture.shape)
    drawn = len(times) - 1
    each = (times[-1] - times[1]) / (drawn - 1) if drawn > 1 else times[1] - times[0]
    return (f"stopped after {drawn} of {total} codes, {each:.2f} s each; extrapolated, not measured: {total} codes in "
            f"{total * each:.0f} s")


def tokenize(pipeline: KyvoPipeline, draw_s: float) -> str:
    return "image to codes to {1}x{0} pixels".format(*pipeline.through_codes(np.zeros(IMAGE, np.uint8)).shape)


def answer(pipeline: KyvoPipeline, draw_s: float) -> str:
    word, _ = pipeline.answer_directly(QUESTION, np.zeros(IMAGE, np.uint8), scene=SEEN)
    return f"the word {word!r} on image, scene and question"


#: What a process does with a loaded pipeline, and says of it.
TASKS: dict[str, Callable[[KyvoPipeline, float], str]] = {
    "load": lambda pipeline, draw_s: "nothing else", "recognize": recognize, "draw": draw, "tokenize": tokenize,
    "answer": answer}


def run_task(task: str, folder: Path, dtype: str, draw_s: float) -> Iterator[dict]:
    """Load and do one thing, in this process; what is known after each of the two."""
    start = time.perf_counter()
    pipeline = KyvoPipeline.from_pretrained(folder, "cpu", dtype=dtype)
    loaded = time.perf_counter()
    yield {"load_s": loaded - start}
    result = TASKS[task](pipeline, draw_s)
    yield {"run_s": time.perf_counter() - loaded, "peak_mib": peak_mib("self"), "result": result}


def peak_mib(process: int | str) -> float:
    """Largest resident set of a process so far."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def in_a_process(task: str, folder: Path, dtype: str, draw_s: float, limit_s: float) -> dict:
    """What `run_task` says in a process of its own, which is ended after `limit_s`. Raises RuntimeError if it fails."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--dtype", dtype, "--draw-s",
               str(draw_s)]
    row = {"load_s": None, "run_s": None}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(timeout=limit_s)
        if process.returncode:
            raise RuntimeError(f"{task} failed, see above")
    except subprocess.TimeoutExpired:
        row |= {"peak_mib": peak_mib(process.pid), "result": f"ended after {limit_s:.0f} s, not done"}
        process.kill()
        out, _ = process.communicate()
    finally:
        process.kill()
    for line in out.splitlines():
        row |= json.loads(line)
    return row


class OutOfTime(Exception):
    """The process of a row has taken as long as it may."""


class NodeUser:
    """kyvo_node with a folder, in a process of its own, and a user of it: what it hears, sends and asks."""

    def __init__(self, folder: Path, dtype: str, limit_s: float) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from kyvo_msgs.msg import SceneGraph
        from kyvo_msgs.srv import Ask, Render
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image

        from kyvo_ros.ros.children import Child
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("user", namespace=NAMESPACE, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.scenes, self.loaded = [], ""
        self.node.create_subscription(SceneGraph, "scene", self.scenes.append, 1)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.images = self.node.create_publisher(Image, "image", 1)
        self.ask, self.render = self.node.create_client(Ask, "ask"), self.node.create_client(Render, "render")
        settings = {"model": folder, "device": "cpu", "dtype": dtype, "camera_info_required": "false",
                    "image_qos": "reliable", "service_timeout_s": float(min(max(limit_s, 0.1), 600.0))}
        arguments = [part for name, value in settings.items() for part in ("-p", f"{name}:={value}")]
        self._log, self._deadline = folder / "node.log", time.perf_counter() + limit_s
        self._child = Child([sys.executable, "-m", "kyvo_ros.ros.node", "--ros-args", "-r", f"__ns:={NAMESPACE}",
                             *arguments], self._log)

    def _on_diagnostics(self, message: object) -> None:
        """What model the node says that it has loaded."""
        summary = message.status[0]
        if summary.name == f"{NAMESPACE}/kyvo_node":
            self.loaded = next((value.value for value in summary.values if value.key == "model"), "")

    def wait(self, condition: Callable[[], object]) -> None:
        """Until it holds. Raises OutOfTime; RuntimeError where the node has ended."""
        while not condition():
            if not self._child.running():
                raise RuntimeError(f"the node has ended; its log:\n{self._log.read_text()}")
            if time.perf_counter() > self._deadline:
                raise OutOfTime
            self._executor.spin_once(timeout_sec=0.1)

    def call(self, client: object, request: object) -> object:
        """The response of a service. Raises as `wait` does, and RuntimeError with the node's reason for none."""
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        self.wait(future.done)
        if not future.result().success:
            raise RuntimeError(f"{client.srv_name}: {future.result().message}")
        return future.result()

    def peak_mib(self) -> float:
        """Of the node."""
        return peak_mib(self._child.process.pid)

    def close(self) -> None:
        self._child.end(2.0)  # which a node that computes will not heed
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


def wait_for_model(user: NodeUser) -> str:
    user.wait(lambda: user.loaded == FOLDER)  # said once a second
    return "loaded"


def have_seen(user: NodeUser) -> str:
    from sensor_msgs.msg import Image
    message = Image(width=IMAGE[1], height=IMAGE[0], encoding="rgb8", step=3 * IMAGE[1], data=bytes(math.prod(IMAGE)))
    message.header.frame_id = "camera"
    user.wait(lambda: user.images.get_subscription_count())
    user.images.publish(message)
    user.wait(lambda: user.scenes)
    return f"a scene of {len(user.scenes[-1].objects)} objects"


def have_answered(user: NodeUser) -> str:
    from kyvo_msgs.srv import Ask
    said = user.call(user.ask, Ask.Request(question=QUESTION)).answer
    return f"ask: {said.text!r}{'' if said.program else ', directly'}"


def have_drawn(user: NodeUser) -> str:
    from kyvo_msgs.srv import Render
    picture = user.call(user.render, Render.Request()).image
    return f"render: {picture.width}x{picture.height} pixels"


#: What a user has of a node, in this order, on one image.
NODE_STEPS: dict[str, Callable[[NodeUser], str]] = {
    "load": wait_for_model, "scene": have_seen, "ask": have_answered, "render": have_drawn}


def run_node(folder: Path, dtype: str, limit_s: float) -> dict:
    """The row of kyvo_node: seconds of each step as a user waits for it, those done after `limit_s` where that is not
    enough. Raises RuntimeError where the node fails.
    """
    from kyvo_ros.ros.demo import keep_dds_on_this_computer
    keep_dds_on_this_computer()
    user, steps_s, results, late = NodeUser(folder, dtype, limit_s), {}, [], []
    try:
        for name, step in NODE_STEPS.items():
            start = time.perf_counter()
            result = step(user)
            steps_s[name] = time.perf_counter() - start
            results.append(f"{result} in {steps_s[name]:.1f} s")
        peak = user.peak_mib()
    except OutOfTime:
        peak, late = user.peak_mib(), [f"ended after {limit_s:g} s, {name} not done"]
    finally:
        user.close()
    load_s = steps_s.pop("load", None)
    return {"load_s": load_s, "run_s": None if late else sum(steps_s.values()), "steps_s": steps_s, "peak_mib": peak,
            "result": "; ".join(results + late)}


def table(rows: dict[str, dict]) -> str:
    """Markdown, for the documentation."""
    lines = ["| Process | Load | Then | Peak memory | What came out |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        load, run = ("-" if row[key] is None else f"{row[key]:.1f} s" for key in ("load_s", "run_s"))
        lines.append(f"| {name} | {load} | {run} | {row['peak_mib'] / 1024:.2f} GiB | {row['result']} |")
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores, how busy they are, and whether they have units for bfloat16."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    known = {name.strip(): value.strip() for name, _, value in lines}
    flags = known.get("flags", "").split()
    units = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return (f"{known.get('model name', 'processor unknown')}, {os.cpu_count()} cores ({', '.join(units)}), load "
            f"{os.getloadavg()[0]:.1f} at the start, torch {torch.__version__}")


def check_memory(dtypes: list[str]) -> None:
    """Ends where the machine has not the memory free that a run may take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 2**20
    needed = max(NEEDED_GIB[dtype] for dtype in dtypes)
    if free < needed:
        sys.exit(f"{free:.1f} GiB of memory are free, a run may take {needed:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=2, help="in every scene (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=["auto", "float32"],
                        help="of the decoder, one after the other (default: auto, which is bfloat16, and float32)")
    parser.add_argument("--rows", nargs="+", choices=(*TASKS, "node"), default=[*TASKS], help="what to run")
    parser.add_argument("--draw-s", type=float, default=30.0, help="of a drawing (default: %(default)s)")
    parser.add_argument("--limit-s", type=float, default=60.0, help="of each process (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--task", choices=tuple(TASKS), help=argparse.SUPPRESS)  # what a process of the table does
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        for said in run_task(args.task, args.folder, args.dtype[0], args.draw_s):
            print(json.dumps(said), flush=True)
        return
    check_memory(args.dtype)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # such as by a time limit: children and files go, too
    with tempfile.TemporaryDirectory() as scratch:
        folder, start = Path(scratch) / FOLDER, time.perf_counter()
        print(machine())
        parameters = write_random_folder(folder, args.objects)
        print(f"{parameters / 1e9:.3f} billion parameters, written in {time.perf_counter() - start:.0f} s; images of "
              f"{IMAGE_GRID[0]}x{IMAGE_GRID[1]} codes, {args.objects} objects a scene")
        rows = {}
        for dtype in args.dtype:
            for task in args.rows:
                name = f"{task}, {dtype}"
                rows[name] = (run_node(folder, dtype, args.limit_s) if task == "node"
                              else in_a_process(task, folder, dtype, args.draw_s, args.limit_s))
                print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
