"""Width and height of a JPEG or PNG without decoding it, so that one can be refused before that is done.

A picture of a few kilobytes may claim to hold gigabytes of pixels; a chunk of a PNG that claims to be longer than the
file makes decoders allocate that much before they look. Source: the PNG specification (signature, then the
chunk IHDR) and ITU-T T.81 annex B (segments, start of frame).
"""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_CHUNK = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4
#: Chunks of a PNG; a large one is written in pieces of some kilobytes.
_MOST_CHUNKS = 100_000
#: Markers SOF0 to SOF15 without those that are none: DHT, JPG and DAC.
_STARTS_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) in pixels that a JPEG or PNG says of itself; None for anything else, and for a PNG that is cut
    short or says so.
    """
    data = memoryview(data)
    if bytes(data[:8]) == _PNG:
        return _png_size(data)
    return _jpeg_size(data) if bytes(data[:2]) == _JPEG else None


def _png_size(data: memoryview) -> tuple[int, int] | None:
    if len(data) < 24 or bytes(data[12:16]) != b"IHDR":
        return None
    at = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        if at + _CHUNK.size > len(data):
            return None
        length, name = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size + length + _CHECKSUM_BYTES
        if at > len(data):
            return None
        if name == b"IEND":
            return struct.unpack(">II", data[16:24])
    return None


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
