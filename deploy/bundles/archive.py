"""`detect.pyz`: the board-side half of this package as one file that Python runs."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

from deploy.toml import load_toml

__all__ = ["list_board_files", "write_archive"]

PACKAGE = Path(__file__).parents[1]
NOT_ON_A_BOARD = ("export",)
SUFFIXES = (".py", ".toml", ".html", ".js")
MAIN = "from deploy.cli.parser import main\n\nmain()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment: equal sources, equal bytes


def write_archive(path: Path) -> None:
    """Write the archive: ``python3 detect.pyz run BUNDLE IMAGE`` needs numpy, Pillow and ONNX Runtime, nothing else."""
    if PACKAGE.parent.is_file():  # this is an archive already
        shutil.copyfile(str(PACKAGE.parent), str(path))
        path.chmod(0o755)
        return
    names = list_board_files()
    with path.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "__main__.py", MAIN.encode())
            for name in names:
                content = (PACKAGE / name).read_bytes()
                _add(archive, "deploy/" + name, content)
                if name.endswith(".toml"):  # Python before 3.11 reads JSON alone
                    values = json.dumps(load_toml(content.decode(), name))
                    _add(archive, "deploy/" + name.replace(".toml", ".json"), values.encode())
    path.chmod(0o755)


def list_board_files() -> list[str]:
    """The files of this package that run on a board, relative to it."""
    files = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES)
    return sorted(path.as_posix() for path in files if path.parts[0] not in NOT_ON_A_BOARD)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
