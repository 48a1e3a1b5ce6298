"""`optimize --base r18 --target cpu`, whole, and what a user does with the outcome. The figures mean nothing."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from deploy.cli.parser import main as deploy
from optimizer.cli import main as optimize

pytestmark = pytest.mark.timeout(900)  # a whole run, on a machine that may be busy

KEYS = {"arch", "input_size", "precision", "ap", "ap50", "macs", "flops_mmdet", "params", "latency_ms", "score"}


@dataclass(frozen=True)
class Answer:
    returncode: object
    stdout: str
    stderr: str


def call(program: Callable[[list[str]], NoReturn], *arguments: str) -> Answer:
    """A program's entry point with these arguments: it ends by `SystemExit`, and any other exception is a failure."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        program(list(arguments))
    return Answer(ended.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that a process of its own finished, and what was printed."""
    run = tmp_path_factory.mktemp("main-job") / "run"
    command = [sys.executable, "-m", "optimizer", "--base", "r18", "--target", "cpu", "--preset", "smoke"]
    result = subprocess.run(
        [*command, "--out", str(run)], capture_output=True, text=True, timeout=840, check=False
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def read_front(run: Path) -> dict[str, Any]:
    front: dict[str, Any] = json.loads((run / "front.json").read_text())
    return front


def test_it_ends_with_the_front_and_the_path_of_the_report(finished: tuple[Path, str]) -> None:
    run, output = finished
    assert "plan: base about" in output and "Pareto set" in output
    assert str(run / "report.html") in output.replace("\n", "")
    assert "<html" in (run / "report.html").read_text()[:200]
    assert not list(run.rglob("*.part")), "nothing half-written is left"
    assert not list((run / "scratch").iterdir())


def test_every_student_has_a_teacher_from_the_pool_beside_the_run(finished: tuple[Path, str]) -> None:
    run, output = finished
    pools = list((run.parent / "teachers").iterdir())
    assert len(pools) == 1 and (pools[0] / "pool.json").is_file() and "for later runs as well" in output
    with sqlite3.connect(run / "run.db") as database:
        proposals = [json.loads(row[0]) for row in database.execute("select proposal from trials where number > 0")]
    assert len(proposals) == 2 and all(len(proposal["teacher"]["depths"]) == 4 for proposal in proposals)
    assert '<th class="text">teacher</th>' in (run / "report.html").read_text()
    listed = call(optimize, "teachers", "list", str(run.parent / "teachers"))
    assert listed.returncode == 0 and "1296 sub-networks" in listed.stdout and listed.stdout.count("AP 0.") == 3


def test_front_json_has_what_the_readme_promises(finished: tuple[Path, str]) -> None:
    run, _ = finished
    front = read_front(run)
    for entry in [front["base"], *front["students"]]:
        assert entry.keys() >= KEYS
        latency = entry["latency_ms"]["cpu"]
        assert latency["ci95"][0] <= latency["median"] <= latency["ci95"][1] and latency["median"] <= latency["p99"]
        assert (run / entry["bundle"] / "model.onnx").is_file()
    assert front["base"]["latency_of_base_over_own"] == 1.0


def test_the_ap_in_front_json_is_that_of_the_artefact(finished: tuple[Path, str]) -> None:
    run, _ = finished
    base = read_front(run)["base"]
    result = call(deploy, "evaluate", str(run / base["bundle"]), "--data", str(run / "data"), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ap"] == pytest.approx(base["ap"], abs=1e-9)


def test_a_bundle_detects_on_its_own(finished: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = finished
    image = next((run / "data" / "val").iterdir())
    bundle = run / "bundles" / "base"
    command = [sys.executable, "-I", "detect.pyz", "run", ".", str(image), "--json", "--score", "0.01"]
    result = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr
    line = json.loads(result.stdout)
    assert line["source"] == str(image) and (line["width"], line["height"]) == (96, 96)
    for item in line["objects"]:
        assert item["class"] in ("circle", "square", "triangle", "ring") and 0.01 <= item["score"] <= 1


def test_an_altered_bundle_is_refused(finished: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = finished
    image = next((run / "data" / "val").iterdir())
    altered = tmp_path / "bundle"
    altered.mkdir()
    for file in (run / "bundles" / "base").iterdir():
        content = file.read_bytes()
        (altered / file.name).write_bytes(content[:-1] + b"?" if file.name == "model.onnx" else content)
    result = call(deploy, "run", str(altered), str(image))
    assert result.returncode == 2 and "model.onnx" in result.stderr and "Traceback" not in result.stderr


def test_a_finished_run_is_resumed_by_reporting_it_again(finished: tuple[Path, str]) -> None:
    run, _ = finished
    before = read_front(run)
    for command in ("resume", "report"):
        (run / "report.html").unlink()
        result = call(optimize, command, str(run))
        assert result.returncode == 0, result.stderr
        assert (run / "report.html").is_file() and read_front(run) == before


def test_a_missing_artefact_is_named(finished: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = finished
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.db").write_bytes((run / "run.db").read_bytes())
    result = call(optimize, "resume", str(copy))
    assert result.returncode == 2 and "missing" in result.stderr and "Traceback" not in result.stderr
