"""What other servers of models take: a bundle written as the folder that one of them loads."""

from __future__ import annotations

from pathlib import Path

from deploy.bundles.bundle import Bundle
from deploy.errors import DeployError, InputError, explain_disk_error
from deploy.files import replace_folder
from deploy.packs import deepstream, triton
from deploy.packs.base import Pack, Packed

__all__ = ["PACKS", "Pack", "Packed", "write_pack"]

PACKS: dict[str, Pack] = {
    "triton": triton.PACK,
    "deepstream": deepstream.PACK,
}


def write_pack(bundle: Bundle, consumer: str, folder: Path) -> Packed:
    """Write what the consumer of this name loads into a new folder, whole or not at all; returns what to know of it.

    Raises:
        InputError: the consumer is not known or cannot run the bundle, or the folder exists and is not empty.
        DeployError: the disk is full or not writable; nothing is left behind.
    """
    if consumer not in PACKS:
        raise InputError(f"unknown consumer {consumer!r}; a bundle is packed for {', '.join(PACKS)}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; it is left alone, choose another")
    try:
        with replace_folder(folder) as aside:
            return PACKS[consumer].write(bundle, aside)
    except OSError as error:
        raise DeployError(f"{folder} could not be written: {explain_disk_error(error)}") from error
