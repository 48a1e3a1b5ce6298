"""The recipe `paper` of DetOFA against the numbers that paper and code state (FACTS 4.1, 4.2, 4.4, 4.7 and 4.8)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from optimizer.errors import InputError
from optimizer.path_filter.evolution import PAPER
from optimizer.path_filter.filter import FilterConfig
from optimizer.recipes import paper
from optimizer.run.teachers import make_settings
from optimizer.supernet.ofa_config import OfaConfig

CONFIG = paper().changed(
    {
        "base": "ofa_resnet50", "search.method": "detofa", "search.teacher": "none", "detector": "centernet",
    }
)  # fmt: skip
STATED: dict[str, Any] = {
    "train.epochs": 70, "train.lr": 5e-4, "train.optimizer": "adamw", "train.weight_decay": 0.0,  # which is Adam
    "train.schedule": "cosine", "shrinking": "filter", "coupled": False, "whole_epochs": 0,
    "batch_size": 64, "calibration_images": 2000, "filtering.bucket": "flops",
    "filtering.warm_up": 10 / 70, "filtering.paths": 100, "filtering.weak": 0.25, "filtering.pruning": "all",
    "pretraining.images": "crops", "pretraining.train.epochs": 185, "pretraining.train.lr": 0.65,
    "pretraining.train.optimizer": "sgd", "pretraining.train.weight_decay": 3e-5, "pretraining.size": (224, 224),
    "filtering.ratio": 0.3, "filtering.overall": 0.1, "filtering.draws": 100, "filtering.ranker": "filter",
    "filtering.classification_paths": 10_000,
}  # fmt: skip


@pytest.mark.parametrize("path", STATED)
def test_the_super_network_is_trained_as_the_paper_states(path: str) -> None:
    value: Any = CONFIG.ofa
    for part in path.split("."):
        value = getattr(value, part)
    assert value == pytest.approx(STATED[path]) if isinstance(STATED[path], float) else value == STATED[path]


def test_its_phases_draw_the_whole_space_and_no_one_teaches() -> None:
    pool = CONFIG.pool_config()
    assert isinstance(pool, OfaConfig) and not pool.taught and pool.filtering is not None
    assert [phase.train.epochs for phase in pool.phases] == [10, 60]
    for phase in pool.phases:
        assert (phase.depths, phase.widths, phase.expands) == ((0, 1, 2), (0.65, 0.8, 1.0), (0.2, 0.25, 0.35))
    assert pool.classification_paths == 10_000 and pool.pretrained_on is not None
    schedule = pool.filtering.to_schedule(10, 60, classifies=True)
    fit, bare = asdict(schedule.fit), pool.filtering.to_schedule(10, 60)
    assert (schedule.classified, bare.classified) == (10_000, 0)
    assert (fit["rate"], fit["held_out"], fit["bounded"]) == (1e-3, 0.2, True)


def test_the_filter_is_the_paper_s() -> None:
    assert asdict(FilterConfig()) == {
        "width": 128, "heads": 4, "layers": 3, "buckets": 5, "bucket_as": "features", "encoding": "literal",
        "block_encoding": True, "dropout": 0.0,
    }  # fmt: skip


def test_the_filter_alone_ranks_generations_that_are_made_up_as_once_for_all_s() -> None:
    assert asdict(PAPER) == {"population": 100, "generations": 500, "parents": 25, "mutants": 0.5, "rate": 0.1}
    settings = make_settings(CONFIG, CONFIG.pool_config())
    breeding = settings.breeding
    assert settings.alone and settings.generations == 500
    assert (breeding.population, breeding.mutants, breeding.children, breeding.parents) == (100, 50, 50, 25)
    assert breeding.rate == 0.1


def test_its_baseline_is_trained_without_a_filter_and_without_shrinking() -> None:
    change = {"ofa.shrinking": "none", "ofa.filtering.ranker": "images"}
    plain = CONFIG.changed(change)
    (phase,) = plain.pool_config().phases
    assert phase.train.epochs == 70 and plain.pool_config().filtered_by is None
    settings = make_settings(plain, plain.pool_config())
    assert not settings.alone and (settings.generations, settings.breeding.population) == (20, 50)
    coupled = CONFIG.changed({**change, "ofa.coupled": True}).pool_config()
    assert isinstance(coupled, OfaConfig) and coupled.coupled
    shrunk = CONFIG.changed({**change, "ofa.shrinking": "dwe"}).pool_config()
    assert [phase.train.epochs for phase in shrunk.phases] == [70, 5, 65, 5, 65]
    with pytest.raises(InputError, match="add --shrinking filter, or --ranker images"):
        CONFIG.changed({"ofa.shrinking": "none"})
