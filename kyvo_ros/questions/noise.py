"""How people type: small slips in spelling, punctuation and articles that leave the meaning alone."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

#: Shorter words are left alone, since a slip could make another word of them.
_SHORTEST_WORD = 4


def disturb(text: str, rng: random.Random) -> str:
    """A sentence with one to three slips; a text without words of at least four letters may stay as it is."""
    for slip in rng.sample(_SLIPS, rng.randint(1, 3)):
        text = slip(text, rng)
    return text


def _lower(text: str, rng: random.Random) -> str:
    return text.lower()


def _without_mark(text: str, rng: random.Random) -> str:
    return text.rstrip("?.!")


def _without_article(text: str, rng: random.Random) -> str:
    articles = list(re.finditer(r"\b(the|a|an) ", text))
    if not articles:
        return text
    article = rng.choice(articles)
    return text[:article.start()] + text[article.end():]


def _misspelt(text: str, rng: random.Random) -> str:
    """Two letters swapped, one dropped, or one doubled inside a word."""
    words = [m for m in re.finditer(r"[a-z]+", text) if len(m.group()) >= _SHORTEST_WORD]
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    one, two = text[at], text[at + 1]
    return text[:at] + rng.choice((two + one, two, one + one + two)) + text[at + 2:]


_SLIPS: list[Callable[[str, random.Random], str]] = [_lower, _without_mark, _without_article, _misspelt]
