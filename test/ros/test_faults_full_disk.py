"""Files of the scene graph on a disk that takes no more, asked for over real DDS."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")
resource = pytest.importorskip("resource")

from harness import FakeNode  # noqa: E402
from kyvo_msgs.srv import ForgetObject, SaveSceneGraph  # noqa: E402
from standing import ARGUMENTS, Standing  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")


@contextmanager
def _no_room(process: int) -> Iterator[None]:
    """Meanwhile a process can write no more than some bytes of any file, which it hears as it hears of a full disk."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_graph_that_cannot_be_saved_is_told_and_the_older_file_stays(tester, tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    with Standing("/full") as robot:
        save = robot.node.create_client(SaveSceneGraph, "save_scene_graph")
        forget = robot.node.create_client(ForgetObject, "forget_object")
        arguments = (*ARGUMENTS, "-p", f"memory_folder:={folder}")
        with FakeNode(robot, tmp_path / "log", arguments, ready=False) as node:
            graph = robot.see_graph()
            request = SaveSceneGraph.Request(path="kitchen.json")
            assert robot.call(save, request).success
            older = (folder / "kitchen.json").read_text()
            assert robot.call(forget, ForgetObject.Request(id=graph.objects[0].id)).success
            with _no_room(node.child.process.pid):
                response = robot.call(save, request)
            assert not response.success and response.written == ""
            assert os.strerror(errno.EFBIG) in response.message and "cannot write" in response.message
            assert "an older file of that name is as it was" in response.message
            assert (folder / "kitchen.json").read_text() == older
            assert [path.name for path in folder.iterdir()] == ["kitchen.json"], "nothing half written is left"
            robot.see()
            assert robot.call(save, request).success, "once there is room again"
            assert (folder / "kitchen.json").read_text() != older
            assert node.child.end() == 0
            assert "Traceback" not in node.log.read_text()
