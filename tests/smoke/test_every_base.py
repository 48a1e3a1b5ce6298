"""`optimize --preset smoke`, whole, for every ResNet under every detector with anchors. Networks are the real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import open_bundle
from optimizer.search.base import list_done
from optimizer.store import RunStore

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("detector", ["centernet", "faster_rcnn", "retinanet"])
def test_subnets_of_a_once_for_all_network_end_as_bundles(detector: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "optimizer", "--base", "ofa_resnet50", "--method", "detofa", "--teacher", "none"]
    command += ["--detector", detector, "--preset", "smoke", "--limit", "0.8"]
    command += ["--population", "4", "--generations", "2"]
    command += ["--epochs", "30" if detector == "centernet" else "12"]  # a base has to detect something
    result = subprocess.run([*command, "--out", str(run)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    with RunStore.open(run, writable=False) as store:
        assert store.status == "finished" and len(list_done(store.history())) == 2
    front = json.loads((run / "front.json").read_text())
    for entry in (front["base"], *front["students"]):
        assert open_bundle(run / entry["bundle"]).manifest.arch_id == entry["arch_id"]


@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet"])
@pytest.mark.parametrize("base", ["r18", "r50", "r101", "x101"])
def test_a_search_from_every_base_ends_with_bundles(base: str, detector: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "optimizer", "--base", base, "--detector", detector, "--preset", "smoke"]
    if (base, detector) == ("x101", "faster_rcnn"):
        command += ["--epochs", "12"]  # of five it may detect nothing, which is refused
    result = subprocess.run([*command, "--out", str(run)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    with RunStore.open(run, writable=False) as store:
        assert store.status == "finished"
        done = list_done(store.history())
    front = json.loads((run / "front.json").read_text())
    bundles = [open_bundle(run / entry["bundle"]).manifest for entry in (front["base"], *front["students"])]
    assert len(done) >= 3 and {bundle.arch_id for bundle in bundles} <= {trial.arch.arch_id for trial in done}
