"""From the words of a command line to the configuration of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimizer.cli.options import read_options
from optimizer.config import UNLIMITED, RunConfig
from optimizer.errors import InputError
from optimizer.recipes import RECIPES

__all__ = ["change_recipe", "pick_recipe", "put_first"]

SCRATCH = 2  # times the epochs of a super-network that begins with random weights (FACTS 3.4)


def pick_recipe(preset: str, data: Path | None) -> RunConfig:
    if preset not in RECIPES:
        raise InputError(f"unknown preset {preset!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[preset](data)


def change_recipe(recipe: RunConfig, chosen: dict[str, Any]) -> RunConfig:
    """A recipe with what the options of the command line change of it."""
    config = recipe.changed(read_options(chosen))
    if chosen.get("distillers") is not None and config.search.teacher == "none":
        raise InputError(
            "--distillers say what a teacher teaches, and this run has no teacher: name one, such as --teacher base"
        )
    if config.search.aims and config.budget_s is not None and chosen.get("trials") is None:
        config = config.changed({"search.trials": UNLIMITED})  # a budget is there to be used
    if config.search.evolves:
        config = config.changed({"search.trials": len(config.search.limits)})  # one is trained for each
    if chosen.get("pretrain") == "none" and chosen.get("supernet_epochs") is None and config.paths is not None:
        config = config.changed({"paths.train.epochs": SCRATCH * config.paths.train.epochs})
    return config


def put_first(primary: str, targets: list[str]) -> list[str]:
    """The targets of a run with the one in front that decides; the others stay in their order."""
    if primary not in targets:
        raise InputError(
            f"--primary names one of the targets of this run, which are {', '.join(targets) or 'not named'}; not "
            f"{primary!r}: add --target {primary}"
        )
    return sorted(targets, key=lambda name: name != primary)
