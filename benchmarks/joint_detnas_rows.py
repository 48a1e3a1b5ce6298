"""The rows of `joint_detnas`: what all share, and how each searches."""

from __future__ import annotations

import argparse
from pathlib import Path

from optimizer.config import RunConfig, VariantsConfig
from optimizer.quantities import parse_size
from optimizer.recipes import PAPER_ACTIONS, quick, scaled_sizes

PRUNING = ("prune_channels", "prune_layer", "prune_fpn", "prune_rpn", "prune_box_head")
ROWS: dict[str, dict[str, object]] = {
    "joint": {},
    "pruning": {"search.space.actions": PRUNING, "search.teacher": "none"},
    "distillation": {"search.space.actions": ()},
    "pipeline": {"search.method": "pipeline"},
    "backbone": {"search.space.actions": PAPER_ACTIONS},
    "random": {"search.method": "random"},
    "no-inheritance": {"search.inherit": False},
}
ALONE = ("base", "brief")  # rows without a search
WORDS = {
    "base": "base, trained as long",
    "brief": "base, trained as long as such a student",
    "random": "random search",
    "pruning": "pruning only",
    "distillation": "distillation only",
    "pipeline": "search, then prune, then distil",
    "no-inheritance": "joint without inheritance",
    "backbone": "joint, backbone alone (the paper's space)",
    "joint": "joint, whole detector",
}


def make_config(arguments: argparse.Namespace, seed: int) -> RunConfig:
    """What all rows of a seed share."""
    size = parse_size(arguments.size)
    recipe = quick(arguments.data.resolve())
    assert recipe.pool is not None
    phases = [
        train.model_copy(update={"epochs": epochs}) for train, epochs in zip(recipe.pool.train, arguments.pool_epochs)
    ]
    return recipe.changed(
        {
            "base": arguments.base,
            "weights": None,
            "seed": seed,
            "input_size": size,
            "region_proposals": 100,
            "search.space.sizes": scaled_sizes(size),
            "search.space.region_proposals": (100, 50),
            "search.trials": arguments.trials,
            "search.finetuned": 1,
            "finetune.epochs": arguments.finetune_epochs,
            "pool": recipe.pool.model_copy(update={"train": tuple(phases)}),
            "base_epochs": "fixed",
            "base_train.epochs": arguments.base_epochs,
            "search_protocol": arguments.protocol,
            "final_protocol": "quick",
            "variants": VariantsConfig(),  # none: the question is what the search gains
            "teacher_pool": (arguments.out / "teachers").resolve(),
        }
    )


def make_row(arguments: argparse.Namespace, row: str, seed: int) -> tuple[RunConfig, Path]:
    """Configuration and folder of one row; "start" is the base that the others start from."""
    config = make_config(arguments, seed)
    folder = arguments.out / f"{row}-{seed}"
    if row in ("start", *ALONE):
        epochs = arguments.base_epochs
        if row == "base":
            epochs += arguments.trials + arguments.finetune_epochs
        elif row == "brief":  # a student of the second generation: the base's, two of its own, fine-tuning
            epochs += 2 + arguments.finetune_epochs
        alone = {"search.trials": 0, "search.teacher": "none", "base_train.epochs": epochs}
        return config.changed(alone), folder
    return config.changed({**ROWS[row], "base_run": (arguments.out / f"start-{seed}").resolve()}), folder
