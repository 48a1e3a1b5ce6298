"""A board that floods, drips, repeats itself or speaks unasked: one clear error, in bounded time and memory.

The board is written down (`peer`), or is a program in the place of `ssh`; so no sshd is needed.
"""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import wait_for
from peer import HAS_ALL, make_peer

from deploy import Bundle
from deploy.data.images import ImageFile
from deploy.errors import BoardError
from deploy.targets.channel import Channel, connect
from deploy.targets.spec import LinkSpec

pytestmark = pytest.mark.timeout(30)

FOUND = {"image": 0, "boxes_xyxy": [], "scores": [], "labels": [], "pre_ms": 1.0, "infer_ms": 2.0}


def answer(result: Any) -> bytes:
    return json.dumps({"ok": True, "result": result}).encode()


Ssh = Callable[[str], LinkSpec]


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Puts a shell script in the place of `ssh`."""

    def write(script: str) -> LinkSpec:
        path = tmp_path / "bin" / "ssh"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
        return LinkSpec("ssh", "board")

    return write


def ask(link: LinkSpec, limit_s: float = 5.0, report: Callable[[str], None] = lambda line: None) -> Any:
    with connect(link, ["true"]) as channel:
        return channel.ask({"op": "hello"}, limit_s, "asking", report)


def test_a_board_that_answers_is_heard(ssh: Ssh) -> None:
    notes: list[str] = []
    script = """read request; printf '{"note": "\\\\u001b[2Jbusy"}\\n{"ok": true, "result": 3}\\n'"""
    assert ask(ssh(script), report=notes.append) == 3 and notes == ["[2Jbusy"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("yes '{\"note\": \"flood\"}'", "10000 notes and no answer"),
        ("tr '\\0' a </dev/zero", "an answer of more than 1 MiB"),
        ("tr '\\0' '[' </dev/zero", "an answer of more than 1 MiB"),
        ("head -c 100000 /dev/zero | tr '\\0' '['; echo", "an answer that is not JSON"),
        ("yes | head -c 3000000 | tr -d '\\n'; sleep 30", "an answer of more than 1 MiB"),
        ("echo '{\"ok\": true, \"result\": NaN}'", "an answer that is not JSON"),
        ("echo '{\"ok\": true, \"result\": 1e999}'", "an answer that is not JSON"),
        ("printf '{\"ok\": true, \"result\": '; head -c 9000 /dev/zero | tr '\\0' 9; echo '}'", "that is not JSON"),
        ("echo '{\"ok\": 1, \"result\": 3}'", "an answer that makes no sense"),
        ("echo '{\"ok\": true}'", "an answer that makes no sense"),
        ("printf '{\"ok\": true, \"res'", "the connection ended with 0"),
        ("printf '\\377\\376\\n'", "an answer that is not JSON"),
        ("echo '{\"ok\": false, \"error\": [\"\\u001b[2J\"]}'", r"asking failed: \['\\x1b\[2J'\]$"),
        ("yes aaaaaaaaaa | head -c 50000000 >&2; exit 3", "ended with 3: a+$"),
        ("printf '\\033]0;title\\007\\033[2J' >&2; exit 3", r"ended with 3: \]0;title\[2J$"),
    ],
)  # fmt: skip
def test_a_flood_or_rubbish_is_one_clear_error(
    ssh: Ssh, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.targets.channel.REPLY_LIMIT", 1 << 20)
    began = time.monotonic()
    with pytest.raises(BoardError, match=words) as caught:
        ask(ssh(f"read request; {script}"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 3000 and time.monotonic() - began < 5


def test_an_answer_that_drips_is_waited_for_no_longer_than_any(ssh: Ssh) -> None:
    script = "read request; while true; do printf '{'; sleep 0.02; done"
    with connect(ssh(script), ["true"]) as channel:
        channel.write(b"{}\n", 1)
        began = time.monotonic()
        with pytest.raises(BoardError, match="no answer in time"):
            channel.read_result(0.5)
        assert 0.4 < time.monotonic() - began < 2


def test_a_board_that_does_not_listen_is_not_written_to_for_ever(ssh: Ssh) -> None:
    with connect(ssh("sleep 30"), ["true"]) as channel, pytest.raises(BoardError, match="no answer in time"):
        channel.write(b"a" * (1 << 22), 0.3)


def test_drops_take_no_more_memory_than_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes at a time, as a board sends them that wants each of them to be an object of its own."""
    read, size = os.read, 60_000

    class Process:
        def __init__(self) -> None:
            said, saying = os.pipe()
            os.write(saying, b"a" * size)
            os.close(saying)
            self.stdin, self.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb"), os.fdopen(said, "rb")

        def wait(self, limit_s: float) -> int:
            return 0

        def read(self) -> str:
            return ""

    process: Any = Process()
    monkeypatch.setattr("os.read", lambda descriptor, most: read(descriptor, min(most, 2)))
    with process.stdin, process.stdout:
        channel = Channel("board", process, process)
        tracemalloc.start()
        with pytest.raises(BoardError, match="the connection ended"):
            channel.read_result(20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 5 * size


def test_what_a_connection_started_here_ends_with_it(ssh: Ssh, tmp_path: Path) -> None:
    link = ssh(f"trap '' HUP TERM; sleep 600 & echo $! >{tmp_path}/pid; wait")
    with connect(link, ["true"]):
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the process")
    process = Path("/proc", (tmp_path / "pid").read_text().strip())
    wait_for(lambda: not process.exists() or "Z" in (process / "stat").read_text(), "its end", seconds=5)


@pytest.mark.parametrize("early", [answer([FOUND]), b'{"note": "not yet"}', b"rubbish"])
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(
    tmp_path: Path, tiny_bundle: Bundle, early: bytes
) -> None:
    peer = make_peer(tmp_path, HAS_ALL + b"\n" + early, answer([FOUND]))
    (tmp_path / "a.png").write_bytes(b"an image")
    with pytest.raises(BoardError, match="detecting failed: an answer that nobody asked for"):
        list(peer.detect(tiny_bundle, [ImageFile(tmp_path / "a.png")]))


def test_two_answers_to_one_request_are_not_taken_for_two(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.targets.ssh.DETECT_IMAGES", 1)
    images = [ImageFile(tmp_path / name) for name in ("a.png", "b.png")]
    for number, image in enumerate(images):
        image.path.write_bytes(b"image %d" % number)
    peer = make_peer(tmp_path, HAS_ALL, answer([FOUND]) + b"\n" + answer([FOUND]), answer([FOUND]))
    with pytest.raises(BoardError, match="an answer that nobody asked for"):
        list(peer.detect(tiny_bundle, images))


@pytest.mark.parametrize(
    "hello",
    [
        {"missing": ["../etc/passwd"], "lacks": []}, {"missing": "0", "lacks": []}, {"missing": [[]], "lacks": []},
        {"missing": ["0" * 64] * 2, "lacks": []}, {"missing": [], "lacks": None}, {}, [], 3, None, "stored",
        {"missing": [{"a": 1}], "lacks": []}, {"missing": [None], "lacks": []},
    ],
)  # fmt: skip
def test_a_board_is_sent_nothing_but_what_it_was_offered(tmp_path: Path, tiny_bundle: Bundle, hello: Any) -> None:
    peer = make_peer(tmp_path, answer(hello), b"")
    with pytest.raises(BoardError, match="an answer that makes no sense"):
        peer.measure({"a": tiny_bundle}, protocol="quick")


def test_what_a_python_lacks_is_shown_as_text(tmp_path: Path) -> None:
    lacks = ["\x1b[2Jnumpy\n" * 100, 3, None, {"a": "\x07"}]
    for item in make_peer(tmp_path, answer({"missing": [], "lacks": lacks}), b"").check():
        assert str(item).isprintable() and len(str(item)) < 500
