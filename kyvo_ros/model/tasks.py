"""Which tasks a model was trained for, as its folder says."""

from __future__ import annotations

from collections.abc import Collection

from kyvo_ros.tokens.sequences import ANSWER_TASKS


class UntrainedTaskError(ValueError):
    """A model is asked for what it was not trained for."""


#: What the tasks of a pipeline are, in words.
_WORDS = {"I->3": "recognising scenes", "Q->P": "answering questions", "T->E": "editing by instructions",
          "3->I": "drawing scenes", "I->S": "the shapes of objects", "S->I": "drawing scenes of given shapes",
          **dict.fromkeys(ANSWER_TASKS.values(), "answering at once, without a program")}
#: Where the documentation tells how to train a task that has a page of its own.
_PAGES = {"3->I": "docs/rendering.md", "I->S": "docs/shapes.md", "S->I": "docs/shapes.md"}


def check_trained(task: str, tasks: Collection[str]) -> None:
    """Raises UntrainedTaskError where `task` is not among the `tasks` that a model was trained for."""
    if task not in tasks:
        raise UntrainedTaskError(
            f"this model was not trained for task {task}, {_WORDS.get(task, 'whatever it is')}; use a model whose "
            f"config.json lists that task, or train it ({_PAGES.get(task, 'docs/training.md')})")
