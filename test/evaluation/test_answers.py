"""Accuracy of answers: a hand-worked example."""

import pytest

from kyvo_ros.evaluation.answers import evaluate_answers


def test_hand_worked_example():
    report = evaluate_answers([
        ("count", "2", "2", False), ("count", "3", "2", False), ("count", "I cannot answer that", "1", True),
        ("exist", "Yes", "yes ", False)])
    assert report.total.accuracy == 0.5 and report.total.refused == 1
    assert list(report.by_kind) == ["count", "exist"]
    document = report.to_dict()
    assert document["by_template"] == {"count": pytest.approx(1 / 3), "exist": 1.0} and document["refused"] == 0.25
    assert "| count | 3 | 0.333 | 1 |" in report.markdown() and "| all | 4 | 0.500 | 1 |" in report.markdown()


def test_a_refusal_is_wrong_even_where_its_words_are_the_answer():
    assert evaluate_answers([("count", "2", "2", True)]).total.accuracy == 0.0


def test_no_questions_are_no_error():
    assert evaluate_answers([]).to_dict()["accuracy"] == 0.0
