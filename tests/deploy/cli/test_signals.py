"""A command that is told to end leaves nothing temporary behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy import Bundle

MAIN = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); from deploy.cli.parser import main; main()"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_measurement_that_is_told_to_end_removes_its_folders(
    tmp_path: Path, tiny_bundle: Bundle, number: signal.Signals
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", MAIN, "measure", str(tiny_bundle.folder), "--level", "final"]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(scratch.glob("child-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said.strip().splitlines()[-1] == "deploy: interrupted"
    assert not list(scratch.glob("child-*"))
