"""What a budget leaves of a recipe that breeds subnets: epochs of the super-network, generations, the last trainings.

Other methods try students until time is up. Here nothing is trained but a super-network, and one student of each limit
at the end: how long each of these takes is decided before the run, from a timed training step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from optimizer.config import RunConfig
from optimizer.data.class_folder import JUDGED_OF
from optimizer.data.splits import Splits, count_kept
from optimizer.supernet.classified import MOST_PICTURES
from optimizer.supernet.pretraining import count_pictures
from optimizer.trials.screener import CALIBRATION_IMAGES

__all__ = [
    "FORWARD_SHARE",
    "LOOK_S",
    "SIZED",
    "WIDE_SHARE",
    "Counted",
    "Durations",
    "count_images",
    "describe_fit",
    "find_durations",
    "fit_budget",
    "is_same_request",
]

# shares of a budget; the rest is for what is measured, exported and written
BASE, PRETRAINING, SUPERNET, GENERATIONS, LAST = 0.15, 0.1, 0.25, 0.15, 0.2
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # epochs: the same in spite of a clock's noise
WIDE_SHARE = 1.8  # a step of a super-network, in steps of the base
CLASSIFIER_SHARE = 0.6  # a step of a body alone on as many pixels, in steps of the base
FORWARD_SHARE = 0.25  # an image through a subnet, in a training step's time for an image; most pass its body alone
PICTURES = 4  # crops of a generated image
LOOK_S = 0.5  # of a look, besides the images
RECIPE_OF = {"detnas": "paths", "detofa": "ofa"}  # where a method's super-network has its recipe in `RunConfig`
SIZED = (
    *("base_share", "paths.train.epochs", "paths.pretraining.train.epochs", "ofa.train.epochs"),
    "ofa.pretraining.train.epochs",
    *("search.generations", "search.population", "finetune.epochs"),
)


@dataclass(frozen=True)
class Durations:
    """Estimated seconds: of an epoch of each training, and of a look at a subnet.

    Attributes:
        pretraining: 0 where there is none. supernet: of an epoch; both 0 where the super-network is trained already.
        last: of an epoch of the training of one student at the end, which is on all images.
        judging: of all paths that a path filter is fitted to, which no budget makes fewer; 0 where there is no filter,
            or a trained one.
    """

    pretraining: float
    supernet: float
    look: float
    last: float
    judging: float = 0.0


class Counted(NamedTuple):
    """Images of a run: trained on, kept out, validated on, and those that a body is pre-trained on."""

    fit: int
    kept: int
    val: int
    pictures: int


def count_images(config: RunConfig, splits: Splits | None, *, pool_exists: bool) -> Counted:
    """How many there are, or will be where they are yet to be generated (None).

    Raises:
        InputError: a super-network cannot be pre-trained on them.
    """
    if splits is not None:
        counted = Counted(len(splits.fit.records), len(splits.kept.records), len(splits.val.records), 0)
    else:
        kept = count_kept(config.shapes.train) if config.keeps_images else 0
        counted = Counted(config.shapes.train - kept, kept, config.shapes.val, 0)
    recipe = config.pool_config().pretrained_on if config.needs_pool and not pool_exists else None
    if recipe is None:
        return counted
    if splits is None and recipe.folder is None:
        return counted._replace(pictures=PICTURES * counted.fit)
    return counted._replace(pictures=count_pictures(recipe, splits.fit if splits is not None else None))


def find_durations(config: RunConfig, counted: Counted, step_s: float, *, pool_exists: bool) -> Durations:
    """In proportion to a training step of the base."""
    pool, image_s = config.pool_config(), step_s / config.batch_size
    pretraining = counted.pictures * image_s * CLASSIFIER_SHARE * _find_pixels_share(config)
    seen = min(pool.calibration_images, counted.fit) + min(CALIBRATION_IMAGES, counted.fit) + counted.kept
    return Durations(
        0.0 if pool_exists else pretraining,
        0.0 if pool_exists else counted.fit * image_s * WIDE_SHARE,
        seen * image_s * FORWARD_SHARE + LOOK_S,
        (counted.fit + counted.kept) * image_s,
        0.0 if pool_exists else _find_judging(config, counted, image_s),
    )


def _find_judging(config: RunConfig, counted: Counted, image_s: float) -> float:
    """Before each path is judged BatchNorm is measured anew; classifiers are judged by their body alone."""
    pool, forward_s = config.pool_config(), image_s * FORWARD_SHARE
    if pool.filtered_by is None:
        return 0.0
    images = min(pool.calibration_images, counted.fit) + counted.kept
    judging_s = pool.filtered_by.validated * (images * forward_s + LOOK_S)
    if pool.classification_paths and pool.pretrained_on is not None:
        kept_share = 1 / JUDGED_OF if pool.pretrained_on.folder is not None else counted.kept / max(counted.fit, 1)
        judged = min(counted.pictures * kept_share, MOST_PICTURES)
        pictures = min(pool.calibration_images, counted.pictures) + judged
        judging_s += pool.classification_paths * (pictures * forward_s * _find_pixels_share(config) + LOOK_S)
    return judging_s


def _find_pixels_share(config: RunConfig) -> float:
    """Of a picture that a body is pre-trained on, in those of the base's canvas; 0 where there is no pre-training."""
    recipe = config.pool_config().pretrained_on
    return 0.0 if recipe is None else prod(recipe.size) / prod(config.input_size)


def fit_budget(config: RunConfig, durations: Durations) -> RunConfig:
    """The configuration with as many epochs and generations as its budget has time for, and at most its own.

    What a path filter judges comes first; the shares are of what that leaves. Every training keeps an epoch and every
    limit two subnets, however short the budget; whether that much is possible is another's to judge. The configuration
    as it is where it has no budget, or does not breed subnets.
    """
    budget_s, finetune = config.budget_s, config.finetune
    if budget_s is None or not config.search.evolves:
        return config
    assert finetune is not None
    budget_s = max(budget_s - durations.judging, 0.0)
    recipe, limits = RECIPE_OF[config.search.method], len(config.search.limits)
    changes: dict[str, object] = {"base_share": min(config.base_share, BASE)}
    if durations.supernet:
        path = f"{recipe}.train.epochs"

        def fits(epochs: int) -> bool:
            return config.changed({path: epochs}).pool_config().epochs * durations.supernet <= SUPERNET * budget_s

        changes[path] = _fit(_find(config, path), fits)
    before = config.pool_config().pretrained_on
    if durations.pretraining and before is not None:
        changes[f"{recipe}.pretraining.train.epochs"] = _fit(
            before.train.epochs, lambda epochs: epochs * durations.pretraining <= PRETRAINING * budget_s
        )
    changes["finetune.epochs"] = _fit(
        finetune.epochs, lambda epochs: epochs * durations.last <= LAST * budget_s / limits
    )
    if not config.ranks_alone:  # nothing but looks takes its time
        looks, (generations, population) = int(GENERATIONS * budget_s / durations.look / limits), config.generations
        changes["search.population"] = population = max(min(population, looks), 2)
        changes["search.generations"] = max(min(generations, looks // population), 1)
    return config.changed(changes)


def describe_fit(config: RunConfig) -> str:
    """What a budget left of a recipe, for a person."""
    (generations, population), pool = config.generations, config.pool_config()
    assert config.finetune is not None
    before = f"{pool.pretrained_on.train.epochs} of pre-training, " if pool.pretrained_on is not None else ""
    return (
        f"epochs that the budget has time for: {before}{pool.epochs} of the super-network, {config.finetune.epochs} of "
        f"each student; generations for each limit: {generations} of {population}"
    )


def is_same_request(config: RunConfig, stored: RunConfig) -> bool:
    """Whether a run with this configuration is the stored one, whose numbers a budget may have changed."""
    if config == stored:
        return True
    if config.budget_s is None or not config.search.evolves:
        return False
    paths = [path for path in SIZED if _has(config, path) and _has(stored, path)]
    return config.changed({path: _find(stored, path) for path in paths}) == stored


def _fit(most: int, fits: Callable[[int], bool]) -> int:
    """As many epochs as fit, at most `most`, at least one."""
    return next((count for count in (most, *reversed(STEPS)) if count <= most and fits(count)), 1)


def _find(config: RunConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _has(config: RunConfig, path: str) -> bool:
    """Whether there is such a part, whatever it is."""
    parent, _, name = path.rpartition(".")
    return hasattr(_find(config, parent) if parent else config, name)
