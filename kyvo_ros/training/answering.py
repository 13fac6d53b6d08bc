"""Training the decoder to answer questions at once, (I, 3, Q) -> A or with image and scene the other way round.

Questions are of CLEVR's kinds, about the scenes of a `CodeSet`, whose image and true scene stand in the prompt. The
loss lies on the answer alone. Source: question answering in Kyvo (arXiv 2506.08002), whose better order is the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.direct_answers import MAX_QUESTION_TOKENS
from kyvo_ros.model.generation import generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.questions import QuestionGenerator, QuestionSettings, SamplingError
from kyvo_ros.tokens.answer_grammar import AnswerGrammar
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.training.code_sets import CodeSet

#: Questions about one scene.
_A_SCENE = 4
#: Tokens of an answer: a word, which is a single one, in its brackets, and [EOS].
_ANSWER = 4
#: Questions that are answered at a time.
_A_TIME = 32


@dataclass(frozen=True, eq=False)
class AnswerSet:
    """Sequences of one task; the answers come last, and all have one length."""

    ids: np.ndarray  # (N, L) int16, the ends of the rows aligned, zeros before them
    length: np.ndarray  # (N,) int64 tokens of the whole sequence
    picture: np.ndarray  # (N,) int64 row of the CodeSet that is asked about

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, pictures: CodeSet, words: dict[str, Sequence[str]], builder: SequenceBuilder, task: str, count: int,
           seed: int, held_out: bool = False) -> AnswerSet:
        """About `count` questions about pictures that show objects; `held_out` takes the phrasings kept for measuring.

        `words` as in `ExampleSet.scene`. Questions of more tokens than a decoder has room for are left out.
        """
        rng = np.random.default_rng([seed, 5])
        noise = {"held_out": True, "noise": 0.0} if held_out else {}
        generator = QuestionGenerator(seed, QuestionSettings(robot=False, false_premises=0.0, unknown=0.0, **noise))
        shown = np.flatnonzero(pictures.truth.count > 0)
        rows, sequences = [], []
        for row in tqdm(rng.choice(shown, -(-count // _A_SCENE)), desc="questions", unit="scene", mininterval=5):
            scene = pictures.truth.scene(int(row), words)
            try:
                asked = generator.questions(scene, _A_SCENE)
            except SamplingError:
                continue  # a scene of few objects leaves little to ask
            prompt = len(builder.prompt("3->I", scene=scene)) + pictures.codes.shape[1]
            for question in asked:
                sequence = builder.build(task, image_codes=pictures.codes[row].astype(np.int64), scene=scene,
                                         question=question.text, answer=question.answer.text)
                if len(sequence) <= prompt + MAX_QUESTION_TOKENS:
                    rows.append(int(row))
                    sequences.append(sequence.token_ids)
        longest = max(map(len, sequences))
        ids = np.zeros((len(sequences), longest), np.int16)
        for i, sequence in enumerate(sequences):
            ids[i, longest - len(sequence):] = sequence
        return cls(ids, np.array([len(s) for s in sequences]), np.array(rows))

    def save(self, path: Path) -> None:
        """Write an .npz; inverse of `load`."""
        write_arrays(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> AnswerSet:
        with np.load(path) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})

    def sequences(self, rows: np.ndarray) -> np.ndarray:
        """(B, S) int64 ids of rows of one length."""
        return self.ids[rows, -int(self.length[rows[0]]):].astype(np.int64)

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Rows (size,) of one length, so that they share a prefix; uniform in the long run."""
        like = self.length[rng.integers(len(self))]
        return rng.choice(np.flatnonzero(self.length == like), size=size)


@dataclass(frozen=True)
class AnswerLesson:
    """Questions to learn from, those that are held out, and the pictures that each set is about."""

    questions: AnswerSet | None  # None where answers are only scored
    pictures: CodeSet
    held_out: AnswerSet
    held_out_pictures: CodeSet
    grammar: AnswerGrammar
    score: str  # the name of the share of held-out questions that are answered right

    def __post_init__(self) -> None:
        """Raises ValueError where a word of an answer is no single token."""
        if self.grammar.max_length + 1 != _ANSWER:
            raise ValueError("every word of an answer must be a single text token; train the text tokenizer with them")

    def loss(self, decoder: Decoder, size: int, rng: np.random.Generator) -> Tensor:
        """Mean cross entropy of the words of a batch of answers."""
        rows = self.questions.draw(size, rng)
        device = next(decoder.parameters()).device
        ids = torch.as_tensor(self.questions.sequences(rows)).to(device)
        cells = torch.as_tensor(self.pictures.cells[self.questions.picture[rows]]).to(device)
        prompt = ids.shape[1] - _ANSWER
        hidden = decoder.hidden(ids[:, :-2], cells=cells, prefix_length=prompt - 1, start=prompt)
        return F.cross_entropy(decoder.logits(hidden[:, 0]), ids[:, prompt + 1])

    @torch.no_grad()
    def held_out_score(self, decoder: Decoder) -> float:
        """The share of held-out questions whose answer is right."""
        cached, asked, right = CachedDecoder(decoder), self.held_out, 0
        for length in np.unique(asked.length):
            group = np.flatnonzero(asked.length == length)
            for rows in np.split(group, range(_A_TIME, len(group), _A_TIME)):
                ids = asked.sequences(rows)
                cells = torch.as_tensor(self.held_out_pictures.cells[asked.picture[rows]]).to(cached.device)
                prompts = torch.as_tensor(ids[:, :-_ANSWER]).to(cached.device)
                written = generate(cached, prompts, cells=cells, prefix_length=prompts.shape[1] - 1,
                                   grammar=self.grammar)
                right += sum(w.token_ids[1] == word for w, word in zip(written, ids[:, -_ANSWER + 1]))
        return right / len(asked)
