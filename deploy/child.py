"""Python processes that run a part of this package, also out of `detect.pyz`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from deploy import errors
from deploy.errors import ChildError, DeployError

__all__ = ["Say", "answer", "ask_child", "describe_child", "describe_environment", "take_stdout"]

SILENCE_S = 2 * 3600.0  # an engine may be built without a word, for at most half of it
Say = Callable[[Mapping[str, Any]], None]


def ask_child(task: str, request: Any, hear: Callable[[Mapping[str, Any]], None], pass_fds: Sequence[int] = ()) -> Any:
    """What a function of this package answers to a request, in a fresh process that may crash where this must not.

    The function, named as ``module:function``, takes the request and a `Say` for what is to be heard meanwhile; all
    of that is JSON. A `DeployError` there is raised here as what it is.

    Raises:
        ChildError: the process ended without an answer, by a signal as the system's when memory is short, or said
            nothing for hours.
    """
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            describe_child("from deploy.child import answer; answer({!r})".format(task)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=describe_environment(),
            pass_fds=pass_fds,
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended already; its exit code says how
            for line in _read_lines(process):
                message = json.loads(line.decode())
                if "answer" in message:
                    return message["answer"]
                if "error" in message:
                    raise _find_kind(message["kind"])(message["error"])
                hear(message)
            raise ChildError(_explain(process.wait(), complaints))
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def answer(task: str) -> None:
    """A child's whole life: the request on stdin, messages and the answer on stdout as JSON lines."""
    say = take_stdout()
    module, function = task.split(":")
    try:
        say({"answer": getattr(import_module(module), function)(json.load(sys.stdin), say)})
    except DeployError as error:
        say({"error": str(error), "kind": type(error).__name__})


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


def describe_child(statement: str, *arguments: str) -> List[str]:
    """The command line that executes a Python statement in a fresh process; the arguments become `sys.argv[1:]`."""
    return [sys.executable, "-c", statement, *arguments]


def describe_environment() -> Dict[str, str]:
    """This process's environment, in which a child finds this very package."""
    package = str(Path(__file__).parents[1])  # a folder, or detect.pyz itself
    paths = [package] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _read_lines(process: "subprocess.Popen[bytes]") -> Any:
    """Lines of its stdout; it is ended where none comes for too long."""
    assert process.stdout is not None
    while True:
        timer = threading.Timer(SILENCE_S, process.kill)
        timer.daemon = True
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            return
        yield line


def _find_kind(name: str) -> Any:
    kind = getattr(errors, name, DeployError)
    return kind if isinstance(kind, type) and issubclass(kind, DeployError) else DeployError


def _explain(code: int, complaints: Any) -> str:
    """How a process ended, and the last line that it wrote on stderr."""
    ended = "with {}".format(code)
    if code < 0:
        try:
            ended = "by {}".format(signal.Signals(-code).name)
        except ValueError:
            ended = "by signal {}".format(-code)
    complaints.seek(0)
    lines = complaints.read()[-(1 << 16) :].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
    return "the process ended {}: {}".format(ended, last[:500])
