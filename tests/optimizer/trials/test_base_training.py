"""The base's training in stretches: when it ends, and that a killed one comes to the same end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from optimizer.arch import base_arch
from optimizer.detectors.base import Truth
from optimizer.train.config import TrainConfig
from optimizer.train.loop import TrainResult, train
from optimizer.train.state import TrainState
from optimizer.train.steps import DetectionStep
from optimizer.trials.base_training import BaseTraining, Standing, choose_stretch
from optimizer.trials.jobs import Batches, StudentJob

STEPS = 5
RECIPE = TrainConfig(epochs=40, lr=0.02, precision="fp32", warmup_steps=4, checkpoint_every_s=0.0)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 1, 1))

    def forward(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        return {"far": (self.layers(images).mean((1, 2, 3)) - 1).square().mean()}

    def count_epochs(self) -> int:
        return int(self.layers[1].num_batches_tracked) // STEPS


class SomeBatches:
    """Those of an epoch and a step are always the same; `stop_at` ends the process at a step of all."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.served = stop_at, 0

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        for step in range(start_step, STEPS):
            if self.stop_at == number * STEPS + step:
                raise KeyboardInterrupt
            self.served += 1
            random = torch.Generator().manual_seed(100 * number + step)
            truths = [Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))] * 2
            yield torch.randn(2, 3, 8, 8, generator=random), truths


class Base:
    """A base in training, as a process has it: a new model, and the files of those before."""

    def __init__(self, folder: Path, learnt_after: int, **changes: object) -> None:
        self.model = Small()
        self.learnt_after = learnt_after
        self.jobs: list[StudentJob] = []
        job = StudentJob(
            arch=base_arch("r18", (64, 64)), recipe=RECIPE.model_copy(update=changes), seed=3,
            batches=Batches(data=folder, size=2, augment="none", workers=0), checkpoint=folder / "trial-0.ckpt",
        )  # fmt: skip
        self.training = BaseTraining(job, STEPS, stretch=1, limit_s=float("inf"))

    def run(
        self, batches: SomeBatches | None = None, limit_s: float = float("inf"), stop_judging: int = -1
    ) -> Standing:
        def judge() -> float:
            if self.model.count_epochs() == stop_judging:
                raise KeyboardInterrupt
            return min(0.1 * self.model.count_epochs(), 0.1 * self.learnt_after)

        def run_job(job: StudentJob) -> TrainResult:
            self.jobs.append(job)
            start = None
            if job.start is not None:
                start, weights, _ = TrainState.load(job.start)
                self.model.load_state_dict(weights)
            return train(
                self.model, batches or SomeBatches(), DetectionStep(), job.recipe, seed=job.seed,
                checkpoint=job.checkpoint, start=start, first_epoch=job.first_epoch,
            )  # fmt: skip

        return replace(self.training, limit_s=limit_s).run(self.model, run_job, judge)[0]


def test_it_ends_once_it_stops_gaining_and_cools_down_for_a_quarter(tmp_path: Path) -> None:
    base = Base(tmp_path, learnt_after=6)
    reached = base.run()
    *constant, last = base.jobs
    before = last.first_epoch
    assert {job.recipe.schedule for job in constant} == {"constant"} and constant[0].recipe.warmup_steps == 4
    assert [job.first_epoch for job in constant] == [0, *range(4, before)]
    assert last.recipe.schedule == "linear" and last.recipe.epochs == -(-before // 4)
    assert 12 <= before <= 16, "learnt after 6, and eight judgements that say so"
    assert reached.still_gaining is False and reached.epochs == base.model.count_epochs() == before + last.recipe.epochs
    assert reached.judged[0] == (4, 0.4) and reached.judged[-1] == (reached.epochs, pytest.approx(0.6))
    assert len({job.seed for job in base.jobs}) == len(base.jobs)


@pytest.mark.parametrize(("changes", "limit_s"), [({"epochs": 10}, float("inf")), ({}, 0.0)])
def test_one_that_has_no_more_time_says_that_it_was_still_gaining(
    changes: dict[str, object], limit_s: float, tmp_path: Path
) -> None:
    base = Base(tmp_path, learnt_after=100, **changes)
    reached = base.run(limit_s=limit_s)
    assert reached.still_gaining is True and base.jobs[-1].recipe.schedule == "linear"
    assert reached.epochs <= (10 if changes else 5)


@pytest.mark.parametrize(
    "kill",
    [
        *(lambda base, at=at: base.run(SomeBatches(stop_at=at)) for at in (0, 7, 19, 20, 23, 62, 71)),
        *(lambda base, at=at: base.run(stop_judging=at) for at in (4, 7)),
    ],
)
def test_a_killed_one_comes_to_the_same_end_bit_for_bit(kill: Callable[[Base], Standing], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(), (tmp_path / "other").mkdir()
    whole, killed = Base(tmp_path / "one", 6), Base(tmp_path / "other", 6)
    undisturbed = whole.run()
    with pytest.raises(KeyboardInterrupt):
        kill(killed)
    again = Base(tmp_path / "other", 6)
    resumed = again.run()
    assert replace(resumed, seconds=0.0) == replace(undisturbed, seconds=0.0)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_one_whose_state_was_cut_short_starts_over_and_comes_to_the_same_end(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(), (tmp_path / "other").mkdir()
    whole, cut = Base(tmp_path / "one", 6), Base(tmp_path / "other", 6)
    undisturbed = whole.run()
    with pytest.raises(KeyboardInterrupt):
        cut.run(SomeBatches(stop_at=62))
    state = tmp_path / "other" / "trial-0.state"
    state.write_bytes(state.read_bytes()[:100])
    assert replace(Base(tmp_path / "other", 6).run(), seconds=0.0) == replace(undisturbed, seconds=0.0)


def test_one_that_is_over_is_not_trained_again(tmp_path: Path) -> None:
    first = Base(tmp_path, 6)
    reached = first.run()
    again, batches = Base(tmp_path, 6), SomeBatches()
    assert again.run(batches) == reached and not batches.served
    assert all(
        torch.equal(one, other) for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["trial-0.state"]


@pytest.mark.parametrize(
    ("steps", "images", "kept", "stretch"), [(34, 136, 24, 1), (17, 68, 24, 1), (12, 48, 24, 2), (2, 8, 4, 8)]
)
def test_judging_takes_a_small_part_of_the_time(steps: int, images: int, kept: int, stretch: int) -> None:
    assert choose_stretch(steps, images, kept) == stretch
    assert 0.4 * kept <= 0.151 * (stretch * images + 0.4 * kept)


def test_an_unusual_number_of_epochs_is_kept_to(tmp_path: Path) -> None:
    for most in (2, 3, 4, 5, 7):
        folder = tmp_path / str(most)
        folder.mkdir()
        assert Base(folder, 100, epochs=most).run().epochs <= most


def test_the_model_of_a_test_is_the_same_each_time() -> None:
    one, other = Small(), Small()
    assert all(torch.equal(a, b) for a, b in zip(copy.deepcopy(one).parameters(), other.parameters(), strict=True))
