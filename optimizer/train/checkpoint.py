"""Exact snapshots of a training: what is loaded goes on bit for bit as if it had never stopped.

A checkpoint is one file that `torch.load(weights_only=True)` reads: tensors and plain containers, no pickled objects.
It is a zip archive with a checksum of everything in it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from deploy.errors import explain_disk_error
from deploy.files import replace_file
from optimizer.detectors.tensors import is_stored_archive
from optimizer.errors import RunFailed

__all__ = ["load_checkpoint", "save_checkpoint"]

log = logging.getLogger("detopt")

SCHEMA = 1
FLUSHED_AFTER_S = 600.0


def save_checkpoint(path: Path, fingerprint: str, state: dict[str, Any], trained_s: float = FLUSHED_AFTER_S) -> None:
    """Write `state` so that `path` is always either the old checkpoint or the new one, whole, whenever we are killed.

    Only a training that has taken ten minutes (`trained_s`) waits for the disk: some hundred megabytes take seconds to
    arrive there. A power cut costs a shorter one what it did.
    """
    try:
        with replace_file(path, flushed=trained_s >= FLUSHED_AFTER_S) as aside, aside.open("wb") as file:
            torch.save({"schema": SCHEMA, "fingerprint": fingerprint, "state": state}, file)
    except (OSError, RuntimeError) as error:  # torch's own, for a file that takes no more
        raise RunFailed(
            f"cannot write the checkpoint {path}: {explain_disk_error(error)}, then resume the run"
        ) from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state last saved; None, with a warning, if the file is damaged, so that the training starts over.

    Raises:
        RunFailed: the file is whole, and belongs to another training or is none of ours.
    """
    if not is_stored_archive(path):
        log.warning("the checkpoint %s is damaged, as by a power cut: this training starts over", path)
        return None
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
