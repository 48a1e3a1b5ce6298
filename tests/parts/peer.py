"""A board that says what a test has written down, an answer for each request, through the code of real connections."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deploy.targets.channel import Channel
from deploy.targets.spec import LinkSpec, TargetSpec
from deploy.targets.ssh import SshTarget

__all__ = ["HAS_ALL", "STORED", "Peer", "make_peer"]

F_SETPIPE_SZ, SAID_AT_ONCE = 1031, 1 << 20  # of Linux; bytes

STORED = b'{"ok": true, "result": "stored"}'
HAS_ALL = b'{"ok": true, "result": {"missing": [], "lacks": []}}\n' + STORED


def make_peer(folder: Path, *answers: bytes) -> Peer:
    """A board that answers with these, one after another, and then ends; the folder is for what would be sent to it."""
    (folder / "detect.pyz").write_bytes(b"")
    return Peer(TargetSpec("board", LinkSpec("ssh", "board")), folder, answers)


@dataclass(frozen=True)
class Peer(SshTarget):
    folder: Path
    answers: Sequence[bytes]

    def __post_init__(self) -> None:
        """It needs no ssh."""

    @contextmanager
    def _connect(self, folder: Path) -> Iterator[tuple[Channel, dict[str, Path]]]:
        process = _Process(self.answers)
        try:
            yield Channel("board", cast(Any, process), cast(Any, process)), {"0" * 64: self.folder / "detect.pyz"}
        finally:
            process.close()


class _Process:
    """What `Channel` wants of `ssh`: two streams, an end, and what it complained."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = list(answers)
        self._heard = os.open(os.devnull, os.O_WRONLY)
        said, self._saying = os.pipe()
        fcntl.fcntl(self._saying, F_SETPIPE_SZ, SAID_AT_ONCE)
        os.set_blocking(self._saying, False)
        self.stdin, self.stdout = self, os.fdopen(said, "rb", buffering=0)

    def write(self, content: bytes) -> int:
        """A request is one line; the next answer follows it, and after the last one the end."""
        if content.endswith(b"\n"):
            if self._answers:
                os.write(self._saying, self._answers.pop(0) + b"\n")
            if not self._answers:
                self._end()
        return len(content)

    def fileno(self) -> int:
        return self._heard

    def wait(self, limit_s: float) -> int:
        return 3

    def read(self) -> str:
        return "\x1b]0;title\x07 it ended"

    def close(self) -> None:
        self.stdout.close()
        self._end()
        os.close(self._heard)

    def _end(self) -> None:
        if self._saying >= 0:
            os.close(self._saying)
        self._saying = -1
