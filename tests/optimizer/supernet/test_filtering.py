"""A once-for-all network trained by a path filter, killed on the way, and the search that the filter guides."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from shapes_data import ShapesData, make_shapes
from slim_pools import slim_ofa

from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.macs import count
from optimizer.arch.ofa_space import OfaSpace
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.report.filtered import Filtered
from optimizer.search.evolution import Breeding
from optimizer.search.predictor import Probe, fit_predictor
from optimizer.supernet.classified import ClassificationJudge
from optimizer.supernet.filter_config import Filtering
from optimizer.supernet.filtering import hash_states, open_guide
from optimizer.supernet.manifest import key_pool
from optimizer.supernet.ofa_config import OfaConfig, OfaRecipe
from optimizer.supernet.path_latency import MeasuredPaths, choose_subnets
from optimizer.supernet.pool import TeacherPool, open_pool
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.train.config import TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=2, lr=1e-3, optimizer="adamw", schedule="constant", warmup_steps=0, checkpoint_every_s=0.0)
RECIPE = OfaRecipe(
    train=TRAIN, shrinking="filter", filtering=Filtering(paths=8, draws=3, fit_epochs=2), batch_size=2,
    calibration_images=2,
)  # fmt: skip


class Killed(BaseException):
    """The process is gone."""


class Dying(RunProgress):
    """Says what is done, and dies at a text or in a phase's second step."""

    def __init__(self, at: str | None = None, in_phase: str | None = None) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.at, self.in_phase, self.said, self.phase = at, in_phase, list[str](), ""

    def say(self, text: str) -> None:
        self.said.append(text)
        if text == self.at:
            raise Killed

    def start_step(self, text: str, total: int) -> None:
        self.phase = text
        super().start_step(text, total)

    def advance_step(self, completed: int, note: str = "") -> None:
        if self.in_phase is not None and self.in_phase in self.phase and completed == 2:
            raise Killed


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OFA_SHAPES, "small", OfaShape((1, 1, 1, 1), (1, 1, 1, 0), (32, 32, 48, 64), 16, 8))
        patch.setattr(OfaSpace, "arch", slim_ofa)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShapesData:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=2)


def make() -> OfaConfig:
    return RECIPE.make("small", ((64, 64), (48, 48)), 20, "faster_rcnn")


def train_in(folder: Path, data: ShapesData, progress: Dying | None = None) -> TeacherPool:
    images = PoolImages(data.folder, data.train, data.val, kept=data.val)
    return train_pool(folder, make(), images, CPU, progress or Dying())


@pytest.fixture(scope="module")
def trained(data: ShapesData, tmp_path_factory: pytest.TempPathFactory) -> TeacherPool:
    return train_in(tmp_path_factory.mktemp("pools") / "whole", data)


def test_a_training_killed_in_several_phases_comes_to_the_same_network_and_filter(
    trained: TeacherPool, data: ShapesData, tmp_path: Path
) -> None:
    for progress in (
        Dying(in_phase="teachers 1/2"), Dying("path filter: first-filter"), Dying(in_phase="teachers 2/2"),
        Dying("path filter: last-paths"),
    ):  # fmt: skip
        with pytest.raises(Killed):
            train_in(tmp_path / "pool", data, progress)
    again = train_in(tmp_path / "pool", data)
    for name, tensor in trained.supernet.shared.state_dict().items():
        assert torch.equal(again.supernet.shared.state_dict()[name], tensor), name
    assert again.manifest.states == trained.manifest.states
    assert {"last-filter.safetensors", "pruned.json", "thresholds.json"} <= again.manifest.states.keys()


def test_the_filter_is_pre_trained_on_paths_that_classify_and_a_death_meanwhile_costs_little(
    data: ShapesData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed as it begins, after the 30th path, and as it is fitted; those of the first 25 are not judged again."""
    before = Pretraining(train=TRAIN.model_copy(update={"epochs": 1}), batch_size=8, size=(32, 32))
    filtering = RECIPE.filtering.model_copy(update={"classification_paths": 40})
    recipe = RECIPE.model_copy(update={"pretraining": before, "filtering": filtering})
    config = recipe.make("small", ((64, 64),), 20, "faster_rcnn")
    images, judged, measure = (
        PoolImages(data.folder, data.train, data.val, kept=data.val),
        [0],
        ClassificationJudge.measure,
    )

    def count(judge: ClassificationJudge, genes: NDArray[np.int64]) -> float:
        judged[0] += 1
        if judged[0] == 30:
            raise Killed
        return measure(judge, genes)

    monkeypatch.setattr(ClassificationJudge, "measure", count)
    for death in (Dying("path filter: classified-paths"), Dying(), Dying("path filter: classified-filter")):
        with pytest.raises(Killed):
            train_pool(tmp_path / "pool", config, images, CPU, death)
    progress = Dying()
    pool = train_pool(tmp_path / "pool", config, images, CPU, progress)
    assert judged[0] == 30 + 15
    assert any(
        line.startswith("path filter before the warm-up, on classification: Kendall's") for line in progress.said
    )
    assert not any("not pre-trained" in line for line in progress.said)
    guide = open_guide(open_pool(pool.folder, data.train).manifest)
    assert guide is not None
    told = Filtered.from_json(json.loads(json.dumps(guide.describe())))
    assert told.classified == 40
    assert [*told.agreement] == ["before the warm-up, on classification", "after the warm-up", "at the end"]
    with pytest.raises(Killed):
        train_pool(tmp_path / "whole", config, images, CPU, Dying("path filter: warm-up"))
    unkilled = hash_states(tmp_path / "whole")
    assert {"classified-paths.json", "classified-filter.safetensors"} <= unkilled.keys()
    assert {name: pool.manifest.states[name] for name in unkilled} == unkilled


def test_a_filter_that_is_not_pre_trained_says_so_in_one_line(data: ShapesData, tmp_path: Path) -> None:
    progress = Dying("path filter: first-paths")
    with pytest.raises(Killed):
        train_in(tmp_path / "pool", data, progress)
    said = [line for line in progress.said if "not pre-trained" in line]
    assert said == [
        "path filter: not pre-trained on classification paths, as its body was not pre-trained (--pretrain none)"
    ]


def test_what_the_filter_permits_and_prefers_is_of_the_space(trained: TeacherPool) -> None:
    guide = open_guide(trained.manifest)
    assert guide is not None
    rng = Random(0)
    drawn = [guide.sample(rng) for _ in range(20)]
    assert all(trained.space.contains(subnet) and guide.permits(subnet) for subnet in drawn)
    assert not all(guide.permits(trained.space.sample(rng)) for _ in range(50))
    best = guide.choose(drawn)
    rivals = [subnet for subnet in drawn if subnet.size == drawn[0].size]
    genes = guide._list_genes([best, *rivals])
    numbers, scores = guide.buckets.find(genes), guide.score(genes)
    assert best in rivals and numbers[0] == numbers.max()
    assert scores[0] == pytest.approx(scores[numbers == numbers[0]].max())


def test_the_filter_alone_breeds_the_best_subnet_of_a_limit(trained: TeacherPool) -> None:
    """A limit of the operations of the whole detector, where buckets are of the body's."""
    guide = open_guide(trained.manifest)
    assert guide is not None
    guide = replace(guide, space=replace(guide.space, sizes=((96, 96), (64, 64))))
    space, breeding = guide.space, Breeding(population=12, mutants=6, children=6, parents=4)
    whole = count(space.arch(space.largest()), 4).macs

    def price(arch: ArchSpec) -> float:
        return count(arch, 4).macs / whole

    rng = np.random.default_rng(0)
    rivals = guide.buckets.draw_each(40, rng)
    shares = np.array([price(space.arch(space.subnet(path.tolist(), space.sizes[0]))) for path in rivals])
    limit = float(np.quantile(shares, 0.6))
    best = guide.breed(price, limit, breeding, 6)
    assert best == guide.breed(price, limit, breeding, 6) and best.size == space.sizes[0]
    assert price(space.arch(best)) <= limit and guide.permits(best)
    genes = guide._list_genes([best])
    same = rivals[(shares <= limit) & (guide.buckets.find(rivals) == guide.buckets.find(genes)[0])]
    assert guide.buckets.find(genes)[0] == guide.buckets.find(rivals[shares <= limit]).max()
    assert len(same) and guide.score(genes)[0] >= np.quantile(guide.score(same), 0.75)
    least = price(space.arch(space.subnet([0] * len(space.slots), space.sizes[0])))
    assert guide.breed(price, least * 0.99, breeding, 1).size == space.sizes[-1], "the larger canvas is too dear"
    with pytest.raises(InputError, match="raise the limit"):
        guide.breed(price, least * 0.01, breeding, 1)


def test_the_report_is_told_how_it_ranked_and_what_is_left(trained: TeacherPool) -> None:
    guide = open_guide(trained.manifest)
    assert guide is not None
    told = Filtered.from_json(json.loads(json.dumps(guide.describe())))
    assert list(told.agreement) == ["after the warm-up", "at the end"] and told.paths == 5 * 8
    assert told.by == "operations of the body" and told.ends[-1] == 1 and [*told.ends] == sorted(told.ends)
    assert [slot.name for slot in told.slots] == [slot.name for slot in guide.space.slots]
    assert told.allowed == guide.pruned.allowed and all(0.5 < share < 0.8 for share in told.left)
    for found in told.agreement.values():
        assert found["tau"] is not None and found["precision"] == found["recall"]


def test_buckets_may_be_of_latency_as_predicted_before_the_training(data: ShapesData, tmp_path: Path) -> None:
    """A device on which every path takes nearly as long. What was measured first stays, whoever goes on."""
    recipe = RECIPE.model_copy(update={"filtering": RECIPE.filtering.model_copy(update={"bucket": "latency"})})
    config = recipe.make("small", ((64, 64),), 20, "faster_rcnn").for_target("toy")
    space, images = config.space(), PoolImages(data.folder, data.train, data.val, kept=data.val)

    def measure(share: float) -> MeasuredPaths:
        probes = tuple(Probe(space.arch(subnet), share) for subnet in choose_subnets(space)[1:])
        return MeasuredPaths("toy", space.arch(space.largest()), probes, 4)

    with pytest.raises(InputError, match="have a run train this super-network"):
        train_pool(tmp_path, config, images, CPU, Dying())
    with pytest.raises(Killed):
        train_pool(tmp_path, config, images, CPU, Dying(in_phase="teachers 2/2"), measured=measure(0.97))
    pool = train_pool(tmp_path, config, images, CPU, Dying(), measured=measure(0.5))
    guide = open_guide(open_pool(tmp_path, data.train).manifest)
    assert guide is not None and "latencies.json" in pool.manifest.states
    predictor = fit_predictor(space.arch(space.largest()), measure(0.97).probes, 4)
    assert guide.buckets.edges[0] == pytest.approx(predictor.predict(space.arch(space.smallest())))
    assert guide.buckets.edges[0] > 0.9 and guide.buckets.edges[-1] == pytest.approx(1.0)
    keys = [key_pool(made, data.train) for made in (make(), config, config.for_target("other"))]
    assert len(set(keys)) == 3 and key_pool(make().for_target("toy"), data.train) == keys[0]


def test_a_damaged_filter_is_named(trained: TeacherPool, data: ShapesData, tmp_path: Path) -> None:
    path = trained.folder / "filter" / "pruned.json"
    content = path.read_bytes()
    try:
        path.write_bytes(json.dumps(json.loads(content), indent=1).encode())
        with pytest.raises(InputError, match="filter holds other files"):
            open_guide(open_pool(trained.folder, data.train).manifest)
    finally:
        path.write_bytes(content)


def test_what_does_not_go_with_a_filter_is_refused(data: ShapesData, tmp_path: Path) -> None:
    for change in ({"coupled": True}, {"whole_epochs": 1}):
        with pytest.raises(ValueError, match="leave out the others"):
            OfaRecipe.model_validate({**RECIPE.model_dump(), **change})
    with pytest.raises(InputError, match="kept out"):
        train_pool(tmp_path / "pool", make(), PoolImages(data.folder, data.train, data.val), CPU, Dying())
    phases = OfaRecipe(train=TrainConfig(epochs=70, lr=1.0), shrinking="filter").phases()
    assert [phase.train.epochs for phase in phases] == [5, 65]
