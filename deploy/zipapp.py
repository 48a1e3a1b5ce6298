"""`detect.pyz`: the board-side half of `deploy` in one file that Python runs as it is."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["write_zipapp"]

LEFT_OUT = ("export", "data", "evaluate.py")  # need torch, yaml or pycocotools; not for a board
MAIN = "from deploy.cli import main\n\nmain()\n"
STAMP = (2020, 1, 1, 0, 0, 0)  # equal sources give equal bytes


def write_zipapp(path: Path) -> None:
    """Write the archive; `python detect.pyz run BUNDLE IMAGE` then needs numpy, Pillow and one runtime."""
    package = Path(__file__).resolve().parent
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", MAIN.encode())
        for source in sorted(package.rglob("*")):
            name = source.relative_to(package)
            if source.suffix in (".py", ".toml", ".onnx") and name.parts[0] not in LEFT_OUT:
                _add(archive, "deploy/{}".format(name.as_posix()), source.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, STAMP), content, zipfile.ZIP_DEFLATED)
