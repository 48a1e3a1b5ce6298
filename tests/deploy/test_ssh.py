"""A board behind OpenSSH's own sshd on a loopback port, with keys of this test; then what goes wrong on the way."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy import Bundle, LatencyRecord, Subject, get_target
from deploy.errors import BoardError
from deploy.targets.ssh import SshTarget

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = [pytest.mark.ssh, pytest.mark.skipif(SSHD is None, reason="needs sshd: install openssh-server")]


@dataclass
class Board:
    """A running sshd, the target file that reaches it, and its folders."""

    target: SshTarget
    server: subprocess.Popen[bytes]
    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def replace_python(self, script: str) -> SshTarget:
        """The target with another program in the interpreter's place; ``$PYTHON`` is the interpreter."""
        path = self.folder / "odd-python"
        path.write_text(f"#!/bin/sh\nPYTHON={sys.executable}\n{script}\n")
        path.chmod(0o755)
        return SshTarget(replace(self.target.spec, python=str(path)))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    folder = tmp_path / "board"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv TMPDIR={folder}\n"
    )
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "config").write_text(f"Host *\n  UserKnownHostsFile {folder}/known_hosts\n  IdentitiesOnly yes\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "ssh-loopback.toml").write_text(
        f'name = "loopback"\nlink = "ssh"\nhost = "{getpass.getuser()}@127.0.0.1"\nport = {port}\nthreads = 1\n'
        f'python = "{sys.executable}"\ncache = "{folder}/cache"\nssh_config = "{folder}/config"\n'
        f'key = "{folder}/user"\n'
    )
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _answers(port), "sshd")
        target = get_target(str(tmp_path / "ssh-loopback.toml"))
        assert isinstance(target, SshTarget)
        yield Board(target, server, folder)
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.05)


def _find_agents(board: Board) -> list[int]:
    """Processes of this board's agents, by their number."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"agent" in words and str(board.cache).encode() in words:
                found.append(int(entry.name))
    return found


def _find_parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_it_works_and_says_what_it_is(board: Board) -> None:
    lines = board.target.check()
    assert lines[0] == "target loopback: works" and any("ort " in line for line in lines)


def test_models_are_measured_and_pushed_once(
    board: Board, tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    said: list[str] = []
    for _ in range(2):
        record = board.target.measure({"a": Subject.of(tiny_bundle)}, [write_image()], "quick", report=said.append)["a"]
        assert isinstance(record, LatencyRecord) and record.target == "loopback" and record.median_ms > 0
        assert record.feeds == "1 images, the bundle's preprocessing"
    assert sum("pushing tiny" in line or "pushing model.onnx" in line for line in said) == 1


def test_it_detects(board: Board, tiny_bundle: Bundle, write_image: Callable[..., Path]) -> None:
    image = write_image()
    [(path, found, timings)] = board.target.detect(tiny_bundle, [image])
    assert path == image and found.labels.tolist() == [1, 0] and timings.infer_ms > 0


def test_an_unknown_host_key_is_refused(board: Board) -> None:
    (board.folder / "known_hosts").write_text("")
    with pytest.raises(BoardError, match=r"127\.0\.0\.1: pushing detect\.pyz failed: .*[Vv]erification failed"):
        board.target.check()


@pytest.mark.parametrize("victim", ["agent", "connection"])
def test_a_board_that_vanishes_in_the_middle_is_one_clear_error(board: Board, tiny_bundle: Bundle, victim: str) -> None:
    def strike() -> None:
        _wait_for(lambda: _find_agents(board), "the agent")
        agent = _find_agents(board)[0]
        os.kill(agent if victim == "agent" else _find_parent(agent), signal.SIGKILL)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(BoardError, match=r"127\.0\.0\.1: measuring failed: the connection ended"):
        board.target.measure({"a": Subject.of(tiny_bundle)}, level="final")
    thread.join()
    _wait_for(lambda: not _find_agents(board), "the agent's end")
    assert board.target.check(), "the board is free again"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo rubbish", "an answer that makes no sense"),
        ('case "$3" in *execv*) echo rubbish; cat;; *) exec $PYTHON "$@";; esac', "no JSON"),
        ('case "$3" in *execv*) tr "\\0" a </dev/zero;; *) exec $PYTHON "$@";; esac', "more than 1 MiB"),
        ("exit 3", "the connection ended with 3"),
        ('ulimit -f 1; exec $PYTHON "$@"', "cannot be stored: .*File too large"),
    ],
)
def test_a_board_that_answers_wrongly_is_one_clear_error(
    board: Board, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.targets.ssh.REPLY_LIMIT", 1 << 20)
    with pytest.raises(BoardError, match=words):
        board.replace_python(script).check()


def test_two_clients_take_turns(board: Board, tiny_bundle: Bundle) -> None:
    records: list[object] = []
    clients = [
        threading.Thread(
            target=lambda: records.append(board.target.measure({"a": Subject.of(tiny_bundle)}, level="quick")["a"])
        )
        for _ in range(2)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    first, second = records
    assert isinstance(first, LatencyRecord) and isinstance(second, LatencyRecord) and first.lease != second.lease
