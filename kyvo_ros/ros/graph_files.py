"""Files of the scene graph below one folder: each is written whole or not at all, and every failure is one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from kyvo_ros.ros.graph import GraphError
from kyvo_ros.scene.files import write_whole
from kyvo_ros.scene.memory import MemoryRecordError, PathError, path_below, read_record, record_to_text


def default_folder() -> str:
    """Where the files are kept unless memory_folder says otherwise: in the folder of ROS's own files."""
    return os.path.join(os.environ.get("ROS_HOME") or os.path.join("~", ".ros"), "kyvo_scene_graphs")


class GraphFiles:
    """The folder is made when the first file is written. Raises GraphError for all that goes wrong."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder or default_folder()).expanduser()

    def write_record(self, name: str, record: Any) -> str:
        """Write a record as JSON; the file's absolute path. Inverse of `read_record`."""
        return self.write_text(name, record_to_text(record))

    def read_record(self, name: str) -> Any:
        """What a file of `write_record` holds."""
        path = self._path(name)
        try:
            if not path.is_file():  # a pipe or a device would never end
                raise GraphError(f"there is no file {path}; the scene graph is as it was")
            return read_record(path)
        except (OSError, MemoryRecordError) as error:
            raise GraphError(f"cannot load {path}: {_reason(error)}; the scene graph is as it was") from error

    def write_ids(self, name: str, ids: Collection[str]) -> str:
        """Write a set of ids as JSON; the file's absolute path. Inverse of `read_ids`."""
        return self.write_text(name, json.dumps(sorted(ids)))

    def read_ids(self, name: str) -> set[str]:
        """What a file of `write_ids` holds; nothing where there is none."""
        path = self._path(name)
        if not path.exists():
            return set()
        ids = self.read_record(name)
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise GraphError(f"{path} holds no list of ids; delete it")
        return set(ids)

    def write_text(self, name: str, text: str) -> str:
        """Write a text; the file's absolute path. An older file of that name is replaced, or stays as it was."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        except OSError as error:
            raise GraphError(f"cannot write {path}: {_reason(error)}; an older file of that name is as it was"
                             ) from error
        return str(path)

    def _path(self, name: str) -> Path:
        try:
            return path_below(self._folder, name)
        except PathError as error:
            raise GraphError(f"{error}; the parameter memory_folder names the folder") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
