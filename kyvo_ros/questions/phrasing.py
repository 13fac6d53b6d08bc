"""Programs in English: noun phrases, questions and instructions, drawn from the tables of `phrases`.

A Speaker with a random generator draws among all ways to say a thing, and one without says it the plainest way, which
is how answers and refusals speak. It knows nothing of scenes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from kyvo_ros.questions.phrases import (
    ATTRIBUTE_WORDS, CAMERA, CLAUSES, INSTRUCTIONS, METRES, PLACES, QUESTIONS, RELATIONS, SIDES, SUPERLATIVES,
    SUPERLATIVES_AMONG, WORDS, Phrases)
from kyvo_ros.questions.program import Program, filters_of

#: How often a random Speaker says adjectives in another order than size, color, material.
_SHUFFLED_ADJECTIVES = 0.1


class Speaker:
    """Says programs."""

    def __init__(self, rng: random.Random | None = None, held_out: bool = False) -> None:
        """
        Args:
            rng: chooses the words; None always takes the plainest.
            held_out: whole sentences come from the held-out phrasings only, and their parts from all; otherwise
                nothing held out is ever said.
        """
        self._rng = rng
        self._held_out = held_out

    # Sentences.

    def question(self, program: Program) -> str:
        """A program of any answer type as a question."""
        row = program.row
        key = next(k for k in (program.function, row.operation, row.output) if k in QUESTIONS)
        if row.operation == "distance" and program.inputs[1].function == "camera":
            key = "distance_camera"
        return _sentence(self._whole(QUESTIONS[key]).format(**self._slots(program)))

    def instruction(self, program: Program) -> str:
        """A program of type edit as an instruction."""
        row, slots = program.row, self._slots(program)
        values = dict(zip(row.values, program.values))
        if "relation" in values:
            slots["side"], slots["where"] = (self._part(table[values["relation"]]) for table in (SIDES, PLACES))
        if row.operation in ("insert_at", "insert_next"):
            slots["b"], slots["new"] = slots["a"], _with_article(self._head(values, plural=False))
        if "metres" in values:
            slots["v"] = self._metres(values["metres"])
        elif row.attribute:
            slots["m"], slots["v"] = values[row.attribute], self._word(values[row.attribute])
        key = program.function if program.function in INSTRUCTIONS else row.operation
        return _sentence(self._whole(INSTRUCTIONS[key]).format(**slots))

    def _slots(self, program: Program) -> dict[str, str]:
        """The phrases of a root's inputs."""
        slots = {"attribute": self._attribute(program)}
        if program.type in ("object", "objects"):
            return slots | (self._set_slots(program) if program.type == "objects" else {"a": self.the(program)})
        said = [p if p.type in ("object", "objects", "point") else p.inputs[0] for p in program.inputs]
        if not said:  # out of the language: any object will do
            return slots | {"a": f"the {self._head({'shape': self._choose(('', 'cube', 'sphere'))}, plural=False)}"}
        if said[0].type == "objects":
            return slots | self._set_slots(*said)
        if said[0].function == "unique":
            slots["one"] = _with_article(self.noun(said[0].inputs[0], plural=False))
        return {"one": self.the(said[0])} | slots | dict(zip("ab", map(self.the, said)))

    def _set_slots(self, first: Program, second: Program | None = None) -> dict[str, str]:
        slots = {"s": self.noun(first, plural=True), "n": self.noun(first, plural=False),
                 "an": _with_article(self.noun(first, plural=False))}
        return slots if second is None else slots | {"t": self.noun(second, plural=True)}

    # Phrases.

    def the(self, program: Program) -> str:
        """An object or point: `the red ball left of the cube`, `the camera`."""
        if program.function == "camera":
            return self._choose(CAMERA)
        operation, objects = program.row.operation, program.inputs[-1]
        if operation == "unique":
            return f"the {self.noun(objects, plural=False)}"
        point = self.the(program.inputs[0]) if len(program.inputs) > 1 else ""
        if filters_of(objects)[1].function != "scene":
            return self._choose(SUPERLATIVES_AMONG[operation]).format(s=self.noun(objects, plural=True), a=point)
        return self._part(SUPERLATIVES[operation]).format(n=self.noun(objects, plural=False), a=point)

    def noun(self, program: Program, plural: bool) -> str:
        """A set of objects without an article: `red balls left of the cube`."""
        pairs, base = filters_of(program)
        if base.function == "union" and not pairs and self._choose((True, False)):
            return self._alternatives(base, plural)
        head = self._head(dict(pairs), plural)
        if base.function == "scene":
            return head
        if base.row.operation == "same" and self._choose((False, False, True)):
            head = f"other {head}"
        return f"{head} {self._clause(base, plural, self._part(CLAUSES[base.row.operation]))}"

    def _alternatives(self, union: Program, plural: bool) -> str:
        first, second = (self.noun(part, plural) for part in union.inputs)
        return f"{first} or {second if plural else _with_article(second)}"

    def _clause(self, base: Program, plural: bool, template: str) -> str:
        if base.row.operation in ("union", "intersect"):
            inputs = [self._predicate(part, plural) for part in base.inputs]
        else:
            inputs = [self.the(part) for part in base.inputs]
        return template.format(
            **dict(zip("ab", inputs)), v=self._value(base), attribute=self._attribute(base),
            that=self._choose(("that", "which")), are="are" if plural else "is", have="have" if plural else "has")

    def _predicate(self, program: Program, plural: bool) -> str:
        """What "that are" may be followed by."""
        pairs, base = filters_of(program)
        if not pairs and base.row.operation in ("relate", "same", "between", "within"):
            return self._clause(base, plural, CLAUSES[base.row.operation].seen[0])
        noun = self.noun(program, plural)
        return noun if plural else _with_article(noun)

    def _head(self, words: dict[str, str], plural: bool) -> str:
        adjectives = [self._word(words[name]) for name in ("size", "color", "material") if name in words]
        if self._rng is not None and self._rng.random() < _SHUFFLED_ADJECTIVES:
            self._rng.shuffle(adjectives)
        noun = self._word(words.get("shape", ""))
        return " ".join([*adjectives, f"{noun}s" if plural else noun])

    # Words.

    def _value(self, program: Program) -> str:
        if program.row.operation == "relate":
            return self._part(RELATIONS[program.values[0]])
        return self._metres(program.values[0]) if program.row.operation == "within" else ""

    def _metres(self, value: float) -> str:
        return self._choose(METRES).format(v=f"{value:g}")

    def _attribute(self, program: Program) -> str:
        return self._choose(ATTRIBUTE_WORDS[program.row.attribute]) if program.row.attribute else ""

    def _word(self, value: str) -> str:
        return self._choose(WORDS[value])

    def _whole(self, phrases: Phrases) -> str:
        return self._choose(phrases.held_out if self._held_out else phrases.seen)

    def _part(self, phrases: Phrases) -> str:
        return self._choose(phrases.seen + phrases.held_out if self._held_out else phrases.seen)

    def _choose(self, options: Sequence):
        return options[0] if self._rng is None else self._rng.choice(options)


def _with_article(noun: str) -> str:
    if noun.startswith("other "):
        return f"an{noun}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
