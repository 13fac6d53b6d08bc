"""Options of full-size recipes: compiled blocks, moments of 8 bits, and how fast a run is."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from test_full import SMALL, gradients
from torch import nn

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.training import throughput
from kyvo_ros.training.adaptation import adapt, full_optimizer
from kyvo_ros.training.budget import budget_of
from kyvo_ros.training.throughput import Throughput, device_peak
from kyvo_ros.training.trainer import Trainer, TrainingError, set_rate


def small_decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(SMALL.decoder_config(), torch.randn(6, 4))


def test_compiled_blocks_are_one_graph_and_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that runs the graph as it is: the real one takes a C++ compiler, and half a minute."""
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        compiled.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    expected, decoder = gradients(small_decoder()), small_decoder()
    adapt(decoder, replace(SMALL, compile=True, freeze_text=False, activation_checkpointing=True))
    found = gradients(decoder)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], gradient, atol=1e-5) for name, gradient in expected.items())
    assert len(compiled) == 1, "both blocks are one graph"
    assert decoder.state_dict().keys() == small_decoder().state_dict().keys(), "a checkpoint fits a plain one"


class FakeAdamW8bit(torch.optim.AdamW):
    """As torchao's: the learning rate is a tensor, which must not be replaced."""

    def __init__(self, params, lr, betas) -> None:
        super().__init__(params, lr=torch.tensor(lr), betas=betas, foreach=False)


def test_moments_of_8_bits_are_torchao_s(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, model = replace(SMALL, optimizer="adamw8bit"), nn.Linear(3, 1)
    monkeypatch.setitem(sys.modules, "torchao", ModuleType("torchao"))
    monkeypatch.setitem(sys.modules, "torchao.optim", SimpleNamespace(AdamW8bit=FakeAdamW8bit))
    optimizer = full_optimizer(model, recipe)
    assert isinstance(optimizer, FakeAdamW8bit)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [recipe.run.weight_decay, 0.0]
    before, rate = model.weight.clone(), optimizer.param_groups[0]["lr"]
    Trainer(tmp_path, replace(recipe.run, steps=2, warmup_steps=1, learning_rate=0.25), model,
            lambda rng: (model(torch.ones(1, 3)).square().mean(), {}), optimizer=optimizer).run()
    assert float(rate) == 0.25 and optimizer.param_groups[0]["lr"] is rate
    assert not torch.equal(model.weight, before)


def test_without_torchao_they_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(TrainingError, match="pip install torchao"):
        full_optimizer(nn.Linear(3, 1), replace(SMALL, optimizer="adamw8bit"))


def test_the_real_ones_take_a_quarter_and_learn() -> None:
    pytest.importorskip("torchao", reason="optional: pip install torchao")
    model = nn.Linear(64, 64, bias=False)
    optimizer = full_optimizer(model, replace(SMALL, optimizer="adamw8bit"))
    set_rate(optimizer, 0.01)
    losses = []
    for _ in range(3):
        loss = model(torch.ones(1, 64)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    moment = optimizer.state[model.weight]["exp_avg"]
    assert moment.codes.dtype == torch.uint8 and losses[2] < losses[0]


def test_the_budget_knows_moments_of_8_bits() -> None:
    whole, small = budget_of(SMALL), budget_of(replace(SMALL, optimizer="adamw8bit"))
    assert small.optimizer == int(whole.trained * 2 * (1 + 4 / 256)) and small.weights == whole.weights


def test_throughput_leaves_the_first_batch_out() -> None:
    times = iter([0.0, 100.0, 102.0, 104.0])
    counter = Throughput(operations_per_token=3.0, peak=6000.0, clock=lambda: next(times))
    assert counter.begin(1000) == {} and counter.begin(1000) == {}  # the first one compiles
    assert counter.begin(500) == {"tokens_per_second": 500.0, "model_flops_utilisation": 0.25}
    assert counter.begin(500) == {"tokens_per_second": 375.0, "model_flops_utilisation": 0.1875}
    times = iter([0.0, 1.0, 2.0])
    unknown = Throughput(3.0, None, clock=lambda: next(times))
    assert [unknown.begin(10) for _ in range(3)][2] == {"tokens_per_second": 10.0}


def test_the_head_counts_for_the_tokens_worth_a_loss() -> None:
    times = iter([0.0, 1.0, 3.0])
    counter = Throughput(3.0, 6000.0, clock=lambda: next(times), operations_per_scored=30.0)
    assert [counter.begin(1000, scored=100) for _ in range(3)][2] == {
        "tokens_per_second": 500.0, "model_flops_utilisation": (1000 * 3 + 100 * 30) / 2 / 6000}


def test_the_time_of_evaluations_and_checkpoints_is_left_out() -> None:
    times = iter([0.0, 10.0, 12.0, 62.0, 62.0, 74.0, 74.0])
    counter, seen = Throughput(1.0, None, clock=lambda: next(times)), []
    assert [counter.begin(10) for _ in range(2)] == [{}, {}]
    with counter.paused():  # 12 .. 62
        seen.append("checkpoint")
    evaluate = counter.paused()(lambda: seen.append("evaluation"))
    evaluate()  # 62 .. 74
    assert counter.begin(10) == {"tokens_per_second": 10 / 2} and seen == ["checkpoint", "evaluation"]


@pytest.mark.parametrize(("name", "peak"), [
    ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-80GB", 312e12),
    ("NVIDIA L40", 181e12), ("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12), ("NVIDIA GH200 480GB", 989e12),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("NVIDIA GeForce RTX 4090", 165e12),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("Abacus", None)])
def test_peaks_by_the_name_of_the_device(monkeypatch: pytest.MonkeyPatch, name: str, peak: float | None) -> None:
    monkeypatch.setattr(throughput.torch.cuda, "get_device_name", lambda device: name)
    assert device_peak(torch.device("cuda"), "bfloat16") == peak
    assert device_peak(torch.device("cuda"), "float32") is None and device_peak(torch.device("cpu"), "bfloat16") is None
