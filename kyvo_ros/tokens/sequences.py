"""Task sequences: the one place that lays out text, images and scenes as ids, with the positions worth a loss.

    [BOS] prompt segments [OUTPUT-SEP] target segments [EOS]

A task is a list of segments, so a training example and an inference prompt come from the same description. Every
segment carries its own brackets, such as [IMAGE-START] .. [IMAGE-END] and [SCENE-START] .. [SCENE-END].
Source: Kyvo (arXiv 2506.08002) and the layouts of its published code, which put the loss on all that follows the
separator; ours lies only where more than one token is possible.

An image of the prompt is read row by row; one of the target is written in an order of its own (see `image_orders`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kyvo_ros.scene import Scene
from kyvo_ros.tokens.image_grammar import ImageGrammar
from kyvo_ros.tokens.program_grammar import ProgramGrammar, Symbol
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary

#: An id, and whether another one would have been possible in its place.
_Token = tuple[int, bool]


class TaskError(ValueError):
    """A task is unknown, or what it needs is missing or misshapen."""


@dataclass(frozen=True)
class Segment:
    """One part of a task's sequence."""

    modality: str  # image, scene, shapes (a scene with shape codes), text, program (of a question) or edit (one of an
    # instruction)
    role: str  # prompt or target
    field: str  # the argument of SequenceBuilder.build that it comes from
    given: int = 0  # first tokens of the target, with its bracket, that the loss leaves out


#: Letters of the task names; a prime marks an edited image or scene.
_LETTERS = {
    "I": ("image", "image_codes"), "I'": ("image", "target_image_codes"),
    "3": ("scene", "scene"), "3'": ("scene", "target_scene"), "S": ("shapes", "scene"),
    "T": ("text", "instruction"), "Q": ("text", "question"), "A": ("text", "answer"),
    "P": ("program", "program"), "E": ("edit", "edit"),
}


def _task(prompt: str, target: str) -> tuple[Segment, ...]:
    return tuple(Segment(modality, role, field)
                 for letters, role in ((prompt, "prompt"), (target, "target"))
                 for modality, field in (_LETTERS[letter] for letter in letters.split()))


#: I image, 3 scene, S scene in which every object carries the codes of its shape, T instruction, Q question, A answer,
#: P program that answers a question, E program that edits. `first3output`, a layout of the published code, takes the
#: first three codes of the image as given.
TASKS: dict[str, tuple[Segment, ...]] = {
    "I->3": _task("I", "3"),
    "3->I": _task("3", "I"),
    "3->I-first3output": (Segment("scene", "prompt", "scene"), Segment("image", "target", "image_codes", given=4)),
    "I->S": _task("I", "S"),
    "S->I": _task("S", "I"),
    "Q->P": _task("Q", "P"),
    "T->E": _task("T", "E"),
    "I+Q->A": _task("I Q", "A"),
    "I+3+Q->A": _task("I 3 Q", "A"),
    "3+I+Q->A": _task("3 I Q", "A"),
    "3+T->3": _task("3 T", "3'"),
    "I+3+T->3": _task("I 3 T", "3'"),
    "I+3+T->I+3": _task("I 3 T", "I' 3'"),
    "3+I+T->3+I": _task("3 I T", "3' I'"),
    "I+T->I+3": _task("I T", "I' 3'"),
    "I+T->3": _task("I T", "3'"),
    "I+T->I": _task("I T", "I'"),
    "I+T->T": _task("I T", "A"),
    "I+3+T->T": _task("I 3 T", "A"),
}


#: The task of answering a question by a word, by the order in which image and scene stand in the prompt.
ANSWER_TASKS = {"image_first": "I+3+Q->A", "scene_first": "3+I+Q->A"}


@dataclass(frozen=True, eq=False)
class Sequence:
    """A task's tokens."""

    token_ids: np.ndarray  # (S,) int64
    loss_mask: np.ndarray  # (S,) bool; token i is a target where another token would have been possible
    prefix_length: int  # tokens before [OUTPUT-SEP], which may attend to each other both ways
    prompt_length: int  # tokens up to and with [OUTPUT-SEP]; what follows is the target

    def __len__(self) -> int:
        return len(self.token_ids)


class SequenceBuilder:
    """Builds the sequences of TASKS for one vocabulary, grammar, text tokenizer and image grid (h, w).

    `programs` holds the grammars of the modalities `program` and `edit`, for tasks that have them. `image_order` is
    that of images in targets, see `image_orders`.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: SceneGrammar, text_tokenizer: TextTokenizer,
                 image_grid: tuple[int, int], programs: Mapping[str, ProgramGrammar] | None = None,
                 image_order: str = "raster") -> None:
        self.image_grid = tuple(image_grid)
        self.image_grammar = ImageGrammar(vocabulary, image_grid, image_order)  # of images in targets
        self._read_image = ImageGrammar(vocabulary, image_grid)
        self._vocabulary = vocabulary
        self._text_tokenizer = text_tokenizer
        self._writers = {"scene": partial(self._scene, grammar.layout), "text": self._text}
        if grammar.schema.shape is not None:
            self._writers["shapes"] = partial(self._scene, grammar)
        for modality, program_grammar in (programs or {}).items():
            self._writers[modality] = partial(self._program, program_grammar)

    def build(self, task: str, **fields: np.ndarray | Scene | str | None) -> Sequence:
        """The whole sequence of a task.

        Args:
            task: a key of TASKS.
            fields: what the task's segments name: `image_codes`, `target_image_codes` (h, w) or (h*w,) in raster
                order; `scene`, `target_scene` Scene; `instruction`, `question`, `answer` str; `program`, `edit` the
                symbols of a program. None is not given.

        Raises TaskError for an unknown task or a missing or superfluous field; GrammarError, OutOfRangeError,
        VocabularyError from encoding.
        """
        prompt, target = self._parts(task, ("prompt", "target"), fields)
        target.append((self._id("[EOS]"), False))
        return _sequence(prompt, target)

    def prompt(self, task: str, **fields: np.ndarray | Scene | str | None) -> Sequence:
        """The sequence up to and with [OUTPUT-SEP], for generation; takes the fields of the prompt only."""
        prompt, _ = self._parts(task, ("prompt",), fields)
        return _sequence(prompt, [])

    def target(self, task: str, **fields: np.ndarray | Scene | str | None) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) int64 and loss mask (T,) bool of what follows [OUTPUT-SEP]; takes the fields of the target only."""
        _, target = self._parts(task, ("target",), fields)
        sequence = _sequence([], [*target, (self._id("[EOS]"), False)])
        return sequence.token_ids, sequence.loss_mask

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def text_tokenizer(self) -> TextTokenizer:
        return self._text_tokenizer

    def _parts(self, task: str, roles: tuple[str, ...], fields: dict) -> tuple[list[_Token], list[_Token]]:
        """The tokens up to and with [OUTPUT-SEP], and those of the target segments."""
        if task not in TASKS:
            raise TaskError(f"expected a task of {tuple(TASKS)}, got {task!r}")
        segments = [s for s in TASKS[task] if s.role in roles]
        given = {name for name, value in fields.items() if value is not None}
        needed = {s.field for s in segments}
        if needed != given:
            raise TaskError(f"the {' and '.join(roles)} of {task} needs {sorted(needed)}, got {sorted(given)}")
        tokens = {role: [] for role in ("prompt", "target")}
        for segment in segments:
            written = self._write(task, segment, fields[segment.field])
            untaught = [(token_id, False) for token_id, _ in written[:segment.given]]
            tokens[segment.role] += untaught + written[segment.given:]
        prompt = [(self._id("[BOS]"), False), *tokens["prompt"], (self._id("[OUTPUT-SEP]"), False)]
        return prompt, tokens["target"]

    def _write(self, task: str, segment: Segment, value: np.ndarray | Scene | str) -> list[_Token]:
        if segment.modality == "image":
            return self._image(self._read_image if segment.role == "prompt" else self.image_grammar, value)
        if segment.modality not in self._writers:
            where = ("a schema with shapes" if segment.modality == "shapes" else
                     f"the grammar of modality {segment.modality!r}; give it as programs")
            raise TaskError(f"task {task} needs {where}")
        return self._writers[segment.modality](value)

    def _id(self, name: str) -> int:
        return self._vocabulary.structure_id(name)

    @staticmethod
    def _image(grammar: ImageGrammar, codes: np.ndarray) -> list[_Token]:
        start, *ids, end = grammar.encode_image(codes)
        return [(start, False), *((i, True) for i in ids), (end, False)]

    @staticmethod
    def _scene(grammar: SceneGrammar, scene: Scene) -> list[_Token]:
        ids = grammar.encode_scene(scene)
        return list(zip(ids, grammar.loss_positions(ids)))

    @staticmethod
    def _program(grammar: ProgramGrammar, symbols: Iterable[Symbol]) -> list[_Token]:
        ids = grammar.encode_program(list(symbols))
        return list(zip(ids, grammar.loss_positions(ids)))

    def _text(self, text: str) -> list[_Token]:
        ids = self._text_tokenizer.encode(text)
        return [(self._id("[TEXT-START]"), False), *((i, True) for i in (*ids, self._id("[TEXT-END]")))]


def _sequence(prompt: list[_Token], target: list[_Token]) -> Sequence:
    ids = [token_id for token_id, _ in (*prompt, *target)]
    worth = [False] * len(prompt) + [choice for _, choice in target]
    return Sequence(np.array(ids, dtype=np.int64), np.array(worth, dtype=bool), len(prompt) - 1, len(prompt))
