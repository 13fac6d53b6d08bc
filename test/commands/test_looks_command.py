"""`kyvo evaluate looks`: sets put together from looks that were taken once score as the pipeline does with the set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kyvo_ros.autoencoders.looks import EFFORTS, Look
from kyvo_ros.cli import main
from kyvo_ros.commands.common import UsageError
from kyvo_ros.commands.looks import CANDIDATES, parse_looks
from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.evaluation import evaluate_recognition
from kyvo_ros.pipeline import KyvoPipeline


def evaluate(model: Path, data: Path, *options: str) -> int:
    return main(["evaluate", "looks", "--data", str(data), "--model", str(model), "--device", "cpu", *options])


def test_a_set_scores_as_the_pipeline_does_with_its_looks(model: Path, data: Path, tmp_path: Path) -> None:
    wanted = "0,0 0.25,-0.5m"
    assert evaluate(model, data, "--last", "3", "--set", wanted, "--json", str(tmp_path / "looks.json")) == 0
    rows = {row["set"]: row for row in json.loads((tmp_path / "looks.json").read_text())["sets"]}
    assert list(rows) == ["effort fast", "effort accurate", "effort thorough", wanted]
    pipeline, samples = KyvoPipeline.from_pretrained(model, "cpu"), read_clevr(data)[-3:]
    for name, effort in (("effort accurate", "accurate"), (wanted, parse_looks(wanted))):
        seen = pipeline.recognize_batch([s.image() for s in samples], [s.view for s in samples], effort=effort)
        report = evaluate_recognition((scene, s.scene) for scene, s in zip(seen, samples))
        assert rows[name]["jaccard"] == report.to_dict()["jaccard"]
    assert rows["effort fast"]["time"] == 1.0 and rows["effort accurate"]["looks"] == 5


def test_looks_are_read_from_text() -> None:
    assert parse_looks("0,0 -0.25,0.5m 0,0.1,1.1m") == (Look(), Look(-0.25, 0.5, True), Look(0, 0.1, True, 1.1))
    assert all(parse_looks(text) for text in CANDIDATES)
    assert EFFORTS["accurate"] in map(parse_looks, CANDIDATES)


@pytest.mark.parametrize("text", ["", "0", "0,0,0", "0,0,1,1", "0,0m,1", "a,b", "0.2m"])
def test_what_is_no_look_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected looks such as"):
        parse_looks(text)


def test_scored_images_are_refused(model: Path, data: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluate(model, data, "--split", "val") == 2
    assert "'val' is for scoring" in capsys.readouterr().err
