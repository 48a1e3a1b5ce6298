"""Python processes that run a part of this package, also out of `detect.pyz`."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Callable, Iterator, Mapping, Sequence

from deploy import errors
from deploy.errors import ChildError, DeployError

__all__ = ["Say", "answer", "ask_child", "describe_child", "describe_environment", "die_with_parent", "take_stdout"]

SILENCE_S = 2 * 3600.0  # an engine may be built without a word, for at most half of it
WATCH_S = 0.1  # between two looks of who watches
LAST_S = 10.0  # to end in, once stdout is closed
PR_SET_PDEATHSIG = 1
Say = Callable[[Mapping[str, Any]], None]


def ask_child(
    task: str,
    request: Any,
    hear: Say,
    pass_fds: Sequence[int] = (),
    watch: Callable[[], None] | None = None,
    complaints: IO[bytes] | None = None,
) -> Any:
    """What a function of this package answers to a request, in a fresh process that may crash where this must not.

    The function, named as ``module:function``, takes the request and a `Say` for what is to be heard meanwhile; all
    of that is JSON. Warnings that it logs are heard as ``{"note": line}``. Its temporary files go with the process, and
    so does the process with this one.

    Args:
        watch: called ten times a second meanwhile; what it raises ends the process, and is raised.
        complaints: a file that keeps what the process prints, open for reading and writing; None forgets it.

    Raises:
        DeployError, OSError: raised by the function; here as what they were there.
        RuntimeError: the function failed in another way; the text is the traceback.
        ChildError: the process ended without an answer, by a signal as the system's when memory is short, or said
            nothing for hours.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="child-"))
        complaints = complaints or stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            describe_child(f"from deploy.child import answer; answer({task!r})"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**describe_environment(), "TMPDIR": scratch},
            pass_fds=pass_fds,
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it has ended already; its exit code says how
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            for line in _read_lines(process, watch):
                message = json.loads(line.decode())
                if "answer" in message:
                    return message["answer"]
                if "error" in message:
                    raise _make_error(message)
                hear(message)
            raise ChildError(_explain(process, complaints))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with suppress(BrokenPipeError):
                process.stdin.close()


def answer(task: str) -> None:
    """A child's whole life: the request on stdin, messages and the answer on stdout as JSON lines."""
    die_with_parent()
    say = take_stdout()
    logging.getLogger().addHandler(_Notes(say))
    module, function = task.split(":")
    try:
        say({"answer": getattr(import_module(module), function)(json.load(sys.stdin), say)})
    except DeployError as error:
        say({"error": str(error), "kind": type(error).__name__})
    except OSError as error:
        say({"error": str(error), "kind": "OSError", "errno": error.errno})
    except Exception:  # a defect: the parent has to hear of it, and whose fault it is not
        say({"error": traceback.format_exc(), "kind": "RuntimeError"})


def die_with_parent() -> None:
    """This process ends with its parent, and is the one to go should the system be short of memory."""
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):  # a container may forbid it
        Path("/proc/self/oom_score_adj").write_text("1000")


class _Notes(logging.Handler):
    """Says what is logged as a warning or worse."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say({"note": record.getMessage()})


def take_stdout() -> Say:
    """A writer of JSON lines to stdout; whatever else prints, also from C, now goes to stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(message: Mapping[str, Any]) -> None:
        with lock:
            stream.write(json.dumps(message) + "\n")
            stream.flush()

    return say


def describe_child(statement: str, *arguments: str) -> list[str]:
    """The command line that executes a Python statement in a fresh process; the arguments become `sys.argv[1:]`."""
    own = "import sys; sys.path[:] = [place for place in sys.path if place]; "  # nothing out of the current folder
    return [sys.executable, "-c", own + statement, *arguments]


def describe_environment() -> dict[str, str]:
    """This process's environment, in which a child finds this very package.

    Of ``PYTHONPATH`` its absolute places stay: any other, an empty one too, is the current folder or one below it,
    where a child would import what lies there, a ``sitecustomize.py`` before anything else.
    """
    package = str(Path(__file__).resolve().parents[1])  # a folder, or detect.pyz itself
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, *paths])}


def _read_lines(process: subprocess.Popen[bytes], watch: Callable[[], None] | None) -> Iterator[bytes]:
    """Lines of its stdout as they come; a `ChildError` where none comes for too long."""
    assert process.stdout is not None
    stream, rest, heard = process.stdout.fileno(), b"", time.monotonic()
    while True:
        patience = heard + SILENCE_S - time.monotonic()
        if patience <= 0:
            raise ChildError(f"the process was ended: it said nothing for {SILENCE_S:g} s")
        if select.select([stream], [], [], patience if watch is None else min(WATCH_S, patience))[0]:
            chunk = os.read(stream, 1 << 16)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            heard = time.monotonic()
            yield from lines
        if watch is not None:
            watch()


def _make_error(message: Mapping[str, Any]) -> Exception:
    kind = getattr(errors, message["kind"], None)
    if isinstance(kind, type) and issubclass(kind, DeployError):
        return kind(message["error"])
    if message["kind"] == "OSError":
        return OSError(message["errno"], message["error"])
    return RuntimeError(message["error"])


def _explain(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    """How a process ended, and the last line that it wrote on stderr."""
    try:
        code = process.wait(LAST_S)
    except subprocess.TimeoutExpired:
        return "the process closed its output and did not end"
    ended = f"with {code}"
    if code < 0:
        try:
            ended = f"by {signal.Signals(-code).name}"
            ended += " (the system may have run out of memory)" if -code == signal.SIGKILL else ""
        except ValueError:
            ended = f"by signal {-code}"
    complaints.seek(0)
    lines = complaints.read()[-(1 << 16) :].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
    return f"the process ended {ended}: {last[:500]}"
