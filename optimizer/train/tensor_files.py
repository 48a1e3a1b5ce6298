"""Files of tensors, written whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from deploy.files import write_file

__all__ = ["save_tensors"]


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], words: Mapping[str, str] | None = None, *, flushed: bool = True
) -> None:
    """Write a safetensors file, with words beside the tensors, so that it is whole or not there.

    Args:
        flushed: whether to wait for the disk, as in `replace_file`.

    Raises:
        OSError: the disk is full, or fails.
    """
    content = save(
        {name: value.contiguous().cpu() for name, value in tensors.items()}, None if words is None else dict(words)
    )
    write_file(path, content, flushed=flushed)
