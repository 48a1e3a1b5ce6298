"""The benchmarks of crashes, in short: each says by its exit code whether all was as it should be."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = [
    pytest.mark.timeout(900),  # whole runs, on a machine that may be busy
    pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="needs a C compiler (cc or gcc)"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]


def run_benchmark(name: str, folder: Path, *options: str) -> str:
    """What it writes as its report; an error where it does not end well."""
    report = folder / "report.md"
    command = [sys.executable, str(BENCHMARKS / name), "--processes", "1", "--work", str(folder / "work")]
    result = subprocess.run(
        [*command, "--report", str(report), *options], capture_output=True, text=True, check=False, timeout=800
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return report.read_text()


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    report = run_benchmark("thousand_kills.py", tmp_path, "--kills", "20", "--runs", "pareto", "--seed", "7")
    found = re.search(r"(\d+) of (\d+) kills changed nothing", report)
    assert found is not None and found[1] == found[2] and int(found[1]) >= 20


def test_from_what_a_power_cut_leaves_a_run_goes_on(tmp_path: Path) -> None:
    report = run_benchmark("power_cuts.py", tmp_path, "--runs", "short", "--every", "40")
    found = re.search(r"(\d+) of (\d+) states of the disk led to the same trials", report)
    assert found is not None and found[1] == found[2] and int(found[1]) >= 4


def test_a_run_whose_disk_fails_ends_with_one_line_and_goes_on(tmp_path: Path) -> None:
    report = run_benchmark("failing_calls.py", tmp_path, "--commands", "start", "--every", "60", "--first", "7")
    found = re.search(r"(\d+) of (\d+) calls were borne as they should be", report)
    assert found is not None and found[1] == found[2] and int(found[1]) >= 4
