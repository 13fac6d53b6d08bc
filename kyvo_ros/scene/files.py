"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: What file systems answer that cannot write down a folder's names on demand (FUSE and network ones), and what a folder
#: answers that this process may write to but not read.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM}


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes the name `path` once the block has ended.

    Where the block or the writing (OSError) raises, what had that name stays as it was.

    What has been written survives a loss of power, its name as well where the file system can write that down on
    demand; where that fails (OSError), the file is there, but a loss of power may bring the older one back. Who may
    read the file follows the one that it replaces, or, for a new one, the process's umask.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _keep_names(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 as `whole_file` does. Raises OSError."""
    with whole_file(path) as file:
        file.write(text.encode())


def _keep_names(folder: Path) -> None:
    """Write down which names the folder has: without it a loss of power may bring back those from before a rename."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
