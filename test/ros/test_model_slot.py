"""The node's model: what unloading leaves behind."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
from fake_pipeline import fake_factory
from tiny_model import tiny_bundle

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
    import torch

    def fails() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fails)
    slot = ModelSlot(fake_factory)
    slot.load(Settings())
    slot.unload("asleep")
    said = slot.report().message
    assert slot.pipeline is None and "asleep; " in said and "start the node again" in said


@pytest.mark.cuda
def test_unloading_gives_the_gpu_s_memory_back(tmp_path: Path) -> None:
    import torch

    from kyvo_ros.model.folder import save_model
    save_model(tmp_path / "tiny", tiny_bundle())
    before = torch.cuda.memory_allocated()
    slot = ModelSlot(kyvo_pipeline)
    slot.load(Settings(model=str(tmp_path / "tiny"), device="cuda"))
    assert torch.cuda.memory_allocated() > before
    slot.unload("asleep")
    assert torch.cuda.memory_allocated() == before
