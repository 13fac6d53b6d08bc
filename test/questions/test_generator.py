"""Questions about a scene: true answers, balance, failed premises, the share of each kind, and poor scenes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from question_language import FOUR_THINGS, thing

from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import ATTRIBUTES, FUNCTIONS
from kyvo_ros.questions.generator import CLEVR_KINDS, ROBOT_KINDS, Question, QuestionGenerator, QuestionSettings
from kyvo_ros.questions.linear import program_of, symbols_of
from kyvo_ros.questions.program import filters_of
from kyvo_ros.questions.sampling import ProgramSampler, SamplingError, retried
from kyvo_ros.scene import Scene

CAMERA_M = (0.0, -9.0, 5.0)


def random_scene(rng: random.Random, count: int) -> Scene:
    return Scene(tuple(thing(" ".join(rng.choice(values) for values in ATTRIBUTES.values()),
                             rng.uniform(-3, 3), rng.uniform(-3, 3)) for _ in range(count)))


def ask(seed: int = 0, scenes: int = 60, each: int = 10, **settings) -> list[Question]:
    rng, generator = random.Random(seed), QuestionGenerator(seed, QuestionSettings(**settings))
    drawn = (random_scene(rng, rng.randint(3, 10)) for _ in range(scenes))
    return [question for scene in drawn for question in generator.questions(scene, each, CAMERA_M)]


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return ask()


def test_answers_are_those_of_the_program_and_programs_can_be_written(questions: list[Question]) -> None:
    for question in questions:
        assert question.text and question.answer.program is question.program
        assert program_of(symbols_of(question.program)) == question.program
        assert bool(question.answer.refusal) == (question.kind in ("false_premise", "unknown"))


def test_every_kind_and_every_function_is_asked(questions: list[Question]) -> None:
    kinds = Counter(question.kind for question in questions)
    assert set(kinds) == {*CLEVR_KINDS, *ROBOT_KINDS, "false_premise", "unknown"}
    asked = {part.function for question in questions for part in question.program.walk()}
    assert asked == {name for name, function in FUNCTIONS.items() if function.output != "edit"}


def test_answers_are_balanced(questions: list[Question]) -> None:
    answers = Counter(q.answer.text for q in questions if isinstance(q.answer.value, bool))
    assert 0.35 < answers["yes"] / answers.total() < 0.65 and set(answers) == {"yes", "no"}
    counts = Counter(q.answer.value for q in questions if q.kind == "count")
    assert max(counts.values()) < 0.45 * counts.total() and len(counts) >= 6


def test_shares_of_failed_premises_and_of_what_is_out_of_the_language() -> None:
    questions = ask(scenes=25, false_premises=0.3, unknown=0.2, noise=0.0)
    kinds = Counter(question.kind for question in questions)
    assert 0.2 < kinds["false_premise"] / len(questions) < 0.4 and 0.12 < kinds["unknown"] / len(questions) < 0.28
    refusals = Counter(q.answer.refusal for q in questions if q.kind == "false_premise")
    assert set(refusals) == {"none", "several"}
    assert not any(q.answer.refusal for q in ask(scenes=8, false_premises=0.0, unknown=0.0))


def test_clevr_alone_uses_no_function_of_robots() -> None:
    robot = set("camera locate distance extent nearest farthest largest smallest between within".split())
    for question in ask(scenes=12, robot=False):
        assert not robot & {part.function for part in question.program.walk()}


def test_hops_and_noise_and_held_out_change_the_questions() -> None:
    def relations(questions: list[Question]) -> int:
        return sum(part.function == "relate" for q in questions for part in q.program.walk())

    assert relations(ask(scenes=6, hops=(1.0,), robot=False)) < relations(ask(scenes=6, hops=(0.0, 1.0), robot=False))
    plain, noisy = ask(scenes=5, noise=0.0), ask(scenes=5, noise=1.0)
    held_out = ask(scenes=5, noise=0.0, held_out=True)
    assert all(q.text[0].isupper() for q in plain) and any(not q.text[0].isupper() for q in noisy)
    assert {q.text for q in plain} != {q.text for q in held_out}


def test_a_seed_asks_the_same() -> None:
    first, second, other = ask(3, scenes=3), ask(3, scenes=3), ask(4, scenes=3)
    assert [q.text for q in first] == [q.text for q in second] != [q.text for q in other]


def test_references_mean_their_object() -> None:
    sampler = ProgramSampler(Executor(FOUR_THINGS), random.Random(0))
    for target in range(4):
        for hops in (0, 1, 2):
            program = retried(lambda: sampler.reference(target, hops), 50)
            assert Executor(FOUR_THINGS).evaluate(program) == target
            assert sum(part.row.operation in ("relate", "same") for part in program.walk()) == hops


def test_the_attribute_asked_for_is_not_given_away() -> None:
    for question in ask(scenes=12, noise=0.0):
        if question.kind.startswith("query_"):
            name = question.kind.removeprefix("query_")
            pairs, base = filters_of(question.program.inputs[0].inputs[-1])
            assert name not in dict(pairs) and base.function != f"same_{name}"


def test_twins_cannot_be_told_apart() -> None:
    twins = Scene((thing("small red metal cube", 0, 0), thing("small red metal cube", 1, 0)))
    with pytest.raises(SamplingError, match="twin"):
        ProgramSampler(Executor(twins), random.Random(0)).reference(0, 0)


def test_scenes_without_camera_and_poor_scenes() -> None:
    generator = QuestionGenerator(0)
    asked = [q for _ in range(20) for q in generator.questions(FOUR_THINGS, 5)]
    assert not any(part.function == "camera" for q in asked for part in q.program.walk())
    assert len(generator.questions(Scene(FOUR_THINGS.objects[:1]), 20)) == 20
    nothing = QuestionGenerator(0).questions(Scene(), 20)  # there may be a scene with nothing in it
    assert {q.answer.value for q in nothing if q.kind in ("count", "exist")} <= {0, False}


def test_settings_are_checked() -> None:
    for bad in ({"noise": 1.5}, {"unknown": -0.1}, {"hops": ()}, {"hops": (0.0,)}, {"hops": (1.0, -1.0)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            QuestionSettings(**bad)
