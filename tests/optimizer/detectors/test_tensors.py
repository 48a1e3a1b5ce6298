"""Weights that others wrote: read and fitted, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from optimizer.detectors.tensors import fit_tensors, load_tensors
from optimizer.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    layer = nn.Linear(3, 2)
    save_file({**layer.state_dict(), "empty": torch.zeros(0), "count": torch.tensor(3)}, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def with_header(header: object) -> Callable[[bytes], bytes]:
    """The same numbers behind another description of them."""

    def change(content: bytes) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        (length,) = struct.unpack("<Q", content[:8])
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return change


def test_tensors_come_back_as_they_were(path: Path) -> None:
    found = load_tensors(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert found["weight"].shape == (2, 3) and found["empty"].shape == (0,) and found["count"] == 3
    layer = nn.Linear(3, 2)
    fit_tensors(layer, {name: found[name] for name in ("weight", "bias")})
    assert torch.equal(layer.weight, found["weight"])


def test_another_file_of_that_name_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="does not have the content its name says"):
        load_tensors(path, "0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:4],
        lambda content: content[:-1],
        lambda content: content[:20],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: b"rubbish" * 100,
        with_header(b"{"),
        with_header(b"[" * 5000),
        with_header([]),
        with_header({"a": 3}),
        with_header({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}),
        with_header({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}),
        with_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**12]}}),
    ],
)
def test_damage_is_one_line(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match="is damaged: its tensors cannot be read") as caught:
        load_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(30)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", ".", "pipe"):
        with pytest.raises(InputError, match="there is no file of weights"):
            load_tensors(tmp_path / name)


@pytest.mark.parametrize(
    "weights", [{}, {"weight": torch.zeros(2, 3)}, {"weight": torch.zeros(9), "bias": torch.zeros(2)}]
)
def test_weights_of_another_network_are_one_line(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match=r"^the weights are of another network: ") as caught:
        fit_tensors(nn.Linear(3, 2), weights)
    assert "\n" not in str(caught.value)
