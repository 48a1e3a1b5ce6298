"""`SearchConfig`: how students are found and ranked, as a value that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from optimizer.arch.families import FAMILIES
from optimizer.arch.space import Space
from optimizer.search import STRATEGIES
from optimizer.search.costs import COSTS, CostKind
from optimizer.search.evolution import LEAST_MACS, MOST_SHARE
from optimizer.search.objective import OBJECTIVES

__all__ = ["SearchConfig", "check_known"]

# Fields that name a member of a catalogue, and what such a member is called.
CATALOGUES: Mapping[str, tuple[Mapping[str, object], str]] = {
    "method": (STRATEGIES, "method"),
    "student": (FAMILIES, "student"),
    "cost": (COSTS, "cost (--score)"),
    "objective": (OBJECTIVES, "objective"),
}


class SearchConfig(BaseModel):
    """How students are found and ranked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "joint"
    trials: int = Field(8, ge=0, description="students to try, the base not counted; 0 trains the base alone")
    fixed_trials: int = Field(0, ge=0, description="first trials in which the student's architecture stays (paper: 5)")
    top_k: int = Field(5, ge=1)
    max_actions: int = Field(1, ge=1, description="most actions between a student and its parent (paper: 1)")
    screened: int = Field(8, ge=0, description="pareto: students judged without training for each that is trained")
    rung_epochs: tuple[int, ...] = Field(
        (1, 2, 4), min_length=1, description="pareto: epochs of a student's first training, of its second and so on"
    )
    objective: str = "harmonic"
    alpha: float | None = Field(
        None, gt=0, description="exponent that softens the gain in cost; None is 0.4, and 0.1 for x101"
    )
    beta: float = Field(0.8, gt=0, lt=1, description="weight of average precision")
    cost: str = "latency"
    teacher: Literal["base", "dynamic", "fixed", "none"] | Path = Field(
        "none",
        description="base: the trained base; dynamic: of the teacher pool, searched with the student; fixed: the "
        "pool's largest; none: no distillation; a path: the best detector of that run, or a checkpoint of the base's "
        "architecture",
    )
    importance: Literal["bn_scale", "taylor"] | None = Field(
        None,
        description="what channels and blocks are ranked by: BatchNorm scales and norms of weights, or what the loss "
        "says of them; None is taylor for pareto, else bn_scale",
    )
    compensate: bool | None = Field(
        None,
        description="whether layers make up for channels they no longer read; None is for pareto only",
    )
    continuity: bool | None = Field(
        None,
        description="whether a child goes on with its parent's moments, average and adapters, at a rate that stays "
        "until the last training; None is for method pareto alone",
    )
    elastic: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="pareto: share of the base's training steps that train a random child in its place, made of slices "
        "of its weights; children then work before they are trained, and are ranked by those weights alone",
    )
    inherit: bool = Field(True, description="whether a child starts from its parent's weights; an ablation if not")
    finetuned: int = Field(0, ge=0, description="students, the best by score, to train further at the end")
    limits: tuple[float, ...] = Field(
        (0.8, 0.6),
        min_length=1,
        description="detnas, detofa: the most that students may cost: shares of the base's cost, or MACs of the body",
    )
    population: int | None = Field(
        None,
        ge=2,
        description="detnas, detofa: subnets of a generation; None is 50, and 100 where a path filter alone ranks them",
    )
    generations: int | None = Field(
        None,
        ge=1,
        description="detnas, detofa: how many, for each limit; None is 20, and 500 where a filter ranks alone",
    )
    breeding: Literal["code", "slides", "ofa"] | None = Field(
        None,
        description="what generations are made of: DetNAS' code (parents of all generations, fresh subnets), its "
        "slides (parents of the one before alone), or once-for-all's; None is ofa for detofa, else code",
    )
    student: str | None = Field(
        None, description="distill: family of the one student that is trained; its teacher is the base"
    )
    space: Space

    @property
    def cost_kind(self) -> CostKind:
        """What is known of the cost that students are scored by."""
        return COSTS[self.cost]

    @property
    def aims(self) -> bool:
        """Whether the method aims at a whole front: students of chosen latencies, screened, then trained in rungs."""
        return self.method == "pareto"

    @property
    def evolves(self) -> bool:
        """Whether subnets of a super-network are bred under limits of cost, and the best of each limit is trained."""
        return self.method in ("detnas", "detofa")

    @property
    def in_pool(self) -> bool:
        """Whether students are subnets of a super-network."""
        return self.method == "etp" or self.evolves

    @property
    def takes_pool_teachers(self) -> bool:
        """Whether students are taught by subnets of a teacher pool."""
        return self.teacher in ("dynamic", "fixed")

    @field_validator(*CATALOGUES)
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        assert info.field_name is not None
        return None if value is None else check_known(value, *CATALOGUES[info.field_name])

    @field_validator("limits")
    @classmethod
    def _positive_limits(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < limit < MOST_SHARE or LEAST_MACS <= limit < inf for limit in value):
            raise ValueError(
                "limits are shares of the base's cost, above 0, or MACs of the body of at least a million, not "
                f"{', '.join(f'{limit:g}' for limit in value)}"
            )
        return value

    @field_validator("rung_epochs")
    @classmethod
    def _positive_epochs(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"each training has at least one epoch, not {', '.join(map(str, value))}")
        return value


def check_known(value: str, catalogue: Mapping[str, object], what: str) -> str:
    """The value, which has to be a key of the catalogue; pydantic makes an error of one that is not."""
    if value not in catalogue:
        raise ValueError(f"unknown {what} {value!r}; there are: {', '.join(sorted(catalogue))}")
    return value
