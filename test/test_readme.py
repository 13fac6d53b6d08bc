"""The README says what the code does: its tables, targets, paths and scores are the real ones."""

import json
import re
from pathlib import Path

import pytest

from kyvo_ros import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_named_files_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    named = re.findall(r"`((?:config|recipes|models|launch|kyvo_msgs|test|tools)/[\w./-]+)`", README)
    assert links and named
    assert [path for path in links + named if not (ROOT / path).exists()] == []


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\s+make(?: -C \S+)? (\w+)", README, re.MULTILINE))
    assert {"demo", "test", "weights", "setup"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_parameter_table_is_the_generated_one():
    pytest.importorskip("rclpy")
    from kyvo_ros.ros.parameters import markdown_table

    assert markdown_table().strip() in README


def test_scores_are_those_of_the_evaluation():
    report = json.loads((ROOT / "models" / "clevr-nano" / "evaluation.json").read_text(encoding="utf-8"))
    rows = dict(re.findall(r"^\| (0\.\d+) \| (0\.\d+) \|", README, re.MULTILINE))
    assert rows and all(float(rows[tau]) == pytest.approx(value, abs=6e-4) for tau, value in report["jaccard"].items())


@pytest.mark.parametrize("command", [
    ["recognize", "--help"], ["evaluate", "recognition", "--help"], ["evaluate", "background", "--help"],
    ["calibrate", "--help"], ["train", "--help"]])
def test_commands_exist(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0 and "usage: kyvo" in capsys.readouterr().out
