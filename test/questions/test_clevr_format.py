"""CLEVR's question files: both spellings of a node, round trip, and files that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from question_language import parse

from kyvo_ros.questions.clevr_format import (
    ClevrQuestion, QuestionFormatError, program_from_nodes, program_to_nodes, question_from_record, question_to_record,
    read_questions)

NODES = [("scene", [], []), ("filter_color", [0], ["red"]), ("unique", [1], []), ("relate", [2], ["left"]),
         ("scene", [], []), ("union", [3, 4], []), ("count", [5], [])]
PROGRAM = parse("count(union(relate(left, unique(filter_color(red, scene))), scene))")


@pytest.mark.parametrize("key", ["function", "type"])
def test_both_spellings_are_read(key: str) -> None:
    nodes = [{key: name, "inputs": inputs, "value_inputs": values} for name, inputs, values in NODES]
    assert program_from_nodes(nodes) == PROGRAM


def test_programs_round_trip_with_metres_as_text() -> None:
    for program in (PROGRAM, parse("exist(within(2.35, camera))")):
        assert program_from_nodes(json.loads(json.dumps(program_to_nodes(program)))) == program
    assert [(n["function"], n["inputs"]) for n in program_to_nodes(PROGRAM)] == [n[:2] for n in NODES]


def test_a_shared_node_is_written_out() -> None:
    nodes = [{"type": "scene", "inputs": []}, {"type": "union", "inputs": [0, 0]}]
    assert program_from_nodes(nodes) == parse("union(scene, scene)")


def test_a_graph_that_would_grow_without_end_is_refused() -> None:
    nodes = [{"type": "scene", "inputs": []}] + [{"type": "union", "inputs": [i, i]} for i in range(60)]
    with pytest.raises(QuestionFormatError, match="node 6: a program may have at most"):
        program_from_nodes(nodes)


def test_questions_round_trip(tmp_path: Path) -> None:
    question = ClevrQuestion("a.png", "How many?", "3", PROGRAM, "one_hop")
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"questions": [question_to_record(question)]}))
    assert read_questions(path) == [question]
    bare = question_from_record({"image_filename": "a.png", "question": "?", "question_family_index": 3})
    assert bare == ClevrQuestion("a.png", "?", None, None, "3")


@pytest.mark.parametrize(("node", "message"), [
    ({"type": "fly", "inputs": []}, "node 0: no function 'fly'"),
    ({"type": "count", "inputs": [0]}, "node 0: inputs must be indices of nodes before it"),
    ({"type": "count", "inputs": [-1]}, "node 0: inputs must be indices"),
    ({"inputs": []}, "node 0: 'type'"),
    ({"type": "scene"}, "node 0: 'inputs'"),
    ([], "node 0"),
    ({"type": "within", "inputs": [], "value_inputs": ["far"]}, "node 0: could not convert"),
])
def test_a_bad_node_is_named(node: object, message: str) -> None:
    with pytest.raises(QuestionFormatError, match=message):
        program_from_nodes([node])


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    for text in ("", "[]", "{}", '{"questions": [{"question": "?"}]}', '{"questions": [1]}'):
        path.write_text(text)
        with pytest.raises(QuestionFormatError):
            read_questions(path)
    with pytest.raises(QuestionFormatError, match="absent.json"):
        read_questions(tmp_path / "absent.json")
    with pytest.raises(QuestionFormatError, match="at least one node"):
        program_from_nodes([])
