"""The project's tests that are marked `gpu`."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_parts.day import Day, Skip

__all__ = ["describe", "read_report", "run"]

ROOT = Path(__file__).resolve().parents[2]
SPARE_S = 5.0
LINES = 12  # of a failure's text


def run(day: Day) -> dict[str, Any]:
    if find_spec("pytest") is None:
        raise Skip("pytest is not installed")
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    day.scratch.mkdir(parents=True, exist_ok=True)
    report = day.scratch / "tests.xml"
    # the project's own options are left out: they name plug-ins that may not be there, and leave out what is marked gpu
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command += ["-m", "gpu", "-v", "--tb=short", f"--junitxml={report}", *files]
    log = day.scratch / "tests.log"
    with log.open("w") as output:
        try:
            subprocess.run(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, timeout=day.left_s() - SPARE_S, check=False
            )
        except subprocess.TimeoutExpired:
            lines = log.read_text().splitlines()
            return {"ended": "before all were done", "passed": sum(" PASSED" in x for x in lines), "tail": lines[-40:]}
    if not report.exists():
        return {"ended": "without a report", "passed": 0, "tail": log.read_text().splitlines()[-40:]}
    return read_report(report)


def read_report(path: Path) -> dict[str, Any]:
    """Counts, and of each test that did not pass the last lines it said, from a JUnit file."""
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    bad, skipped, seconds = {}, {}, {}
    for case in cases:
        name = case.get("name", "?")
        seconds[name] = float(case.get("time", 0))
        for mark in case:
            if mark.tag in ("failure", "error"):
                bad[name] = (mark.text or mark.get("message") or "").strip().splitlines()[-LINES:]
            elif mark.tag == "skipped":
                skipped[name] = mark.get("message", "")
    passed = len(cases) - len(bad) - len(skipped)
    return {"ended": "all done", "passed": passed, "failed": bad, "skipped": skipped, "seconds": seconds}


def describe(result: dict[str, Any]) -> Iterator[str]:
    failed, skipped = result.get("failed", {}), result.get("skipped", {})
    yield f"{result['passed']} passed, {len(failed)} failed, {len(skipped)} skipped ({result['ended']})"
    for name, lines in failed.items():
        yield f"\n`{name}`:\n"
        yield from (f"    {line}" for line in lines)
    for name, reason in skipped.items():
        yield f"- skipped `{name}`: {reason}"
    for line in result.get("tail", ()):
        yield f"    {line}"
