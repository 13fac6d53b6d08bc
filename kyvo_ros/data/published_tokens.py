"""The published pre-tokenised data: JSON files of image codes, scenes and texts, as sequences of a task.

A file is one object: key -> [codes] for images, key -> {"token_ids": [ids], ...} for scenes and texts. It is streamed
once into a flat array on disk, and read from there, so that neither the file nor the tokens are ever all in memory.
A sample is a key that all files of the task have.
Source: the published code's data set (AadSah/kyvo, commit be438d3).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kyvo_ros.data.json_stream import stream_entries
from kyvo_ros.scene.files import write_whole
from kyvo_ros.tokens.published_sequences import PublishedSequences
from kyvo_ros.tokens.sequences import TASKS, Sequence

log = logging.getLogger(__name__)

#: Names of the files in a published configuration -> the fields of `tokens.sequences` that they hold.
SOURCES = {"image_source": ("image_codes",), "image_target": ("target_image_codes",), "three_d_source": ("scene",),
           "three_d_target": ("target_scene",), "text_source": ("instruction", "question"), "text_target": ("answer",)}


class PublishedDataError(ValueError):
    """A file of the published data does not hold tokens, or the files of a task do not belong together."""


class TokenFile:
    """One JSON file of tokens by key, kept as an array in `cache`; a changed file is streamed anew."""

    def __init__(self, path: Path, cache: Path) -> None:
        """Raises PublishedDataError, JsonStreamError with the entry that is wrong."""
        if not path.is_file():
            raise PublishedDataError(f"there is no file {path}")
        self.path = path
        index, flat = cache / f"{path.stem}.index.json", cache / f"{path.stem}.int32"
        stamp = [path.stat().st_size, path.stat().st_mtime_ns]
        known = _index(index)
        if known.get("source") != stamp:
            _flatten(path, index, flat, stamp)
            known = _index(index)
        self._ends = dict(zip(known["keys"], known["ends"]))
        self._starts = dict(zip(known["keys"], [0, *known["ends"][:-1]]))
        self._tokens = np.memmap(flat, dtype=np.int32, mode="r") if known["ends"] else np.zeros(0, np.int32)

    def keys(self) -> set[str]:
        return set(self._ends)

    def length(self, key: str) -> int:
        """Tokens of an entry."""
        return self._ends[key] - self._starts[key]

    def largest(self, keys: Iterable[str]) -> str:
        """The one of these keys whose entry holds the largest id."""
        return max(keys, key=lambda key: int(self._tokens[self._starts[key]:self._ends[key]].max()))

    def __getitem__(self, key: str) -> np.ndarray:
        """(N,) int64."""
        return np.array(self._tokens[self._starts[key]:self._ends[key]], dtype=np.int64)


def _index(path: Path) -> dict[str, Any]:
    """What an index file says; empty where there is none, or it was cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _flatten(path: Path, index: Path, flat: Path, stamp: list[int]) -> None:
    index.parent.mkdir(parents=True, exist_ok=True)
    keys, ends, end = [], [], 0
    with flat.open("wb") as file:
        for key, entry in tqdm(stream_entries(path), desc=path.name, unit="sample", mininterval=5):
            tokens = _tokens_of(entry, key, path)
            file.write(tokens.tobytes())
            end += len(tokens)
            keys.append(key)
            ends.append(end)
    write_whole(index, json.dumps({"source": stamp, "keys": keys, "ends": ends}))


def _tokens_of(entry: object, key: str, path: Path) -> np.ndarray:
    tokens = entry.get("token_ids") if isinstance(entry, Mapping) else entry
    array = np.asarray(tokens if isinstance(tokens, list) else None)
    if array.ndim != 1 or not len(array) or array.dtype.kind != "i" or array.min() < 0:
        raise PublishedDataError(f"{path}: expected codes, or token_ids, at {key!r}; got {str(entry)[:60]}")
    return array.astype(np.int32)


class PublishedTokens:
    """The samples of a task, by number; `keys` names them, in order."""

    def __init__(self, task: str, files: Mapping[str, Path], sequences: PublishedSequences, cache: Path) -> None:
        """`files` by the names of SOURCES. Raises PublishedDataError where they do not make the task."""
        self.task, self._sequences = task, sequences
        unknown = set(files) - set(SOURCES)
        if unknown:
            raise PublishedDataError(f"no such source of tokens: {sorted(unknown)}; there are {tuple(SOURCES)}")
        needed = {segment.field for segment in TASKS[task]}
        by_field = {field: name for name, fields in SOURCES.items() for field in fields}
        if {by_field[field] for field in needed if field in by_field} != set(files) or not needed <= set(by_field):
            raise PublishedDataError(f"task {task} is made of {sorted(by_field.get(f, f) for f in needed)}, got "
                                     f"{sorted(files)}")
        opened = {name: TokenFile(path, cache / name) for name, path in files.items()}
        self._files = {field: opened[by_field[field]] for field in needed}
        self.keys = sorted(set.intersection(*(file.keys() for file in opened.values())))
        if not self.keys:
            raise PublishedDataError(f"no key is in all of {[str(path) for path in files.values()]}")
        left = {str(f.path): len(f.keys()) - len(self.keys) for f in opened.values() if len(f.keys()) > len(self.keys)}
        if left:
            log.warning("samples that not all files of %s have are left out: %s", task, left)

    def check(self, max_length: int) -> None:
        """Raises PublishedDataError for samples that would end a training later: the longest, where it is longer than
        `max_length`, and those with the largest ids, where the vocabulary does not have them.
        """
        files = list(self._files.values())
        longest = max(self.keys, key=lambda key: sum(file.length(key) for file in files))
        for key in (longest, *(file.largest(self.keys) for file in files)):
            try:
                length = len(self._sequences.build(self.task, **{f: file[key] for f, file in self._files.items()}))
            except ValueError as error:
                raise PublishedDataError(f"sample {key!r} of {[str(file.path) for file in files]}: {error}") from error
            if length > max_length:
                raise PublishedDataError(f"sample {key!r} takes {length} tokens, more than the recipe's max_length "
                                         f"{max_length}")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Sequence:
        key = self.keys[number]
        return self._sequences.build(self.task, **{field: file[key] for field, file in self._files.items()})
