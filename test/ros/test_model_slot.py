"""The node's model: what unloading leaves behind."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from fake_pipeline import fake_factory
from tiny_model import tiny_bundle

from kyvo_ros import pipeline as pipelines
from kyvo_ros.model import precision
from kyvo_ros.model.folder import save_model
from kyvo_ros.ros import model_slot
from kyvo_ros.ros.model_slot import ModelSlot, kyvo_pipeline
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import OK


def test_unloading_lets_the_pipeline_go_and_says_why_there_is_none() -> None:
    slot = ModelSlot(fake_factory)
    slot.load(Settings())
    held = weakref.ref(slot.pipeline)
    slot.unload("asleep")
    report = slot.report()
    assert held() is None and slot.pipeline is None and slot.name_and_device() == ("none", "none")
    assert (report.level, report.message) == (OK, "asleep")
    slot.load(Settings())
    assert slot.pipeline.name == "fake" and slot.report() is None


def test_memory_that_the_gpu_does_not_give_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fails)
    slot = ModelSlot(fake_factory)
    slot.load(Settings())
    slot.unload("asleep")
    said = slot.report().message
    assert slot.pipeline is None and "asleep; " in said and "start the node again" in said


@pytest.mark.parametrize("largest, given, at_once, threads", [
    (precision.LARGE, {}, 2, 2), (1000, {}, 1, 4), (1000, {"parallel_frames": 3}, 3, 1), (1000, {"threads": 3}, 1, 3)])
def test_a_large_model_gives_all_cores_to_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int,
                                                    given: dict, at_once: int, threads: int) -> None:
    monkeypatch.setattr(precision, "LARGE", largest)
    for module in (pipelines, model_slot):
        monkeypatch.setattr(module, "cores", lambda: 4)
    save_model(tmp_path / "tiny", tiny_bundle())
    slot, settings = ModelSlot(kyvo_pipeline), Settings(model=str(tmp_path / "tiny"), device="cpu", **given)
    before = torch.get_num_threads()
    try:
        slot.load(settings)
    finally:
        torch.set_num_threads(before)
    assert (slot.parallel_frames(settings), slot.pipeline.threads) == (at_once, threads)


@pytest.mark.cuda
def test_unloading_gives_the_gpu_s_memory_back(tmp_path: Path) -> None:
    save_model(tmp_path / "tiny", tiny_bundle())
    before = torch.cuda.memory_allocated()
    slot = ModelSlot(kyvo_pipeline)
    slot.load(Settings(model=str(tmp_path / "tiny"), device="cuda"))
    assert torch.cuda.memory_allocated() > before
    slot.unload("asleep")
    assert torch.cuda.memory_allocated() == before
