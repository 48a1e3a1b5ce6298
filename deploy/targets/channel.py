"""One connection of the system's `ssh`: whole lines, size limits, deadlines, and one kind of error."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO, Any, Callable, Iterator, Mapping, Sequence

from deploy.errors import BoardError, EngineError, InputError
from deploy.foreign import make_printable
from deploy.reading import parse_json
from deploy.targets.spec import LinkSpec

__all__ = ["Channel", "Fault", "connect", "describe_connection"]

REPLY_LIMIT = 64 << 20
NOTES_LIMIT = 10_000  # before an answer
COMPLAINTS_LIMIT = 1 << 16  # bytes of stderr that are kept, the last ones
CONNECT_S = 15
Report = Callable[[str], None]


class Fault(Enum):
    """What often keeps a connection from working, by the words that OpenSSH, Python or `receive` have for it."""

    UNKNOWN_KEY = "verification failed"
    NO_LOGIN = "Permission denied"
    UNKNOWN_HOST = "resolve hostname"
    OLD_PYTHON = "SyntaxError"
    DISK_FULL = "cannot be stored"


def describe_connection(link: LinkSpec, words: Sequence[str]) -> list[str]:
    """The command line of `ssh` that runs these words on the board.

    The user's own configuration counts, except that nothing of this machine is lent to the board: no agent of keys,
    no display, no port. A host whose key is not known is refused, and no password is asked for.
    """
    command = ["ssh", "-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
               "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=10",
               "-o", "ServerAliveCountMax=3", "-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no",
               "-o", "Tunnel=no"]  # fmt: skip
    for option, value in (("-F", link.ssh_config), ("-p", link.port), ("-i", link.key)):
        if value is not None:
            command += [option, str(Path(str(value)).expanduser())]
    return [*command, "--", link.host, " ".join(shlex.quote(word) for word in words)]


@contextmanager
def connect(link: LinkSpec, words: Sequence[str]) -> Iterator[Channel]:
    """Run a fixed list of words on the board; the connection, and whatever it started here, ends with the block."""
    process = subprocess.Popen(
        describe_connection(link, words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    assert process.stderr is not None
    complaints = _Complaints(process.stderr)
    try:
        yield Channel(link.host, process, complaints)
    finally:
        with suppress(ProcessLookupError):  # a ProxyCommand is of the same group, and would outlive `ssh`
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
        complaints.close()


class _Complaints:
    """What a process writes on stderr: read as it comes, so that it never waits; the last of it is kept."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._kept = stream, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def read(self) -> str:
        """What came last, once the process has ended."""
        self._thread.join(1.0)  # a process of another session may hold the other end
        return self._kept.decode(errors="replace")

    def close(self) -> None:
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._stream.close()

    def _read(self) -> None:
        for block in iter(lambda: os.read(self._stream.fileno(), COMPLAINTS_LIMIT), b""):
            self._kept = (self._kept + block)[-COMPLAINTS_LIMIT:]


class Channel:
    """Requests and answers over a connection; whatever goes wrong is a `BoardError` that names host and step.

    Attributes:
        step: what is being done, for errors.
        exit_code: of `ssh`, once it ended: 255 is its own, any other the board's. fault: why, where that is known.
    """

    def __init__(self, host: str, process: subprocess.Popen[bytes], errors: _Complaints) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._host, self._process, self._errors = host, process, errors
        self._input, self._output = process.stdin, process.stdout
        os.set_blocking(self._input.fileno(), False)
        self._rest, self._started = b"", False
        self.step = "connecting"
        self.exit_code: int | None = None
        self.fault: Fault | None = None

    def ask(self, request: Mapping[str, Any], limit_s: float, step: str, report: Report = lambda line: None) -> Any:
        """The result of a request; `report` takes what the board says meanwhile."""
        self.step = step
        self._refuse_what_came_unasked()
        limit_in_all_s = limit_s + CONNECT_S
        self.write(json.dumps({**request, "limit_s": limit_s}).encode() + b"\n", limit_in_all_s)
        return self.read_result(limit_in_all_s, report)

    def read_result(self, limit_s: float, report: Report = lambda line: None) -> Any:
        """The result in the next answer that is not a note; an `EngineError` where the model failed."""
        deadline = time.monotonic() + limit_s
        for _ in range(NOTES_LIMIT):
            try:
                answer = parse_json(self._read_line(deadline), "the answer")
            except InputError as error:
                raise self.fail("an answer that is not JSON") from error
            if isinstance(answer, dict) and isinstance(answer.get("note"), str):
                report(make_printable(answer["note"]))
            elif isinstance(answer, dict) and answer.get("ok") is True and "result" in answer:
                return answer["result"]
            elif isinstance(answer, dict) and answer.get("ok") is False:
                failure = self.fail(make_printable(str(answer.get("error")), 2000))
                raise EngineError(str(failure)) if answer.get("of_model") is True else failure
            else:
                raise self.fail("an answer that makes no sense")
        raise self.fail(f"{NOTES_LIMIT} notes and no answer")

    def write(self, content: bytes, limit_s: float) -> None:
        """Send all of it in time."""
        deadline = time.monotonic() + limit_s
        while content:
            self._wait([], [self._input], deadline)
            try:
                content = content[self._input.write(content) or 0 :]
            except OSError as error:
                raise self.fail(self._explain()) from error

    def fail(self, reason: str) -> BoardError:
        """The error to raise."""
        return BoardError(f"{self._host}: {self.step} failed: {reason}")

    def _refuse_what_came_unasked(self) -> None:
        """An answer that is there before its question would be taken for the answer to that, and the next one too."""
        if self._rest or (self._started and select.select([self._output], [], [], 0)[0] and self._read_part()):
            raise self.fail("an answer that nobody asked for")
        self._started = True

    def _read_part(self) -> bytes:
        part = os.read(self._output.fileno(), 1 << 16)
        if not part:
            raise self.fail(self._explain())
        return part

    def _read_line(self, deadline: float) -> bytes:
        line, part = bytearray(), self._rest  # one buffer, however small the parts are that it comes in
        while b"\n" not in part:
            line += part
            if len(line) > REPLY_LIMIT:
                raise self.fail(f"an answer of more than {REPLY_LIMIT >> 20} MiB")
            self._wait([self._output], [], deadline)
            part = self._read_part()
        end, self._rest = part.split(b"\n", 1)
        return bytes(line + end)

    def _wait(self, readers: list[Any], writers: list[Any], deadline: float) -> None:
        ready = select.select(readers, writers, [], max(0.0, deadline - time.monotonic()))
        if not any(ready):
            raise self.fail("no answer in time")

    def _explain(self) -> str:
        """Why the connection ended, in the words of `ssh` or of the board."""
        try:
            self.exit_code = self._process.wait(CONNECT_S)
        except subprocess.TimeoutExpired:
            return "the connection was closed"
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        words = make_printable((lines or ["no message"])[-1])
        self.fault = next((fault for fault in Fault if fault.value in words), None)
        return f"the connection ended with {self.exit_code}: {words}"
