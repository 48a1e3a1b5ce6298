"""`deploy run` as a process of its own: interrupted, and read by something that stops reading."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy import Bundle
from deploy.video import LIBRARIES, find_library

ROOT = Path(__file__).resolve().parents[2]
MANY = 3000  # more than are done before a signal arrives


def start(*arguments: object) -> subprocess.Popen[str]:
    # a shell's background jobs ignore Ctrl-C, and their children inherit that
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from deploy.cli.parser import main; main()"
    )
    command = [sys.executable, "-c", code, "run", *map(str, arguments)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def folder(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Many images; all but one are links to it."""
    first = write_image("many/0000.png", (64, 48))
    for number in range(1, MANY):
        (first.parent / f"{number:04}.png").symlink_to(first)
    return first.parent


def test_an_interruption_is_130_and_one_line(tiny_bundle: Bundle, folder: Path) -> None:
    process = start(tiny_bundle.folder, folder, "--json", "--threads", 1)
    assert json.loads(first_line(process))["frame"] == 0
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "deploy: interrupted\n"
    assert len(out.splitlines()) < MANY - 1 and all(json.loads(line) for line in out.splitlines())


def test_a_reader_that_goes_away_ends_it_quietly(tiny_bundle: Bundle, folder: Path) -> None:
    process = start(tiny_bundle.folder, folder, "--json", "--threads", 1)
    first_line(process)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_an_interrupted_video_can_be_played(tiny_bundle: Bundle, tmp_path: Path, name: str) -> None:
    pytest.importorskip(name, reason=f"videos: {name} is not installed")
    library, source = LIBRARIES[name](), tmp_path / "long.mp4"
    writer = library.open_writer(source, 64, 48, 25)
    for number in range(MANY):
        writer.write(np.full((48, 64, 3), number % 256, np.uint8))
    writer.close()
    process = start(tiny_bundle.folder, source, "--json", "--threads", 1, "--out", tmp_path / "drawn")
    first_line(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "deploy: interrupted\n"
    with find_library().open_reader(str(tmp_path / "drawn" / "long.mp4"), "drawn", "video") as reader:
        drawn = sum(1 for _ in reader.frames(lambda line: None))
    printed = 1 + len(out.splitlines())
    assert printed <= drawn <= printed + 1 < MANY
