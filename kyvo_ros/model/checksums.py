"""SHA256SUMS of a model folder: what its files are, so that a damaged or swapped one is found before it is used.

The file is what `sha256sum` writes and `sha256sum -c` reads. It protects against accidents and against files that come
from elsewhere than the manifest; who may write the whole folder may write the manifest, too (docs/security.md).
`kyvo checksums FOLDER` writes it anew after files were changed on purpose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from kyvo_ros.scene.files import write_whole

MANIFEST = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_CHUNK = 1 << 20


class ChecksumError(ValueError):
    """A file of a model folder is not the one that its manifest describes; the message names the file."""


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of those of the files that are there."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names if (folder / name).is_file()]
    write_whole(folder / MANIFEST, "".join(lines))


def renew_checksum(folder: Path, name: str) -> None:
    """Bring one file of the manifest up to date and leave the others as they are; nothing where there is no manifest.

    Raises ChecksumError for a broken manifest.
    """
    if (folder / MANIFEST).is_file():
        sums = {**_read(folder / MANIFEST), name: sha256_of(folder / name)}
        write_whole(folder / MANIFEST, "".join(f"{digest}  {file}\n" for file, digest in sums.items()))


def verify_checksums(folder: Path, names: Iterable[str]) -> bool:
    """Compare the files `names` that are there with the manifest; False where the folder has none.

    Raises ChecksumError naming the first file that is another or not in the manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return False
    sums = _read(path)
    for name in (name for name in names if (folder / name).is_file()):
        if name not in sums:
            raise ChecksumError(f"{path} does not list {name}; {_advice(folder)}")
        if sha256_of(folder / name) != sums[name]:
            raise ChecksumError(f"{folder / name} is not the file that {MANIFEST} describes: it is damaged or was "
                                f"changed; {_advice(folder)}")
    return True


def sha256_of(path: Path) -> str:
    """The digest of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, str]:
    """{file: digest}."""
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ChecksumError(f"{path} is broken at {line[:80]!r}; {_advice(path.parent)}")
        sums[match.group(2)] = match.group(1)
    return sums


def _advice(folder: Path) -> str:
    return f"copy the whole folder again, or, if you have changed it yourself, run: kyvo checksums {folder}"
