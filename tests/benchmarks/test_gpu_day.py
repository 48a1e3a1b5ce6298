"""`gpu_day` without a GPU: every part says why not, and whatever a part does to its process, the next one is begun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gpu_day
import pytest

from deploy.engines.cuda_driver import find_cuda_device
from deploy.errors import EngineError

SCRIPT = Path(gpu_day.__file__)

# As on a machine that has torch, torchvision and numpy, and of the rest nothing; what torch itself imports is allowed.
GUARD = """
import sys
BLOCKED = ("rich", "typer", "click", "jinja2", "plotly", "pydantic", "pycocotools", "onnx", "onnxruntime", "yaml",
           "hypothesis", "pytest", "safetensors", "polygraphy", "av", "cv2")

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Guard())
"""


def has_gpu() -> bool:
    try:
        find_cuda_device()
    except EngineError:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="there is a GPU: every part would run")
def test_on_a_cpu_with_torch_alone_it_ends_in_time_and_every_part_wants_a_gpu_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(GUARD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(gpu_day.ROOT)])}
    command = [sys.executable, str(SCRIPT), "--limit", "60s", "--out", "found"]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0 and time.monotonic() - began < 60, done.stdout + done.stderr
    parts = json.loads((tmp_path / "found" / "gpu_day.json").read_text())
    assert list(parts) == list(gpu_day.PARTS)
    machine = parts.pop("machine")
    assert machine["status"] == "done" and machine["result"]["versions"]["torch"][0].isdigit()
    assert machine["result"]["versions"]["onnx"] == "does not load (ImportError)"
    assert {part["status"] for part in parts.values()} == {"skipped"}
    assert {part["reason"] for part in parts.values()} == {"no NVIDIA GPU: no driver (libcuda.so.1)"}
    assert all(part["commit"] and len(part["sources_sha256"]) == 64 for part in parts.values())
    page = (tmp_path / "found" / "gpu_day.md").read_text()
    assert all(f"## {name}: " in page for name in gpu_day.PARTS)


PRETENDED = {
    "crashes": "import os\ndef run(day):\n    day.keep({'n': 1})\n    os._exit(7)\n",
    "hangs": "import time\ndef run(day):\n    day.keep({'n': 2})\n    time.sleep(60)\n",
    "raises": "def run(day):\n    raise ValueError('not so\\nmore')\n",
    "skips": "from gpu_parts.day import Skip\ndef run(day):\n    raise Skip('no such thing')\n",
    "runs": "def run(day):\n    return {'n': 3}\n",
}
DESCRIBE = "def describe(result):\n    yield f'n is {result[\"n\"]}'\n"


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the script whose parts do all that a part can do to it."""
    folder = tmp_path / "benchmarks"
    (folder / "gpu_parts").mkdir(parents=True)
    parts = ", ".join(f'"{name}": Part("{name}?", 6, 0, needs_gpu=False)' for name in PRETENDED)
    text = SCRIPT.read_text()
    before, after = text.split("\nPARTS: ", 1)
    after = after.split("\n}\n", 1)[1]
    (folder / "gpu_day.py").write_text(f"{before}\nPARTS: dict[str, Part] = {{{parts}}}\n{after}")
    for name in ("__init__.py", "day.py"):
        (folder / "gpu_parts" / name).write_text((SCRIPT.parent / "gpu_parts" / name).read_text())
    for name, code in PRETENDED.items():
        (folder / "gpu_parts" / f"{name}.py").write_text(code + DESCRIBE)
    return folder / "gpu_day.py"


def test_whatever_a_part_does_the_next_one_is_begun(pretended: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(pretended), "--limit", "60s", "--out", str(tmp_path / "out"), "--commit", "abc"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "out" / "gpu_day.json").read_text())
    assert {name: part["status"] for name, part in parts.items()} == {
        "crashes": "failed", "hangs": "out of time", "raises": "failed", "skips": "skipped", "runs": "done",
    }  # fmt: skip
    assert parts["crashes"]["reason"].startswith("its process ended with 7") and parts["crashes"]["result"] == {"n": 1}
    assert parts["hangs"]["reason"] == "not finished after 6 s; what it had found is kept"
    assert parts["hangs"]["lines"] == ["n is 2"] and parts["hangs"]["seconds"] < 12
    assert parts["raises"]["reason"] == "ValueError: not so" and "Traceback" in parts["raises"]["traceback"]
    assert (parts["skips"]["reason"], parts["runs"]["reason"]) == ("no such thing", "")
    assert {part["commit"] for part in parts.values()} == {"abc"}


def test_without_time_left_a_part_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_day, "require_gpu", lambda: "NVIDIA Double")
    found = gpu_day.run_part("latency", tmp_path, None, 7.0)
    assert found["status"] == "skipped" and found["reason"] == "only 7 s of the limit are left, and it wants 25"


@pytest.mark.parametrize(("text", "seconds"), [("8m", 480), ("60s", 60), ("90", 90), ("1.5m", 90)])
def test_limits_are_minutes_or_seconds(text: str, seconds: float) -> None:
    assert gpu_day.parse_arguments(["--limit", text]).limit == seconds


def test_parts_run_in_the_order_asked_for() -> None:
    assert gpu_day.parse_arguments(["--parts", "training, machine,training"]).parts == ["training", "machine"]


@pytest.mark.parametrize(
    "wrong", [["--limit", "soon"], ["--limit", "0s"], ["--parts", "latency,dance"], ["--data", "/no"]]
)
def test_wrong_arguments_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_day.parse_arguments(wrong)
    assert wrong[1].split(",")[-1] in capsys.readouterr().err
