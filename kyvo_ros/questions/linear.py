"""Programs as sequences of symbols, outermost function first, and the rules that say which symbol may follow which.

`count red left unique metal sphere scene`: outermost first follows the order of an English question, so that a model
that translates reads from left to right. A filter or relation is its value alone (`red`, `left`); other functions are
their words of the table; metres are whole metres as a word and the rest as a number. Neighbouring filters
are written in ATTRIBUTES' order, each at most once.

The rules are a context-free grammar in which a symbol decides the rule, hence a pushdown automaton (see
`tokens.program_grammar`, which knows ids but none of these functions).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Union

from kyvo_ros.questions.functions import (
    ANSWER_TYPES, ATTRIBUTES, FUNCTIONS, METRES_LIMIT, METRES_STEP, VALUE_WORDS, Function, accepts)
from kyvo_ros.questions.program import Program, ProgramError, Value, canonical, filters_of

#: Words of a function or a value, or a number.
Symbol = Union[str, float]

#: What a whole question, or a whole instruction, is.
ANSWER, EDIT = "answer", "edit"
_FRACTION = "value:fraction"


@dataclass(frozen=True)
class Rule:
    """A nonterminal may be written as a symbol followed by other nonterminals."""

    symbol: Symbol
    then: tuple[str, ...] = ()
    function: str = ""  # that the symbol stands for; none where it is a value
    values: tuple[str, ...] = ()  # values of the function that the symbol itself says


def symbols_of(program: Program) -> list[Symbol]:
    """The symbols of a program; inverse of `program_of` up to the order of filters.

    Raises ProgramError for a program that filters twice by one attribute at one place, which no rule covers.
    """
    pairs, base = filters_of(program)
    if len({attribute for attribute, _ in pairs}) < len(pairs):
        raise ProgramError(f"expected at most one filter an attribute, got {pairs}")
    symbols: list[Symbol] = [value for _, value in pairs]
    if base.row.words:
        symbols.append(base.row.words)
    for kind, value in zip(base.row.values, base.values):
        symbols += _value_symbols(kind, value)
    for part in base.inputs:
        symbols += symbols_of(part)
    return symbols


def _value_symbols(kind: str, value: Value) -> list[Symbol]:
    if kind != "metres":
        return [value]
    whole, steps = divmod(round(value / METRES_STEP), round(1 / METRES_STEP))
    return [str(whole), round(steps * METRES_STEP, 2)]


def program_of(symbols: Sequence[Symbol], start: str = ANSWER) -> Program:
    """The program that symbols say; inverse of `symbols_of`. Raises ProgramError with the index of a wrong symbol."""
    source = iter(enumerate([*symbols, None]))
    program = _read(start, source)
    index, rest = next(source)
    if rest is not None:
        raise ProgramError(f"expected the end of the program at symbol {index}, got {rest!r}")
    return canonical(program)


def _read(nonterminal: str, source: Iterator[tuple[int, Symbol | None]]) -> Program | Value:
    index, symbol = next(source)
    rule = _RULE_OF[nonterminal].get(symbol)
    if rule is None:
        raise ProgramError(f"expected {nonterminal} at symbol {index}, got {symbol!r}")
    parts = [_read(part, source) for part in rule.then]
    if rule.function:
        inputs = tuple(part for part in parts if isinstance(part, Program))
        values = tuple(part for part in parts if not isinstance(part, Program))
        return Program(rule.function, inputs, (*rule.values, *values))
    return round(float(symbol) + parts[0], 2) if parts else symbol


def _function_rules(function: Function) -> list[Rule]:
    values, inputs = tuple(f"value:{kind}" for kind in function.values), function.inputs
    if function.words:
        return [Rule(function.words, (*values, *inputs), function.name)]
    if function.operation == "filter":
        inputs = (_after(function.attribute),)
    return [Rule(word, (*values[1:], *inputs), function.name, (word,)) for word in VALUE_WORDS[function.values[0]]]


def _after(attribute: str) -> str:
    """The nonterminal of objects behind a filter of this attribute."""
    return f"objects:{attribute}"


def _rules() -> dict[str, tuple[Rule, ...]]:
    types = dict.fromkeys(t for f in FUNCTIONS.values() for t in (f.output, *f.inputs))
    rules = {wanted: [r for f in FUNCTIONS.values() if accepts(wanted, f.output) for r in _function_rules(f)]
             for wanted in types}
    attributes = list(ATTRIBUTES)
    for index, attribute in enumerate(attributes):
        closed = {f"filter_{a}" for a in attributes[:index + 1]}
        rules[_after(attribute)] = [r for r in rules["objects"] if r.function not in closed]
    rules[ANSWER] = [r for t in ANSWER_TYPES for r in rules[t]]
    rules |= {f"value:{kind}": [Rule(word) for word in words] for kind, words in VALUE_WORDS.items()}
    rules["value:metres"] = [Rule(str(whole), (_FRACTION,)) for whole in range(int(METRES_LIMIT))]
    rules[_FRACTION] = [Rule(round(step * METRES_STEP, 2)) for step in range(round(1 / METRES_STEP))]
    return {nonterminal: tuple(choices) for nonterminal, choices in rules.items()}


#: The rules of each nonterminal; a whole program is one of ANSWER or EDIT.
RULES: dict[str, tuple[Rule, ...]] = _rules()
_RULE_OF = {nonterminal: {rule.symbol: rule for rule in rules} for nonterminal, rules in RULES.items()}
