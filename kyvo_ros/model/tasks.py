"""Which tasks a model was trained for, as its folder says, and by which of them it answers questions."""

from __future__ import annotations

from collections.abc import Collection

from kyvo_ros.tokens.sequences import ANSWER_TASKS


class UntrainedTaskError(ValueError):
    """A model is asked for what it was not trained for."""


class NoImageError(ValueError):
    """A model that answers from an image is asked about a scene alone."""


#: Seeing a scene.
RECOGNITION_TASK = "I->3"
#: Writing the program that a question means.
PROGRAM_TASK = "Q->P"
#: What the tasks of a pipeline are, in words.
_WORDS = {RECOGNITION_TASK: "recognising scenes", PROGRAM_TASK: "answering questions",
          "T->E": "editing by instructions", "3->I": "drawing scenes", "I->S": "the shapes of objects",
          "S->I": "drawing scenes of given shapes",
          **dict.fromkeys(ANSWER_TASKS.values(), "answering at once, without a program")}
#: Where the documentation tells how to train a task that has a page of its own.
_PAGES = {"3->I": "docs/rendering.md", "I->S": "docs/shapes.md", "S->I": "docs/shapes.md"}


def check_trained(task: str, tasks: Collection[str]) -> None:
    """Raises UntrainedTaskError where `task` is not among the `tasks` that a model was trained for."""
    if task not in tasks:
        raise UntrainedTaskError(
            f"this model was not trained for task {task}, {_WORDS.get(task, 'whatever it is')}; use a model whose "
            f"config.json lists that task, or train it ({_PAGES.get(task, 'docs/training.md')})")


def answering_task(tasks: Collection[str], image: bool, scene: bool) -> str:
    """By which of its `tasks` a model answers a question: PROGRAM_TASK where it has that, else one of ANSWER_TASKS.

    Args:
        image, scene: whether the question comes with an image, and with a scene (of that image, where there is one).

    Raises UntrainedTaskError where it answers none, or directly but cannot recognise the scene that is missing;
    NoImageError where it answers directly and there is no image.
    """
    direct = next((task for task in ANSWER_TASKS.values() if task in tasks), None)
    if PROGRAM_TASK in tasks:
        return PROGRAM_TASK
    if direct is None:
        raise UntrainedTaskError(
            f"this model answers no questions: it was trained neither to write programs ({PROGRAM_TASK}) nor to answer "
            f"at once, without a program ({' or '.join(ANSWER_TASKS.values())}); use a model whose config.json lists "
            "such a task, or train it (docs/training.md)")
    if not image:
        raise NoImageError(
            f"this model answers from an image and its scene together ({direct}) and writes no programs "
            f"({PROGRAM_TASK}), which could run on a scene alone or on the scene graph; ask about an image, or use a "
            "model that writes programs")
    if not scene and RECOGNITION_TASK not in tasks:
        raise UntrainedTaskError(
            f"this model answers from an image and its scene ({direct}), which it was not trained to recognise "
            f"({RECOGNITION_TASK}); give the scene that another model has recognised (kyvo ask --scene), or train "
            "one model for both tasks")
    return direct
