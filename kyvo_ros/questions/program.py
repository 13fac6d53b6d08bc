"""Functional programs as typed trees: what a question means.

A program is checked when it is made, so every program that exists is well typed. It knows nothing of scenes (see
`execution`), tokens (see `linear`) or files (see `clevr_format`). Source: CLEVR (arXiv 1612.06890).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Union

from kyvo_ros.questions.functions import (
    ATTRIBUTES, FUNCTIONS, METRES_LIMIT, METRES_STEP, VALUE_WORDS, Function, accepts)

#: Functions of a program; CLEVR's longest have 24. Bounds the recursion over a program.
MAX_FUNCTIONS = 100

Value = Union[str, float]


class ProgramError(ValueError):
    """A program is not well formed or not well typed."""


@dataclass(frozen=True)
class Program:
    """A function applied to programs; the root of a tree."""

    function: str  # a key of FUNCTIONS
    inputs: tuple[Program, ...] = ()
    values: tuple[Value, ...] = ()  # words; metres as float
    row: Function = field(init=False, repr=False, compare=False)  # of the table
    length: int = field(init=False, repr=False, compare=False)  # number of functions

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ProgramError(f"no function {self.function!r}; expected one of {tuple(FUNCTIONS)}")
        for name, value in (("inputs", tuple(self.inputs)), ("values", tuple(self.values)),
                            ("row", FUNCTIONS[self.function])):
            object.__setattr__(self, name, value)
        self._check_inputs()
        if len(self.values) != len(self.row.values):
            raise ProgramError(f"{self.function} takes the values {self.row.values}, got {self.values}")
        for kind, value in zip(self.row.values, self.values):
            check_value(kind, value, self.function)
        object.__setattr__(self, "length", 1 + sum(program.length for program in self.inputs))
        if self.length > MAX_FUNCTIONS:
            raise ProgramError(f"a program may have at most {MAX_FUNCTIONS} functions, got {self.length}")

    def _check_inputs(self) -> None:
        given = tuple(program.type for program in self.inputs)
        wanted = self.row.inputs
        if len(given) != len(wanted) or not all(map(accepts, wanted, given)):
            raise ProgramError(f"{self.function} takes inputs of types {wanted}, got {given}")

    @property
    def type(self) -> str:
        """What it gives; see `Function`."""
        return self.row.output

    def walk(self) -> Iterator[Program]:
        """Every program in the tree, inputs first; the last is the root."""
        for program in self.inputs:
            yield from program.walk()
        yield self

    def __str__(self) -> str:
        parts = [f"{v:g}" if isinstance(v, float) else v for v in self.values] + [str(p) for p in self.inputs]
        return f"{self.function}({', '.join(parts)})" if parts else self.function


def check_value(kind: str, value: Value, function: str) -> None:
    """Raises ProgramError where a function's value is not of its kind."""
    if kind != "metres":
        if value not in VALUE_WORDS[kind]:
            raise ProgramError(f"{function} expects a {kind} of {VALUE_WORDS[kind]}, got {value!r}")
        return
    in_range = isinstance(value, (int, float)) and 0 <= value < METRES_LIMIT
    if not in_range or abs(value - METRES_STEP * round(value / METRES_STEP)) > 1e-6:
        raise ProgramError(f"{function} expects metres in steps of {METRES_STEP} from 0 to below {METRES_LIMIT:g}, "
                           f"got {value!r}")


def filters_of(program: Program) -> tuple[list[tuple[str, str]], Program]:
    """The (attribute, value) pairs that a program filters by at its top, in ATTRIBUTES' order, and what it filters."""
    found = []
    while program.row.operation == "filter":
        found.append((program.row.attribute, program.values[0]))
        program = program.inputs[0]
    return sorted(reversed(found), key=lambda pair: list(ATTRIBUTES).index(pair[0])), program


def filtered(base: Program, pairs: list[tuple[str, str]]) -> Program:
    """A set of objects filtered by (attribute, value) pairs, the first innermost; inverse of `filters_of`."""
    for attribute, value in pairs:
        base = Program(f"filter_{attribute}", (base,), (value,))
    return base


def canonical(program: Program) -> Program:
    """The same program with neighbouring filters in ATTRIBUTES' order, as CLEVR has them; their order has no effect."""
    if program.row.operation != "filter":
        return replace(program, inputs=tuple(map(canonical, program.inputs)))
    pairs, base = filters_of(program)
    return filtered(canonical(base), pairs)
