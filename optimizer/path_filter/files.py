"""A filter as the content of a file: safetensors whose header holds, as JSON, how it is built and of which space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from deploy.files import write_file
from deploy.reading import read_plain
from optimizer.errors import InputError
from optimizer.path_filter.filter import FilterConfig, PathFilter
from optimizer.path_filter.space import PathSpace, identify

__all__ = ["pack_filter", "read_filter", "unpack_filter", "write_filter"]

SCHEMA = 1
ENTRY = "path_filter"  # of the header's metadata
LIMIT = 64 << 20  # bytes of a file
DAMAGE = (SafetensorError, ValueError, LookupError, TypeError, RuntimeError, AssertionError)


def write_filter(path: Path, path_filter: PathFilter) -> None:
    write_file(path, pack_filter(path_filter))


def read_filter(path: Path, space: PathSpace) -> PathFilter:
    """The filter in a file. Raises as `unpack_filter` does, and where there is none."""
    return unpack_filter(read_plain(path, LIMIT), space, str(path))


def pack_filter(path_filter: PathFilter) -> bytes:
    content = {"schema": SCHEMA, "space": path_filter.space_id, "config": asdict(path_filter.config)}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in path_filter.state_dict().items()}
    return save(tensors, {ENTRY: json.dumps(content)})


def unpack_filter(content: bytes, space: PathSpace, origin: str = "the path filter") -> PathFilter:
    """The inverse of `pack_filter`.

    Raises:
        InputError: it is damaged, of another version, or reads the paths of another space.
    """
    try:
        tensors = load(content)
        described = _read_metadata(content)
        schema, space_id = described["schema"], described["space"]
    except DAMAGE as error:
        raise _call_damaged(origin, error) from error
    if schema != SCHEMA:
        raise InputError(f"{origin} has schema version {schema!r:.20}; this release reads version {SCHEMA}")
    if space_id != identify(space):
        raise InputError(
            f"{origin} is of another space of paths ({space_id!r:.20}, wanted {identify(space)}); "
            "train a filter for this space, or choose the base it was trained for"
        )
    try:
        config = described["config"]
        if config.keys() != {field.name for field in fields(FilterConfig)}:
            raise ValueError("its configuration has other entries")
        _check_sizes(space, FilterConfig(**config), tensors)
        path_filter = PathFilter(space, FilterConfig(**config))
        path_filter.load_state_dict(tensors)
    except (*DAMAGE, AttributeError) as error:
        raise _call_damaged(origin, error) from error
    return path_filter


def _check_sizes(space: PathSpace, config: FilterConfig, tensors: Mapping[str, Tensor]) -> None:
    """A `ValueError` where tensors are not of a configuration; no network of gigabytes is built to see that."""
    largest = max([len(tensors), *(size for tensor in tensors.values() for size in tensor.shape)])
    if any(type(value) is int and value > largest for value in asdict(config).values()):
        raise ValueError("its configuration is larger than its tensors")
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in PathFilter(space, config).state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ValueError("its tensors are not those of its configuration")


def _read_metadata(content: bytes) -> dict[str, Any]:
    """Our entry of a header, which eight bytes with its length come before."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    described: dict[str, Any] = json.loads(header["__metadata__"][ENTRY])
    return described


def _call_damaged(origin: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{origin} is damaged or is not a path filter ({reason:.120})")
