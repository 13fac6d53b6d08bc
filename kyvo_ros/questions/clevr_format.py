"""CLEVR's question files as questions with programs, and back.

Reads the public CLEVR v1.0 (`function` names a node's function) and files that call it `type`. Nodes are listed
inputs first; the last is the answer. Knows nothing of images; `image_filename` goes along as it is.
Source: `CLEVR_<split>_questions.json` of CLEVR v1.0 (arXiv 1612.06890).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kyvo_ros.questions.functions import FUNCTIONS
from kyvo_ros.questions.program import MAX_FUNCTIONS, Program, ProgramError


class QuestionFormatError(ValueError):
    """A file or record is not in CLEVR's question format."""


@dataclass(frozen=True)
class ClevrQuestion:
    """A question of a file; answer and program are None in splits without them."""

    image_filename: str
    question: str
    answer: str | None = None  # yes, no, a number, or a word
    program: Program | None = None
    template: str = ""  # family of the question, where the file names one


def read_questions(path: str | Path) -> list[ClevrQuestion]:
    """The questions of a file. Raises QuestionFormatError, with the index, for the first that is malformed."""
    try:
        records = json.loads(Path(path).read_text(encoding="utf-8"))["questions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuestionFormatError(f"{path} is no question file of CLEVR: {error!r}") from error
    questions = []
    for index, record in enumerate(records):
        try:
            questions.append(question_from_record(record))
        except QuestionFormatError as error:
            raise QuestionFormatError(f"question {index} of {path}: {error}") from error
    return questions


def question_from_record(record: Mapping[str, Any]) -> ClevrQuestion:
    """Inverse of `question_to_record`. Raises QuestionFormatError."""
    try:
        nodes, answer = record.get("program"), record.get("answer")
        template = record.get("template", record.get("question_family_index", ""))
        return ClevrQuestion(
            record["image_filename"], record["question"], None if answer is None else str(answer),
            None if nodes is None else program_from_nodes(nodes), str(template))
    except (KeyError, TypeError, AttributeError) as error:
        raise QuestionFormatError(f"expected image_filename, question and program, got {error!r}") from error


def question_to_record(question: ClevrQuestion) -> dict[str, Any]:
    """JSON-ready; inverse of `question_from_record`."""
    record = {"image_filename": question.image_filename, "question": question.question, "template": question.template}
    if question.answer is not None:
        record["answer"] = question.answer
    if question.program is not None:
        record["program"] = program_to_nodes(question.program)
    return record


def program_from_nodes(nodes: Sequence[Mapping[str, Any]]) -> Program:
    """The program whose answer is the last node; inverse of `program_to_nodes`. Raises QuestionFormatError.

    A node that several others use is written out for each, so a graph becomes a tree.
    """
    if not nodes:
        raise QuestionFormatError("a program needs at least one node")
    if len(nodes) > MAX_FUNCTIONS:
        raise QuestionFormatError(f"expected at most {MAX_FUNCTIONS} nodes, got {len(nodes)}")
    programs: list[Program] = []
    for index, node in enumerate(nodes):
        try:
            programs.append(_program_from_node(node, programs))
        except (ProgramError, KeyError, TypeError, ValueError) as error:
            raise QuestionFormatError(f"node {index}: {error}") from error
    return programs[-1]


def _program_from_node(node: Mapping[str, Any], before: Sequence[Program]) -> Program:
    name = node["function"] if "function" in node else node["type"]
    inputs = node["inputs"]
    if not all(isinstance(i, int) and 0 <= i < len(before) for i in inputs):
        raise ProgramError(f"inputs must be indices of nodes before it, got {inputs}")
    kinds = FUNCTIONS[name].values if name in FUNCTIONS else ()
    values = node.get("value_inputs", [])
    if len(values) == len(kinds):
        values = [float(v) if kind == "metres" else v for kind, v in zip(kinds, values)]
    return Program(name, tuple(before[i] for i in inputs), tuple(values))


def program_to_nodes(program: Program) -> list[dict[str, Any]]:
    """The nodes of a program, inputs first, with v1.0's key `function`; inverse of `program_from_nodes`."""
    nodes: list[dict[str, Any]] = []

    def add(part: Program) -> int:
        inputs = [add(p) for p in part.inputs]
        nodes.append({"function": part.function, "inputs": inputs, "value_inputs": [str(v) for v in part.values]})
        return len(nodes) - 1

    add(program)
    return nodes
