"""How a pool is to be trained: what is refused, and the depths that a recipe makes of a base."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from optimizer.distill.config import DistillConfig
from optimizer.errors import InputError
from optimizer.supernet.elastic_config import ElasticConfig, ElasticPhase, ElasticRecipe
from optimizer.train.config import TrainConfig

TRAIN = TrainConfig(epochs=1, lr=0.01)
SIZES = ((1333, 800), (512, 512))
ALONE, HALF, ALL = ((2,),) * 4, ((2,), (2,), (1, 2), (2,)), ((1, 2),) * 4


PLAIN = DistillConfig(weights={"classification": 1.0})


def make(*phases: tuple[Any, Any], family: str = "r18", sizes: Any = SIZES, **rest: Any) -> ElasticConfig:
    made = tuple(ElasticPhase(depths=depths, widths=widths, train=TRAIN) for depths, widths in phases)
    return ElasticConfig(family=family, phases=made, sizes=sizes, **rest)


GOOD = ((ALONE, (1.5,)), (HALF, (1.25, 1.5)), (ALL, (1.0, 1.25, 1.5)))


def test_a_pool_is_the_space_of_its_last_phase() -> None:
    config = make(*GOOD)
    assert config.space().count() == 2**4 * 3**4
    assert (config.space(0).count(), config.space(1).count()) == (1, 2 * 2**4)
    assert config.space(0).largest() == config.space().largest() == config.space(1).largest()
    assert config.epochs == 3


def test_a_pool_of_the_super_network_alone_is_one() -> None:
    assert make(GOOD[0]).space().count() == 1


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((GOOD[0], GOOD[2], GOOD[1]), "each phase of a teacher pool holds what the phase before it holds"),
        ((GOOD[0], (HALF, (1.0, 1.25))), "holds what the phase before"),
        ((GOOD[0], (((1,), (2,), (2,), (2,)), (1.5,))), "holds what the phase before"),
        ((GOOD[1], GOOD[2]), "trains the super-network alone: one depth, one width"),
        (((ALONE, (1.25, 1.5)), GOOD[2]), "one depth, one width"),
        ((GOOD[0], (ALL, (1.5, 2.0))), "the super-network of a teacher pool is its largest member"),
        ((GOOD[0], (((2, 3), (2,), (2,), (2,)), (1.5,))), "is its largest member"),
    ],
)
def test_phases_that_do_not_grow_out_of_the_super_network_are_refused(phases: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(*phases)


@pytest.mark.parametrize(
    "changes",
    [{"sizes": ()}, {"batch_size": 0}, {"calibration_images": 0}, {"region_proposals": 0}, {"wide": True}],
)
def test_values_out_of_bounds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        make(*GOOD, **changes)


@pytest.mark.parametrize("family", ["x101", "vgg"])
def test_a_family_without_a_pool_is_refused(family: str) -> None:
    with pytest.raises((ValidationError, InputError), match=f"not '{family}'"):
        make(*GOOD, family=family)


def test_no_phase_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match="phases"):
        make()


def test_a_config_survives_json() -> None:
    config = make(*GOOD, seed=3, detector="retinanet", distill=DistillConfig(temperature=2.0))
    assert ElasticConfig.model_validate(json.loads(config.model_dump_json())) == config


RECIPE = ElasticRecipe(train=(TRAIN, TRAIN.model_copy(update={"epochs": 2}), TRAIN.model_copy(update={"epochs": 3})))
ONE_OR_TWO = (1, 2)
DEPTHS = {
    "r18": [((2,), (2,), (1, 2), (2,)), (ONE_OR_TWO,) * 4],
    "r50": [((3,), (4,), (3, 4, 5, 6), (3,)), ((2, 3), (2, 3, 4), (2, 3, 4, 5, 6), (2, 3))],
    "r101": [((3,), (4,), tuple(range(12, 24)), (3,)), ((2, 3), (2, 3, 4), tuple(range(2, 24)), (2, 3))],
}
DEPTHS["x101"] = DEPTHS["r101"]


@pytest.mark.parametrize("base", DEPTHS)
def test_a_recipe_shrinks_depths_and_widths_as_the_paper_does(base: str) -> None:
    config = RECIPE.make(base, SIZES, 100, "faster_rcnn")
    assert config.family == {"x101": "r101"}.get(base, base)
    assert [phase.depths for phase in config.phases[1:]] == DEPTHS[base]
    assert config.phases[0].depths == tuple((max(choices),) for choices in DEPTHS[base][1])
    assert [phase.widths for phase in config.phases] == [(1.5,), (1.25, 1.5), (1.0, 1.25, 1.5)]
    assert [phase.train.epochs for phase in config.phases] == [1, 2, 3]
    assert config.sizes == SIZES and config.region_proposals == 100


def test_the_papers_pool_has_the_papers_sizes() -> None:
    config = RECIPE.make("r101", SIZES, 1000, "faster_rcnn")
    assert [config.space(phase).count() for phase in range(3)] == [1, 192, 21_384]


@pytest.mark.parametrize("base", DEPTHS)
def test_a_family_that_is_named_serves_every_base(base: str) -> None:
    named = RECIPE.model_copy(update={"family": "r50"})
    assert named.make(base, SIZES, 100, "faster_rcnn").family == "r50"


def test_a_recipe_of_other_epochs_is_the_same_otherwise() -> None:
    changed = RECIPE.with_epochs((8, 4, 5))
    assert [recipe.epochs for recipe in changed.train] == [8, 4, 5]
    assert changed.with_epochs((1, 2, 3)) == RECIPE
    assert changed.make("r18", SIZES, 100, "faster_rcnn").epochs == 17


def test_what_the_recipe_says_reaches_the_config() -> None:
    recipe = RECIPE.model_copy(
        update={
            "batch_size": 64,
            "calibration_images": 5,
            "distill": PLAIN,
            "widths": (0.5, 1, 2),
        }
    )
    config = recipe.make("r18", SIZES, 100, "retinanet")
    assert (config.batch_size, config.calibration_images, config.distill) == (64, 5, PLAIN)
    assert config.detector == "retinanet" and config.space().widths == (0.5, 1, 2)


def test_a_pool_whose_head_has_no_regions_is_taught_by_its_maps() -> None:
    assert RECIPE.make("r18", SIZES, 100, "centernet").distill == RECIPE.distill.model_copy(
        update={"weights": {"whole_feature": 1.0}}
    )
