"""What version 0.1.0 wrote still opens, and a run it left half-way comes to its end. Made by `v0_1_0/make.py`."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy import open_bundle, open_detector
from deploy.data import read_dataset
from optimizer.arch.spec import ArchSpec
from optimizer.data.shapes import write_shapes
from optimizer.run.run import resume_run
from optimizer.search.base import DoneTrial, list_done
from optimizer.store.run_store import RunStore
from optimizer.supernet.pool import list_pools, open_pool

KEPT = Path(__file__).with_name("v0_1_0")
EXPECTED = json.loads((KEPT / "trials.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run, interrupted after its first student; its images are generated again."""
    return Path(shutil.copytree(KEPT / "run", tmp_path / "run"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher pool, unpacked."""
    folder = Path(shutil.copytree(KEPT / "teachers", tmp_path_factory.mktemp("teachers") / "r18"))
    packed = folder / "phase-2.safetensors.xz"
    packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def count_of(trial: DoneTrial) -> tuple[int, int, int]:
    return trial.counts.macs, trial.counts.flops_mmdet, trial.counts.params


def test_a_database_opens_and_its_architectures_have_the_ids_they_had(run: Path) -> None:
    with RunStore.open(run, writable=False) as store:
        trials = store.history()
    assert [trial.status for trial in trials] == ["done", "done", "pending"]
    for trial, expected in zip(trials, EXPECTED):
        assert [action.to_json() for action in trial.proposal.actions] == expected["actions"]
        if isinstance(trial, DoneTrial):
            assert trial.arch.arch_id == expected["arch_id"]
            assert count_of(trial) == (expected["macs"], expected["flops_mmdet"], expected["params"])
            assert trial.ap == expected["ap"]
            assert list(trial.arch.body.depths) == expected["depths"]


def test_a_bundle_opens_and_detects() -> None:
    bundle = open_bundle(KEPT / "bundle")
    assert ArchSpec.from_json(bundle.manifest.arch).arch_id == bundle.manifest.arch_id == EXPECTED[1]["arch_id"]
    with open_detector(KEPT / "bundle") as detector:
        assert len(detector(np.zeros((90, 120, 3), np.uint8)).scores) <= bundle.manifest.max_detections


def test_a_pool_is_listed_and_gives_a_teacher(pool: Path, tmp_path: Path) -> None:
    (summary,) = list_pools(pool.parent)
    assert summary.is_trained and summary.config.name == "r18" and len(summary.ap) == 3
    data = read_dataset(write_shapes(tmp_path / "data", train=48, val=16, size=(96, 96), seed=3), "train")
    opened = open_pool(pool, data)
    member = opened.space.smallest()
    detector = opened.extract(member, torch.device("cpu"))
    assert detector.arch.body.depths == (1, 1, 1, 1) and not detector.training
    assert detector.arch.body.stages[0].blocks[0].widths == (8, 8)


@pytest.mark.slow
def test_a_run_is_resumed_to_its_end(run: Path, pool: Path) -> None:
    resume_run(run, teacher_pool=pool)
    with RunStore.open(run, writable=False) as store:
        trials = store.history()
        assert store.status == "finished"
    for trial, expected in zip(list_done(trials), EXPECTED, strict=True):
        assert trial.arch.arch_id == expected["arch_id"]
        assert count_of(trial) == (expected["macs"], expected["flops_mmdet"], expected["params"])
    front = json.loads((run / "front.json").read_text())
    for name in [student["bundle"] for student in (front["base"], *front["students"])]:
        assert open_bundle(run / name).manifest.arch_id in {expected["arch_id"] for expected in EXPECTED}
