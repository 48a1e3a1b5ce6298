"""A function of the package in a process of its own: what comes back, whatever becomes of the process."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deploy.child import Say, ask_child, describe_environment
from deploy.errors import ChildError, InputError

TASKS = Path(__file__).stem  # this very file, which a child imports


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Asks a function below, with what it says in the second place."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def ask(task: str, request: Any = None) -> tuple[Any, list[Any]]:
        heard: list[Any] = []
        return ask_child(f"{TASKS}:{task}", request, heard.append), heard

    return ask


def echo(request: Any, say: Say) -> Any:
    print("what a library prints is no message")
    say({"note": "working"})
    logging.getLogger("deploy.anything").warning("odd")
    return request


def refuse(request: Any, say: Say) -> Any:
    raise InputError("not like this")


def fill_disk(request: Any, say: Say) -> Any:
    raise OSError(28, "No space left on device")


def stumble(request: Any, say: Say) -> Any:
    return {}["defect"]


def die(request: Any, say: Say) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def keep_silent(request: Any, say: Say) -> Any:
    time.sleep(60)


def tell_pid(request: Any, say: Say) -> Any:
    Path(request).write_text(str(os.getpid()))
    time.sleep(60)


def test_messages_warnings_and_the_answer_come_back(ask: Callable[..., Any]) -> None:
    request = {"text": "ä" * 300_000, "list": [1, None]}
    assert ask("echo", request) == (request, [{"note": "working"}, {"note": "odd"}])


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        ("refuse", InputError, "^not like this$"),
        ("fill_disk", OSError, "No space left"),
        ("stumble", RuntimeError, "Traceback.*KeyError: 'defect'"),
        ("die", ChildError, r"ended by SIGKILL \(the system may have run out of memory\): no message"),
    ],
)
def test_errors_are_what_they_were(ask: Callable[..., Any], task: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"(?s){words}"):
        ask(task)


def test_what_who_watches_raises_ends_the_process(ask: Callable[..., Any]) -> None:
    looks: list[float] = []

    def watch() -> None:
        looks.append(time.monotonic())
        if len(looks) == 3:
            raise InputError("enough")

    with pytest.raises(InputError, match="enough"):
        ask_child(f"{TASKS}:keep_silent", None, print, watch=watch)
    assert looks[-1] - looks[0] < 30  # the process would be silent for 60 s


def test_what_a_process_prints_is_kept_where_it_is_asked_for(ask: Callable[..., Any], tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+b") as log:
        assert ask_child(f"{TASKS}:echo", 1, lambda message: None, complaints=log) == 1
    assert "what a library prints is no message" in (tmp_path / "log").read_text()


def test_the_disk_that_is_full_keeps_its_number(ask: Callable[..., Any]) -> None:
    with pytest.raises(OSError) as caught:
        ask("fill_disk")
    assert caught.value.errno == 28


def test_one_that_says_nothing_for_too_long_is_ended(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.child.SILENCE_S", 2.0)
    with pytest.raises(ChildError, match="it said nothing for 2 s"):
        ask("keep_silent")


def test_a_package_in_the_current_folder_is_not_taken_for_ours(
    ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("raise SystemExit('another deploy')")
    monkeypatch.chdir(tmp_path)
    assert ask("echo", 1)[0] == 1


@pytest.mark.parametrize("place", ["", ".", "below", "{own}:", ":{own}", "{own}::{own}"])
def test_no_place_of_the_python_path_is_the_current_folder(
    ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "below").mkdir()
    for folder in (tmp_path, tmp_path / "below"):
        for name in ("sitecustomize", "json", "deploy"):
            (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    own = os.environ["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", place.format(own=own))
    monkeypatch.chdir(tmp_path)
    with suppress(RuntimeError):  # without its own place, this file is not found
        ask_child(f"{TASKS}:echo", 1, lambda message: None)
    assert not (tmp_path / "ran").exists()


def test_it_ends_with_its_parent(ask: Callable[..., Any], tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    statement = f"from deploy.child import ask_child; ask_child('{TASKS}:tell_pid', {str(pid)!r}, print)"
    environment = {**describe_environment(), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", statement], env=environment)
    until = time.monotonic() + 20
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while Path("/proc", pid.read_text(), "stat").exists():
        if Path("/proc", pid.read_text(), "stat").read_text().split(")")[1].split()[0] == "Z":
            return  # it has ended, and nobody has asked for its exit code
        assert time.monotonic() < until
        time.sleep(0.05)
