"""One training loop for every model of the project: schedule, clipping, checkpoints, metrics.

The learning rate warms up, stays, and decays only when the run is told to end (warm-up, stable, decay; arXiv
2404.06395), so that a run continues without knowing its end. Batches are drawn from a generator seeded by (seed, step),
so a run that resumes from a checkpoint goes on exactly as if it had not stopped. A running mean of the weights
(`RunSettings.average`) is worth about what a decay is, at any step (arXiv 2306.03241). It knows neither images nor
tokens.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from kyvo_ros.scene.files import whole_file
from kyvo_ros.training import distributed

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what to do."""


@dataclass(frozen=True)
class RunSettings:
    """How long and how fast one model trains."""

    steps: int  # optimizer steps at the warm-up and the stable learning rate
    decay_steps: int = 0  # further steps in which the learning rate falls linearly to zero
    warmup_steps: int = 200
    batch_size: int = 16  # of all processes together
    accumulate: int = 1  # parts of a batch that pass one after the other, for models whose memory holds no more
    learning_rate: float = 1e-3
    weight_decay: float = 0.05  # on matrices only
    gradient_clip: float = 1.0  # largest norm of the whole gradient
    beta2: float = 0.95  # AdamW's second moment decay
    average: float = 0.0  # share that a running mean of the weights keeps a step; what is scored and exported; 0: none
    precision: str = "float32"  # of activations; bfloat16 where the hardware has units for it (on GPUs; few CPUs do)
    seed: int = 0
    checkpoint_every: int = 500  # steps
    evaluate_every: int = 1000  # steps
    log_every: int = 50  # steps

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "checkpoint_every", "evaluate_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {tuple(PRECISIONS)}, got {self.precision!r}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be at least 0 and below 1, got {self.average}")
        if min(self.steps, self.decay_steps, self.warmup_steps) < 0 or self.learning_rate <= 0:
            raise ValueError(f"steps must not be negative and the learning rate positive, got {asdict(self)}")

    @property
    def own_batch_size(self) -> int:
        """What one of several training processes draws at a time."""
        parts = distributed.world_size() * self.accumulate
        if self.batch_size % parts:
            raise TrainingError(f"batch_size {self.batch_size} cannot be shared by {distributed.world_size()} "
                                f"processes in {self.accumulate} parts each; choose numbers that divide it")
        return self.batch_size // parts

    @property
    def total_steps(self) -> int:
        return self.steps + self.decay_steps

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: warm-up, stable, linear decay after `steps`."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (self.total_steps - step) / max(1, self.decay_steps)
        return self.learning_rate * min(warm, left if step >= self.steps else 1.0)


def optimizer_for(model: nn.Module, settings: RunSettings) -> torch.optim.AdamW:
    """AdamW on the groups of `decayed_groups`."""
    return torch.optim.AdamW(decayed_groups(model, settings), lr=settings.learning_rate, betas=(0.9, settings.beta2),
                             fused=True)


def decayed_groups(model: nn.Module, settings: RunSettings) -> list[dict[str, Any]]:
    """Parameters with weight decay: matrices and convolutions; and without: norms, biases, tables of embeddings."""
    tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in tables]
    kept = [p for p in parameters if p.ndim < 2 or id(p) in tables]
    return [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": kept, "weight_decay": 0.0}]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; an optimizer that compiles its step keeps it in a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is spread over several processes, in one piece."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


#: In place of a process's number.
_ALIKE = 2**32


def step_generator(seed: int, step: int, process: int = 0, part: int = 0) -> np.random.Generator:
    """The source of all randomness of one step, or part of it, in one of the training processes."""
    return np.random.default_rng([seed, step, process, *([part] if part else [])])


def alike(rng: np.random.Generator) -> np.random.Generator:
    """Of the step, or part of it, whose `step_generator` this is, a source that is the same in all training processes:
    the kind of a batch is drawn from it, since a process with more to do than others lets these wait.
    """
    entropy = rng.bit_generator.seed_seq.entropy
    if not isinstance(entropy, list):
        return rng  # of no step
    seed, step, _, *part = entropy
    return np.random.default_rng([seed, step, _ALIKE, *part])


class Replicas:
    """Training processes that each hold the whole model and draw batches of their own; the first one evaluates."""

    @property
    def evaluates(self) -> bool:
        return distributed.rank() == 0

    def share(self, settings: RunSettings, step: int, part: int) -> np.random.Generator:
        """What `loss_of` gets for one part of a step in this process."""
        return step_generator(settings.seed, step, distributed.rank(), part)

    def synchronise(self, model: nn.Module, ends: bool, numbers: dict[str, float]) -> bool:
        """After the backward pass: the same gradients everywhere, and whether one wants to end; may correct `numbers`.
        """
        return distributed.synchronise(model, ends)

    def state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """For the checkpoint, which process 0 writes; inverse of `load`."""
        kept = model.state_dict()
        passing = {name: buffer for name, buffer in model.named_buffers() if name not in kept}
        return {"model": kept, "passing": passing, "optimizer": optimizer.state_dict()}

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Raises what torch raises for a state of another model."""
        model.load_state_dict(state["model"])
        buffers = dict(model.named_buffers())
        for name, value in state.get("passing", {}).items():  # what only training needs, such as running means
            if name in buffers and buffers[name].shape == value.shape:
                buffers[name].copy_(value)
        optimizer.load_state_dict(state["optimizer"])


class Trainer:
    """Runs one model's training in a folder that holds its checkpoint and metrics.

    `loss_of(share) -> (loss, numbers to log)` draws its batch with what `processes.share` gives, a generator unless
    `processes` says otherwise. `evaluate() -> numbers` may be None. `optimizer` is `optimizer_for`'s unless given. Where
    the settings ask for a mean of the weights, `evaluate` finds it in the model, and so does who looks after `run`.
    Raises TrainingError where the loss is not finite or a checkpoint does not fit the model.
    """

    def __init__(self, folder: Path, settings: RunSettings, model: nn.Module,
                 loss_of: Callable[[Any], tuple[Tensor, dict[str, float]]],
                 evaluate: Callable[[], dict[str, float]] | None = None,
                 optimizer: torch.optim.Optimizer | None = None, processes: Replicas | None = None) -> None:
        self.folder, self.settings, self.model = folder, settings, model
        self.loss_of, self.evaluate = loss_of, evaluate
        self.optimizer = optimizer_for(model, settings) if optimizer is None else optimizer
        self.processes = Replicas() if processes is None else processes
        self.step = 0
        self._other: list[Tensor] | None = None  # weights that the model does not hold: their mean, or the last ones
        self._holds_mean = False
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Continue from this folder's checkpoint; False where there is none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            self.processes.load(self.model, self.optimizer, state)
            self._load_last(state.get("last"))
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"{path} does not fit this recipe ({error}); choose another --work folder") from error
        self.step = int(state["step"])
        log.info("resumed %s at step %d", path, self.step)
        return True

    def save(self) -> None:
        """Write the checkpoint; a crash while writing leaves the previous one."""
        self._hold(mean=True)
        state = self.processes.state(self.model, self.optimizer)  # to which others may have to contribute
        if distributed.rank() > 0:
            return
        last = {} if self._other is None else {"last": self._other}
        with whole_file(self.folder / CHECKPOINT) as file:
            torch.save({**state, **last, "step": self.step}, file)

    def run(self, minutes: float | None = None) -> None:
        """Train to the settings' end, or until `minutes` have passed; leaves a checkpoint either way."""
        started, first = time.monotonic(), self.step
        bar = tqdm(total=self.settings.total_steps, initial=self.step, desc=self.folder.name, unit="step",
                   mininterval=5, disable=distributed.rank() > 0)
        ends_at = None if minutes is None else started + 60 * minutes
        for number, numbers, out_of_time in self._steps(ends_at):
            bar.update()
            if number % self.settings.log_every == 0:
                seconds = time.monotonic() - started
                rate = (number - first) * self.settings.batch_size / seconds
                self._write({"step": number, "seconds": round(seconds, 1), "per_second": round(rate, 2), **numbers})
                bar.set_postfix(loss=f"{numbers['loss']:.3f}", per_s=f"{rate:.0f}")
            if number % self.settings.checkpoint_every == 0 or out_of_time:
                self.save()
            if self.evaluate and number % self.settings.evaluate_every == 0 and self.processes.evaluates:
                self._evaluate(time.monotonic() - started)
            if out_of_time:
                break
        bar.close()
        self.save()

    def _steps(self, ends_at: float | None) -> Iterator[tuple[int, dict[str, float], bool]]:
        """(steps done, numbers to log, whether the time is up) after each step; `ends_at` on the monotonic clock."""
        while self.step < self.settings.total_steps:
            self._hold(mean=False)
            self.model.train()
            set_rate(self.optimizer, self.settings.rate(self.step))
            self.optimizer.zero_grad(set_to_none=True)
            numbers = self._backward()
            out_of_time = ends_at is not None and time.monotonic() > ends_at
            ends = self.processes.synchronise(self.model, out_of_time, numbers)
            norm = whole(nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip))
            if not torch.isfinite(norm):  # in all processes alike, since gradients are the same everywhere
                raise TrainingError(f"the gradient is {norm.item()} at step {self.step}; lower learning_rate and "
                                    "resume")
            self.optimizer.step()
            self._take_into_mean()
            self.step += 1
            yield self.step, {"gradient_norm": float(norm), **numbers}, ends

    def _backward(self) -> dict[str, float]:
        """Gradients of the mean loss over the parts of a batch; the means of what is to be logged."""
        logged: dict[str, list[float]] = {}
        for part in range(self.settings.accumulate):
            with self._autocast():
                loss, numbers = self.loss_of(self.processes.share(self.settings, self.step, part))
            if not torch.isfinite(loss):
                raise TrainingError(f"the loss is {loss.item()} at step {self.step}; lower learning_rate and resume")
            (loss / self.settings.accumulate).backward()
            for name, value in {"loss": float(loss.detach()), **numbers}.items():
                logged.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in logged.items()}

    @property
    def _weights(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.model.parameters() if parameter.requires_grad]

    def _take_into_mean(self) -> None:
        """The first steps count for more, so that the mean soon forgets where the run began."""
        if not self.settings.average:
            return
        if self._other is None:
            self._other = [weight.clone() for weight in self._weights]
        kept = min(self.settings.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._other, self._weights, 1 - kept)

    def _hold(self, mean: bool) -> None:
        """Have the model hold the mean of its weights, or the last ones; nothing where there is no mean."""
        if self._other is None or self._holds_mean == mean:
            return
        for weight, other in zip(self._weights, self._other):
            kept = weight.clone()
            weight.copy_(other)
            other.copy_(kept)
        self._holds_mean = mean

    def _load_last(self, last: list[Tensor] | None) -> None:
        """Go on from a checkpoint's last weights, where the model holds their mean."""
        self._other, self._holds_mean = None, False
        if last is None:
            return
        if self.settings.average:
            self._other = [weight.clone() for weight in self._weights]
        for weight, kept in zip(self._weights, last, strict=True):
            weight.copy_(kept)

    def _autocast(self) -> torch.autocast:
        """Matrix products in the precision of the settings; weights, norms and losses stay float32."""
        device = next(self.model.parameters()).device
        dtype = PRECISIONS[self.settings.precision]
        return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

    def _evaluate(self, seconds: float) -> None:
        self._hold(mean=True)
        self.model.eval()
        numbers = self.evaluate()
        self._write({"step": self.step, "seconds": round(seconds, 1), "evaluation": numbers})
        log.info("%s step %d: %s", self.folder.name, self.step, json.dumps(numbers))

    def _write(self, row: dict) -> None:
        if distributed.rank() > 0:
            return
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
