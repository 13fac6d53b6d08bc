"""Questions and instructions with the programs they mean, as sequences for training (Q->P and T->E).

What is asked of an image and how a scene is edited is said by a program, and a program depends on its sentence alone:
sequences are short, and one batch of them costs less than one of images. Sentences come from CLEVR's question files and
from the project's own generators, whose held-out phrasings are kept for measuring.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate
from kyvo_ros.questions import (
    EditGenerator, EditRules, EditSettings, QuestionGenerator, QuestionSettings, SamplingError, read_questions,
    symbols_of)
from kyvo_ros.tokens.automaton import GrammarError
from kyvo_ros.tokens.program_grammar import ProgramGrammar, Symbol
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.worker_rows import rows_of_parts

log = logging.getLogger(__name__)

#: A batch of sentences holds this many times the sequences of a batch of images.
SENTENCES_FOR_AN_IMAGE = 4
#: Sentences about one scene, and scenes that a worker process talks about at a time.
_A_SCENE, _SCENES_A_TASK = 4, 50
#: The fields of SequenceBuilder.build, and the grammar, by task.
_FIELDS = {"Q->P": ("question", "program"), "T->E": ("instruction", "edit")}


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it means."""

    task: str  # Q->P or T->E
    text: str
    symbols: tuple[Symbol, ...]


def clevr_sentences(folders: Iterable[Path], about: Callable[[str], bool]) -> list[Sentence]:
    """The questions with programs of CLEVR folders about images of certain names; a folder may have no questions."""
    return [Sentence("Q->P", q.question, tuple(symbols_of(q.program)))
            for folder in folders if (folder / "questions.json").is_file()
            for q in read_questions(folder / "questions.json") if q.program is not None and about(q.image_filename)]


@dataclass(frozen=True)
class SentenceMaker:
    """Talks about scenes; travels to worker processes."""

    schema: SceneSchema
    seed: int
    held_out: bool = False  # by the held-out phrasings, without slips

    def sentences(self, scenes: ExampleSet, questions: int, instructions: int, workers: int = 1) -> list[Sentence]:
        """About so many of each, about scenes drawn from a set."""
        rng = np.random.default_rng([self.seed, 4])
        jobs = []
        for count, task in ((questions, "Q->P"), (instructions, "T->E")):
            for start in range(0, -(-count // _A_SCENE), _SCENES_A_TASK):
                drawn = min(_SCENES_A_TASK, -(-count // _A_SCENE) - start)
                jobs.append((task, int(rng.integers(2**31)), scenes[rng.integers(len(scenes), size=drawn)]))
        return rows_of_parts(self._about, jobs, workers, "sentences", "part")

    def _about(self, job: tuple[str, int, ExampleSet]) -> list[Sentence]:
        task, seed, scenes = job
        quiet = {"held_out": True, "noise": 0.0} if self.held_out else {}
        questions = QuestionGenerator(seed, QuestionSettings(**quiet))
        edits = EditGenerator(seed, EditRules(self.schema.extents_m), EditSettings(**quiet))
        found = []
        for i in range(len(scenes)):
            scene = scenes.scene(i, word_values(self.schema))
            camera = scenes.plane_camera(i).plane_T_optical().translation
            try:
                said = questions.questions(scene, _A_SCENE, camera) if task == "Q->P" else edits.edits(scene, _A_SCENE)
            except SamplingError:
                continue  # an empty scene leaves little to say
            found += [Sentence(task, s.text, tuple(symbols_of(s.program))) for s in said]
        return found


@dataclass(frozen=True, eq=False)
class SentenceSet:
    """Sequences of sentences and programs; L is the longest."""

    ids: np.ndarray  # (N, L) int16, padded with [PAD]
    worth: np.ndarray  # (N, L) bool, where another token would have been possible
    prompt_length: np.ndarray  # (N,) int64
    length: np.ndarray  # (N,) int64

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, sentences: Sequence[Sentence], builder: SequenceBuilder, pad: int) -> SentenceSet:
        """Of those sentences whose programs the language can write; of the others their number and one are logged."""
        built, left = [], []
        for s in tqdm(sentences, desc="sentences", unit="sentence", mininterval=5):
            text, program = _FIELDS[s.task]
            try:
                built.append(builder.build(s.task, **{text: s.text, program: s.symbols}))
            except GrammarError as error:  # a program that is too long, one in a hundred thousand
                left.append((s.text, error))
        if left:
            log.warning("%d of %d sentences are left out, such as %r: %s", len(left), len(sentences), *left[0])
        longest = max(map(len, built))
        ids, worth = np.full((len(built), longest), pad, np.int16), np.zeros((len(built), longest), bool)
        for i, sequence in enumerate(built):
            ids[i, : len(sequence)], worth[i, : len(sequence)] = sequence.token_ids, sequence.loss_mask
        return cls(ids, worth, np.array([s.prompt_length for s in built]), np.array([len(s) for s in built]))

    def save(self, path: Path) -> None:
        """Write an .npz; inverse of `load`."""
        write_arrays(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> SentenceSet:
        with np.load(path) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Rows (size,) whose prompts have one length, so that they share a prefix; uniform in the long run."""
        like = self.prompt_length[rng.integers(len(self))]
        return rng.choice(np.flatnonzero(self.prompt_length == like), size=size)


def sentence_loss(decoder: Decoder, sentences: SentenceSet, rows: np.ndarray, device: torch.device) -> Tensor:
    """Mean cross entropy of the programs of some rows, whose prompts have one length."""
    end = int(sentences.length[rows].max())
    start = int(sentences.prompt_length[rows[0]]) - 1  # [OUTPUT-SEP], which says the first token of the program
    ids = torch.as_tensor(sentences.ids[rows, :end].astype(np.int64)).to(device)
    worth = torch.as_tensor(sentences.worth[rows, start + 1: end]).to(device)
    hidden = decoder.hidden(ids[:, :-1], prefix_length=start, start=start)
    return F.cross_entropy(decoder.logits(hidden[worth]), ids[:, start + 1:][worth])


@torch.no_grad()
def exact_programs(decoder: Decoder, sentences: SentenceSet, grammar: ProgramGrammar) -> float:
    """The share of sentences of one task whose program the model writes token by token as it should be."""
    right, device = 0, next(decoder.parameters()).device
    for length in np.unique(sentences.prompt_length):
        rows = np.flatnonzero(sentences.prompt_length == length)
        prompts = torch.as_tensor(sentences.ids[rows, :length].astype(np.int64), device=device)
        written = generate(decoder, prompts, prefix_length=int(length) - 1, grammar=grammar)
        for row, program in zip(rows, written):
            meant = sentences.ids[row, length: sentences.length[row] - 1].tolist()  # without [EOS]
            right += program.token_ids == meant
    return right / len(sentences)
