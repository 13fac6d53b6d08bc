"""Runs of several tasks: their shares and common samples, the loss of shared batches, and the whole command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_full import SMALL

from kyvo_ros.cli import main
from kyvo_ros.data.published_tokens import PublishedDataError
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import save_converted
from kyvo_ros.tokens import Vocabulary
from kyvo_ros.training import full
from kyvo_ros.training.full import Scorer, SequenceStage, padded
from kyvo_ros.training.mixture import Mixture
from kyvo_ros.training.sharding import Share
from kyvo_ros.training.throughput import Throughput
from kyvo_ros.training.token_weights import LossSettings

VOCABULARY = Vocabulary.published_clevr(6)
SEEING_AND_DRAWING = {"I->3": 0.25, "3->I": 0.75}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Six scenes of unequal length with their images, all but the first with an instruction and what comes of it."""
    scenes = {str(i): {"token_ids": [128256 + 10 * i + j for j in range(3 + i)]} for i in range(6)}
    later = {key: scene for key, scene in scenes.items() if key != "0"}
    documents = {"image_source": {str(i): [(i + j) % 6 for j in range(9)] for i in range(6)}, "three_d_source": scenes,
                 "text_source": {key: {"token_ids": [int(key)]} for key in later}, "three_d_target": later}
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    return {name: tmp_path / f"{name}.json" for name in documents}


def mixture(files: dict[str, Path], shares: dict[str, float], *names: str, reorder: bool = False) -> Mixture:
    chosen = {name: files[name] for name in names or ("image_source", "three_d_source")}
    return Mixture(shares, chosen, VOCABULARY, reorder, files["image_source"].parent / "cache")


def test_every_sequence_is_of_a_task_drawn_by_its_share(files: dict[str, Path]) -> None:
    drawn = mixture(files, SEEING_AND_DRAWING).draw(np.random.default_rng(0), 400, 5)
    seeing = [sequence.token_ids[1] == VOCABULARY.structure_id("[IMAGE-START]") for sequence in drawn]
    assert 0.18 < np.mean(seeing) < 0.32
    scenes = {int(ids[(ids >= 128256) & (ids < 129457)][0] - 128256) // 10 for ids in (s.token_ids for s in drawn)}
    assert scenes == {0, 1, 2, 3, 4}, "the last sample is not among the first five"


def test_images_that_are_read_alone_stay_in_raster_order(files: dict[str, Path]) -> None:
    def images(reorder: bool) -> list[list[int]]:
        both = mixture(files, SEEING_AND_DRAWING, reorder=reorder)
        ids = [both.sequence(task, 0).token_ids for task in range(2)]
        return [[i for i in row.tolist() if i in VOCABULARY.range("image")] for row in ids]

    (seen, drawn), (seen_too, reordered) = images(False), images(True)
    assert seen == seen_too
    assert sorted(drawn) == sorted(reordered) and drawn != reordered


def test_one_task_draws_as_a_run_without_a_mixture(files: dict[str, Path]) -> None:
    one, numbers = mixture(files, {"I->3": 1.0}), np.random.default_rng(7).integers(6, size=10)
    for sequence, number in zip(one.draw(np.random.default_rng(7), 10, 6), numbers, strict=True):
        assert sequence.token_ids.tolist() == one.sequence(0, int(number)).token_ids.tolist()


def test_samples_are_those_that_all_tasks_have(files: dict[str, Path]) -> None:
    both = mixture(files, {"I->3": 0.5, "3+T->3": 0.5}, *files)
    assert both.keys == ["1", "2", "3", "4", "5"] and len(both) == 5
    for number in range(len(both)):
        seen, edited = (both.sequence(task, number).token_ids.tolist() for task in (0, 1))
        assert 128256 + 10 * (number + 1) in seen and 128256 + 10 * (number + 1) in edited


def test_files_that_do_not_make_the_tasks(files: dict[str, Path]) -> None:
    with pytest.raises(PublishedDataError, match=r"no task of \('I->3', '3->I'\) is made of \['text_source'\]"):
        mixture(files, SEEING_AND_DRAWING, "image_source", "three_d_source", "text_source")
    with pytest.raises(PublishedDataError, match=r"task 3\+T->3 is made of"):
        mixture(files, {"I->3": 0.5, "3+T->3": 0.5}, "image_source", "three_d_source")
    for name in ("text_source", "three_d_target"):
        files[name].write_text(json.dumps({"other": {"token_ids": [1]}}))
    files["three_d_source"].write_text(json.dumps({"0": {"token_ids": [1]}, "other": {"token_ids": [1]}}))
    with pytest.raises(PublishedDataError, match="no key is in all files of the tasks"):
        mixture(files, {"I->3": 0.5, "3+T->3": 0.5}, *files)


LOSSES = tuple(LossSettings(norm, *weight) for norm in ("targets", "published") for weight in ((), (5, 10.0)))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.normalisation}-{loss.first_tokens}")
@torch.no_grad()
def test_the_mean_over_all_shares_is_the_loss_of_the_batch(files: dict[str, Path], loss: LossSettings) -> None:
    torch.manual_seed(0)
    recipe = replace(SMALL, task="3->I", loss=loss, held_out=1, run=replace(SMALL.run, batch_size=4))
    decoder, samples = Decoder(recipe.decoder_config(), torch.randn(6, 4)).eval(), mixture(files, recipe.tasks)
    stage = SequenceStage(Scorer(decoder), samples, recipe, torch.device("cpu"), Throughput(1.0, None))

    def of_shares(count: int) -> float:
        parts = [stage.loss_of(Share(np.random.default_rng(3), number, count))[0] for number in range(count)]
        return float(torch.stack(parts).mean())

    ids, worth = padded(samples.draw(np.random.default_rng(3), 4, 5))
    losses = F.cross_entropy(decoder(ids)[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none") * worth[:, 1:]
    weights = worth[:, 1:].float() if loss.normalisation == "targets" else torch.ones_like(losses)
    for row, label in zip(weights, worth[:, 1:]):
        first = int(label.long().argmax()) + 1  # behind [IMAGE-START]
        row[first:first + loss.first_tokens] *= loss.first_weight
    expected = (losses * weights).sum() / weights.sum()  # rows weigh the same, since each has the same window
    assert of_shares(1) == pytest.approx(float(expected), rel=1e-5)
    assert of_shares(4) == pytest.approx(of_shares(1), rel=1e-5)


class Witness(Throughput):
    """Writes down what happens in a run."""

    events: list[str] = []

    def begin(self, tokens: int, scored: float = 0.0) -> dict[str, float]:
        self.events.append("batch" if 0 < scored < tokens else "nothing to learn")
        return super().begin(tokens, scored)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.events.append("pause")
        yield


def test_a_run_of_two_tasks(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "Throughput", Witness)
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text("""
        name: mixed
        task: {I->3: 1, 3->I: 3}
        reorder: true
        loss: {normalisation: published, first_tokens: 5, first_weight: 10.0}
        held_out: 1
        sizes: {dim: 8, layers: 2, heads: 2, kv_heads: 1, ffn_dim: 16, max_length: 300, code_dim: 4, codes: 6}
        run: {steps: 2, batch_size: 4, warmup_steps: 1, learning_rate: 0.01, log_every: 1, evaluate_every: 2}
    """)
    decoder = Decoder(SMALL.decoder_config(), torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    save_converted(tmp_path / "start", "start", decoder.config, decoder.state_dict())
    assert main(["train", "full", "--recipe", str(recipe), "--from", str(tmp_path / "start"), "--data",
                 *(f"{name}={files[name]}" for name in ("image_source", "three_d_source")), "--work",
                 str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "work" / "full" / "metrics.jsonl").read_text().splitlines()]
    (scores,) = [row["evaluation"] for row in rows if "evaluation" in row]
    assert set(scores) == {f"{measure}{task}" for measure in ("held_out_loss", "right_tokens")
                           for task in ("", " I->3", " 3->I")}
    assert min(scores["held_out_loss I->3"], scores["held_out_loss 3->I"]) <= scores["held_out_loss"] <= max(
        scores["held_out_loss I->3"], scores["held_out_loss 3->I"])
    document = json.loads((tmp_path / "out" / "config.json").read_text())
    assert document["decoder"]["image_order"] == "alternating", "as it was trained to draw"
    assert Witness.events == ["batch", "batch", "pause", "pause"], "evaluation and checkpoint are no time of training"
