"""Values of options as people write them, read: counts, limits, names with weights, words that stand for something."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from optimizer.config import MOST_EPOCHS, Published
from optimizer.distill.config import DEFEAT_RECIPES, DefeatConfig
from optimizer.errors import InputError
from optimizer.quantities import parse_bytes

__all__ = [
    "read_counts", "read_defeat", "read_distillers", "read_epochs", "read_keep", "read_limits", "read_names",
    "read_phase", "read_pretrain", "read_proposals", "read_teacher", "read_weights", "unless_none",
]  # fmt: skip


def read_counts(flag: str, text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(",") if part.strip().isdigit())
    if not counts or len(counts) != len(text.split(",")):
        raise InputError(f"{flag} takes whole numbers such as 200,100; not {text!r}")
    return counts


def read_proposals(text: str) -> tuple[int, ...]:
    return read_counts("--region-proposals", text)


def read_phase(phase: int) -> Callable[[str], int]:
    """Epochs of one phase of a pool's training."""

    def read(text: str) -> int:
        epochs = [int(part) for part in text.split(",") if part.strip().isdigit()]
        if len(epochs) != 3 or len(text.split(",")) != 3 or not all(epochs):
            raise InputError(f"--teacher-epochs takes three numbers from 1 on, such as 8,3,5; not {text!r}")
        return epochs[phase]

    return read


def read_epochs(text: str) -> int:
    """Epochs of the base, or the most of them."""
    if text == "auto":
        return MOST_EPOCHS
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--epochs takes a number from 1 on, or auto; not {text!r}")
    return int(text)


def read_limits(text: str) -> tuple[float, ...]:
    """Shares of the base's cost, and MACs of the body, which have a unit."""
    units = {"": 1.0, "M": 1e6, "G": 1e9}
    found = [re.fullmatch(r"(-?\d*\.?\d+)([MG]?)", part.strip()) for part in text.split(",")]
    limits = tuple(float(match[1]) * units[match[2]] for match in found if match)
    if len(limits) != len(found):
        raise InputError(
            f"--limit takes shares of the base's cost, such as 0.8,0.6, or MACs of the body, such as 300M; not {text!r}"
        )
    return limits


def read_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def read_distillers(text: str) -> dict[str, float]:
    """Weight of each distiller: 1 where none is said. None where the search chooses."""
    if text == "auto":
        return {}
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, weight = (word.strip() for word in part.partition("="))
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            number = math.nan
        if not name or name in weights or not 0 < number < math.inf:
            raise InputError(
                "--distillers takes different names, each with a weight above 0 if it is not 1, such as "
                f"feature,classification=0.5; not {text!r}"
            )
        weights[name] = number
    return weights


def read_defeat(text: str) -> DefeatConfig:
    if text not in DEFEAT_RECIPES:
        raise InputError(f"--defeat takes {' or '.join(DEFEAT_RECIPES)}; not {text!r}")
    return DEFEAT_RECIPES[text]


def unless_none(read: Callable[[str], tuple[Any, ...]]) -> Callable[[str], tuple[Any, ...]]:
    """'none' is an empty list."""
    return lambda text: () if text.strip() == "none" else read(text)


def read_weights(text: str) -> str | Path | None:
    """Published weights by name; a file of such a name is ./coco."""
    return text if text in get_args(Published) else None if text == "none" else Path(text).resolve()


def read_pretrain(text: str) -> str | Path:
    """A folder of such a name is ./crops."""
    return text if text in ("crops", "none") else Path(text).resolve()


def read_teacher(text: str) -> str | Path:
    """A kind of teacher by name, or where a trained one is."""
    return text if text in ("base", "dynamic", "fixed", "none") else Path(text).resolve()


def read_keep(text: str) -> int | None:
    """Bytes of a run's trials that are kept; None for all of them."""
    return None if text == "all" else parse_bytes(text)
