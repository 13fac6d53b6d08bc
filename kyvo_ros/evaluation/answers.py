"""Accuracy of answers to questions, by the kind of question; a refusal counts as wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerScore:
    """How the questions of one kind, or all, were answered."""

    questions: int
    right: int
    refused: int  # of those that have an answer, or by mistake for another reason

    @property
    def accuracy(self) -> float:
        """Share answered as the truth has it; 0 without questions."""
        return self.right / self.questions if self.questions else 0.0


@dataclass(frozen=True)
class AnswerReport:
    """Scores over all questions and by their kinds."""

    total: AnswerScore
    by_kind: dict[str, AnswerScore]  # the most frequent kind first

    def to_dict(self) -> dict:
        """For JSON."""
        return {"accuracy": self.total.accuracy, "questions": self.total.questions,
                "refused": self.total.refused / max(self.total.questions, 1),
                "by_template": {kind: score.accuracy for kind, score in self.by_kind.items()},
                "questions_by_template": {kind: score.questions for kind, score in self.by_kind.items()}}

    def markdown(self) -> str:
        """As a Markdown table, the total last."""
        rows = [f"| {kind} | {s.questions} | {s.accuracy:.3f} | {s.refused} |"
                for kind, s in (*self.by_kind.items(), ("all", self.total))]
        return "\n".join(["| questions | number | accuracy | refused |", "| --- | --- | --- | --- |", *rows])


def evaluate_answers(answers: Iterable[tuple[str, str, str, bool]]) -> AnswerReport:
    """The report of (kind, answer given, true answer, whether the answer is a refusal).

    Answers are compared as text without regard to case.
    """
    counts: dict[str, list[int]] = {}
    for kind, given, truth, refused in answers:
        row = counts.setdefault(kind, [0, 0, 0])
        row[0] += 1
        row[1] += not refused and given.strip().lower() == truth.strip().lower()
        row[2] += refused
    by_kind = {kind: AnswerScore(*row) for kind, row in sorted(counts.items(), key=lambda item: -item[1][0])}
    total = AnswerScore(*(sum(row[i] for row in counts.values()) for i in range(3)))
    return AnswerReport(total, by_kind)
