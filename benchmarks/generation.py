"""Our `generate` against `transformers`' on the same weights, prompt, dtype and number of new tokens.

    python3 benchmarks/generation.py [--model models/clevr-nano | --random] [--json FILE]

One process runs all in turn, round by round, so that a busy machine is busy for each of them: ours with forced tokens
riding along, ours token by token, and `LlamaForCausalLM.generate` with its dynamic and its static cache, greedy, with
the length fixed to that of our scene, on one CPU thread and on all (ours takes one for a single prompt). The prompt is
that of I->3 for a ray-traced image. All attend causally, the only kind that Llama knows. Weights are laid out
beforehand for both sides; the embedding of the prompt counts for ours alone. "times faster" compares the fastest rounds
(other processes only ever add) with the fastest of all of transformers'.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig, images_to_tensor
from kyvo_ros.data.placement import PlacementSettings, sample_scenes
from kyvo_ros.data.raycaster import Raycaster
from kyvo_ros.machine import cores
from kyvo_ros.model import CachedDecoder, Decoder, DecoderConfig, ModelBundle, generate, load_model
from kyvo_ros.model.llama import to_llama
from kyvo_ros.tokens import CLEVR_SCHEMA, LANGUAGE_WORDS, Vocabulary, train_text_tokenizer

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "clevr-nano"
OURS = "kyvo_ros"
THEIRS = "transformers"


def random_model(objects: int) -> ModelBundle:
    """A model of the shipped one's size that has learned nothing and fills every scene with `objects` objects."""
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(ImageTokenizerConfig()).eval()
    text = train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])
    config = DecoderConfig(Vocabulary.small(), dim=192, layers=6, heads=4, kv_heads=2, ffn_dim=512, max_length=336,
                           code_dim=tokenizer.config.code_dim, image_grid=tokenizer.grid)
    decoder = Decoder(config, tokenizer.codebook).eval()
    never_end(decoder)
    schema = replace(CLEVR_SCHEMA, max_objects=objects)
    return ModelBundle("random", config.vocabulary, schema, text, decoder, tokenizer, CanonicalCamera())


@torch.no_grad()
def never_end(decoder: Decoder) -> None:
    """Make [SCENE-END] unlikely: the first component of every state becomes positive, its weight there negative."""
    decoder.embedding.learned.weight[:, 0] = 1.0
    for block in decoder.blocks:
        block.out.weight[0] = 0.0
        block.down.weight[0] = 0.0
    decoder.head.weight[decoder.config.vocabulary.structure_id("[SCENE-END]"), 0] = -100.0


def drawn_prompt(bundle: ModelBundle, objects: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, S) prompt ids and (1, h*w, 2) cells of a ray-traced image with `objects` objects."""
    camera = bundle.canonical
    settings = PlacementSettings(min_objects=objects, max_objects=objects)
    scenes = sample_scenes(np.random.default_rng(seed), 1, settings=settings)
    raycaster = Raycaster(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    images, _ = raycaster.render(scenes, seed)
    codes = bundle.image_tokenizer.encode(images_to_tensor(images.cpu().numpy()))
    prompt = bundle.builder.prompt("I->3", image_codes=codes[0].numpy())
    cells = camera.cells(None, bundle.builder.image_grid)
    return torch.from_numpy(prompt.token_ids).unsqueeze(0), torch.from_numpy(cells).unsqueeze(0)


def contestants(bundle: ModelBundle, prompt: torch.Tensor, cells: torch.Tensor, device: str, dtype: torch.dtype,
                thread_counts: list[int]) -> tuple[dict[str, Callable[[], object]], int]:
    """What to time, by name, and the number of new tokens that each makes."""
    decoder = bundle.decoder.to(device)
    ours = CachedDecoder(decoder, dtype)
    llama = to_llama(decoder).to(device, dtype)
    prompt, cells = prompt.to(device), cells.to(device)
    with torch.no_grad():
        embedded = decoder.embedding(prompt, cells).to(dtype)
    attention = torch.ones_like(prompt)

    def run_ours(skip_forced: bool) -> list[int]:
        return generate(ours, prompt, cells=cells, grammar=bundle.grammar, skip_forced=skip_forced)[0].token_ids

    new_tokens = len(run_ours(True))

    def run_theirs(cache: str | None, threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        return llama.generate(inputs_embeds=embedded, attention_mask=attention, do_sample=False, pad_token_id=0,
                              min_new_tokens=new_tokens, max_new_tokens=new_tokens, cache_implementation=cache)

    check_lengths(run_ours(False), run_theirs(None, 1), new_tokens)
    runs = {f"{OURS}, forced tokens skipped": partial(run_ours, True),
            f"{OURS}, token by token": partial(run_ours, False)}
    for threads in thread_counts:
        for name, cache in (("dynamic", None), ("static", "static")):
            runs[f"{THEIRS}, {name} cache, {threads} thread{'s' * (threads > 1)}"] = partial(run_theirs, cache, threads)
    return runs, new_tokens


def check_lengths(ours: list[int], theirs: torch.Tensor, new_tokens: int) -> None:
    """A benchmark of different outputs would say nothing."""
    if len(ours) != new_tokens or theirs.shape[1] != new_tokens:
        raise RuntimeError(f"expected {new_tokens} new tokens, got {len(ours)} and {theirs.shape[1]}")


def time_s(runs: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of every round of each, taking turns; a round before them is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def processor(device: str) -> str:
    """The processor's name."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def report(args: argparse.Namespace) -> dict:
    """Run the benchmark and put its numbers together."""
    bundle = random_model(args.objects) if args.random else load_model(args.model)
    prompt, cells = drawn_prompt(bundle, args.objects, args.seed)
    runs, new_tokens = contestants(bundle, prompt, cells, args.device, getattr(torch, args.dtype), args.threads)
    seconds = time_s(runs, args.rounds, args.device)
    fastest = {name: min(times) for name, times in seconds.items()}
    best_of_theirs = min(s for name, s in fastest.items() if name.startswith(THEIRS))
    return {
        "processor": processor(args.device), "torch": torch.__version__,
        "transformers": transformers.__version__, "model": bundle.name, "dtype": args.dtype,
        "parameters": sum(p.numel() for p in bundle.decoder.parameters()),
        "prompt_tokens": prompt.shape[1], "new_tokens": new_tokens, "rounds": args.rounds,
        "results": {name: {"fastest_ms": 1e3 * s, "median_ms": 1e3 * statistics.median(seconds[name]),
                           "ms_per_token": 1e3 * s / new_tokens, "times_faster": best_of_theirs / s}
                    for name, s in fastest.items()},
    }


def table(numbers: dict) -> str:
    """The numbers for people."""
    lines = [
        f"{numbers['processor']}, torch {numbers['torch']}, transformers {numbers['transformers']}",
        f"model {numbers['model']}, {numbers['parameters'] / 1e6:.1f} M parameters, {numbers['dtype']}, batch 1: "
        f"{numbers['prompt_tokens']} prompt tokens, {numbers['new_tokens']} new; {numbers['rounds']} rounds",
        "", f"{'':42}{'fastest ms':>11}{'median ms':>11}{'ms/token':>10}{'times faster':>14}"]
    for name, row in numbers["results"].items():
        lines.append(f"{name:42}{row['fastest_ms']:11.1f}{row['median_ms']:11.1f}"
                     f"{row['ms_per_token']:10.2f}{row['times_faster']:14.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="model folder (default: the shipped one)")
    parser.add_argument("--random", action="store_true", help="a random model of the shipped one's size instead")
    parser.add_argument("--objects", type=int, default=6, help="objects in the image (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn scene (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores()}),
                        help="CPU threads to try transformers with (default: 1 and as many as there are cores)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"),
                        help="of the weights (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    numbers = report(args)
    print(table(numbers))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
