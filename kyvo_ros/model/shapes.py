"""Scenes with the codes of every object's shape by the model (I->S), in sequence order or all shapes at once.

In sequence order a scene is one sentence: the codes of an object stand within it, and all that is written later sees
them. In parallel the layout is written first, without codes; then every object is a row of a batch that goes on from
the layout, cut where its own codes belong. A row sees the objects before it, but not their codes. So the codes of the
first object are the same either way, and a scene of one object is; later ones differ by design. A model has to be
trained on what it is asked for (see `training.shape_lesson`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.autoencoders.shape_meshes import decode_meshes, encode_meshes
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
from kyvo_ros.model.decoder import SequenceError
from kyvo_ros.model.generation import Generation, check_sampling, choose_shape, generate, streams_of, threads_of_steps
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.tasks import check_trained
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.sequences import SequenceBuilder

TASK = "I->S"
ORDERS = ("parallel", "sequence")
#: Of codes of shapes: the likeliest. What is drawn by chance instead, block by block, does not fit together.
SHAPE_TEMPERATURE = 0.0


def default_effort(order: str) -> str:
    """How often to look for what stands where before shapes are written: five looks cost a tenth of their time, and find
    much more; in sequence order there is one text, of one look.
    """
    return "fast" if order == "sequence" else "accurate"


class ShapeWriter:
    """A model's decoder as one who sees whole objects; `tasks` are those that it was trained for.

    Scenes with codes become scenes with meshes by its shape tokenizer, and back.
    """

    def __init__(self, decoder: CachedDecoder, builder: SequenceBuilder, grammar: SceneGrammar, tasks: Collection[str],
                 tokenizer: ShapeTokenizer | None) -> None:
        """`tokenizer` is None for models without shapes, which then refuse all."""
        self._decoder, self._builder, self._grammar, self._tasks = decoder, builder, grammar, tasks
        self._tokenizer = tokenizer

    def write(self, image_codes: np.ndarray, cells: np.ndarray, order: str = "parallel", temperature: float = 0.0,
              top_k: int | None = None, seed: int | None = None,
              shape_temperature: float = SHAPE_TEMPERATURE) -> Generation:
        """The scene that image codes (h, w) show, with codes of all shapes; `cells` (h*w, 2) are its ground points.

        In parallel, codes come without their distributions. `temperature` and `top_k` are those of `generate`, for
        codes of shapes `shape_temperature` is that of `choose_shape`; the same `seed`, or none, gives the same scene.
        Raises UntrainedTaskError, SequenceError where the decoder has no room for the longest scene.
        """
        check_trained(TASK, self._tasks)
        if order not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got {order!r}")
        ids, prefix = self._prompt(image_codes, cells)
        grammar = self._grammar if order == "sequence" else self._grammar.layout
        seeds = np.random.SeedSequence(seed or 0)  # of the first object the same codes in either order
        (written,) = generate(self._decoder, ids, grammar=grammar, temperature=temperature, top_k=top_k, seed=seeds,
                              shape_temperature=shape_temperature, **prefix)
        if order == "sequence":
            return written
        codes = write_shapes(self._decoder, ids, written.token_ids, self._grammar, temperature=shape_temperature,
                             top_k=top_k, seed=seeds, **prefix)
        return _with_codes(written, codes, self._grammar)

    def shapes_of(self, image_codes: np.ndarray, cells: np.ndarray, layout: Sequence[int]) -> np.ndarray:
        """(N, L) int64 codes, the likeliest ones, of the shapes of a layout's objects as image codes (h, w) show them, all
        at once; `cells` as for `write`. Raises as `write` does.
        """
        check_trained(TASK, self._tasks)
        ids, prefix = self._prompt(image_codes, cells)
        return write_shapes(self._decoder, ids, layout, self._grammar, **prefix)

    def _prompt(self, image_codes: np.ndarray, cells: np.ndarray) -> tuple[Tensor, dict[str, Any]]:
        """(1, P) ids, and what else `generate` and `write_shapes` take of the prompt."""
        prompt, device = self._builder.prompt(TASK, image_codes=image_codes), self._decoder.device
        ids, ground = (torch.from_numpy(array).unsqueeze(0).to(device) for array in (prompt.token_ids, cells))
        return ids, {"cells": ground, "prefix_length": prompt.prefix_length}

    def with_meshes(self, scene: Scene) -> Scene:
        """The scene with the meshes that its objects' codes say; inverse of `with_codes` as far as codes go. What
        encloses nothing stays without.
        """
        codes, sizes_m = [item.shape_codes for item in scene.objects], [item.size_m for item in scene.objects]
        meshes = decode_meshes(self._tokenizer, codes, sizes_m)
        return replace(scene, objects=tuple(map(lambda item, mesh: replace(item, mesh=mesh), scene.objects, meshes)))

    def with_codes(self, scene: Scene) -> Scene:
        """The scene with codes of the meshes of those objects that lack them. Raises MeshError, SlatError."""
        return replace(scene, objects=tuple(
            replace(item, shape_codes=encode_meshes(self._tokenizer, [item.mesh])[0])
            if item.shape_codes is None and item.mesh is not None else item for item in scene.objects))


def write_shapes(decoder: CachedDecoder, prompt: Tensor, layout: Sequence[int], grammar: SceneGrammar, *,
                 cells: Tensor | None = None, prefix_length: int = 0, temperature: float = SHAPE_TEMPERATURE,
                 top_k: int | None = None, seed: int | np.random.SeedSequence = 0) -> np.ndarray:
    """(N, L) int64 shape codes of the N objects of a layout, one row of a batch each, behind one shared prefix.

    Args:
        prompt: (1, P) ids. layout: ids of a scene without codes. grammar: that of scenes with codes.
        cells, prefix_length, seed: as in `generate`; object i draws from its own stream (seed, i).
        temperature, top_k: as in `choose_shape`.

    Raises SequenceError where the decoder has no room.
    """
    check_sampling(temperature, top_k)
    ends, length = grammar.object_ends(layout), grammar.schema.shape.length
    if not ends:
        return np.zeros((0, length), np.int64)
    known = torch.cat((prompt.cpu(), torch.tensor([layout[:ends[-1]]])), dim=1)
    room = known.shape[1] + 1 + length  # the marker, and the codes
    decoder.decoder.check(known)
    if room > decoder.config.max_length:
        raise SequenceError(f"{known.shape[1]} tokens and a shape of {length} are more than max_length "
                            f"{decoder.config.max_length}")
    streams = streams_of(seed, range(len(ends)))
    with torch.inference_mode():
        cache = decoder.new_cache(1, room)
        decoder.prefill(known.to(decoder.device), cache, cells=cells, prefix_length=prefix_length)
    codes = np.array(grammar.vocabulary.range("shape"))
    head = decoder.head_rows(codes).T

    def write(objects: np.ndarray) -> np.ndarray:
        """(n, L) ids of the shapes of these objects."""
        lengths = [prompt.shape[1] + ends[i] for i in objects]  # what of the prefix stands before an object's shape
        written = [np.full(len(objects), grammar.vocabulary.structure_id(grammar.schema.shape.marker))]
        with torch.inference_mode(), threads_of_steps(decoder, len(objects)):
            own = cache.of_rows(torch.zeros(len(objects), dtype=torch.int64, device=decoder.device))
            if own.places is not None:
                own.places.stand_behind([layout[:ends[i]] for i in objects])
            for _ in range(length):
                hidden = decoder.step(written[-1][:, None].tolist(), lengths, own)
                logits = (hidden.float().cpu() @ head).numpy()
                written.append(codes[[choose_shape(row, temperature, top_k, streams[i])
                                      for i, row in zip(objects, logits)]])
                lengths = [n + 1 for n in lengths]
        return np.stack(written[1:], axis=1)
    return grammar.vocabulary.shape_codes_of(_in_threads(write, len(ends), decoder))


def _in_threads(write: Callable[[np.ndarray], np.ndarray], count: int, decoder: CachedDecoder) -> np.ndarray:
    """What `write` makes of the numbers below `count`, in as many groups as torch may take threads here, where a step
    of one group does not take them all.
    """
    threads = min(count, torch.get_num_threads()) if decoder.steps_alone else 1
    if threads == 1:
        return write(np.arange(count))
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(write, np.array_split(np.arange(count), threads))))


def _with_codes(layout: Generation, codes: np.ndarray, grammar: SceneGrammar) -> Generation:
    """A layout with the codes (N, L) of its objects within them."""
    marker = grammar.vocabulary.structure_id(grammar.schema.shape.marker)
    ids, distributions, start = [], [], 0
    for end, own in zip(grammar.object_ends(layout.token_ids), codes):
        shape = [marker, *grammar.vocabulary.shape_ids(own).tolist()]
        ids += [*layout.token_ids[start:end], *shape]
        distributions += [*layout.distributions[start:end], *[None] * len(shape)]
        start = end
    return Generation([*ids, *layout.token_ids[start:]], [*distributions, *layout.distributions[start:]])
