"""The entries of a JSON object one by one, so that a file of many gigabytes needs the memory of one entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

_SPACE = " \t\r\n"


class JsonStreamError(ValueError):
    """A file does not hold one JSON object."""


def stream_entries(path: str | Path, chunk: int = 1 << 20) -> Iterator[tuple[str, Any]]:
    """(name, value) of each entry in the order of the file, which is read `chunk` characters at a time.

    Raises JsonStreamError with the place where the file stops being an object.
    """
    with Path(path).open(encoding="utf-8") as file:
        source = _Source(file, chunk)
        source.take("{")
        if source.peek() != "}":
            yield from source.entries()
        source.take("}")
        if source.peek():
            source.fail("nothing behind the object")


class _Source:
    """A window on a file; `at` is the next character in it, `passed` how many went before it."""

    def __init__(self, file: TextIO, chunk: int) -> None:
        self._file, self._chunk = file, chunk
        self._text, self._at, self._passed = "", 0, 0
        self._decoder = json.JSONDecoder()

    def entries(self) -> Iterator[tuple[str, Any]]:
        while True:
            if self.peek() != '"':
                self.fail("a name in quotes")
            name = self._value()
            self.take(":")
            yield name, self._value()
            if self.peek() != ",":
                return
            self.take(",")

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._more(self._chunk):
                return self._text[self._at:self._at + 1]

    def take(self, mark: str) -> None:
        if self.peek() != mark:
            self.fail(repr(mark))
        self._at += 1

    def fail(self, expected: str) -> None:
        found = self._text[self._at:self._at + 20]
        raise JsonStreamError(f"{self._file.name}, character {self._passed + self._at}: expected {expected}, got "
                              f"{found!r}; it must hold one JSON object")

    def _value(self) -> Any:
        self.peek()
        size = self._chunk
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                end = None
            # A number that ends with the window may go on behind it.
            if end is not None and end < len(self._text):
                self._at = end
                return value
            if not self._more(size):
                if end is None:
                    self.fail("a value")
                self._at = end
                return value
            size *= 2  # a long value is not decoded again for every chunk

    def _more(self, size: int) -> bool:
        """Move the window on by reading; false at the end of the file."""
        read = self._file.read(size)
        self._passed += self._at
        self._text, self._at = self._text[self._at:] + read, 0
        return bool(read)
