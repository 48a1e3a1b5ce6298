"""Sets of distillers that a search may choose from. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from optimizer.distill.config import DistillConfig
from optimizer.errors import InputError

__all__ = ["NOTHING", "SETS", "choose_terms"]

NOTHING = "nothing"  # training without the teacher, which takes less time
REGIONS = {"feature": 1.0, "classification": 1.0, "localization": 1.0}
DEFEAT = {"defeat": 1.0, "defeat_classes": 1.0}

SETS: Mapping[str, Mapping[str, float]] = {
    NOTHING: {},
    "joint": REGIONS,  # Joint-DetNAS'
    "defeat": DEFEAT,
    "joint_defeat": {**REGIONS, **DEFEAT},
    "whole_feature": {"whole_feature": 1.0},
}


def choose_terms(config: DistillConfig, name: str | None) -> DistillConfig | None:
    """The configuration with the terms of a set, with its own where no set is named; None where nothing is taught.

    Raises:
        InputError: there is no such set, as in a run of another release.
    """
    if name is None:
        return config if config.weights else None
    if name not in SETS:
        raise InputError(f"there is no set of distillers {name!r}; there are: {', '.join(SETS)}")
    return config.model_copy(update={"weights": dict(SETS[name])}) if SETS[name] else None
