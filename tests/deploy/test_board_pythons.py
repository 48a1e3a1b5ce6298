"""What runs on boards runs under the Pythons that boards have: JetPack 5 has 3.8, JetPack 6 has 3.10."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Board, needs_sshd

from deploy import Bundle, LatencyRecord
from deploy.bundles.archive import list_board_files, write_archive
from deploy.targets import describe_conditions
from deploy.targets.agent import AGENT_VERSION

ROOT = Path(__file__).resolve().parents[2]
PARSE = """
import sys
for name in sys.argv[1:]:
    compile(open(name, encoding="utf-8").read(), name, "exec")
"""
LIBRARIES = "import numpy, PIL, onnxruntime"


@pytest.fixture(scope="module", params=["3.8", "3.10"])
def bare_python(request: pytest.FixtureRequest) -> str:
    """An interpreter of that version, with or without libraries."""
    name = f"python{request.param}"
    named = os.environ.get("DETOPT_PYTHON_" + request.param.replace(".", "_"))
    for wanted in (named, str(ROOT / f".venv-{request.param}" / "bin" / "python"), name):
        path = shutil.which(wanted) if wanted else None
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip(f"needs {name}: make .venv-{request.param}")


@pytest.fixture(scope="module")
def python(bare_python: str) -> str:
    """The same with numpy, Pillow and ONNX Runtime."""
    found = subprocess.run([bare_python, "-c", LIBRARIES], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"{bare_python} cannot {LIBRARIES}: make .venv-3.8 .venv-3.10")
    return bare_python


def test_every_board_file_is_parsed(bare_python: str) -> None:
    names = [str(ROOT / "deploy" / name) for name in list_board_files() if name.endswith(".py")]
    result = subprocess.run([bare_python, "-c", PARSE, *names], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(names) > 40


def test_the_agent_answers_and_the_runtime_detects(
    python: str, tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_archive(tmp_path / "detect.pyz")
    lines = '{"op": "hello", "limit_s": 60}\n{"op": "examine", "engine": "ort", "threads": 1, "limit_s": 60}\n'
    agent = subprocess.Popen(
        [python, "-E", str(tmp_path / "detect.pyz"), "agent", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert agent.stdin is not None and agent.stdout is not None
        agent.stdin.write(lines)
        agent.stdin.flush()
        assert json.loads(agent.stdout.readline()) == {"ok": True, "result": AGENT_VERSION}
        conditions = json.loads(agent.stdout.readline())["result"]
    finally:
        agent.kill()
        agent.wait()
    states = {what: (state, found) for state, what, found, _ in conditions}
    assert states["engine ort"][0] == "works" and states["Python"][1] == python_version(python)

    folder = str(tiny_bundle.folder)
    command = [python, folder + "/detect.pyz", "run", folder, str(write_image()), "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [item["class"] for item in found["objects"]] == ["dog", "cat"]


@pytest.mark.ssh
@needs_sshd
def test_it_is_measured_on_over_ssh(
    python: str, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path / "board", python)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(board.config_home))
    try:
        assert describe_conditions("loopback", board.target.check())[0] == "target loopback: works"
        record = board.target.measure({"a": tiny_bundle}, protocol="quick")["a"]
        assert isinstance(record, LatencyRecord) and f"Python {python_version(python)}" in record.device.system
    finally:
        board.stop()


def python_version(python: str) -> str:
    """As 3.8.18."""
    code = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
