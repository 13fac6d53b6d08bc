"""Width and height of a JPEG or PNG from its first bytes, so that one can be refused before it is decoded.

A picture of a few kilobytes may claim to hold gigabytes of pixels. Source: the PNG specification (signature, then the
chunk IHDR) and ITU-T T.81 annex B (segments, start of frame).
"""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
#: Markers SOF0 to SOF15 without those that are none: DHT, JPG and DAC.
_STARTS_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) in pixels that a JPEG or PNG says of itself; None for anything else."""
    data = memoryview(data)
    if bytes(data[:8]) == _PNG:
        return struct.unpack(">II", data[16:24]) if bytes(data[12:16]) == b"IHDR" and len(data) >= 24 else None
    return _jpeg_size(data) if bytes(data[:2]) == _JPEG else None


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # bytes that fill up
            at += 1
            continue
        if marker in _STARTS_OF_FRAME:
            height, width = struct.unpack(">HH", data[at + 5:at + 9])
            return width, height
        at += 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
    return None
