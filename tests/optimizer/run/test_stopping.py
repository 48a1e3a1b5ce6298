"""A run's log, and how it ends early."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.errors import Interrupted
from optimizer.run.stopping import interruptible, logged, stoppable
from optimizer.store import RunStore


def test_a_message_is_one_line_of_the_log_whatever_a_file_is_called(tmp_path: Path) -> None:
    with logged(tmp_path):
        logging.getLogger("detopt").info("skipped a\n2026-01-01 ERROR forged \x1b[2J \udc80.jpg")
    [line] = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert line.endswith("skipped a 2026-01-01 ERROR forged [2J \\udc80.jpg")


def test_what_should_not_happen_is_in_the_log_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(KeyError), logged(tmp_path):
        {}["defect"]
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_a_log_that_is_a_link_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), logged(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def heeded() -> Iterator[None]:
    """A closed terminal and Ctrl-C reach this process, also where the tests run under `nohup` or in the background."""
    before = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler))
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_told_to_end_says_so(tmp_path: Path, number: signal.Signals, heeded: None) -> None:
    before = signal.getsignal(number)
    with RunStore.create(tmp_path / "run", {}) as store:
        with pytest.raises(Interrupted, match="optimize resume"), stoppable(store):
            os.kill(os.getpid(), number)
        assert store.status == "interrupted" and signal.getsignal(number) == before


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible("again"):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
