"""Fixtures and markers of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

DOMAINS = 101  # of DDS, from 1 on: their ports are free on any system


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        _keep_to_ourselves(int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")))
    # A machine may be busy: how long an example takes says nothing.
    hypothesis.settings.register_profile("any machine", deadline=None,
                                         suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("any machine")
    config.addinivalue_line("markers", "cuda: needs a CUDA GPU; skipped where there is none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not _cuda_is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU here"))


def _keep_to_ourselves(number: int) -> None:
    """Of several processes that share the tests, each has a domain of its own (and, for what tests start apart, the
    nine that follow), and one thread of torch's, so that they do not fight for the cores. Before either is imported.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "ROS_DOMAIN_ID" in os.environ:
        os.environ["ROS_DOMAIN_ID"] = str((int(os.environ["ROS_DOMAIN_ID"]) - 1 + 10 * number) % DOMAINS + 1)


def _cuda_is_available() -> bool:
    import torch  # only where a test asks: the numpy rooms are tested without it
    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder `shared` beside the repository, with real images and reference data; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` beside the repository")
    return folder
