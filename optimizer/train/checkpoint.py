"""Exact snapshots of a training: what is loaded goes on bit for bit as if it had never stopped.

A checkpoint is one file that `torch.load(weights_only=True)` reads: tensors and plain containers, no pickled objects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from deploy.files import replace_file
from optimizer.errors import RunFailed

__all__ = ["load_checkpoint", "save_checkpoint"]

SCHEMA = 1


def save_checkpoint(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write `state` so that `path` is always either the old checkpoint or the new one, whole."""
    try:
        with replace_file(path) as aside:
            torch.save({"schema": SCHEMA, "fingerprint": fingerprint, "state": state}, aside)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise RunFailed(f"cannot write the checkpoint {path}: {error}; free some space, then resume the run") from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any]:
    """The state last saved; `RunFailed` if the file is damaged or belongs to another training."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        schema, found, state = content["schema"], content["fingerprint"], content["state"]
    except Exception as error:  # torch raises a different type for each kind of damage
        raise RunFailed(
            f"the checkpoint {path} cannot be read ({type(error).__name__}); delete it to start over"
        ) from error
    if schema != SCHEMA or found != fingerprint:
        raise RunFailed(f"the checkpoint {path} belongs to another training; delete it to start over")
    return state
