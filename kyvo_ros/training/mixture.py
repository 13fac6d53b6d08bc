"""Sequences of one task or of several, of the samples that all of them have.

The published code mixes eight tasks in equal shares (UNIFIED), drawing one anew for every sequence; here the shares are
the recipe's. Unlike there, tasks that write no image read theirs in raster order, in which a model folder reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kyvo_ros.data.published_tokens import SOURCES, PublishedDataError, PublishedTokens
from kyvo_ros.tokens.published_sequences import PublishedSequences
from kyvo_ros.tokens.sequences import TASKS, Sequence
from kyvo_ros.tokens.vocabulary import Vocabulary


class Mixture:
    """Samples by number, each of which can be told as any of `tasks`; `keys` names them, in order."""

    def __init__(self, shares: Mapping[str, float], files: Mapping[str, Path], vocabulary: Vocabulary, reorder: bool,
                 cache: Path) -> None:
        """`shares` of the sequences by task, together 1; `files` by the names of SOURCES, for all tasks together;
        `reorder` as for `PublishedSequences`, of the tasks that write images.

        Raises PublishedDataError where the files do not make the tasks.
        """
        sources = {task: _sources_of(task) for task in shares}
        unused = set(files) - set().union(*sources.values())
        if unused:
            raise PublishedDataError(f"no task of {tuple(shares)} is made of {sorted(unused)}; leave it out. There are "
                                     f"{tuple(SOURCES)}")
        self.tasks, self._shares = tuple(shares), list(shares.values())
        self._samples = [
            PublishedTokens(task, {name: path for name, path in files.items() if name in sources[task]},
                            PublishedSequences(vocabulary, reorder and _writes_images(task)), cache) for task in shares]
        common = set.intersection(*(set(samples.keys) for samples in self._samples))
        if not common:
            raise PublishedDataError(f"no key is in all files of the tasks {self.tasks}")
        self.keys = sorted(common)
        self._numbers = [[i for i, key in enumerate(samples.keys) if key in common] for samples in self._samples]

    def check(self, max_length: int) -> None:
        """As `PublishedTokens.check`, of every task."""
        for samples in self._samples:
            samples.check(max_length)

    def __len__(self) -> int:
        return len(self.keys)

    def sequence(self, task: int, number: int) -> Sequence:
        """A sample as the task of this place in `tasks`."""
        return self._samples[task][self._numbers[task][number]]

    def draw(self, rng: np.random.Generator, count: int, among: int) -> list[Sequence]:
        """Sequences of the first `among` samples, each as a task that is drawn by its share."""
        numbers = rng.integers(among, size=count)
        tasks = np.zeros(count, np.int64)
        if len(self.tasks) > 1:
            tasks = rng.choice(len(self.tasks), size=count, p=self._shares)
        return [self.sequence(int(task), int(number)) for task, number in zip(tasks, numbers)]


def _writes_images(task: str) -> bool:
    return any(segment.modality == "image" and segment.role == "target" for segment in TASKS[task])


def _sources_of(task: str) -> set[str]:
    """The names of the files that a task is made of."""
    fields = {segment.field for segment in TASKS[task]}
    return {name for name, held in SOURCES.items() if fields & set(held)}
