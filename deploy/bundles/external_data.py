"""Whether an ONNX file keeps tensors in other files, which no hash of it covers.

The wire format of its messages is walked here: a board has no `onnx`, and a runtime reads such files before it can be
asked. Only the fields on the way to a tensor are looked at.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Mapping

__all__ = ["has_external_data"]

# by message: the numbers of the fields that lead on to a tensor, as in onnx.proto
WAYS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA = 13  # of a tensor: in which file it is
VARINT, FIXED64, BYTES, GROUP_START, GROUP_END, FIXED32 = range(6)
VARINT_LIMIT = 10  # bytes


def has_external_data(model: Path) -> bool:
    """Whether any tensor of the model is in another file; False for what is not an ONNX model: nothing loads it."""
    if not model.stat().st_size:
        return False
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _walk(content)
        except (IndexError, ValueError):
            return False


def _walk(content: mmap.mmap) -> bool:
    waiting = [("model", 0, len(content))]
    while waiting:
        message, place, end = waiting.pop()
        while place < end:
            key, place = _read_varint(content, place)
            field, wire = key >> 3, key & 7
            if message == "tensor" and field == EXTERNAL_DATA:
                return True
            if wire == VARINT:
                _, place = _read_varint(content, place)
            elif wire == BYTES:
                size, place = _read_varint(content, place)
                if size > end - place:
                    raise ValueError("it is cut short")
                if field in WAYS[message]:
                    waiting.append((WAYS[message][field], place, place + size))
                place += size
            elif wire in (FIXED64, FIXED32):
                place += 8 if wire == FIXED64 else 4
            elif wire not in (GROUP_START, GROUP_END):  # what is in a group is looked at as if it were in none
                raise ValueError(f"wire type {wire}")
    return False


def _read_varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    """A number, and the place behind it."""
    value = 0
    for index in range(VARINT_LIMIT):
        byte = content[place + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("a number without an end")
