"""A whole run of the preset "smoke" for every base with both of its detectors; the figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import open_bundle

BASES = ("r18", "r50", "r101", "x101")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet"])
@pytest.mark.parametrize("base", BASES)
def test_a_smoke_run_ends_with_a_front(base: str, detector: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "optimizer", "--preset", "smoke", "--target", "cpu"]
    command += ["--base", base, "--detector", detector, "--out", str(run)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=840, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    front = json.loads((run / "front.json").read_text())
    assert front["base"]["ap"] > 0, "what detects nothing is no start"
    folders = list((run / "bundles").iterdir())
    assert len(folders) == 1 + len(front["students"])
    for folder in folders:
        bundle = open_bundle(folder)
        assert bundle.manifest.arch is not None and bundle.manifest.arch["head"]["kind"] == detector
    assert "<html" in (run / "report.html").read_text()[:200]
