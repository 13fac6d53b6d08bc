"""What is believed about the words of an object, and how well two beliefs agree.

Each word of an attribute has its evidence: the log-odds of that word against all words that were never read. Reading a
word adds the log-odds of the reading; evidence is never negative and never above MAX_EVIDENCE, so that an object
that changes its looks is believed after a while.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Evidence at which a word counts as certain (nats).
MAX_EVIDENCE = 9.0
#: A reading is never taken as less or more certain than this, whatever the recogniser says of itself.
_LEAST_READING, _SUREST_READING = 0.55, 0.95
#: Words kept of an attribute; the weakest goes first.
_MAX_WORDS = 16
#: Least probability that two beliefs mean the same word: how often a reading is wrong for no visible reason.
_FLIP_PROBABILITY = 0.05
#: Cost of one attribute that differs for certain (nats).
DIFFERENCE_COST = -math.log(_FLIP_PROBABILITY)


class AttributeBeliefs:
    """Evidence of every word, by attribute; attributes keep the order in which they were first read."""

    def __init__(self, evidence: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._evidence: dict[str, dict[str, float]] = {name: dict(words) for name, words in (evidence or {}).items()}

    @classmethod
    def of(cls, words: Mapping[str, str], confidence: Mapping[str, float]) -> AttributeBeliefs:
        """The belief of a single reading; see `read`."""
        beliefs = cls()
        beliefs.read(words, confidence)
        return beliefs

    def read(self, words: Mapping[str, str], confidence: Mapping[str, float]) -> None:
        """Take in a reading: a word for each attribute, with its probability where there is one (else the surest)."""
        for name, word in words.items():
            p = min(max(confidence.get(name, 1.0), _LEAST_READING), _SUREST_READING)
            evidence = self._evidence.setdefault(name, {})
            evidence[word] = evidence.get(word, 0.0) + math.log(p / (1 - p))
            excess = max(0.0, evidence[word] - MAX_EVIDENCE)
            if excess:
                self._evidence[name] = {w: max(0.0, e - excess) for w, e in evidence.items()}
            if len(evidence) > _MAX_WORDS:
                del self._evidence[name][min(evidence, key=evidence.get)]

    def words(self) -> dict[str, str]:
        """The most probable word of each attribute; of equals the one read first."""
        return {name: max(evidence, key=evidence.get) for name, evidence in self._evidence.items()}

    def probabilities(self, name: str) -> dict[str, float]:
        """The probability of each word that was read; what is missing to 1 belongs to all other words."""
        weights = {word: math.exp(e) for word, e in self._evidence[name].items()}
        total = 1.0 + sum(weights.values())
        return {word: weight / total for word, weight in weights.items()}

    def confidence(self) -> dict[str, float]:
        """The probability of each of `words`."""
        return {name: self.probabilities(name)[word] for name, word in self.words().items()}

    def cost_against(self, other: AttributeBeliefs) -> tuple[float, float]:
        """How badly two beliefs fit: the sum of the attributes' costs (nats), and the same in differing attributes.

        An attribute costs 0 where both mean the same word for certain and DIFFERENCE_COST where they never do. An
        attribute that only one of them knows says nothing.
        """
        cost = sum(self._cost(other, name) for name in self._evidence if name in other._evidence)
        return cost, cost / DIFFERENCE_COST

    def __len__(self) -> int:
        return len(self._evidence)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """The evidence, for JSON; the constructor is the inverse."""
        return {name: dict(words) for name, words in self._evidence.items()}

    def _cost(self, other: AttributeBeliefs, name: str) -> float:
        mine, theirs = self.probabilities(name), other.probabilities(name)
        my_rest, their_rest = 1.0 - sum(mine.values()), 1.0 - sum(theirs.values())
        agreement = sum(mine.get(w, my_rest) * theirs.get(w, their_rest) for w in {**mine, **theirs})
        return -math.log(min(1.0, max(_FLIP_PROBABILITY, agreement + my_rest * their_rest)))
