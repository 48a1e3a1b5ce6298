"""A board behind OpenSSH's own sshd on a loopback port; then what goes wrong on the way."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from loopback import Board, find_parent, needs_sshd, wait_for

from deploy import Bundle, LatencyRecord, ModelSource, Preprocess, get_target
from deploy.data import Dataset, Record
from deploy.data.images import ImageFile
from deploy.errors import BoardError, EngineError
from deploy.evaluate import evaluate_artefact
from deploy.files import hash_file
from deploy.targets import Condition, describe_conditions
from deploy.targets.channel import connect

pytestmark = [pytest.mark.ssh, needs_sshd]


def find_missing(conditions: list[Condition]) -> str:
    """The one thing that is missing."""
    [line] = [str(item) for item in conditions if item.state == "missing"]
    return line


def test_a_check_lists_what_a_measurement_needs(board: Board) -> None:
    conditions = board.target.check()
    states = {item.what: item.state for item in conditions}
    assert describe_conditions("loopback", conditions)[0] == "target loopback: works"
    for what in ("ssh", "Python", "numpy", "PIL", "onnxruntime", "engine ort", "disk"):
        assert states[what] == "works"
    assert "tensorrt" in states and "CUDA device" in states and "CPU clocks" in states
    assert not list(board.cache.glob("*.part"))


def test_an_interpreter_may_be_named_from_the_home_there(board: Board) -> None:
    python = "~/" + os.path.relpath(sys.executable, Path.home())
    conditions = board.change_link(python=python).check()
    assert describe_conditions("loopback", conditions)[0] == "target loopback: works"


def test_models_are_measured_and_pushed_once(
    board: Board, tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    said: list[str] = []
    for _ in range(2):
        record = board.target.measure({"a": tiny_bundle}, [write_image()], "quick", report=said.append)["a"]
        assert isinstance(record, LatencyRecord) and record.target == "loopback" and record.median_ms > 0
        assert record.feeds == "1 images, the bundle's preprocessing"
    assert sum("pushing tiny" in line or "pushing model.onnx" in line for line in said) == 1


def test_it_detects(board: Board, tiny_bundle: Bundle, write_image: Callable[..., Path]) -> None:
    image = write_image()
    [(position, found, timings)] = board.target.detect(tiny_bundle, [ImageFile(image)])
    assert position == 0 and found.labels.tolist() == [1, 0] and timings.infer_ms > 0


def test_precision_is_that_of_the_board(
    board: Board, tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images twice in the data, one that cannot be read and one that is gone are counted as they are at home."""
    monkeypatch.setattr("deploy.targets.ssh.DETECT_IMAGES", 2)
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [
        write_image(),
        write_image("same.png"),
        tmp_path / "broken.png",
        tmp_path / "gone.png",
        write_image("wide.png", (128, 50)),
    ]
    box = np.array([[16, 16, 64, 48]], np.float32)
    records = tuple(
        Record(number, path, 128, 50 if path.name == "wide.png" else 96, box, np.array([1]), np.array([False]))
        for number, path in enumerate(paths)
    )
    data = Dataset(("cat", "dog"), records, ())
    there, missed = evaluate_artefact(tiny_bundle, ("cat", "dog"), data, board.target)
    here, missed_here = evaluate_artefact(tiny_bundle, ("cat", "dog"), data, get_target("cpu"))
    assert there == here and 0 < here.ap < 1
    assert missed == missed_here == [tmp_path / "broken.png", tmp_path / "gone.png"]


def test_a_model_that_the_engine_refuses_is_not_the_boards_fault(
    board: Board, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    source = ModelSource(tmp_path / "model.onnx", Preprocess(64, 48), "detections")
    with pytest.raises(EngineError, match=r"detecting failed: .* is not a model that ONNX"):
        list(board.target.detect(source, [ImageFile(write_image())]))


def test_a_pushed_file_that_was_damaged_is_pushed_again(board: Board, tiny_bundle: Bundle) -> None:
    said: list[str] = []
    for content in (None, b"rubbish"):
        if content is not None:
            (board.cache / hash_file(tiny_bundle.model)).write_bytes(content)
        board.target.measure({"a": tiny_bundle}, protocol="quick", report=said.append)
    assert sum("pushing model.onnx" in line for line in said) == 2


def test_one_connection_brings_everything(
    board: Board, tiny_bundle: Bundle, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = board.folder / "calls"
    ssh = board.folder / "ssh"
    ssh.write_text(f'#!/bin/sh\necho >>{calls}\nexec {shutil.which("ssh")} "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(board.folder), prepend=os.pathsep)
    images = [write_image(f"{number}.png", (64 + number, 48)) for number in range(3)]
    found = list(board.target.detect(tiny_bundle, [ImageFile(image) for image in images]))
    assert [position for position, *_ in found] == [0, 1, 2] and len(calls.read_text().splitlines()) == 1


def test_the_cache_keeps_its_bound_and_never_a_stranger(
    board: Board, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.target.check()
    old, new, odd = (board.cache / name for name in ("0" * 64, "1" * 64, "notes.txt"))
    for age, path in enumerate((new, old, odd)):
        path.write_bytes(bytes(10_000))
        os.utime(path, (time.time() - 100 * age,) * 2)
    (board.cache / f"{'2' * 64}.17.part").write_bytes(b"half")
    used = sum(path.stat().st_size for path in board.cache.iterdir() if len(path.name) == 64) - 20_000
    monkeypatch.setattr("deploy.targets.ssh.CACHE_LIMIT", used + 15_000)
    board.target.check()
    assert new.exists() and odd.exists() and not old.exists() and not list(board.cache.glob("*.part"))


def test_a_cache_that_another_client_uses_is_not_pruned(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    with board.target._open_agent({}, print):
        old = board.cache / ("0" * 64)
        old.write_bytes(b"in use, for all we know")
        monkeypatch.setattr("deploy.targets.ssh.CACHE_LIMIT", 0)
        board.target.check()
        assert old.exists()
    wait_for(lambda: not board.find_agents(), "the agents' end")
    board.target.check()
    assert not old.exists()


def test_a_cache_that_others_may_write_to_is_not_used(board: Board, tiny_bundle: Bundle) -> None:
    """What is pushed there is executed: nobody else may put a file in its place between the check and the start."""
    board.cache.mkdir()
    board.cache.chmod(0o777)
    with pytest.raises(BoardError, match="others may write to it or exchange it: chmod 700 it"):
        board.target.measure({"a": tiny_bundle}, protocol="quick")


@pytest.mark.parametrize("key", ["unknown", "changed"])
def test_a_host_that_is_not_known_is_refused(board: Board, tiny_bundle: Bundle, key: str) -> None:
    known = board.folder / "known_hosts"
    known.write_text("" if key == "unknown" else known.read_text().replace("AAAAI", "AAAAI", 1))
    if key == "changed":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(board.folder / "other")], check=True)
        known.write_text(f"[127.0.0.1]:{board.port} {(board.folder / 'other.pub').read_text()}")
    with pytest.raises(BoardError, match=r"127\.0\.0\.1: connecting failed: .*[Vv]erification failed"):
        board.target.measure({"a": tiny_bundle}, protocol="quick")
    assert "log in once by hand and compare the key" in find_missing(board.target.check())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "host"}, "ssh-copy-id"),
        ({"port": 1}, "is it on"),
        ({"python": "python9"}, "Python or disk: .*python9.* --version"),
        ({"cache": "/proc/detopt"}, "Python or disk: .*cannot be stored"),
    ],
)
def test_a_check_says_what_to_do(board: Board, changes: dict[str, object], words: str) -> None:
    if "key" in changes:
        changes = {"key": str(board.folder / "host")}
    with_fault = board.change_link(**changes)
    missing = find_missing(with_fault.check())
    assert all(part in missing for part in words.split(".*")), missing


def test_a_board_without_numpy_is_told_what_to_install(board: Board, tiny_bundle: Bundle) -> None:
    bare = board.replace_python('exec $PYTHON -S "$@"')  # without site-packages
    with pytest.raises(BoardError, match="numpy: the board's Python lacks it; sudo apt install python3-numpy"):
        bare.measure({"a": tiny_bundle}, protocol="quick")
    assert [item.what for item in bare.check() if item.state == "missing"] == ["numpy", "PIL"]


@pytest.mark.parametrize("victim", ["agent", "connection"])
def test_a_board_that_vanishes_in_the_middle_is_one_clear_error(board: Board, tiny_bundle: Bundle, victim: str) -> None:
    def strike() -> None:
        wait_for(lambda: board.find_agents(), "the agent")
        agent = board.find_agents()[0]
        os.kill(agent if victim == "agent" else find_parent(agent), signal.SIGKILL)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(BoardError, match=r"127\.0\.0\.1: measuring failed: the connection ended"):
        board.target.measure({"a": tiny_bundle}, protocol="final")
    thread.join()
    wait_for(lambda: not board.find_agents(), "the agent's end")
    assert board.target.check(), "the board is free again"


HAVE_ALL = """read request; echo '{"ok": true, "result": {"missing": [], "lacks": []}}'
echo '{"ok": true, "result": "stored"}'; read request"""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo rubbish", "connecting failed: an answer that is not JSON"),
        ("echo '[1]'", "connecting failed: an answer that makes no sense"),
        ("""echo '{"ok": true, "result": {"missing": ["../etc"], "lacks": []}}'""", "starting failed: an answer that"),
        ("""read request; echo "$request" | $PYTHON -c 'import json; files = list(json.loads(input())["files"])
print(json.dumps({"ok": True, "result": {"missing": files * 50, "lacks": []}}))'""", "starting failed: an answer that"),
        ("""yes '{"note": "flood"}'""", "connecting failed: 10000 notes and no answer"),
        ("""printf '\\033]0;title\\007\\033[2J' >&2; exit 3""", r"ended with 3: \]0;title\[2J$"),
        ("exit 3", "connecting failed: the connection ended with 3"),
        (f"{HAVE_ALL}; echo rubbish", "measuring failed: an answer that is not JSON"),
        (f"{HAVE_ALL}; tr '\\0' a </dev/zero", "measuring failed: an answer of more than 1 MiB"),
        (f"""{HAVE_ALL}; echo '{{"ok": true, "result": {{"b": 1}}}}'""", "it answered for other models"),
        (f"""{HAVE_ALL}; echo '{{"ok": true, "result": {{"a": 3}}}}'""", "measuring failed: not a latency record"),
        (f"""{HAVE_ALL}; echo '{{"ok": true, "result": {{"a": NaN}}}}'""", "measuring failed: an answer that is not"),
        ('ulimit -f 1; exec $PYTHON "$@"', "cannot be stored: .*File too large"),
    ],
)  # fmt: skip
def test_a_board_that_answers_wrongly_is_one_clear_error(
    board: Board, tiny_bundle: Bundle, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.targets.channel.REPLY_LIMIT", 1 << 20)
    with pytest.raises(BoardError, match=words):
        board.replace_python(script).measure({"a": tiny_bundle}, protocol="quick")


def test_what_a_board_complains_is_bounded(board: Board, tiny_bundle: Bundle) -> None:
    script = "head -c 20000000 /dev/zero | tr '\\0' a >&2; exit 3"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BoardError, match=r"ended with 3: a{500}$"):
        board.replace_python(script).measure({"a": tiny_bundle}, protocol="quick")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 10_000  # KiB


def test_what_a_connection_started_here_ends_with_it(board: Board) -> None:
    """A `ProxyCommand` of the user's own, which listens to nobody."""
    pid = board.folder / "pid"
    config = board.folder / "config"
    proxy = board.folder / "proxy"
    proxy.write_text(f"#!/bin/sh\necho $$ >{pid}\ntrap '' HUP\nexec sleep 600\n")
    proxy.chmod(0o755)
    config.write_text(config.read_text() + f"  ProxyCommand {proxy}\n")
    with connect(board.target.spec.link, ["true"]):
        wait_for(lambda: pid.exists() and pid.read_text(), "the ProxyCommand")
    wait_for(lambda: not Path("/proc", pid.read_text().strip()).exists(), "its end", seconds=5)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(board: Board, tiny_bundle: Bundle) -> None:
    board.cache.mkdir()
    disk = f"mount -t tmpfs -o size=64k,mode=700 none {board.cache}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", disk], capture_output=True, check=False).returncode:
        pytest.skip("needs a disk of its own: unshare and mount are refused here")
    full = board.replace_python(f"""exec unshare -rm sh -c '{disk}; exec "$0" "$@"' $PYTHON "$@" """)
    with pytest.raises(BoardError, match="the files cannot be stored: they are 0 MiB, and 0 MiB of"):
        full.measure({"a": tiny_bundle}, protocol="quick")
    assert "cannot be stored" in find_missing(full.check())


def test_two_clients_take_turns(board: Board, tiny_bundle: Bundle) -> None:
    records: list[object] = []
    clients = [
        threading.Thread(target=lambda: records.append(board.target.measure({"a": tiny_bundle}, protocol="quick")["a"]))
        for _ in range(2)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    first, second = records
    assert isinstance(first, LatencyRecord) and isinstance(second, LatencyRecord) and first.lease != second.lease
