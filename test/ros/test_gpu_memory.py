"""Figures of a GPU's memory, with a stand-in for torch."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from kyvo_ros.ros.gpu_memory import memory_figures

MIB = 1024 ** 2


def _torch(**changes) -> SimpleNamespace:
    """GPU number n has allocated 100 n + 10 MiB, reserved 20 and left 30 and 40 more."""
    def gives(more: int):
        return lambda index: (100 * index + more) * MIB
    cuda = {"current_device": lambda: 2, "memory_allocated": gives(10), "memory_reserved": gives(20),
            "mem_get_info": lambda index: (gives(30)(index), gives(40)(index))}
    return SimpleNamespace(cuda=SimpleNamespace(**{**cuda, **changes}))


@pytest.mark.parametrize("device, hundreds", [("cuda:1", "1"), ("cuda", "2"), ("cuda:0", "")])
def test_what_this_process_takes_and_the_gpu_has(monkeypatch: pytest.MonkeyPatch, device: str, hundreds: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", _torch())
    assert memory_figures(device) == {
        "GPU memory allocated [MiB]": f"{hundreds}10", "GPU memory reserved [MiB]": f"{hundreds}20",
        "GPU memory free [MiB]": f"{hundreds}30", "GPU memory total [MiB]": f"{hundreds}40"}


@pytest.mark.parametrize("device", ["cpu", "none", "mps"])
def test_without_cuda_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())  # which has no attribute to ask
    assert memory_figures(device) == {}


def test_torch_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert memory_figures("cuda:0") == {} and "torch" not in sys.modules


def test_a_gpu_that_answers_no_more_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(index: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setitem(sys.modules, "torch", _torch(mem_get_info=broken))
    said = memory_figures("cuda:0")["GPU memory"]
    assert "illegal memory access" in said and "start the node again" in said
