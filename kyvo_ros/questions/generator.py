"""Questions about a scene with programs and answers: balanced answers, many phrasings, slips, failed premises.

For a kind of question an answer is wished for first (yes or no, a count, a colour of the scene), each equally often,
and programs are drawn until one has it, so that answers are about as frequent whatever the scene is like.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kyvo_ros.questions.answers import Answer, PremiseError
from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import ATTRIBUTES
from kyvo_ros.questions.noise import disturb
from kyvo_ros.questions.phrasing import Speaker
from kyvo_ros.questions.program import Program
from kyvo_ros.questions.sampling import ProgramSampler, SamplingError, retried
from kyvo_ros.scene import Scene

#: Kinds of questions and how often each is asked.
CLEVR_KINDS = {
    "count": 3.0, "exist": 3.0, **{f"query_{a}": 1.0 for a in ATTRIBUTES}, "equal_integer": 0.7, "less_than": 0.7,
    "greater_than": 0.7, **{f"equal_{a}": 0.5 for a in ATTRIBUTES}}
ROBOT_KINDS = {"locate": 1.0, "distance": 1.5, "extent": 0.7, "object": 1.0, "objects": 1.0}
_FALSE_PREMISE_ROOTS = (*(f"query_{a}" for a in ATTRIBUTES), "locate", "extent")

_TRIES_FOR_ANSWER, _TRIES_FOR_PROGRAM = 12, 30
_HIGHEST_COUNT = 6
#: How often a list may be empty.
_EMPTY_LISTS = 0.1


@dataclass(frozen=True)
class QuestionSettings:
    """What is asked, and how."""

    robot: bool = True  # also what robots ask; False keeps to CLEVR's functions
    hops: tuple[float, ...] = (4.0, 4.0, 2.0, 1.0)  # weights of 0, 1, 2, .. relations on the way to an object
    false_premises: float = 0.06  # share of questions whose premise fails
    unknown: float = 0.02  # share of questions that are out of the language
    noise: float = 0.25  # share of questions with slips
    held_out: bool = False  # phrased by the held-out phrasings only

    def __post_init__(self) -> None:
        for name in ("false_premises", "unknown", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not self.hops or min(self.hops) < 0 or sum(self.hops) <= 0:
            raise ValueError(f"hops needs weights of which one is positive, got {self.hops}")


@dataclass(frozen=True)
class Question:
    """A question with its meaning."""

    text: str
    program: Program
    answer: Answer
    kind: str  # a kind of the tables above, "false_premise" or "unknown"


class QuestionGenerator:
    """Asks about scenes; the same seed asks the same."""

    def __init__(self, seed: int, settings: QuestionSettings = QuestionSettings()) -> None:
        self._rng = random.Random(seed)
        self.settings = settings
        self._speaker = Speaker(self._rng, settings.held_out)
        self._kinds = CLEVR_KINDS | ROBOT_KINDS if settings.robot else CLEVR_KINDS

    def questions(self, scene: Scene, count: int, camera_position_m: Sequence[float] | None = None) -> list[Question]:
        """So many questions about a scene in the support-plane frame; `camera_position_m` as in `Executor`.

        About an empty scene few kinds can be asked. Raises SamplingError where nothing was found to ask.
        """
        executor = Executor(scene, camera_position_m)
        return [self._question(executor) for _ in range(count)]

    def _question(self, executor: Executor) -> Question:
        sampler = ProgramSampler(executor, self._rng, self.settings.robot)
        kind = self._kind()
        for _ in range(_TRIES_FOR_PROGRAM):
            try:
                program = self._program(kind, sampler, executor)
                break
            except SamplingError:
                kind = self._kind()  # this scene has no question of that kind
        else:
            raise SamplingError(f"found no question about a scene of {len(executor.scene)} objects")
        text = self._speaker.question(program)
        if self._rng.random() < self.settings.noise:
            text = disturb(text, self._rng)
        return Question(text, program, executor.run(program), kind)

    def _kind(self) -> str:
        chance = self._rng.random()
        if chance < self.settings.unknown:
            return "unknown"
        if chance < self.settings.unknown + self.settings.false_premises:
            return "false_premise"
        return self._rng.choices(list(self._kinds), list(self._kinds.values()))[0]

    def _program(self, kind: str, sampler: ProgramSampler, executor: Executor) -> Program:
        """A program of this kind, with the wished answer where it is found soon. Raises SamplingError."""
        if kind == "unknown":
            return Program("unknown")
        if kind == "false_premise":
            broken = retried(lambda: sampler.broken_object(self._hops()), _TRIES_FOR_PROGRAM)
            roots = _FALSE_PREMISE_ROOTS if self.settings.robot else _FALSE_PREMISE_ROOTS[:len(ATTRIBUTES)]
            return Program(self._rng.choice(roots), (broken,))
        wish, found = self._wish(kind, executor.scene), None
        for _ in range(_TRIES_FOR_ANSWER):
            try:
                program = retried(lambda: self._draw(kind, sampler), _TRIES_FOR_PROGRAM)
                answer = executor.evaluate(program)
            except (SamplingError, PremiseError):
                continue
            found = program
            if answer == wish or (wish is None and (answer != frozenset() or self._rng.random() < _EMPTY_LISTS)):
                break
        if found is None:
            raise SamplingError(f"no question of kind {kind}")
        return found

    def _wish(self, kind: str, scene: Scene) -> Any:
        """The answer to look for; None where any will do."""
        if kind == "count":
            return self._rng.randint(0, min(_HIGHEST_COUNT, len(scene)))
        if kind.startswith("query_"):
            values = {o.attributes[kind.removeprefix("query_")] for o in scene.objects}
            return self._rng.choice(sorted(values) or [None])
        return None if kind in ROBOT_KINDS else self._rng.random() < 0.5

    def _draw(self, kind: str, sampler: ProgramSampler) -> Program:
        hops = self._hops()
        if kind == "object":
            return sampler.superlative(hops) if self._rng.random() < 0.6 else sampler.an_object(hops)
        if kind == "objects":
            return sampler.some_objects(hops)
        if kind in ("count", "exist"):
            return Program(kind, (sampler.some_objects(hops),))
        if kind in ("equal_integer", "less_than", "greater_than"):
            return Program(kind, tuple(Program("count", (sampler.some_objects(min(h, 1)),))
                                       for h in (hops, self._hops())))
        if kind == "distance":
            return Program(kind, sampler.point_pair(min(hops, 1)))
        hidden = [kind.split("_")[1]] if "_" in kind else []
        if kind.startswith("equal_"):
            first, second = (sampler.an_object(min(h, 2), hidden) for h in (hops, self._hops()))
            return Program(kind, tuple(Program(f"query_{hidden[0]}", (part,)) for part in (first, second)))
        return Program(kind, (sampler.an_object(hops, hidden),))

    def _hops(self) -> int:
        return self._rng.choices(range(len(self.settings.hops)), self.settings.hops)[0]
