"""The training loop: schedule, exact resume, faults."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from kyvo_ros.autoencoders.quantizer import VectorQuantizer
from kyvo_ros.training.plots import plot_metrics, read_metrics
from kyvo_ros.training.starting import start_from
from kyvo_ros.training.trainer import (
    CHECKPOINT, METRICS, RunSettings, Trainer, TrainingError, optimizer_for,
)


def _trainer(folder, model, **changes) -> Trainer:
    settings = RunSettings(**{"steps": 12, "warmup_steps": 2, "batch_size": 4, "checkpoint_every": 5, "log_every": 1,
                              "evaluate_every": 6, "learning_rate": 0.01, **changes})

    def loss_of(rng: np.random.Generator):
        x = torch.as_tensor(rng.standard_normal((settings.batch_size, 3)), dtype=torch.float32)
        return (model(x).squeeze(-1) - x.sum(-1)).square().mean(), {}

    return Trainer(folder, settings, model, loss_of, lambda: {"weight": float(model.weight.detach().mean())})


def _model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Linear(3, 1)


def test_rate_warms_up_stays_and_decays():
    settings = RunSettings(steps=100, decay_steps=50, warmup_steps=10, learning_rate=1.0)
    rates = [settings.rate(step) for step in range(150)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert set(rates[9:100]) == {1.0}
    assert rates[100] == 1.0 and rates[125] == pytest.approx(0.5) and rates[149] == pytest.approx(0.02)
    assert all(b <= a for a, b in zip(rates[100:], rates[101:]))


def test_the_precision_of_a_run_is_a_setting(tmp_path):
    dtypes = []
    for precision in ("float32", "bfloat16"):
        trainer = _trainer(tmp_path / precision, _model(), steps=1, precision=precision)
        inner = trainer.loss_of

        def loss_of(rng):
            dtypes.append((trainer.model(torch.ones(1, 3))).dtype)
            return inner(rng)

        trainer.loss_of = loss_of
        trainer.run()
    assert dtypes == [torch.float32, torch.bfloat16]
    with pytest.raises(ValueError, match="precision must be one of .*got 'float8'"):
        RunSettings(steps=1, precision="float8")


def test_a_longer_run_begins_like_a_shorter_one():
    short, long = RunSettings(steps=100), RunSettings(steps=1000, decay_steps=100)
    assert [short.rate(s) for s in range(100)] == [long.rate(s) for s in range(100)]


def test_resume_goes_on_exactly(tmp_path):
    whole = _model()
    _trainer(tmp_path / "whole", whole).run()
    part = _model()
    _trainer(tmp_path / "part", part, steps=7).run()
    again = nn.Linear(3, 1)  # other weights: all must come from the checkpoint
    trainer = _trainer(tmp_path / "part", again)
    assert trainer.resume() and trainer.step == 7
    trainer.run()
    assert torch.equal(whole.weight, again.weight) and torch.equal(whole.bias, again.bias)
    steps = [row["step"] for row in read_metrics(tmp_path / "part" / METRICS) if "loss" in row]
    assert steps == list(range(1, 13))


def test_the_mean_of_the_weights_is_what_is_evaluated_and_kept(tmp_path):
    model, last = _model(), []
    trainer = _trainer(tmp_path, model, average=0.5)
    inner = trainer.loss_of

    def loss_of(rng):
        last.append(model.weight.detach().clone())
        return inner(rng)
    trainer.loss_of = loss_of
    trainer.run()
    checkpoint = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    last.append(checkpoint["last"][0])  # after the last step
    mean = last[1]
    means = [mean := mean + (1 - min(0.5, (1 + step) / (10 + step))) * (weight - mean)
             for step, weight in enumerate(last[1:])]
    assert torch.allclose(model.weight, means[-1], atol=1e-6) and not torch.allclose(model.weight, last[-1], atol=1e-4)
    assert torch.equal(model.weight, checkpoint["model"]["weight"])
    evaluated = [row["evaluation"]["weight"] for row in read_metrics(tmp_path / METRICS) if "evaluation" in row]
    assert evaluated == pytest.approx([float(means[5].mean()), float(means[11].mean())], abs=1e-6)


@pytest.mark.parametrize("then", [0.9, 0.0])
def test_resume_goes_on_exactly_from_the_last_weights_not_from_their_mean(tmp_path, then):
    whole, part, again = _model(), _model(), nn.Linear(3, 1)
    _trainer(tmp_path / "whole", whole, average=then).run()
    _trainer(tmp_path / "part", part, steps=7, average=0.9).run()
    trainer = _trainer(tmp_path / "part", again, average=then)
    assert trainer.resume()
    trainer.run()
    assert torch.equal(whole.weight, again.weight) and torch.equal(whole.bias, again.bias)


def test_a_run_without_a_mean_may_go_on_with_one(tmp_path):
    _trainer(tmp_path, _model(), steps=7).run()
    trainer = _trainer(tmp_path, model := _model(), average=0.9)
    assert trainer.resume()
    trainer.run()
    assert "last" in torch.load(tmp_path / CHECKPOINT, weights_only=True) and torch.isfinite(model.weight).all()
    with pytest.raises(ValueError, match="average must be at least 0 and below 1, got 1"):
        RunSettings(steps=1, average=1.0)


def test_codes_resume_exactly(tmp_path):
    """Also what only training needs: running means, idle counts, and which vectors restart a dead code."""
    def model() -> nn.Module:
        torch.manual_seed(0)
        return VectorQuantizer(codes=16, dim=4, dead_after=2)

    def trainer(folder, quantizer, steps):
        scale = nn.Parameter(torch.ones(4))
        quantizer.register_parameter("scale", scale)
        def loss_of(rng):
            vectors = torch.from_numpy(rng.normal(size=(12, 4)).astype("float32")) * quantizer.scale
            return quantizer(vectors).commitment, {}
        return Trainer(folder, RunSettings(steps=steps, warmup_steps=1, batch_size=4, checkpoint_every=3, log_every=100),
                       quantizer, loss_of)
    whole, part, again = model(), model(), VectorQuantizer(codes=16, dim=4, dead_after=2)
    trainer(tmp_path / "whole", whole, 20).run()
    trainer(tmp_path / "part", part, 11).run()
    resumed = trainer(tmp_path / "part", again, 20)
    assert resumed.resume()
    resumed.run()
    assert torch.equal(whole.codebook, again.codebook) and torch.equal(whole.idle, again.idle)


def test_a_gradient_that_is_not_finite_leaves_the_checkpoint_before(tmp_path):
    model = _model()
    trainer = _trainer(tmp_path, model, steps=5, checkpoint_every=2)
    loss_of = trainer.loss_of

    def breaks(share):
        loss, numbers = loss_of(share)
        if trainer.step == 3:
            loss = loss + 0 * torch.sqrt(model.weight.sum() * 0)  # finite, with a gradient that is not
        return loss, numbers
    trainer.loss_of = breaks
    with pytest.raises(TrainingError, match="the gradient is nan at step 3; lower learning_rate"):
        trainer.run()
    assert torch.isfinite(torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"]["weight"]).all()


def test_a_line_that_was_cut_off_hides_no_other(tmp_path):
    (tmp_path / METRICS).write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo\n{"step": 3, "loss": 1.0}\n')
    assert [row["step"] for row in read_metrics(tmp_path / METRICS)] == [1, 3]


def test_time_limit_leaves_a_checkpoint(tmp_path):
    trainer = _trainer(tmp_path, _model(), steps=10_000)
    trainer.run(minutes=0.0)
    assert trainer.step == 1
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 1


def test_a_run_at_its_end_does_nothing_more(tmp_path):
    model = _model()
    _trainer(tmp_path, model).run()
    before = model.weight.clone()
    trainer = _trainer(tmp_path, model)
    trainer.resume()
    trainer.run()
    assert torch.equal(before, model.weight)


def test_no_checkpoint_means_a_fresh_start(tmp_path):
    assert not _trainer(tmp_path, _model()).resume()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _trainer(tmp_path, _model()).run()
    with pytest.raises(TrainingError, match="does not fit this recipe"):
        _trainer(tmp_path, nn.Linear(4, 1)).resume()


def test_a_loss_that_is_not_finite_stops_training(tmp_path):
    model = _model()
    trainer = _trainer(tmp_path, model)
    model.weight.data.fill_(math.nan)
    with pytest.raises(TrainingError, match="at step 0; lower learning_rate"):
        trainer.run()
    assert not (tmp_path / CHECKPOINT).exists()


def test_metrics_and_curve_are_written(tmp_path):
    _trainer(tmp_path, _model()).run()
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert rows[0]["step"] == 1 and {"loss", "per_second", "seconds"} <= set(rows[0])
    assert [r["step"] for r in rows if "evaluation" in r] == [6, 12]
    plot_metrics(tmp_path / METRICS, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_weight_decay_spares_norms_biases_and_embeddings():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    decayed, kept = optimizer_for(model, RunSettings(steps=1)).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 4)] and decayed["params"][0] is model[1].weight
    assert kept["weight_decay"] == 0 and len(kept["params"]) == 4


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"steps": -1}, {"learning_rate": 0.0}, {"log_every": 0}])
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValueError):
        RunSettings(**{"steps": 1, **wrong})


def test_parts_of_a_batch_add_up_to_it(tmp_path):
    """Two parts of two examples are one batch of four: the same step where the parts hold the same examples."""
    examples = torch.tensor([[1.0, 2, 3], [0, 1, 0], [2, 0, 1], [1, 1, 1]])
    after = {}
    for accumulate in (1, 2):
        model, calls = _model(), []
        settings = RunSettings(steps=1, warmup_steps=1, batch_size=4, accumulate=accumulate, learning_rate=0.1)

        def loss_of(rng):
            size = settings.own_batch_size
            rows = examples[len(calls) * size: (len(calls) + 1) * size]
            calls.append(rng.random())
            return (model(rows).squeeze(-1) - rows.sum(-1)).square().mean(), {"part": float(len(calls))}

        Trainer(tmp_path / str(accumulate), settings, model, loss_of).run()
        assert len(calls) == len(set(calls)) == accumulate  # every part draws from a stream of its own
        after[accumulate] = model.weight.detach()
    assert torch.allclose(after[1], after[2], atol=1e-6) and not torch.equal(after[1], _model().weight)


def test_parts_that_do_not_divide_a_batch_are_refused():
    with pytest.raises(TrainingError, match="batch_size 4 cannot be shared by 1 processes in 3 parts each"):
        RunSettings(steps=1, batch_size=4, accumulate=3).own_batch_size
    with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
        RunSettings(steps=1, accumulate=0)


def test_weights_that_fit_are_taken_over_and_the_others_named(caplog):
    state = {"0.weight": torch.full((3, 2), 5.0), "0.bias": torch.full((4,), 7.0), "gone": torch.ones(1)}
    model = nn.Sequential(nn.Linear(2, 3))
    start_from(model, state, "toy")
    assert (model[0].weight == 5.0).all() and (model[0].bias != 7.0).all()
    assert "1 of 2 weights stay new (0.bias)" in caplog.text
    with pytest.raises(TrainingError, match="no weight of the toy"):
        start_from(nn.Linear(9, 9), state, "toy")
