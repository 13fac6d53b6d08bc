"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from kyvo_ros.scene.files import whole_file, write_whole


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.graphml"
    write_whole(path, "first")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def _watch_folders(monkeypatch: pytest.MonkeyPatch, then: int = 0) -> list[list[str]]:
    """What was in a folder when it was written down; where `then` is an errno, that fails."""
    seen: list[list[str]] = []
    real = os.fsync

    def watched(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            seen.append(os.listdir(handle))
            if then:
                raise OSError(then, os.strerror(then))
        real(handle)
    monkeypatch.setattr("os.fsync", watched)
    return seen


def test_the_new_name_is_written_down_before_it_is_acknowledged(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _watch_folders(monkeypatch)
    write_whole(tmp_path / "a.json", "first")
    assert seen == [["a.json"]], "after the partial file has got its name"


def test_file_systems_that_write_down_no_names_are_put_up_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _watch_folders(monkeypatch, errno.EINVAL)
    write_whole(tmp_path / "a.json", "first")
    assert len(seen) == 1 and (tmp_path / "a.json").read_text() == "first"


def test_a_name_that_could_not_be_written_down_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _watch_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(tmp_path / "a.json", "first")
    assert os.listdir(tmp_path) == ["a.json"]


def test_who_may_read_a_file_stays_and_a_new_one_is_like_any_other(tmp_path: Path) -> None:
    path, ordinary = tmp_path / "a.json", tmp_path / "ordinary"
    ordinary.write_text("")
    write_whole(path, "first")
    assert path.stat().st_mode == ordinary.stat().st_mode
    path.chmod(0o640)
    write_whole(path, "second")
    assert path.read_text() == "second" and path.stat().st_mode & 0o777 == 0o640


def test_a_block_that_raises_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"first")
    with pytest.raises(ValueError, match="in between"):
        with whole_file(path) as file:
            file.write(b"sec")
            raise ValueError("in between")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
    with whole_file(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first", "until the block has ended"
    assert path.read_bytes() == b"second"
