"""rosbag2 in and out (sqlite3 and mcap): the messages of a camera, and results that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer, WriterError
from rosbags.serde import SerdeError

from kyvo_ros.ros.offline.message_packages import deserialize, serialize, type_name, typestore

IMAGE, CAMERA_INFO, TF, TF_STATIC, DEPTH = "image", "camera_info", "tf", "tf_static", "depth"
RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, CLOUD = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/PointCloud2"
STORAGES = ("mcap", "sqlite3")
_METADATA_VERSION = 8  # Humble cannot read 9
_NEVER = QosTime(9223372036, 854775807)  # what ROS 2 writes for infinity


class BagError(ValueError):
    """A recording cannot be read, written or understood; the message says what to do."""


@dataclass(frozen=True)
class Heard:
    """One message as a node would hear it."""

    when_ns: int  # of the recording
    kind: str  # IMAGE, CAMERA_INFO, TF, TF_STATIC or DEPTH
    message: Any  # to be read by its fields


@dataclass(frozen=True)
class Topics:
    """The topics that a node would listen to; empty where there is none."""

    image: str
    camera_info: str = ""
    tf: str = ""
    tf_static: str = ""
    depth: str = ""

    def kinds(self) -> dict[str, str]:
        """{topic: kind}."""
        named = {IMAGE: self.image, CAMERA_INFO: self.camera_info, TF: self.tf, TF_STATIC: self.tf_static,
                 DEPTH: self.depth}
        return {topic: kind for kind, topic in named.items() if topic}


class Bag:
    """A rosbag2 for reading: its folder, or one .mcap or .db3 file. A context manager; raises BagError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = Reader(path)
        except (ReaderError, OSError) as error:
            raise BagError(f"cannot read the recording {path}: {error}; give the folder of a rosbag2, or a .mcap or "
                           ".db3 file") from error

    def __enter__(self) -> Bag:
        try:
            self._reader.open()
        except Exception as error:  # rosbags raises what YAML, SQLite and its own parsers do
            raise BagError(f"the recording {self.path} is broken: {error}; `ros2 bag reindex` may repair it") from error
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._reader.is_open:
            self._reader.close()

    def types(self) -> dict[str, str]:
        """{topic: type} of the topics that hold messages."""
        return {c.topic: c.msgtype for c in self._reader.connections if c.msgcount}

    def count(self, topic: str) -> int:
        """Messages on a topic."""
        return sum(c.msgcount for c in self._reader.connections if c.topic == topic)

    def heard(self, topics: Topics) -> Iterator[Heard]:
        """The messages of these topics in their order."""
        kinds = topics.kinds()
        chosen = [c for c in self._reader.connections if c.topic in kinds]
        for connection, when_ns, data in self._raw(chosen) if chosen else ():
            try:
                message = deserialize(bytes(data), connection.msgtype)
            except SerdeError as error:
                raise BagError(f"a message on {connection.topic} of {self.path} is broken: {error}") from error
            yield Heard(when_ns, kinds[connection.topic], message)

    def _raw(self, chosen: list[Any]) -> Iterator[tuple[Any, int, bytes]]:
        """What the file holds of these connections. Raises BagError where it is damaged."""
        try:
            yield from self._reader.messages(connections=chosen)
        except Exception as error:  # as in `__enter__`
            raise BagError(f"the recording {self.path} is damaged: {error}; `ros2 bag reindex` may repair "
                           "it") from error


def choose_topics(types: Mapping[str, str], image: str = "", camera_info: str = "", depth: str = "",
                  depth_source: str = "none") -> Topics:
    """What to listen to among these topics; `image`, `camera_info` and `depth` where the user has named them.

    Without a name it is the only camera's: a raw topic goes before its compressed twin, and colour before depth. Depth
    is what the setting `depth_source` asks for, if there is one. Raises BagError naming the topics where none or
    several are left.
    """
    image = _named(types, image, (RAW, COMPRESSED)) if image else _only_image(types)
    if camera_info:
        camera_info = _named(types, camera_info, (INFO,))
    else:
        camera_info = _info_beside(types, image)
    return Topics(image, camera_info, *(name if name in types else "" for name in ("/tf", "/tf_static")),
                  _depth_beside(types, image, depth, depth_source))


def _depth_beside(types: Mapping[str, str], image: str, depth: str, depth_source: str) -> str:
    """The only topic with depth of this kind; empty where there is none, or none is asked for."""
    if depth_source == "none":
        return ""
    kind = RAW if depth_source == "image" else CLOUD
    if depth:
        return _named(types, depth, (kind,))
    left = sorted(name for name, its in types.items() if its == kind and name != image and (
        kind == CLOUD or "depth" in name.lower()))
    if len(left) > 1:
        raise BagError(f"there are {len(left)} topics with depth; name one with --depth: {', '.join(left)}")
    return left[0] if left else ""


def _named(types: Mapping[str, str], topic: str, allowed: tuple[str, ...]) -> str:
    if types.get(topic) not in allowed:
        found = sorted(name for name, kind in types.items() if kind in allowed)
        raise BagError(f"{topic} is no topic with {' or '.join(allowed)} here; there are: "
                       f"{', '.join(found) or 'none'}")
    return topic


def _only_image(types: Mapping[str, str]) -> str:
    pictures = {name: kind for name, kind in types.items() if kind in (RAW, COMPRESSED)}
    raw = {name for name, kind in pictures.items() if kind == RAW}
    left = [name for name in pictures if name in raw or name.rpartition("/")[0] not in raw]
    left = [name for name in left if "depth" not in name.lower()] or left
    if len(left) != 1:
        advice = f"name one with --image: {', '.join(sorted(left))}" if left else (
            "sensor_msgs/Image or CompressedImage is needed; there is: "
            + (", ".join(f"{name} ({kind})" for name, kind in sorted(types.items())) or "no messages at all"))
        raise BagError(f"there are {len(left)} topics with images; {advice}")
    return left[0]


def _info_beside(types: Mapping[str, str], image: str) -> str:
    """The camera_info topic beside an image topic, else the only one; empty where it is not clear."""
    camera = image.removesuffix("/compressed").rpartition("/")[0]
    infos = [name for name, kind in types.items() if kind == INFO]
    beside = [name for name in infos if name == f"{camera}/camera_info"]
    return (beside or (infos if len(infos) == 1 else [""]))[0]


class BagWriter:
    """A new rosbag2; its folder appears when the context ends without an error. Raises BagError."""

    def __init__(self, folder: Path, storage: str = STORAGES[0]) -> None:
        if folder.exists():
            raise BagError(f"{folder} exists already; name another place for the results, or move it away")
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Inside, the bag has its name already, since the names of its files contain it.
        self._scratch = Path(tempfile.mkdtemp(prefix=".kyvo_bag_", dir=folder.parent))
        self._writer = Writer(self._scratch / folder.name, version=_METADATA_VERSION,
                              storage_plugin=StoragePlugin[storage.upper()])
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                os.rename(self._scratch / self.folder.name, self.folder)
        except (WriterError, OSError) as problem:
            raise BagError(f"cannot write {self.folder}: {problem}") from problem
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def write(self, topic: str, message: Any, when_ns: int, kept: bool = False) -> None:
        """A message at a time of the recording; `kept` marks a topic as transient local."""
        if topic not in self._connections:
            durability = QosDurability.TRANSIENT_LOCAL if kept else QosDurability.VOLATILE
            self._connections[topic] = self._writer.add_connection(
                topic, type_name(message), typestore=typestore(), offered_qos_profiles=[_qos(durability)])
        self._writer.write(self._connections[topic], when_ns, serialize(message))


def _qos(durability: QosDurability) -> Qos:
    return Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, durability, _NEVER, _NEVER, QosLiveliness.AUTOMATIC,
               _NEVER, False)
