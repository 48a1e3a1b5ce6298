"""What runs on a board before anything of ours is there: files received by SHA-256, then the agent in their midst.

Sent as the text of ``python3 -E -c``, with a cache folder, the SHA-256 of detect.pyz, and the cache's bound in bytes.
A line on stdin lists the wanted files; the answer says which are missing, and what this Python lacks. Their bytes
follow one after another; then the agent takes over stdin, stdout and the cache's lock. The standard library only: not
even `deploy.files` is there yet.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any, NoReturn

OURS = re.compile(r"[0-9a-f]{64}(\.[0-9]+\.part)?\Z")
SPARE = 16 << 20  # bytes of the disk that stay free


def main(folder: Path, archive: str, bound: int) -> NoReturn:
    """Answer the one request, receive what was missing, become the agent. A full disk is a line on stderr."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        if not _is_ours(folder) or any(map(_may_be_swapped, folder.parents)):  # what is in it will be executed
            sys.exit(
                f"{folder} is another user's, or others may write to it or exchange it: chmod 700 it, or choose "
                "another cache"
            )
        lock = os.open(str(folder / ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        wanted: dict[str, int] = json.loads(_read_line())["files"]
        _prune_alone(lock, folder, wanted, bound)
        fcntl.flock(lock, fcntl.LOCK_SH)  # from here on, and as long as the agent lives, nobody prunes
        missing = [digest for digest in wanted if not _is_intact(folder / digest)]
        _say({"missing": missing, "lacks": _list_lacking()})
        size = sum(wanted[digest] for digest in missing)
        free = shutil.disk_usage(str(folder)).free
        if size and size + SPARE > free:
            sys.exit(
                f"the files cannot be stored: they are {size >> 20} MiB, and {free >> 20} MiB of {folder} are free"
            )
        for digest in missing:
            _receive(folder / digest, wanted[digest])
        _say("stored")
    except OSError as error:
        sys.exit(f"the files cannot be stored: {error}")
    os.set_inheritable(lock, True)
    os.execv(sys.executable, [sys.executable, "-E", str(folder / archive), "agent", str(folder)])


def _prune_alone(lock: int, folder: Path, wanted: dict[str, int], bound: int) -> None:
    """Remove the files used longest ago until those that come fit into the bound; nothing while another client is here.

    Files of `wanted`, and what is not named like a file of ours, stay.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    found = {path: path.lstat() for path in folder.iterdir() if OURS.match(path.name) and path.name not in wanted}
    size = sum(wanted.values()) + sum(status.st_size for status in found.values())
    for path in sorted(found, key=lambda path: found[path].st_mtime):
        if size > bound or path.suffix == ".part":  # the latter of a connection that was cut
            size -= found[path].st_size
            path.unlink()


def _is_ours(path: Path) -> bool:
    """Whether nobody else may write to it, or could have when it was made."""
    found = path.lstat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _may_be_swapped(parent: Path) -> bool:
    """Whether others may put another folder in the place of one in it."""
    found = parent.stat()
    is_open = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    return bool(is_open) or found.st_uid not in (0, os.geteuid())


def _is_intact(path: Path) -> bool:
    """Whether a file is there, is ours and is what its name says; then it counts as used now."""
    if path.is_symlink() or not path.is_file() or not _is_ours(path):
        return False
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    if total.hexdigest() != path.name:
        return False
    os.utime(str(path))
    return True


def _receive(path: Path, size: int) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    total = hashlib.sha256()
    try:
        with open(str(aside), "wb", opener=_open_new) as file:
            while size:
                block = os.read(0, min(size, 1 << 20))
                if not block:
                    sys.exit("a file was cut short")
                total.update(block)
                file.write(block)
                size -= len(block)
            file.flush()
            os.fsync(file.fileno())
        if total.hexdigest() != path.name:
            sys.exit("a file was altered on its way")
        aside.rename(path)
    finally:
        if aside.exists():
            aside.unlink()


def _open_new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _list_lacking() -> list[str]:
    lacks = [] if sys.version_info >= (3, 8) else ["Python 3.8"]
    return lacks + [name for name in ("numpy", "PIL") if importlib.util.find_spec(name) is None]


def _read_line() -> str:
    """One line, read without looking beyond it: the client waits for an answer before it writes more."""
    parts = [os.read(0, 1 << 16)]
    while parts[-1] and not parts[-1].endswith(b"\n"):
        parts.append(os.read(0, 1 << 16))
    if not parts[-1]:
        sys.exit("the request was cut short")
    return b"".join(parts).decode()


def _say(result: Any) -> None:
    os.write(1, json.dumps({"ok": True, "result": result}).encode() + b"\n")


if __name__ == "__main__":
    sys.path = [path for path in sys.path if path]  # not the folder it was started in
    main(Path(sys.argv[1]).expanduser(), sys.argv[2], int(sys.argv[3]))
