"""What may reach the node, and how much of it: the access policy of a running node, and bounds on what comes in."""

from __future__ import annotations

import ast
import struct
import sys
import time
import xml.etree.ElementTree
import zlib
from pathlib import Path

import cv2
import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import FakePipeline
from hypothesis import given
from hypothesis import strategies as st

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions import ImageMessageError, image_from_compressed_msg, image_from_msg
from kyvo_ros.ros.conversions.picture_headers import picture_size
from kyvo_ros.ros.frames import Frame, FrameDropped
from kyvo_ros.ros.recognition import Recognizer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import Status
from kyvo_ros.ros.transforms import TransformBuffer

ROOT = Path(__file__).resolve().parents[2]
PICTURE = np.zeros((48, 64, 3), np.uint8)


# ---------------------------------------------------------------- the access policy

#: By enclave of the policy: the program that it is for, with the fake pipeline, and what makes it have all names.
PROGRAMS = {"kyvo_node": ("fake_pipeline.py", ()),
            "kyvo_managed_node": ("fake_managed_node.py", ("-p", "autostart:=true"))}


def _policy(namespace: str, enclave: str = "kyvo_node") -> dict[tuple[str, str], set[str]]:
    """{(kind, right): full names} that an enclave of the policy allows a node in a namespace."""
    root = xml.etree.ElementTree.parse(ROOT / "config" / "sros2_policy.xml")
    (profile,) = root.findall(f".//enclave[@path='/{enclave}']//profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "kyvo_node")
    allowed: dict[tuple[str, str], set[str]] = {}
    for group in profile:
        (right, verdict), = group.attrib.items()
        assert verdict == "ALLOW"
        names = [str(item.text) for item in group]
        assert len(set(names)) == len(names)
        full = {name.replace("~", f"{namespace}/{profile.get('node')}") if name[0] in "/~" else f"{namespace}/{name}"
                for name in names}
        allowed[group.tag, right] = full
    return allowed


def _running(tester, namespace: str) -> dict[tuple[str, str], set[str]]:
    """The same of the running node; an action stands for its topics and services."""
    names = {kind: {name for name, _ in ask("kyvo_node", namespace)} for kind, ask in {
        ("topics", "subscribe"): tester.node.get_subscriber_names_and_types_by_node,
        ("topics", "publish"): tester.node.get_publisher_names_and_types_by_node,
        ("services", "reply"): tester.node.get_service_names_and_types_by_node}.items()}
    actions = {name.partition("/_action/")[0] for found in names.values() for name in found if "/_action/" in name}
    found = {kind: {name for name in given if "/_action/" not in name} for kind, given in names.items()}
    return {**found, ("actions", "execute"): actions}


@pytest.mark.parametrize("enclave", PROGRAMS)
def test_the_policy_allows_exactly_what_the_node_has(enclave: str, tmp_path: Path) -> None:
    harness = pytest.importorskip("harness", reason="needs ROS 2")
    from kyvo_ros.ros.bond import status_type
    from kyvo_ros.ros.depth_input import SOURCES
    from kyvo_ros.ros.inputs import TRANSPORTS
    arguments = ("-p", "plane_frame:=world", "-p", "image_transport:=compressed", "-p", "use_sim_time:=true",
                 "-p", "depth_source:=points")
    program, more = PROGRAMS[enclave]
    command = (sys.executable, str(Path(__file__).with_name(program)))
    namespace = f"/guarded_{enclave}"
    allowed = _policy(namespace, enclave)
    # One node has one transport, and depth from one source at most; the policy serves all.
    choices = (*TRANSPORTS.values(), *SOURCES.values())
    allowed["topics", "subscribe"] -= {f"{namespace}/{topic}" for topic, _ in choices} - {
        f"{namespace}/image/compressed", f"{namespace}/points"}
    allowed["topics", "publish"] -= {f"{namespace}/planning_scene"}  # which the first export to MoveIt makes
    if status_type() is None:  # then a managed node has no bond
        allowed = {kind: names - {f"{namespace}/bond"} for kind, names in allowed.items()}
    with harness.Tester(namespace) as tester, harness.FakeNode(
            tester, tmp_path / "log", (*arguments, *more), ready=False, command=command):
        tester.wait(lambda: ("kyvo_node", namespace) in tester.node.get_node_names_and_namespaces(), "the node")
        deadline = time.monotonic() + harness.PATIENCE_S
        while (found := _running(tester, namespace)) != allowed and time.monotonic() < deadline:
            time.sleep(0.2)
    assert found.keys() == allowed.keys()
    for kind in allowed:
        missing, idle = found[kind] - allowed[kind], allowed[kind] - found[kind]
        assert not missing, f"config/sros2_policy.xml: add {missing} to {kind}"
        # Humble's nodes do not offer the type descriptions that later ones do.
        idle = {name for name in idle if not name.endswith("/get_type_description")}
        assert not idle, f"config/sros2_policy.xml: take {idle} from {kind}"


def test_the_managed_node_may_do_what_the_plain_one_may_and_what_the_life_cycle_needs() -> None:
    plain, managed = _policy(""), _policy("", "kyvo_managed_node")
    added = {kind: names - plain[kind] for kind, names in managed.items()}
    assert all(plain[kind] <= managed[kind] for kind in plain) and added == {
        ("topics", "subscribe"): {"/bond"}, ("topics", "publish"): {"/bond", "/kyvo_node/transition_event"},
        ("services", "reply"): {f"/kyvo_node/{name}" for name in (
            "change_state", "get_state", "get_available_states", "get_available_transitions", "get_transition_graph")},
        ("actions", "execute"): set()}


def test_the_policy_serves_every_transport_and_source_of_depth() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from kyvo_ros.ros.depth_input import SOURCES
    from kyvo_ros.ros.inputs import TRANSPORTS
    choices = (*TRANSPORTS.values(), *SOURCES.values())
    assert {f"/x/{topic}" for topic, _ in choices} <= _policy("/x")["topics", "subscribe"]


# ---------------------------------------------------------------- bounds on what comes in

def _png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix, options", [
    (".png", []), (".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])])
def test_sizes_are_read_from_headers(suffix: str, options: list) -> None:
    assert picture_size(cv2.imencode(suffix, PICTURE, options)[1].tobytes()) == (64, 48)


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]))
def test_no_header_breaks_the_reader(data: bytes, start: bytes) -> None:
    size = picture_size(start + data)
    assert size is None or len(size) == 2


def test_a_picture_that_claims_to_be_huge_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    message = messages.SimpleNamespace(format="png", data=_png_claiming(60000, 60000))
    with pytest.raises(ImageMessageError, match="60000x60000 pixels in .* more than the 3.2e.07 pixels of max_image_"):
        image_from_compressed_msg(message, 32e6)


@pytest.mark.parametrize("length", [10_000, 0x3FFFFFFF, 0x7FFFFFF0, 0xFFFFFFFF])
def test_a_png_with_a_chunk_longer_than_itself_is_not_decoded(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """OpenCV would allocate so much memory first."""
    data = bytearray(cv2.imencode(".png", PICTURE)[1].tobytes())
    at = data.index(b"IDAT")
    data[at - 4:at] = struct.pack(">I", length)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageMessageError, match="cannot decode"):
        image_from_compressed_msg(messages.SimpleNamespace(format="png", data=bytes(data)), 32e6)


def test_a_png_of_endless_chunks_is_given_up() -> None:
    head = cv2.imencode(".png", PICTURE)[1].tobytes()[:33]
    assert picture_size(head + 200_000 * (b"\0\0\0\0tEXt" + bytes(4))) is None


def test_images_up_to_the_bound_are_read() -> None:
    raw = messages.image(PICTURE)
    compressed = messages.SimpleNamespace(format="jpeg", data=cv2.imencode(".jpg", PICTURE)[1].tobytes())
    for read, message in ((image_from_msg, raw), (image_from_compressed_msg, compressed)):
        assert read(message, 64 * 48).shape == (48, 64, 3)
        with pytest.raises(ImageMessageError, match="max_image_megapixels"):
            read(message, 64 * 48 - 1)
    with pytest.raises(ImageMessageError, match="in 1000 bytes"):  # few pixels, padded rows
        image_from_msg(messages.image(PICTURE, width=1, height=1, step=1000, data=bytes(1000)), 100)


def test_the_parameter_bounds_the_images_of_the_stream() -> None:
    infos = CameraInfoCache()
    infos.store(messages.camera_info())
    recognizer = Recognizer(infos, TransformBuffer(), Status())
    frame = Frame(messages.image(np.zeros((240, 320, 3), np.uint8)), 0.0)
    assert recognizer.recognize(frame, FakePipeline(), Settings(max_image_megapixels=0.08)).objects
    with pytest.raises(FrameDropped, match="320x240") as caught:
        recognizer.recognize(frame, FakePipeline(), Settings(max_image_megapixels=0.07))
    assert caught.value.reason == "bad_image"


def test_the_number_of_frames_of_tf_is_bounded() -> None:
    buffer = TransformBuffer(max_frames=2)
    still, nowhere = (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0)
    for child in ("a", "b", "b"):
        buffer.set("root", child, still, nowhere, 1)
    with pytest.raises(ValueError, match="'c' is one too many.*max_tf_frames"):
        buffer.set("root", "c", still, nowhere, 1)
    assert buffer.frames() == ["a", "b", "root"]


def test_scenes_that_callers_bring_are_bounded(node, tester) -> None:
    from kyvo_msgs.msg import SceneGraph, SceneObject
    from kyvo_msgs.srv import Edit
    client = tester.node.create_client(Edit, "edit")
    scene = SceneGraph(objects=[SceneObject(id=str(i)) for i in range(101)])
    response = tester.call(client, Edit.Request(instruction="remove the sphere", scene=scene))
    tester.node.destroy_client(client)
    assert not response.success and "101 objects, more than max_request_objects = 100" in response.message


# ---------------------------------------------------------------- nothing that is loaded runs code

def test_no_file_is_unpickled() -> None:
    """torch.load without weights_only, numpy with allow_pickle, and pickle's own loaders run what a file says."""
    for path in (ROOT / "kyvo_ros").rglob("*.py"):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            name, keywords = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert name != "torch.load" or keywords.get("weights_only") == "True", f"{path}: torch.load"
            assert keywords.get("allow_pickle", "False") == "False", f"{path}: allow_pickle"
            assert name not in ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec", "yaml.load",
                                "yaml.unsafe_load"), f"{path}: {name}"
