"""Training in two processes: the same steps as one process with the whole batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kyvo_ros.training import distributed
from kyvo_ros.training.trainer import RunSettings, TrainingError, alike, step_generator

TRAINER = """
import torch
from pathlib import Path
from torch import nn
from kyvo_ros.training import distributed
from kyvo_ros.training.trainer import RunSettings, Trainer
def trainer(folder, steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    model.add_module("spare", nn.Linear(3, 1))  # which only the batches of one process need
    settings = RunSettings(steps=steps, batch_size=8, warmup_steps=1, learning_rate=0.05, log_every=1)
    def loss_of(rng):
        x = torch.as_tensor(rng.standard_normal((settings.own_batch_size, 3)), dtype=torch.float32)
        loss = (model[1](model[0](x)).squeeze(-1) - x.sum(-1)).square().mean()
        return loss + (model.spare(x).square().mean() if distributed.rank() else 0.0), {}
    return Trainer(Path(folder), settings, model, loss_of)
"""
PROGRAM = TRAINER + """
import sys
import numpy as np
distributed.start(torch.device("cpu"))
two = trainer(sys.argv[1], 5)
assert two.resume() and two.step == 2
two.run()
images = np.arange(7, dtype=np.uint8)[:, None]
rows = distributed.gathered(images[distributed.own_part(len(images))])
assert np.array_equal(rows, images), "each has all rows in their order"
model = two.model
torch.save([p.detach() for p in model.parameters()], Path(sys.argv[1]) / f"rank{distributed.rank()}.pt")
distributed.stop()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.timeout(300)  # each imports torch
def test_two_processes_go_on_where_one_stopped_and_stay_equal_and_one_goes_on_again(tmp_path):
    names = {}
    exec(TRAINER, names)
    names["trainer"](tmp_path, 2).run()
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
              "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=Path(__file__).resolve().parents[2],
                                  env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    try:
        assert [p.wait(timeout=120) for p in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other))
    again = names["trainer"](tmp_path, 6)
    assert again.resume() and again.step == 5
    assert all(torch.equal(a, b) for a, b in zip(one, again.model.parameters()))
    assert {int(state["step"]) for state in again.optimizer.state.values()} == {3, 5}  # the spare part came in late
    again.run()
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3, 4, 5, 6]  # the first process alone writes


def test_processes_share_things_evenly_and_leave_none_out(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        parts.append(list(range(8))[distributed.own_part(8)])
    assert sum(parts, []) == list(range(8)) and sorted(map(len, parts)) == [2, 3, 3]


def test_one_process_needs_no_group():
    rows = np.zeros((2, 3))
    assert distributed.gathered(rows) is rows and distributed.own_part(5) == slice(0, 5)
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    before = model.weight.grad.clone()
    assert distributed.synchronise(model, ends=True) and not distributed.synchronise(model, ends=False)
    assert torch.equal(before, model.weight.grad)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


def test_a_large_gradient_is_averaged_where_it_lies_and_small_ones_together(monkeypatch):
    model, sent = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), []
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(number))

    def all_reduce(flat):  # with another process that has the same
        sent.append((flat.numel(), flat.data_ptr()))
        flat *= 2

    monkeypatch.setattr(distributed, "BUCKET", 16)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "all_reduce", all_reduce)
    assert distributed.synchronise(model, ends=True) and not distributed.synchronise(model, ends=False)
    assert [size for size, _ in sent[:2]] == [8 * 4, 4 + 2 * 4 + 2 + 1]  # the last one asks who wants to end
    assert sent[0][1] == model[0].weight.grad.data_ptr()
    assert [set(p.grad.flatten().tolist()) for p in model.parameters()] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_processes_draw_different_batches():
    assert step_generator(0, 5, 0).random() != step_generator(0, 5, 1).random()
    assert step_generator(0, 5, 1).random() == step_generator(0, 5, 1).random()


def test_what_is_drawn_alike_is_the_same_in_all_processes_of_a_step_and_differs_from_step_to_step() -> None:
    drawn = {(step, part): {alike(step_generator(0, step, process, part)).random() for process in range(3)}
             for step in range(3) for part in range(2)}
    assert all(len(numbers) == 1 for numbers in drawn.values())
    numbers = set.union(*drawn.values())
    own = {step_generator(0, step, process).random() for step in range(3) for process in range(3)}
    assert len(numbers) == 6 and not numbers & own
    other = np.random.default_rng(0)
    assert alike(other) is other


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(TrainingError, match="batch_size 16 cannot be shared by 3 processes"):
        RunSettings(steps=1, batch_size=16).own_batch_size
