"""How many cores a process counts: those it may use, not those that exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kyvo_ros.machine import cores


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize("said, counted", [
    ("200000 100000\n", 2),  # docker run --cpus 2
    ("150000 100000\n", 2),
    ("20000 100000\n", 1),  # a fifth of a core is still one
    ("6400000 100000\n", 8),  # more than there are
    ("max 100000\n", 8),
    ("", 8), ("words\n", 8), ("100000 0\n", 8)])
def test_a_containers_quota_counts(eight_cores: None, tmp_path: Path, said: str, counted: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(said, encoding="ascii")
    assert cores(quota) == counted


def test_without_a_quota_the_affinity_counts(eight_cores: None, tmp_path: Path) -> None:
    assert cores(tmp_path / "none") == 8


def test_where_no_affinity_is_known_all_cores_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path / "none") == 1
