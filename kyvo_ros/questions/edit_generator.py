"""Instructions for a scene with the scene they lead to: every kind of edit, many phrasings, slips.

Only edits that keep the placement rules are given. It knows nothing of images.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from kyvo_ros.questions.answers import PremiseError
from kyvo_ros.questions.edits import EditRules, apply_edit
from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import ATTRIBUTES
from kyvo_ros.questions.noise import disturb
from kyvo_ros.questions.phrasing import Speaker
from kyvo_ros.questions.program import Program
from kyvo_ros.questions.sampling import ProgramSampler, SamplingError
from kyvo_ros.scene import RELATIONS, Scene

#: Operations and how often each is instructed.
OPERATIONS = {"change": 2.0, "remove": 1.0, "move_by": 1.0, "move_next": 1.0, "insert_at": 1.0, "insert_next": 1.0}
#: Distances of moves and insertions, in tenths of a metre.
_MOVE_TENTHS, _INSERT_TENTHS = (2, 25), (8, 25)
_TRIES = 30


@dataclass(frozen=True)
class EditSettings:
    """What is instructed, and how."""

    operations: dict[str, float] = field(default_factory=lambda: dict(OPERATIONS))  # weights of OPERATIONS' keys
    relations: float = 0.5  # share of edits whose objects are described by a relation to another one
    noise: float = 0.25  # share of instructions with slips
    held_out: bool = False  # phrased by the held-out phrasings only

    def __post_init__(self) -> None:
        if not self.operations or not set(self.operations) <= set(OPERATIONS):
            raise ValueError(f"expected operations of {tuple(OPERATIONS)}, got {self.operations}")
        for name in ("relations", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True)
class Edit:
    """An instruction with its meaning and its effect."""

    text: str
    program: Program
    kind: str  # change, remove, move_by, ..., with "_relation" where a relation says which object is meant
    source: Scene
    target: Scene


class EditGenerator:
    """Instructs edits of scenes; the same seed instructs the same."""

    def __init__(self, seed: int, rules: EditRules, settings: EditSettings = EditSettings()) -> None:
        self._rng = random.Random(seed)
        self.rules, self.settings = rules, settings
        self._operations = settings.operations
        self._speaker = Speaker(self._rng, settings.held_out)

    def edits(self, scene: Scene, count: int) -> list[Edit]:
        """So many edits of a scene in the support-plane frame, each from the scene as given.

        Raises SamplingError where none is found, as in an empty scene.
        """
        executor = Executor(scene)
        sampler = ProgramSampler(executor, self._rng, robot=False)
        return [self._edit(scene, sampler) for _ in range(count)]

    def _edit(self, scene: Scene, sampler: ProgramSampler) -> Edit:
        for _ in range(_TRIES):
            operation = self._rng.choices(list(self._operations), list(self._operations.values()))[0]
            for _ in range(_TRIES):  # the same again first, lest crowded scenes see removals only
                try:
                    program = self._program(operation, sampler)
                    target = apply_edit(program, scene, self.rules)
                except (SamplingError, PremiseError):
                    continue
                return Edit(self._text(program), program, _kind(program), scene, target)
        raise SamplingError(f"found no edit of a scene of {len(scene)} objects")

    def _text(self, program: Program) -> str:
        text = self._speaker.instruction(program)
        return disturb(text, self._rng) if self._rng.random() < self.settings.noise else text

    def _program(self, operation: str, sampler: ProgramSampler) -> Program:
        """Some edit that may turn out to be impossible. Raises SamplingError."""
        thing = sampler.an_object(int(self._rng.random() < self.settings.relations))
        relation = self._rng.choice(RELATIONS)
        if operation == "change":
            name = self._rng.choice(list(ATTRIBUTES))
            return Program(f"change_{name}", (thing,), (self._rng.choice(ATTRIBUTES[name]),))
        if operation == "remove":
            return Program("remove", (thing,))
        if operation == "move_by":
            return Program("move_by", (thing,), (relation, self._metres(_MOVE_TENTHS)))
        if operation == "move_next":
            return Program("move_next", (thing, sampler.an_object(0)), (relation,))
        words = tuple(self._rng.choice(values) for values in ATTRIBUTES.values())
        if operation == "insert_at":
            return Program("insert_at", (thing,), (*words, relation, self._metres(_INSERT_TENTHS)))
        return Program("insert_next", (thing,), (*words, relation))

    def _metres(self, tenths: tuple[int, int]) -> float:
        return round(self._rng.randint(*tenths) / 10, 1)


def _kind(program: Program) -> str:
    related = any(part.row.operation in ("relate", "same") for part in program.walk())
    return f"{program.row.operation}{'_relation' if related else ''}"
