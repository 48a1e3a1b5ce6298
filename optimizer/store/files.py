"""Files that are always whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path`, flush, then rename: whoever reads it finds the old file or the new one."""
    aside = path.with_name(path.name + ".part")
    write(aside)
    descriptor = os.open(aside, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    aside.replace(path)
