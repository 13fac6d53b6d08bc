"""Programs to tokens and back, and which token may come next: a pushdown automaton over a context-free grammar.

The rules come as data (see `questions.linear`): a nonterminal is written as a symbol, a word or a number, and further
nonterminals. A symbol decides the rule, and any text tokenizer will do, whether a word is one token to it or several.
A program is [PROGRAM-START] symbols [PROGRAM-END].

What may follow also depends on the tokens left: a token is possible only where the program can still be completed
within `max_length`, so every walk ends. It knows no functions and no types but the nonterminals' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, Union

import numpy as np

from kyvo_ros.tokens.automaton import GrammarError
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary

#: Tokens of a program, its brackets included; the longest of CLEVR take 29 where a word is a token.
MAX_PROGRAM_TOKENS = 48

Symbol = Union[str, float]


class Rule(Protocol):
    """One way to write a nonterminal."""

    symbol: Symbol
    then: tuple[str, ...]  # the nonterminals that follow


class ProgramState(NamedTuple):
    """A position in a program; hashable, and only this module takes it apart."""

    node: int  # within the symbol that is being written
    stack: tuple[str, ...]  # nonterminals to be written after it, the next one first
    left: int  # tokens that may still come


class ProgramGrammar:
    """The language of one start nonterminal over one vocabulary and text tokenizer."""

    def __init__(self, vocabulary: Vocabulary, text_tokenizer: TextTokenizer, rules: Mapping[str, Sequence[Rule]],
                 start: str, max_length: int = MAX_PROGRAM_TOKENS) -> None:
        """Raises GrammarError where tokens are ambiguous or `max_length` is too short; VocabularyError."""
        self.max_length = max_length
        self._vocabulary, self._text_tokenizer = vocabulary, text_tokenizer
        self._opening, self._closing = map(vocabulary.structure_id, ("[PROGRAM-START]", "[PROGRAM-END]"))
        self._edges: list[dict[int, int]] = [{self._opening: _OPENED}, {}, {self._closing: _END}, {}]
        # At nodes where a symbol is complete: the symbol, and the nonterminals that follow.
        self._complete: dict[int, tuple[Symbol | None, tuple[str, ...]]] = {_OPENED: (None, (start,))}
        self._roots = {nonterminal: self._compile(nonterminal, choices) for nonterminal, choices in rules.items()}
        self._check_continuations()
        self._least = _least_tokens(rules, self._spelling)
        self._need = self._needs()
        if max_length < 2 + self._least[start]:
            raise GrammarError(f"the shortest program takes {2 + self._least[start]} tokens, got {max_length}")

    def _spelling(self, symbol: Symbol) -> list[int]:
        """The tokens of a symbol."""
        if isinstance(symbol, str):
            return self._text_tokenizer.encode(f" {symbol}")
        return [int(self._vocabulary.number_ids(symbol))]

    def _compile(self, nonterminal: str, rules: Sequence[Rule]) -> int:
        """The node before any symbol of a nonterminal."""
        root = self._new_node()
        for rule in rules:
            node = root
            for token in self._spelling(rule.symbol):
                node = self._edges[node][token] if token in self._edges[node] else self._new_node((node, token))
            if node in self._complete:
                raise GrammarError(f"{nonterminal} has two symbols of the same tokens, one of them {rule.symbol!r}")
            self._complete[node] = (rule.symbol, tuple(rule.then))
        return root

    def _new_node(self, edge: tuple[int, int] | None = None) -> int:
        self._edges.append({})
        if edge is not None:
            self._edges[edge[0]][edge[1]] = len(self._edges) - 1
        return len(self._edges) - 1

    def _check_continuations(self) -> None:
        """A symbol may begin with another (`small`, `small` + `est`) only where no next symbol begins like its rest."""
        first = {self._closing}.union(*(self._edges[root] for root in self._roots.values()))
        for node, (symbol, _) in self._complete.items():
            if first & set(self._edges[node]):
                raise GrammarError(f"{symbol!r} begins other symbols in a way that tokens cannot tell apart")

    def _needs(self) -> list[int]:
        """For each node, the least tokens that complete its symbol and what follows it."""
        needs = [0] * len(self._edges)
        for node in reversed(range(len(self._edges))):  # symbols continue at higher numbers
            ways = [1 + needs[child] for child in self._edges[node].values() if child > node]
            if node in self._complete:
                ways.append(sum(self._least[n] for n in self._complete[node][1]))
            needs[node] = min(ways, default=0)
        needs[_END] = -1  # the closing token itself, which every other node has before it
        return needs

    # The automaton, as `model.generation` asks for it.

    def start(self) -> ProgramState:
        """Before [PROGRAM-START]."""
        return ProgramState(_BEFORE, (), self.max_length)

    def is_end(self, state: ProgramState) -> bool:
        return state.node == _END

    def allowed(self, state: ProgramState) -> np.ndarray:
        """(K,) ids that may come next, ascending; none after the end."""
        places = [(state.node, state.stack)]
        if state.node in self._complete:
            places.append(self._behind(*places[0]))
        ids = []
        for node, stack in places:
            spare = state.left - 2 - sum(self._least[n] for n in stack)  # this token and the closing one have theirs
            ids += [token for token, child in self._edges[node].items() if self._need[child] <= spare]
        return np.array(sorted(ids), dtype=np.int64)

    def advance(self, state: ProgramState, token_id: int) -> ProgramState:
        """The state after one more token. Raises GrammarError where the token may not come next."""
        if token_id not in (allowed := self.allowed(state)):
            raise GrammarError(f"expected one of the ids {allowed.tolist()}, got {token_id}")
        node, stack, _ = self._step(state, token_id)
        return ProgramState(node, stack, state.left - 1)

    def _step(self, state: ProgramState, token_id: int) -> tuple[int, tuple[str, ...], list[Symbol]]:
        """Node and stack after an allowed token, and the symbols that it shows to be complete."""
        node, stack, done = state.node, state.stack, []
        if token_id not in self._edges[node]:
            done.append(self._complete[node][0])
            node, stack = self._behind(node, stack)
        node = self._edges[node][token_id]
        if node in self._complete and not self._edges[node]:  # nothing can continue the symbol
            done.append(self._complete[node][0])
            node, stack = self._behind(node, stack)
        return node, stack, [symbol for symbol in done if symbol is not None]

    def _behind(self, node: int, stack: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        """Node and stack behind a complete symbol."""
        stack = (*self._complete[node][1], *stack)
        return (self._roots[stack[0]], stack[1:]) if stack else (_COMPLETE, ())

    def forced_run(self, state: ProgramState) -> tuple[list[int], ProgramState]:
        """The longest run of tokens from here that are the only ones possible, and the state behind it."""
        run: list[int] = []
        while len(allowed := self.allowed(state)) == 1:
            run.append(int(allowed[0]))
            state = self.advance(state, run[-1])
        return run, state

    def states(self, ids: Sequence[int]) -> list[ProgramState]:
        """The states before each of the tokens and behind the last. Raises GrammarError with the token's index."""
        states = [self.start()]
        for index, token_id in enumerate(ids):
            try:
                states.append(self.advance(states[-1], int(token_id)))
            except GrammarError as error:
                raise GrammarError(f"token {index} of {len(ids)}: {error}") from None
        return states

    def loss_positions(self, ids: Sequence[int]) -> list[bool]:
        """For each token of a program, whether another one would have been possible. Raises GrammarError."""
        return [len(self.allowed(state)) > 1 for state in self.states(ids)[:-1]]

    # Symbols to tokens and back.

    def encode_program(self, symbols: Sequence[Symbol]) -> list[int]:
        """Ids from [PROGRAM-START] to [PROGRAM-END]; inverse of `decode_program`.

        Raises GrammarError where the symbols are no program or too long a one.
        """
        body = [token for symbol in symbols for token in self._spelling(symbol)]
        ids = [self._opening, *body, self._closing]
        if len(ids) > self.max_length:
            raise GrammarError(f"expected a program of at most {self.max_length} tokens, got {len(ids)}")
        self.states(ids)
        return ids

    def decode_program(self, ids: Sequence[int]) -> list[Symbol]:
        """The symbols of a whole program; inverse of `encode_program`. Raises GrammarError."""
        states = self.states(ids)
        if not self.is_end(states[-1]):
            raise GrammarError(f"the program is not complete after {len(ids)} tokens; expected [PROGRAM-END]")
        return [symbol for state, token in zip(states, ids) for symbol in self._step(state, int(token))[2]]


# Nodes outside of symbols; nodes inside follow.
_BEFORE, _OPENED, _COMPLETE, _END = range(4)


def _least_tokens(rules: Mapping[str, Sequence[Rule]], spelling: Callable[[Symbol], list[int]]) -> dict[str, int]:
    """The least number of tokens of each nonterminal. Raises GrammarError for one that never ends."""
    endless = float("inf")
    lengths = {name: [(len(spelling(r.symbol)), r.then) for r in choices] for name, choices in rules.items()}
    least, before = dict.fromkeys(rules, endless), None
    while least != before:
        before = dict(least)
        for name, choices in lengths.items():
            least[name] = min((own + sum(before[n] for n in then) for own, then in choices), default=endless)
    if endless in least.values():
        raise GrammarError(f"never ending: {[name for name, value in least.items() if value == endless]}")
    return least
