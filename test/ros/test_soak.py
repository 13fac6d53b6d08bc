"""What benchmarks/soak.py does to a node, once each, and that it notices a service that refuses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import FakeNode, Tester, sending  # noqa: E402
from test_several_cameras import Eye  # noqa: E402

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")


class SmallRig(Tester):
    """As the benchmark's rig, with one camera."""

    names = ["camera0"]


@pytest.fixture(scope="module")
def soak() -> Iterator[ModuleType]:
    sys.path.append(BENCHMARKS)
    yield importlib.import_module("soak")
    sys.path.remove(BENCHMARKS)


def test_all_is_done_and_what_is_refused_is_noted(tester: Tester, soak: ModuleType, tmp_path: Path) -> None:
    parameters = ("cameras:=[camera0]", *soak.graph_parameters(tmp_path / "graphs"))
    arguments = tuple(word for parameter in parameters for word in ("-p", parameter))
    with SmallRig("/soaked") as rig, FakeNode(rig, tmp_path / "log", arguments, ready=False) as node:
        soak.stand(rig.node, "eye")
        rig.wait(rig.statuses, "diagnostics")
        eye = Eye(rig, "camera0")
        eye.answer()
        stir = soak.Stir(rig)
        with sending(eye.send, 0.05):
            rig.wait(lambda: len(stir.call("get_scene_graph").scene.objects) == 3, "objects in the scene graph")
            for _ in stir.deeds:
                stir.once()
        assert not stir.unexpected and stir.refusals >= 2, "no file of this name, no object of that one"
        assert stir.answers > len(stir.deeds) - 3, "all but the hostile ones have an answer"
        assert (tmp_path / "graphs" / soak.GRAPH_FILE).is_file()

        assert rig.set_parameters(memory_frame="") == ""
        stir.call("get_scene_graph")
        noted, = stir.unexpected
        assert noted.startswith("get_scene_graph: ") and "set memory_frame" in noted
        stir.call("recognize", expected=False, camera="camera0")
        assert "recognize: did what it should refuse" in stir.unexpected
        eye.close()
        assert "Traceback" not in node.log.read_text()
