"""The scene language as a finite automaton: from a schema to which token may follow which.

A scene is [SCENE-START] object* [SCENE-END]; an object is [OBJECT-START], its attributes in the schema's order, and
[OBJECT-END]. What is written inside an object becomes a small graph whose nodes remember only what a later choice
depends on (in CLEVR: size and shape, which decide z and whether there is a yaw); the codes of an object's shape are a
chain of nodes that allow them all. A counter beside the node closes the scene at `max_objects`.

It knows what may be written, not what it means: reading and writing scenes is `scene_grammar`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kyvo_ros.tokens.schema import (
    DimensionsAttribute, LocationAttribute, SceneSchema, ShapeAttribute, WordAttribute, YawAttribute)
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary

#: A position in a scene: a small hashable number that only this module takes apart.
State = int

#: The choice between another object and the end of the scene.
PRESENCE = "presence"
#: What the three numbers of an object's dimensions say.
SIZE_SLOTS = ("size_x", "size_y", "size_z")
#: A code of an object's shape.
SHAPE_SLOT = "shape_code"

# Nodes outside of an object; nodes inside follow.
_START, _CHOICE, _FULL, _END = range(4)


class GrammarError(ValueError):
    """A scene cannot be written, or tokens are not a scene."""


@dataclass(frozen=True)
class _Step:
    """One token position of an object."""

    slot: str | None  # what the token says: an attribute's name, x, y, z, yaw, SIZE_SLOTS, SHAPE_SLOT; None: a marker
    choices: Callable[[Mapping[str, str]], Mapping[int, str] | range]  # known attributes -> {token id: value}, of
    # codes their range; {} skips it
    needs: frozenset[str] = frozenset()  # attributes that the choices depend on
    repeated: int = 1  # tokens with these choices, one after the other


class _ToOne(Mapping):
    """Edges of a whole range of tokens to one node, without an entry for each."""

    def __init__(self, ids: range, target: int) -> None:
        self._ids, self._target = ids, target

    def __getitem__(self, token_id: int) -> int:
        if token_id not in self._ids:
            raise KeyError(token_id)
        return self._target

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


class SceneAutomaton:
    """Nodes, labelled edges, and the walk along them."""

    def __init__(self, vocabulary: Vocabulary, text_tokenizer: TextTokenizer, schema: SceneSchema) -> None:
        """Raises VocabularyError, OutOfRangeError, TextTokenizerError where a marker, height or word has no id."""
        start, end, object_start = map(vocabulary.structure_id, ("[SCENE-START]", "[SCENE-END]", "[OBJECT-START]"))
        self._max_objects = schema.max_objects
        self._edges: list[Mapping[int, int]] = [{start: _CHOICE}, {}, {end: _END}, {}]
        self._slots: list[str | None] = [None, PRESENCE, PRESENCE, None]
        self._longest = [0, 0, 0, 0]  # tokens from a node of an object to the object's end
        self._compiled: dict[tuple, int] = {}
        self._steps = _object_steps(vocabulary, text_tokenizer, schema)
        self._first_object_node = self._compile(0, {})
        self._edges[_CHOICE] = {object_start: self._first_object_node, end: _END}
        codes = np.array(vocabulary.range("shape"), dtype=np.int64)  # one array for all nodes that allow any code
        self._allowed = [codes if isinstance(edges, _ToOne) else np.array(sorted(edges), dtype=np.int64)
                         for edges in self._edges]
        for ids in self._allowed:
            ids.flags.writeable = False
        self._forced: dict[State, tuple[tuple[int, ...], State]] = {}

    def _compile(self, index: int, known: Mapping[str | None, str]) -> int:
        """The node at step `index` of an object, given the attributes that later steps still need."""
        if index == len(self._steps):
            return _CHOICE
        needed = frozenset().union(*(s.needs for s in self._steps[index:]))
        known = {name: value for name, value in known.items() if name in needed}
        key = (index, *sorted(known.items()))
        if key in self._compiled:
            return self._compiled[key]
        step = self._steps[index]
        choices = step.choices(known)
        if step.slot == SHAPE_SLOT:
            node = self._compile(index + 1, known)
            for _ in range(step.repeated):
                node = self._add(step.slot, _ToOne(choices, node))
        elif choices:
            targets = {token: self._compile(index + 1, {**known, step.slot: value}) for token, value in choices.items()}
            node = self._add(step.slot, targets)
        else:
            node = self._compile(index + 1, known)
        self._compiled[key] = node
        return node

    def _add(self, slot: str | None, edges: Mapping[int, int]) -> int:
        """A new node."""
        self._edges.append(edges)
        self._slots.append(slot)
        targets = [edges[next(iter(edges))]] if isinstance(edges, _ToOne) else edges.values()
        self._longest.append(1 + max(self._longest[target] for target in targets))
        return len(self._edges) - 1

    @property
    def node_count(self) -> int:
        return len(self._edges)

    def start(self) -> State:
        """Before [SCENE-START]."""
        return _START

    def node(self, state: State) -> int:
        """0 .. node_count - 1; states of one node allow the same tokens."""
        return state % len(self._edges)

    def is_end(self, state: State) -> bool:
        return self.node(state) == _END

    def allowed(self, state: State) -> np.ndarray:
        """(K,) ids that may come next, ascending, read-only; none after the end."""
        return self._allowed[state % len(self._edges)]

    def advance(self, state: State, token_id: int) -> State:
        """The state after one more token. Raises GrammarError where the token may not come next."""
        count, node = divmod(state, len(self._edges))
        target = self._edges[node].get(token_id)
        if target is None:
            raise GrammarError(f"expected one of {_summary(self._allowed[node])}, got {token_id}")
        if target == _CHOICE and node != _START:
            count += 1
            target = _CHOICE if count < self._max_objects else _FULL
        return count * len(self._edges) + target

    def forced_run(self, state: State) -> tuple[list[int], State]:
        """The longest run of tokens from here that are the only ones possible, and the state behind it."""
        if state not in self._forced:
            run, behind = [], state
            while len(self.allowed(behind)) == 1:
                run.append(int(self.allowed(behind)[0]))
                behind = self.advance(behind, run[-1])
            self._forced[state] = tuple(run), behind
        run, behind = self._forced[state]
        return list(run), behind

    def states(self, ids: Sequence[int]) -> list[State]:
        """The states before each of the tokens and behind the last. Raises GrammarError with the token's index."""
        states = [self.start()]
        for index, token_id in enumerate(ids):
            try:
                states.append(self.advance(states[-1], int(token_id)))
            except GrammarError as error:
                raise GrammarError(f"token {index} of {len(ids)}: {error}") from None
        return states

    @property
    def max_length(self) -> int:
        """Tokens of the longest scene."""
        return 2 + self._max_objects * (1 + self._longest[self._first_object_node])


def _summary(ids: np.ndarray) -> str:
    return f"ids {ids.tolist()}" if len(ids) <= 12 else f"the {len(ids)} ids {ids[0]} .. {ids[-1]}"


def _object_steps(vocabulary: Vocabulary, text_tokenizer: TextTokenizer, schema: SceneSchema) -> list[_Step]:
    """The token positions of an object behind [OBJECT-START]."""
    steps = []
    numbers = dict.fromkeys(vocabulary.range("numbers"), "")
    first_positive = int(np.searchsorted(vocabulary.numbers.values(), 0.0))
    not_negative = dict.fromkeys(vocabulary.range("numbers")[first_positive:], "")
    for attribute in schema.attributes:
        marker = {} if attribute.marker is None else {vocabulary.structure_id(attribute.marker): ""}
        if isinstance(attribute, WordAttribute):
            words = {text_tokenizer.word_id(value): value for value in attribute.values}
            steps += [_constant(None, marker), _constant(attribute.name, words)]
        elif isinstance(attribute, LocationAttribute):
            steps += [_constant(None, marker), _constant("x", numbers), _constant("y", numbers)]
            steps.append(_resting_step(vocabulary, schema) if attribute.resting else
                         _constant("z", not_negative if attribute.depth else numbers))
        elif isinstance(attribute, DimensionsAttribute):
            steps += [_constant(None, marker), *(_constant(slot, not_negative) for slot in SIZE_SLOTS)]
        elif isinstance(attribute, ShapeAttribute):
            steps += [_constant(None, marker), _codes_step(vocabulary, attribute)]
        else:
            yaws = dict.fromkeys(yaw_ids(vocabulary, attribute).tolist(), "")
            steps += [_yaw_step(None, marker, attribute), _yaw_step("yaw", yaws, attribute)]
    return [*steps, _constant(None, {vocabulary.structure_id("[OBJECT-END]"): ""})]


def _constant(slot: str | None, tokens: Mapping[int, str]) -> _Step:
    return _Step(slot, lambda known: tokens)


def _codes_step(vocabulary: Vocabulary, attribute: ShapeAttribute) -> _Step:
    codes = vocabulary.range("shape")
    if not codes:
        raise GrammarError(f"{attribute.marker} needs shape codes, of which the vocabulary has none")
    return _Step(SHAPE_SLOT, lambda known: codes, repeated=attribute.length)


def _resting_step(vocabulary: Vocabulary, schema: SceneSchema) -> _Step:
    """z as the one number nearest to the height at which the object rests."""
    def choices(known: Mapping[str, str]) -> dict[int, str]:
        return {int(vocabulary.number_ids(schema.resting_height(known))): ""}
    return _Step("z", choices, frozenset(schema.extents.attributes))


def _yaw_step(slot: str | None, tokens: Mapping[int, str], attribute: YawAttribute) -> _Step:
    """Present only where the shape shows its yaw."""
    if attribute.attribute is None:
        return _constant(slot, tokens)

    def choices(known: Mapping[str, str]) -> Mapping[int, str]:
        return tokens if known[attribute.attribute] in attribute.shapes_with_yaw else {}
    return _Step(slot, choices, frozenset({attribute.attribute}))


def yaw_ids(vocabulary: Vocabulary, attribute: YawAttribute) -> np.ndarray:
    """Number ids of the yaws within the attribute's span; of all numbers without a period."""
    values = vocabulary.numbers.values()
    if attribute.period_rad is None:
        return np.array(vocabulary.range("numbers"))
    low, end = attribute.span_rad
    chosen = values[(values >= low - 1e-9) & (values < end - 1e-9)]
    if not len(chosen) or max(chosen[0] - low, end - chosen[-1]) > vocabulary.numbers.step_at(chosen[-1]) + 1e-9:
        raise GrammarError(f"the numbers from {values[0]:g} to {values[-1]:g} do not reach a yaw of "
                           f"{low if attribute.centered else end:g} rad")
    return vocabulary.number_ids(chosen)
