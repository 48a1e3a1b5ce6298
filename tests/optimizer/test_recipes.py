"""The recipe `paper` of DetNAS against what paper and code state (FACTS 3.4, 3.5)."""

from __future__ import annotations

from typing import Any

import pytest

from optimizer.config import RunConfig
from optimizer.recipes import RECIPES, paper
from optimizer.run.teachers import make_settings

IMAGENET, COCO = 1_281_167, 118_287  # training images
STATED: dict[str, Any] = {
    "pretraining.batch_size": 1024, "pretraining.size": (224, 224), "pretraining.label_smoothing": 0.1,
    "pretraining.jitter": 0.4, "pretraining.by_cost": True, "pretraining.train.lr": 0.5,
    "pretraining.train.schedule": "linear", "pretraining.train.optimizer": "sgd", "pretraining.train.momentum": 0.9,
    "pretraining.train.weight_decay": 4e-5, "batch_size": 16, "shuffle": "halves", "calibration_images": 500 * 8,
    "train.lr": 0.02, "train.weight_decay": 1e-4, "train.warmup_steps": 500, "train.schedule": "step",
    "train.milestones": (60 / 90, 80 / 90), "train.bn_l1": 0.0,
}  # fmt: skip


@pytest.fixture
def config() -> RunConfig:
    return paper().changed({"base": "shufflenetv2_20", "search.method": "detnas", "search.teacher": "none"})


@pytest.mark.parametrize("path", STATED)
def test_the_super_network_is_trained_as_the_paper_states(config: RunConfig, path: str) -> None:
    value: Any = config.paths
    for part in path.split("."):
        value = getattr(value, part)
    assert value == pytest.approx(STATED[path]) if isinstance(STATED[path], float) else value == STATED[path]


def test_it_takes_as_many_steps(config: RunConfig) -> None:
    paths = config.paths
    assert paths is not None and paths.pretraining is not None
    pretraining = paths.pretraining
    assert IMAGENET // pretraining.batch_size * pretraining.train.epochs == pytest.approx(300_000, rel=0.001)
    assert COCO // paths.batch_size * paths.train.epochs == pytest.approx(90_000, rel=0.02)


def test_generations_are_the_published_codes(config: RunConfig) -> None:
    breeding = make_settings(config, config.pool_config()).breeding
    assert (config.generations[0], breeding.population, breeding.parents) == (20, 50, 10)
    assert (breeding.mutants, breeding.children, breeding.rate, breeding.of_all) == (20, 20, 0.1, True)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_pre_trains_on_crops_unless_a_folder_is_named(name: str) -> None:
    paths = RECIPES[name](None).paths
    assert paths is not None and paths.is_pretrained and paths.pretraining is not None
    assert paths.pretraining.images == "crops"
