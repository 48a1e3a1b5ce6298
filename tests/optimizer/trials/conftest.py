"""One small run whose base is there: a narrow, untrained detector, exported and stored as an evaluation does it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from made_trials import make_done
from narrow import narrow_arch
from rich.console import Console

from deploy.data import read_dataset
from optimizer.arch import ArchSpec
from optimizer.config import RunConfig
from optimizer.cost.macs import MacsCost
from optimizer.data.shapes import write_shapes
from optimizer.data.splits import Splits
from optimizer.detectors import build_detector
from optimizer.progress import RunProgress
from optimizer.recipes import smoke
from optimizer.store import RunStore
from optimizer.trials.evaluation import Evaluation, build_evaluation


@dataclass(frozen=True)
class SmallRun:
    config: RunConfig
    store: RunStore
    splits: Splits
    said: io.StringIO

    def build_evaluation(self, config: RunConfig | None = None) -> Evaluation:
        progress = RunProgress(Console(file=self.said, width=200))
        return build_evaluation(config or self.config, self.store, self.splits, MacsCost(), progress)


@pytest.fixture(scope="module")
def small_arch() -> ArchSpec:
    """The base of `small_run`; a module that prunes it has a wider one."""
    return narrow_arch((96, 96), region_proposals=30)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_arch: ArchSpec) -> Iterator[SmallRun]:
    folder = tmp_path_factory.mktemp("small")
    config = smoke().changed(
        {"search.cost": "macs", "search.teacher": "none", "trial_train.checkpoint_every_s": 0.0,
         "data": write_shapes(folder / "shapes", train=4, val=4, size=(96, 96), seed=0)}
    )  # fmt: skip
    assert config.data is not None
    splits = Splits.divide(read_dataset(config.data, "train"), read_dataset(config.data, "val"))
    with RunStore.create(folder / "run", config.model_dump(mode="json")) as store:
        run = SmallRun(config, store, splits, io.StringIO())
        detector = build_detector(small_arch, len(splits.train.class_names), seed=config.seed)
        files = run.build_evaluation().exporter.store(0, small_arch, detector)
        store.record(make_done(arch=small_arch, files=files))
        yield run
