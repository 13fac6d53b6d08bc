"""Scenes to tokens and back, and which token may come next: the grammar object of a model.

Encoding, decoding, the mask on the logits, the positions worth a loss, and the tokens that need no sampling all come
from one automaton compiled from the schema, so they cannot disagree. It knows no sequences of tasks (see `sequences`)
and no model; the probabilities that a model gave come in as plain numpy.
Source: Kyvo (arXiv 2506.08002) for the markers and their order; [POSE] is ours.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens.automaton import (
    PRESENCE, SHAPE_SLOT, SIZE_SLOTS, GrammarError, SceneAutomaton, yaw_ids)
from kyvo_ros.tokens.distribution import NumberEstimate, TokenDistribution, estimate_number
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary

#: Half width, in grid steps, of the window over which a number's expectation is taken.
SUB_GRID_WINDOW = 3
#: Half width, in model units, of the neighbourhood whose probability is the confidence in a coordinate.
NEAR_UNITS = 0.25


class SceneGrammar(SceneAutomaton):
    """The language of scenes over one vocabulary, text tokenizer and schema.

    Which token may come next is the automaton's: `start`, `advance`, `allowed`, `forced_run`, `is_end`.
    """

    def __init__(self, vocabulary: Vocabulary, text_tokenizer: TextTokenizer, schema: SceneSchema) -> None:
        """Raises VocabularyError, TextTokenizerError where a marker or word of the schema has no id of its own."""
        if text_tokenizer.size > vocabulary.text_size:
            raise GrammarError(
                f"the text tokenizer has {text_tokenizer.size} ids, the vocabulary room for {vocabulary.text_size}")
        super().__init__(vocabulary, text_tokenizer, schema)
        self.vocabulary = vocabulary
        self.schema = schema
        self._text_tokenizer = text_tokenizer
        self._word_ids = {a.name: {v: text_tokenizer.word_id(v) for v in a.values} for a in schema.words}
        self._words = {a.name: {i: v for v, i in self._word_ids[a.name].items()} for a in schema.words}
        self._object_start = vocabulary.structure_id("[OBJECT-START]")
        self._object_end = vocabulary.structure_id("[OBJECT-END]")
        self._first_number, self._number_values = vocabulary.range("numbers").start, vocabulary.numbers.values()
        if schema.yaw is not None:
            self._yaw_ids = yaw_ids(vocabulary, schema.yaw)
            self._yaws = vocabulary.numbers_of(self._yaw_ids)

    @cached_property
    def layout(self) -> SceneGrammar:
        """The language of the same scenes without codes of shapes; this one where there are none."""
        if self.schema.shape is None:
            return self
        return SceneGrammar(self.vocabulary, self._text_tokenizer, self.schema.layout())

    def object_ends(self, ids: Sequence[int]) -> list[int]:
        """Where in the ids of a scene each object's [OBJECT-END] stands."""
        return [index for index, token_id in enumerate(ids) if token_id == self._object_end]

    def loss_positions(self, ids: Sequence[int]) -> list[bool]:
        """For each token of a scene, whether another one would have been possible. Raises GrammarError."""
        return [len(self.allowed(state)) > 1 for state in self.states(ids)[:-1]]

    # Scenes to tokens.

    def encode_scene(self, scene: Scene, out_of_range: str = "error") -> list[int]:
        """Ids of a scene, [SCENE-START] to [SCENE-END], objects in the schema's order; inverse of `decode_scene`.

        Args:
            out_of_range: "error", or "clamp" coordinates to the ends of the grid.

        Raises GrammarError where the scene does not fit the schema, OutOfRangeError where a coordinate is off the grid.
        """
        if scene.frame_id != self.schema.frame_id:
            raise GrammarError(f"expected a scene in frame {self.schema.frame_id}, got {scene.frame_id}")
        if len(scene) > self.schema.max_objects:
            raise GrammarError(f"expected at most {self.schema.max_objects} objects, got {len(scene)}")
        ids = [self.vocabulary.structure_id("[SCENE-START]")]
        for scene_object in self.schema.sorted_objects(scene):
            ids += self._encode_object(scene_object, out_of_range)
        return [*ids, self.vocabulary.structure_id("[SCENE-END]")]

    def _encode_object(self, scene_object: SceneObject, out_of_range: str) -> list[int]:
        said = self._tokens_by_slot(scene_object, out_of_range)
        codes = iter(self._shape_ids(scene_object))
        ids, node = [self._object_start], self._first_object_node
        while self._slots[node] != PRESENCE:
            edges, slot = self._edges[node], self._slots[node]
            token = next(codes) if slot == SHAPE_SLOT else said[slot] if slot in said else next(iter(edges))
            if token not in edges:
                token = self._nearest_number(slot, token, edges, scene_object, out_of_range)
            ids.append(token)
            node = edges[token]
        return ids

    def _nearest_number(self, slot: str, token: int, edges: Collection[int], scene_object: SceneObject,
                        out_of_range: str) -> int:
        """In place of a number that the slot does not take, such as a negative extent. Raises GrammarError."""
        allowed = np.array(sorted(edges))
        values, value = self.vocabulary.numbers_of(allowed), float(self.vocabulary.numbers_of(np.array(token)))
        if out_of_range != "clamp":
            raise GrammarError(f"expected {slot} of the {scene_object.label} to lie in [{values.min():g}, "
                               f"{values.max():g}] units, got {value:g}")
        return int(allowed[np.argmin(np.abs(values - value))])

    def _shape_ids(self, scene_object: SceneObject) -> list[int]:
        """Of all codes of an object's shape; none where the schema has no shapes."""
        if self.schema.shape is None:
            return []
        codes, length = scene_object.shape_codes, self.schema.shape.length
        if codes is None or len(codes) != length:
            raise GrammarError(f"expected {length} codes of the shape of the {scene_object.label}, got "
                               f"{'none' if codes is None else len(codes)}")
        return self.vocabulary.shape_ids(codes).tolist()

    def _tokens_by_slot(self, scene_object: SceneObject, out_of_range: str) -> dict[str, int]:
        """The tokens that an object chooses; markers, and a z that follows from the class, are left to the grammar."""
        said = {}
        for attribute in self.schema.words:
            value = scene_object.attributes.get(attribute.name)
            if value not in attribute.values:
                raise GrammarError(f"expected {attribute.name} to be one of {attribute.values}, got {value!r}")
            said[attribute.name] = self._word_ids[attribute.name][value]
        units = scene_object.position_m / self.schema.metres_per_unit
        if self.schema.location.resting:
            self._check_resting(scene_object, units[2])
            units = units[:2]
        said.update(zip("xyz", self.vocabulary.number_ids(units, out_of_range).tolist()))
        if self.schema.dimensions is not None:
            said.update(zip(SIZE_SLOTS, self._size_ids(scene_object, out_of_range)))
        if self.schema.shows_yaw(scene_object.attributes):
            said["yaw"] = self._yaw_id(scene_object, out_of_range)
        return said

    def _size_ids(self, scene_object: SceneObject, out_of_range: str) -> list[int]:
        if scene_object.size_m is None:
            raise GrammarError(f"expected the dimensions of the {scene_object.label}, got None")
        return self.vocabulary.number_ids(scene_object.size_m / self.schema.metres_per_unit, out_of_range).tolist()

    def _check_resting(self, scene_object: SceneObject, height: float) -> None:
        expected = self.schema.resting_height(scene_object.attributes)
        heights = [expected]
        if scene_object.size_m is not None:  # its own, which depth may have measured
            heights.append(scene_object.size_m[2] / (2 * self.schema.metres_per_unit))
        if min(abs(height - standing) for standing in heights) > self.vocabulary.numbers.step_at(expected):
            raise GrammarError(
                f"schema {self.schema.name} knows only objects that stand on the support plane: expected the centre of "
                f"a {scene_object.label} at a height of {expected:.3f} units, got {height:.3f}")

    def _yaw_id(self, scene_object: SceneObject, out_of_range: str) -> int:
        if scene_object.yaw_rad is None:
            raise GrammarError(f"expected a yaw for the {scene_object.label}, got None")
        period = self.schema.yaw.period_rad
        if period is None:
            return int(self.vocabulary.number_ids(scene_object.yaw_rad, out_of_range))
        offset = (self._yaws - scene_object.yaw_rad + period / 2) % period - period / 2
        return int(self._yaw_ids[np.argmin(np.abs(offset))])

    # Tokens to scenes.

    def decode_scene(self, ids: Sequence[int], distributions: Sequence[TokenDistribution | None] | None = None,
                     sub_grid: bool = True) -> Scene:
        """The scene that ids from [SCENE-START] to [SCENE-END] say; inverse of `encode_scene` within half a grid step.

        With `distributions`, one a token and None where only one token was possible, objects carry confidences and
        covariances:
          confidence: probability of the object's presence, times those of its words, times the mass of x and of y
            within NEAR_UNITS of the chosen number;
          position_covariance_m2: diagonal; variance of x and y over the window, and that of rounding to the grid
            (step^2 / 12) on each axis.
        With `sub_grid` too, coordinates and yaw are expectations over the SUB_GRID_WINDOW steps on either side of the
        chosen number, which resolves finer than the grid.

        Raises GrammarError with the index of the first wrong token, or where the scene is not complete.
        """
        if distributions is None:
            distributions = [None] * len(ids)
        if len(distributions) != len(ids):
            raise GrammarError(f"expected a distribution a token, got {len(distributions)} for {len(ids)} tokens")
        states = self.states(ids)
        if not self.is_end(states[-1]):
            raise GrammarError(f"the scene is not complete after {len(ids)} tokens; expected [SCENE-END]")
        objects, said, codes = [], {}, []
        for state, token_id, distribution in zip(states, ids, distributions):
            slot = self._slots[self.node(state)]
            if slot == SHAPE_SLOT:
                codes.append(int(token_id))
            elif slot is not None:
                said[slot] = (int(token_id), distribution)
            elif token_id == self._object_end:
                objects.append(self._object_from(said, codes, sub_grid))
                said, codes = {}, []
        return Scene(tuple(objects), self.schema.frame_id)

    def _object_from(self, said: Mapping[str, tuple[int, TokenDistribution | None]], codes: Sequence[int],
                     sub_grid: bool) -> SceneObject:
        """An object from the token, and its distribution, in each slot, and the tokens of its shape."""
        attributes = {name: words[said[name][0]] for name, words in self._words.items()}
        attribute_confidence = {name: _probability(*said[name]) for name in attributes}
        numbers = {slot: self._number(slot, *said[slot], sub_grid) for slot in ("x", "y", "z", "yaw", *SIZE_SLOTS)
                   if slot in said}
        confidence = math.prod(
            (_probability(*said[PRESENCE]), *attribute_confidence.values(), numbers["x"].mass, numbers["y"].mass))
        measured = any(distribution is not None for _, distribution in said.values())
        return SceneObject(
            attributes=attributes,
            position_m=self._position_m(attributes, numbers),
            yaw_rad=numbers["yaw"].mean if "yaw" in numbers else None,
            size_m=self._size_m(attributes, numbers),
            confidence=confidence,
            attribute_confidence=attribute_confidence if measured else {},
            position_covariance_m2=self._covariance_m2(numbers) if measured else None,
            shape_codes=self.vocabulary.shape_codes_of(codes) if codes else None,
        )

    def _number(
            self, slot: str, token_id: int, distribution: TokenDistribution | None, sub_grid: bool) -> NumberEstimate:
        chosen = float(self._number_values[token_id - self._first_number])
        if distribution is None:
            return NumberEstimate(chosen, 0.0, 1.0)
        estimate = estimate_number(
            self._number_values[distribution.ids - self._first_number], distribution.probabilities, chosen,
            window=SUB_GRID_WINDOW * self.vocabulary.numbers.step_at(chosen), near=NEAR_UNITS,
            period=self.schema.yaw.period_rad if slot == "yaw" else None)
        return estimate if sub_grid else replace(estimate, mean=chosen)

    def _position_m(self, attributes: Mapping[str, str], numbers: Mapping[str, NumberEstimate]) -> np.ndarray:
        height = self.schema.resting_height(attributes) if self.schema.location.resting else numbers["z"].mean
        return np.array([numbers["x"].mean, numbers["y"].mean, height]) * self.schema.metres_per_unit

    def _size_m(self, attributes: Mapping[str, str], numbers: Mapping[str, NumberEstimate]) -> np.ndarray | None:
        if self.schema.dimensions is None:
            return self.schema.extents_m(attributes)
        return np.array([numbers[slot].mean for slot in SIZE_SLOTS]) * self.schema.metres_per_unit

    def _covariance_m2(self, numbers: Mapping[str, NumberEstimate]) -> np.ndarray:
        rounding = [self.vocabulary.numbers.step_at(numbers[axis].mean) ** 2 / 12 for axis in "xyz"]
        variance = [numbers[axis].variance for axis in "xyz"]
        return np.diag(np.add(variance, rounding)) * self.schema.metres_per_unit ** 2


def _probability(token_id: int, distribution: TokenDistribution | None) -> float:
    """Of the chosen token; certain where there was no choice."""
    return 1.0 if distribution is None else min(distribution.probability_of(token_id), 1.0)
