"""The files that a super-network's weights lie in while it is trained and after."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from optimizer.detectors.tensors import fit_tensors, load_tensors
from optimizer.errors import InputError, RunFailed
from optimizer.train.tensor_files import save_tensors

__all__ = ["load_weights", "save_weights"]


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from a file that `save_weights` wrote of one like it.

    Raises:
        RunFailed: the file is damaged.
    """
    try:
        fit_tensors(module, load_tensors(path), "its weights")
    except InputError as error:
        raise RunFailed(
            f"{path} is damaged ({error}); delete it and the phases after it to train them again"
        ) from error


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights and statistics, so that the file is whole or not there.

    Raises:
        OSError: the disk is full, or fails.
    """
    save_tensors(path, module.state_dict())
