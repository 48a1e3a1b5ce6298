"""Weights from files that others may have written: read as tensors alone, and fitted or refused in one line."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from optimizer.errors import InputError

__all__ = ["fit_tensors", "is_stored_archive", "load_tensors"]


def load_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Args:
        sha256: what the file is known by. The bytes that are hashed are those that are read, whoever changes the file
            meanwhile.

    Raises:
        InputError: it is not there, is not the one that is wanted, or is damaged.
    """
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"there is no file of weights {path}")
    try:
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if sha256 is not None and found != sha256:
            raise InputError(
                f"the run is damaged: {path} does not have the content its name says; its SHA-256 begins {found[:12]}"
            )
        return load(content)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged: its tensors cannot be read ({reason:.120})") from error


def is_stored_archive(path: Path) -> bool:
    """Whether a file is a zip archive as torch writes them: whole, and nothing in it is compressed.

    torch reads compressed ones too, of which a small one may hold more than there is memory, and compares no checksums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
            return stored and archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, RuntimeError, struct.error):
        return False


def fit_tensors(module: nn.Module, tensors: Mapping[str, Tensor], origin: object = "the weights") -> None:
    """Fill a module with exactly these tensors; an `InputError` names the first that is missing, unknown or unfit."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).split("\n")[1:2] or [str(error)]
        raise InputError(f"{origin} are of another network: {first[0].strip():.200}") from error
