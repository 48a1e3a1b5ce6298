"""The board's side of a link: it answers what is well formed, refuses the rest, and ends with its client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deploy import Bundle, LatencyRecord
from deploy.bundles.archive import write_archive
from deploy.files import hash_file
from deploy.measuring.lease import lease_device
from deploy.targets.agent import AGENT_VERSION

SETUP = {"engine": "ort", "threads": 1, "mode": "sustained", "lock_clocks": "never", "lease_timeout_s": 10}


class Agent:
    """An agent's process and the files in its cache."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.cache = folder / "cache"
        self.cache.mkdir()
        write_archive(folder / "detect.pyz")
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(folder / "detect.pyz"), "agent", str(self.cache)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"TMPDIR": str(folder), **environment},
        )  # fmt: skip

    def put(self, path: Path) -> str:
        digest = hash_file(path)
        (self.cache / digest).write_bytes(path.read_bytes())
        return digest

    def ask(self, request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write((request if isinstance(request, str) else json.dumps(request)) + "\n")
        self.process.stdin.flush()
        while True:
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
            if "note" not in answer:
                return answer


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.process.kill()
    agent.process.wait()


def measuring(agent: Agent, bundle: Bundle, **changes: Any) -> dict[str, Any]:
    subject = {**bundle.to_json(), "model": agent.put(bundle.model)}
    request = {"op": "measure", "limit_s": 60, "subjects": {"tiny": subject}, "images": [], "protocol": "quick"}
    return {**request, "seed": 0, "setup": SETUP, **changes}


def test_it_measures_what_was_pushed(agent: Agent, tiny_bundle: Bundle) -> None:
    answer = agent.ask(measuring(agent, tiny_bundle, setup={**SETUP, "also": ["memory"]}))
    record = LatencyRecord.from_json(answer["result"]["tiny"])
    assert record.memory_mib is not None and record.memory_mib > 1
    assert record.model_sha256 == hash_file(tiny_bundle.model)
    assert agent.ask({"op": "hello", "limit_s": 30})["result"] == AGENT_VERSION


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"op": "shell"}, "unknown request"),
        ({"limit_s": -1}, "limit_s is a number"),
        ({"protocol": "sh"}, "protocol is one of"),
        ({"setup": {**SETUP, "engine": "os"}}, "engine is one of"),
        ({"setup": {**SETUP, "threads": "2"}}, "threads is a number"),
        ({"setup": {**SETUP, "also": "memory"}}, "also is a list of some of memory, energy"),
        ({"images": ["../../etc/passwd"]}, "not a SHA-256"),
        ({"images": ["0" * 64]}, "was not pushed"),
        ({"subjects": {}}, "1 to 256 models"),
    ],
)
def test_a_malformed_request_is_refused_and_the_next_is_heard(
    agent: Agent, tiny_bundle: Bundle, changes: dict[str, Any], words: str
) -> None:
    answer = agent.ask(measuring(agent, tiny_bundle, **changes))
    assert not answer["ok"] and words in answer["error"]
    assert "one JSON object" in agent.ask("{")["error"]


def test_bytes_that_are_no_text_are_answered_and_the_next_request_is_heard(agent: Agent) -> None:
    assert agent.process.stdin is not None
    for line in (b"\xff\xfe{}", b"[" * 100_000, b'{"op": "hello", "limit_s": ' + b"9" * 5000 + b"}"):
        agent.process.stdin.buffer.write(line + b"\n")  # type: ignore[attr-defined]
        agent.process.stdin.buffer.flush()  # type: ignore[attr-defined]
        assert agent.process.stdout is not None
        answer = json.loads(agent.process.stdout.readline())
        assert not answer["ok"] and "one JSON object" in answer["error"]
    assert agent.ask({"op": "hello", "limit_s": 30})["result"] == AGENT_VERSION


DEADLY = """
import os, signal
from deploy.engines.ort import OrtEngine
OrtEngine._run = lambda self, feeds: os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_model_that_ends_its_process_is_at_fault_and_the_agent_goes_on(tmp_path: Path, tiny_bundle: Bundle) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    Image.new("RGB", (64, 48)).save(tmp_path / "image.png")
    agent = Agent(tmp_path, PYTHONPATH=str(tmp_path))
    try:
        request = measuring(agent, tiny_bundle)
        subject, image = request["subjects"]["tiny"], agent.put(tmp_path / "image.png")
        answer = agent.ask({"op": "detect", "limit_s": 60, "engine": "ort", "images": [image], "source": subject})
        assert not answer["ok"] and answer["of_model"] and "ended by SIGSEGV" in answer["error"]
        answer = agent.ask(request)
        assert not answer["ok"] and "no model was running, and the process ended by SIGSEGV" in answer["error"]
        assert agent.ask({"op": "hello", "limit_s": 30})["result"] == AGENT_VERSION
    finally:
        agent.process.kill()
        agent.process.wait()


def test_a_damaged_file_is_removed_and_never_loaded(agent: Agent, tiny_bundle: Bundle) -> None:
    request = measuring(agent, tiny_bundle)
    (agent.cache / request["subjects"]["tiny"]["model"]).write_bytes(b"other")
    assert "was damaged" in agent.ask(request)["error"] and not list(agent.cache.iterdir())


def test_a_request_that_takes_too_long_ends_the_agent(
    agent: Agent, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with lease_device("cpu"):
        assert "longer than its limit of 1 s" in agent.ask(measuring(agent, tiny_bundle, limit_s=1))["error"]
    assert agent.process.wait(10) != 0


def test_it_ends_with_its_client_and_frees_the_board(
    agent: Agent, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert agent.process.stdin is not None
    agent.process.stdin.write(json.dumps(measuring(agent, tiny_bundle, protocol="final")) + "\n")
    agent.process.stdin.flush()
    time.sleep(2)
    agent.process.stdin.close()
    assert agent.process.wait(10) != 0
    with lease_device("cpu", timeout_s=5):
        pass
