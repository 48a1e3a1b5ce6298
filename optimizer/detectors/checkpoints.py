"""Files of weights that people have, `.pth` or `.safetensors`: read as tensors and plain values, never executed."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from optimizer.detectors.tensors import is_stored_archive
from optimizer.errors import InputError

__all__ = ["Checkpoint", "read_checkpoint"]

WRAPPERS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: by name.
        meta: what stands beside them under that name, if it does: of what is in it nothing is certain.
    """

    tensors: dict[str, Tensor]
    meta: Any = field(default_factory=dict)

    def find(self, keys: tuple[str, ...]) -> Any:
        """What these keys lead to from `meta`; None where they lead nowhere."""
        value = self.meta
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_checkpoint(path: Path) -> Checkpoint:
    """All tensors of a checkpoint; nothing in the file is executed.

    Raises:
        InputError: it is not there, or no such file.
    """
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    if path.suffix == ".pkl":
        raise InputError(
            f"{path} is a pickle, which may run any program when it is read, and is not opened: where you trust its "
            "source, open it with the project it is from, and save its tensors as safetensors (docs/search.md, From "
            "detectron2 and mmdetection)"
        )
    if path.suffix != ".safetensors" and zipfile.is_zipfile(path) and not is_stored_archive(path):
        raise InputError(f"{path} is not a file of weights (it is damaged, or compressed, as torch.save leaves none)")
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # torch raises a different type for each kind of damage
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise InputError(f"{path} is not a file of weights ({reason})") from error
    meta = content.get("meta") if isinstance(content, dict) else None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path} is not a file of weights: it holds no dictionary of tensors")
    return Checkpoint(content, meta if isinstance(meta, dict) else {})
