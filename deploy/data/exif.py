"""How a photo is to be turned, read from its EXIF block by no more than its own bytes.

Decoders differ by version in what they make of a damaged block, and whether they look into others; what cannot be read
here is no orientation.
"""

from __future__ import annotations

import struct

__all__ = ["QUARTER_TURNS", "parse_orientation"]

HEADER = b"Exif\x00\x00"
ORIENTATION = 0x0112
SHORT = 3
QUARTER_TURNS = (5, 6, 7, 8)  # orientations that exchange width and height


def parse_orientation(block: bytes) -> int:
    """1 (as stored) to 8 of an EXIF block; 1 where it has none or is damaged."""
    while block.startswith(HEADER):
        block = block[len(HEADER) :]
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if kind == SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
