"""`kyvo evaluate qa`: answers to the questions of a CLEVR folder, or to the project's own in held-out phrasings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    UsageError, add_batch_size, add_data_folder, add_effort, add_model_options, add_report_files, check_counts,
    load_pipeline, predict, write_report,
)

if TYPE_CHECKING:
    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.pipeline import KyvoPipeline

#: Of the project's own questions.
_SEED = 20251


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate qa`."""
    parser.description = (
        "Answer the questions of a CLEVR folder (questions.json) by programs that the model writes and the scene that "
        "it recognises, or the true one; or directly, by one word behind image, scene and question. An answer counts as "
        "right where it is the file's, a refusal as wrong.")
    add_data_folder(parser)
    parser.add_argument("--scene", choices=("true", "predicted"), default="predicted",
                        help="what questions are answered on (default: %(default)s)")
    parser.add_argument("--route", choices=("program", "direct"), default="program", help="direct: also of models that "
                        "do not offer it (default: %(default)s)")
    parser.add_argument("--own", type=int, metavar="N", help="instead of the folder's questions, N of the project's "
                        "own generator, in phrasings that are never trained on")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--metric", choices=("own", "published"), default="own", help="published: also the text "
                        "accuracy of the published Kyvo script, which compares letter by letter (default: %(default)s)")
    add_report_files(parser)
    add_batch_size(parser)
    add_model_options(parser)
    add_effort(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate qa`; returns the exit code. Raises UsageError and what loading raises."""
    from tqdm import tqdm

    from kyvo_ros.data.clevr import read_clevr
    from kyvo_ros.evaluation.answers import evaluate_answers
    from kyvo_ros.tokens.sequences import ANSWER_TASKS

    check_counts(args, "limit", "own", "batch_size")
    pipeline = load_pipeline(args, (ANSWER_TASKS["image_first"],) if args.route == "direct" else ())
    samples = read_clevr(args.data, args.split, pipeline.schema)[:args.limit]
    asked = list(_own(samples, args.own) if args.own else _of_folder(args.data, args.split, samples))
    scenes = ([s.scene for s in samples] if args.scene == "true"
              else predict(pipeline, samples, args.batch_size, args.effort)[0])
    answered = _answered if args.route == "program" else _answered_directly
    answers = list(answered(pipeline, samples, scenes, tqdm(asked, desc="answering", disable=None)))
    report = evaluate_answers(answers)
    print(f"{pipeline.name} on {args.data} ({args.scene} scenes, {args.route} answers)\n\n{report.markdown()}")
    scores = _published_scores(answers) if args.metric == "published" else {}
    document = {**report.to_dict(), **scores, "model": pipeline.name, "data": str(args.data), "scene": args.scene,
                "route": args.route, "effort": args.effort, "own": args.own}
    write_report(args, document, report.markdown())
    return 0


def _published_scores(answers: list[tuple[str, str, str, bool]]) -> dict[str, float]:
    """Print the published text accuracy, and return it for the report's JSON; a refusal is a text like any other."""
    from kyvo_ros.evaluation.published import text_accuracy

    percent = text_accuracy([given for _, given, _, _ in answers], [truth for _, _, truth, _ in answers])
    print(f"\npublished text accuracy: {percent:.2f} %")
    return {"published_text_accuracy": percent}


def _answered(pipeline: KyvoPipeline, samples: list[ClevrSample], scenes: list, asked) -> Iterator[tuple]:
    for index, kind, question, truth in asked:
        camera = samples[index].view.plane.plane_T_optical().translation
        answer = pipeline.answer(question, scenes[index], camera)
        yield kind, answer.text, truth, bool(answer.refusal)


def _answered_directly(pipeline: KyvoPipeline, samples: list[ClevrSample], scenes: list, asked) -> Iterator[tuple]:
    """As `_answered`; nothing is refused on this route."""
    for index, kind, question, truth in asked:
        answer, _ = pipeline.answer_directly(question, samples[index].image(), samples[index].view, scenes[index])
        yield kind, answer, truth, False


def _of_folder(folder: Path, split: str, samples: list[ClevrSample]) -> Iterator[tuple[int, str, str, str]]:
    """(image, template, question, answer) of a folder's question file, for these images."""
    from kyvo_ros.questions import read_questions

    paths = [path for path in (folder / "questions.json", folder / "questions" / f"CLEVR_{split}_questions.json")
             if path.is_file()]
    if not paths:
        raise UsageError(f"{folder} has no questions.json; --own N asks the project's own questions")
    index_of = {sample.image_path.name: i for i, sample in enumerate(samples)}
    for question in read_questions(paths[0]):
        if question.image_filename in index_of and question.answer is not None:
            yield index_of[question.image_filename], question.template, question.question, question.answer


def _own(samples: list[ClevrSample], count: int) -> Iterator[tuple[int, str, str, str]]:
    """(image, kind, question, answer) in held-out phrasings; refusals of failed premises are not asked for here."""
    from kyvo_ros.questions import QuestionGenerator, QuestionSettings

    generator = QuestionGenerator(_SEED, QuestionSettings(held_out=True, noise=0.0, false_premises=0.0, unknown=0.0))
    for number in range(count):
        index = number % len(samples)
        camera = samples[index].view.plane.plane_T_optical().translation
        (question,) = generator.questions(samples[index].scene, 1, camera)
        yield index, question.kind, question.text, question.answer.text
