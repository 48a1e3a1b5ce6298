"""The whole algorithm with a made-up super-network, killed wherever it keeps something."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy_paths import ToyPaths, make_up_losses

from optimizer.errors import InputError
from optimizer.path_filter.agreement import measure_agreement
from optimizer.path_filter.algorithm import DetOfa, Keeper, KeptInFolder, Outcome
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.filter import FilterConfig, PathFilter, Scorer
from optimizer.path_filter.pruning import PruningConfig
from optimizer.path_filter.ranking import FitConfig, Validated, fit
from optimizer.path_filter.sampling import PathStream
from optimizer.path_filter.schedule import PAPER, PROGRESSIVE_SHRINKING, Schedule
from optimizer.seeds import derive_seed

SPACE = ToyPaths((1,))
BUCKETS = Buckets.between_ends(SPACE, count=2)
SCHEDULE = Schedule(
    warm_up=2, train=3, paths=7, pruning=PruningConfig(draws=3, ratio=0.2), fit=FitConfig(epochs=2, held_out=0.3)
)
STEPS = 4  # of an epoch


class Killed(BaseException):
    """The process is gone."""


@dataclass
class MadeUpNetwork:
    """Its one weight is what its training saw; it is saved after each epoch, and dies in the second one if asked."""

    deadly: set[str] = field(default_factory=set)
    saved: dict[str, tuple[int, float]] = field(default_factory=dict)
    validated: int = 0
    classified: int = 0

    def train(self, name: str, epochs: int, paths: PathStream) -> None:
        before = self.saved.get("warm-up", (0, 0.0))[1] if name == "training" else 0.0
        epoch, weight = self.saved.get(name, (0, before))
        for number in range(epoch, epochs):
            for step in range(number * STEPS, (number + 1) * STEPS):
                weight = 0.9 * weight + float(paths.at(step) @ np.arange(1.0, 6.0))
            if number == 1 and name in self.deadly:
                self.deadly.remove(name)
                raise Killed
            self.saved[name] = (number + 1, weight)

    def validate(self, genes: NDArray[np.int64]) -> float:
        self.validated += 1
        _, weight = self.saved.get("training", self.saved["warm-up"])
        return float(make_up_losses(SPACE, genes[None], noise=0.3, seed=int(1000 * weight) % 2**31)[0])

    def classify(self, genes: NDArray[np.int64]) -> float:
        """Nearly what detecting would find, before any of that is trained."""
        assert not self.saved
        self.classified += 1
        return float(make_up_losses(SPACE, genes[None], noise=0.1, seed=int(genes @ np.arange(5)))[0])


@dataclass
class Dying:
    """The first time that something is written the process dies before, the second time after it."""

    keeper: Keeper
    tried: Counter[bytes] = field(default_factory=Counter)

    def read(self, name: str) -> bytes | None:
        return self.keeper.read(name)

    def write(self, name: str, content: bytes) -> None:
        key = name.encode() + content
        self.tried[key] += 1
        if self.tried[key] > 1:
            self.keeper.write(name, content)
        if self.tried[key] <= 2:
            raise Killed


def begin(network: MadeUpNetwork, keeper: Keeper, schedule: Schedule = SCHEDULE, seed: int = 0) -> DetOfa:
    start = PathFilter(SPACE, FilterConfig(width=8, heads=2, layers=1, buckets=2))
    return DetOfa(BUCKETS, start, schedule, network.train, network.validate, keeper, seed, classify=network.classify)


def list_figures(outcome: Outcome) -> list[object]:
    """All that an outcome says, in a form that can be compared."""
    return [
        outcome.pruned,
        *(list(map(repr, (found.losses, found.agreement))) for found in (outcome.first, outcome.last)),
        outcome.validated.genes.tolist(),
        outcome.validated.losses.tolist(),
    ]


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("unkilled")
    return begin(MadeUpNetwork(), KeptInFolder(folder)).run(), folder


def test_a_run_that_is_killed_at_every_write_and_in_its_trainings_comes_to_the_same(
    unkilled: tuple[Outcome, Path], tmp_path: Path
) -> None:
    network, keeper = MadeUpNetwork({"warm-up", "training"}), Dying(KeptInFolder(tmp_path / "states"))
    deaths, outcome = 0, None
    while outcome is None:
        assert deaths < 200, "it never ends"
        try:
            outcome = begin(network, keeper).run()
        except Killed:
            deaths += 1
    assert list_figures(outcome) == list_figures(unkilled[0])
    for found, expected in ((outcome.first, unkilled[0].first), (outcome.last, unkilled[0].last)):
        expected_tensors = expected.filter.state_dict()
        assert all(torch.equal(tensor, expected_tensors[name]) for name, tensor in found.filter.state_dict().items())
    writes = 1 + 2 + 2 * 14 + 2 * 2 + 2
    assert deaths == 2 * writes + 2  # and two in the second epoch of a training
    assert network.validated == 2 * 28  # none is judged anew once it was kept


def test_a_pre_training_that_is_killed_at_every_write_comes_to_the_same(tmp_path: Path) -> None:
    """Paths that classify are kept by the 25, so what is lost are at most so many."""
    schedule = replace(SCHEDULE, classified=60)
    whole = begin(MadeUpNetwork(), KeptInFolder(tmp_path / "whole"), schedule).run()
    network, keeper = MadeUpNetwork(), Dying(KeptInFolder(tmp_path / "killed"))
    deaths, outcome = 0, None
    while outcome is None:
        try:
            outcome = begin(network, keeper, schedule).run()
        except Killed:
            deaths += 1
    assert whole.classified is not None and outcome.classified is not None
    assert list_figures(outcome) == list_figures(whole)
    assert repr(outcome.classified.agreement) == repr(whole.classified.agreement)
    assert deaths == 2 * (1 + 3 + 2 + 2 + 2 * 14 + 2 * 2 + 2) and 60 < network.classified <= 60 + 25 + 25 + 10
    names = (f"classified-{name}" for name in ("paths.json", "filter.json", "filter.safetensors"))
    assert all((tmp_path / "killed" / n).read_bytes() == (tmp_path / "whole" / n).read_bytes() for n in names)
    with pytest.raises(InputError, match="has another schedule; go on with its options"):
        begin(MadeUpNetwork(), KeptInFolder(tmp_path / "whole")).run()


def test_a_long_judging_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.path_filter.algorithm.MANY", 40)
    steps = list[str]()
    algorithm = begin(MadeUpNetwork(), KeptInFolder(tmp_path), replace(SCHEDULE, classified=40))
    replace(algorithm, tell=steps.append).run()
    assert steps[:11] == ["classified-paths", *(f"classified-paths, {count} of 40" for count in range(4, 41, 4))]
    assert steps[11:13] == ["classified-filter", "warm-up"], "few paths are judged in silence"


def test_detection_starts_from_the_filter_that_was_fitted_to_classification(
    unkilled: tuple[Outcome, Path], tmp_path: Path
) -> None:
    """It ranks what detects before it has seen any, where a new filter cannot; and the rest of the run begins there."""
    learnt = FitConfig(rate=3e-3, batch=16, epochs=60, held_out=0.3)
    schedule, steps = replace(SCHEDULE, classified=400, fit=learnt), list[str]()
    algorithm = begin(MadeUpNetwork(), KeptInFolder(tmp_path), schedule)
    outcome = replace(algorithm, tell=steps.append).run()
    assert steps[:4] == ["classified-paths", "classified-filter", "warm-up", "first-paths"]
    assert outcome.classified is not None
    first = json.loads((tmp_path / "first-paths.json").read_text())
    paths = Validated(np.array(first["genes"]), np.array(first["losses"]))
    begun = fit(outcome.classified.filter, paths, BUCKETS, replace(learnt, epochs=0), derive_seed(0, "first-filter"))
    assert outcome.first.losses[0] == begun.losses[0]
    fresh = BUCKETS.draw_each(100, np.random.default_rng(3))
    losses, numbers = make_up_losses(SPACE, fresh, noise=0.3), BUCKETS.find(fresh)
    pretrained, new = (
        measure_agreement(Scorer(each, BUCKETS)(fresh), losses, numbers).tau
        for each in (outcome.classified.filter, algorithm.start)
    )
    assert pretrained > 0.6 > 0.3 > new
    assert unkilled[0].classified is None


def test_nothing_is_done_twice(unkilled: tuple[Outcome, Path]) -> None:
    network, steps = MadeUpNetwork(), []
    again = replace(begin(network, KeptInFolder(unkilled[1])), tell=steps.append).run()
    assert list_figures(again) == list_figures(unkilled[0])
    assert not steps and not network.saved and not network.validated


def test_the_steps_come_in_the_paper_s_order_and_their_states_are_files(tmp_path: Path) -> None:
    steps: list[str] = []
    outcome = replace(begin(MadeUpNetwork(), KeptInFolder(tmp_path)), tell=steps.append).run()
    assert steps == [
        *("warm-up", "first-paths", "first-filter", "pruning", "thresholds", "training", "last-paths", "last-filter")
    ]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("setting.json", "warm-up", "first-paths.json", "first-filter.json", "first-filter.safetensors"),
        *("pruned.json", "thresholds.json", "training", "last-paths.json", "last-filter.json"),
        "last-filter.safetensors",
    }
    assert outcome.pruned.permit(BUCKETS, outcome.validated.genes).all()
    assert BUCKETS.find(outcome.validated.genes).tolist() == [0] * 7 + [1] * 7
    assert min(outcome.pruned.thresholds) > 0 and len(outcome.first.losses) == 3


def test_another_seed_comes_to_something_else(unkilled: tuple[Outcome, Path], tmp_path: Path) -> None:
    other = begin(MadeUpNetwork(), KeptInFolder(tmp_path), seed=1).run()
    assert list_figures(other) != list_figures(unkilled[0])


def test_states_of_another_training_are_refused(unkilled: tuple[Outcome, Path]) -> None:
    other = begin(MadeUpNetwork(), KeptInFolder(unkilled[1]), replace(SCHEDULE, paths=8), seed=2)
    with pytest.raises(InputError, match="the training that was begun here has another seed and schedule; go on with"):
        other.run()


def test_a_validation_that_fails_is_the_worst_of_its_bucket(tmp_path: Path) -> None:
    network = MadeUpNetwork()

    def validate(genes: NDArray[np.int64]) -> float:
        return float("nan") if network.validated == 3 else network.validate(genes)

    def count(genes: NDArray[np.int64]) -> float:
        loss = validate(genes)
        network.validated += loss != loss
        return loss

    outcome = replace(begin(network, KeptInFolder(tmp_path)), validate=count).run()
    assert b"null" in (tmp_path / "first-paths.json").read_bytes()
    assert np.isfinite(outcome.first.losses).all()


def test_damaged_states_are_refused_in_one_line(unkilled: tuple[Outcome, Path], tmp_path: Path) -> None:
    shutil.copytree(unkilled[1], tmp_path, dirs_exist_ok=True)
    for name, damage in (
        ("pruned.json", b"{"),
        ("pruned.json", b"[]"),
        ("first-paths.json", b"{}"),
        ("first-paths.json", b'{"genes": [[1, 2], [3]], "losses": []}'),
        ("first-paths.json", b'{"genes": [[1, 2, 0, 0, 3]], "losses": []}'),
        ("first-filter.json", b'{"losses": []}'),
        ("first-filter.safetensors", b"none"),
        ("thresholds.json", b'["high"]'),
        ("thresholds.json", b"7"),
    ):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(InputError, match="damaged") as caught:
            begin(MadeUpNetwork(), KeptInFolder(tmp_path)).run()
        assert "\n" not in str(caught.value)
        (tmp_path / name).write_bytes(content)
    assert list_figures(begin(MadeUpNetwork(), KeptInFolder(tmp_path)).run()) == list_figures(unkilled[0])


def test_the_paper_s_numbers_and_what_they_save() -> None:
    voc, coco = PAPER["voc"], PAPER["coco"]
    assert (voc.warm_up, voc.train, coco.warm_up, coco.train) == (5, 65, 10, 60) and voc.paths == coco.paths == 100
    assert voc.classified == coco.classified == 10_000 and "classified" not in Schedule().to_json()
    assert voc.pruning == PruningConfig("all", ratio=0.3, overall=0.1, draws=100) and voc.weak == 0.25
    assert sum(PROGRESSIVE_SHRINKING) == 3 * voc.epochs == 3 * coco.epochs == 210
    # days of a GPU, as table 3 prints them: without shrinking, sampling, ours, with shrinking
    for schedule, plain, sampling, ours, shrinking, saved in (
        (voc, 0.383, 0.414, 0.800, 1.150, 0.304),
        (coco, 4.804, 0.456, 5.260, 14.41, 0.635),
    ):
        assert 3 * plain == pytest.approx(shrinking, rel=1e-3)
        assert plain + sampling == pytest.approx(ours, rel=5e-3)
        assert 1 - ours / shrinking == pytest.approx(saved, abs=5e-4)
        assert schedule.measure_saving(plain / 70, sampling) == pytest.approx(saved, abs=3e-3)
