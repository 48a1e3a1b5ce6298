"""How an elastic teacher pool is made and trained, as a value that JSON can hold. No torch until one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from optimizer.arch.families import FAMILIES
from optimizer.arch.heads import make_head
from optimizer.arch.pool import ElasticSpace
from optimizer.distill.config import DistillConfig
from optimizer.supernet.config import FrozenModel, Phase, SupernetConfig
from optimizer.train.config import TrainConfig

if TYPE_CHECKING:
    from optimizer.supernet.elastic import ElasticSupernet

__all__ = ["ElasticConfig", "ElasticPhase", "ElasticRecipe"]


class ElasticPhase(Phase):
    """One phase of integrated progressive shrinking.

    Attributes:
        depths: for each stage the depths to sample from.
        widths: width coefficients to sample from.
    """

    depths: tuple[tuple[int, ...], ...]
    widths: tuple[float, ...]


class ElasticConfig(SupernetConfig):
    """An elastic teacher pool and its training (Joint-DetNAS, supplement A.1.3 and Table 1).

    The first phase trains the super-network alone, the others subnets that it distils, as it was before it shrank. That
    it teaches the terms of the search is a reconstruction. Each phase's space holds the one before.

    Attributes:
        family: backbone of the super-network; coefficient 1.0 is its own width.
    """

    family: str
    phases: tuple[ElasticPhase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _phases_grow(self) -> ElasticConfig:
        for before, after in zip(self.phases, self.phases[1:]):
            grows = all(set(a) <= set(b) for a, b in zip(before.depths, after.depths))
            if not grows or not set(before.widths) <= set(after.widths):
                raise ValueError("each phase of a teacher pool holds what the phase before it holds")
        first = self.phases[0]
        if any(len(choices) != 1 for choices in first.depths) or len(first.widths) != 1:
            raise ValueError("the first phase of a teacher pool trains the super-network alone: one depth, one width")
        top = (tuple(max(choices) for choices in self.phases[-1].depths), max(self.phases[-1].widths))
        if top != (tuple(choices[0] for choices in first.depths), first.widths[0]):
            raise ValueError("the super-network of a teacher pool is its largest member")
        self.space()
        return self

    def space(self, phase: int = -1) -> ElasticSpace:
        return ElasticSpace(
            self.family,
            self.phases[phase].depths,
            self.phases[phase].widths,
            self.sizes,
            self.region_proposals,
            self.detector,
        )

    @property
    def name(self) -> str:
        return self.family

    def build(self, num_classes: int) -> ElasticSupernet:
        from optimizer.supernet.elastic import ElasticSupernet

        return ElasticSupernet(self.space(), num_classes, self.seed)

    def teacher_phase(self, phase: int) -> int | None:
        return 0 if phase > 0 else None


class ElasticRecipe(FrozenModel):
    """How to make a pool for whatever base a run has; `make` fills in what the base decides.

    Attributes:
        family: None is the base's own (of a ResNeXt the ResNet as deep); the paper's is r101 for every base.
        widths: the three width coefficients, ascending; the first shrinking phase leaves out the smallest.
        train: of the super-network alone, of the first and of the second shrinking phase.
    """

    family: str | None = None
    widths: tuple[float, float, float] = (1.0, 1.25, 1.5)
    train: tuple[TrainConfig, TrainConfig, TrainConfig]
    distill: DistillConfig = DistillConfig(teacher_canvas="student")
    batch_size: int = Field(4, ge=1)
    calibration_images: int = Field(256, ge=1)

    def with_epochs(self, epochs: tuple[int, int, int]) -> ElasticRecipe:
        """The same with other epochs: of the super-network alone, and of the two shrinking phases."""
        first, second, third = (
            recipe.model_copy(update={"epochs": count}) for recipe, count in zip(self.train, epochs)
        )
        return self.model_copy(update={"train": (first, second, third)})

    def with_precision(self, precision: str) -> ElasticRecipe:
        """The same, trained in another arithmetic."""
        train = tuple(recipe.model_copy(update={"precision": precision}) for recipe in self.train)
        return self.model_copy(update={"train": train})

    def make(
        self, base: str, sizes: tuple[tuple[int, int], ...], region_proposals: int, detector: str
    ) -> ElasticConfig:
        """The pool of a base.

        Depths shrink as in the paper's table: first stage 3 alone, down to half; then every stage down to two blocks,
        or to half of one that has only two. A head without regions is taught by the neck's maps instead.
        """
        family = self.family or {"x101": "r101"}.get(base, base)
        full = FAMILIES[family].depths
        alone = tuple((depth,) for depth in full)
        half = tuple(
            tuple(range(-(-depth // 2), depth + 1)) if stage == 2 else (depth,) for stage, depth in enumerate(full)
        )
        all_depths = tuple(tuple(range(min(2, -(-depth // 2)), depth + 1)) for depth in full)
        spaces = ((alone, self.widths[2:]), (half, self.widths[1:]), (all_depths, self.widths))
        has_regions = "regions" in make_head(detector, sizes[0]).readable
        whole = self.distill.model_copy(update={"weights": {"whole_feature": 1.0}})
        return ElasticConfig(
            family=family,
            phases=tuple(
                ElasticPhase(depths=depths, widths=widths, train=train)
                for (depths, widths), train in zip(spaces, self.train)
            ),
            sizes=sizes,
            region_proposals=region_proposals,
            detector=detector,
            distill=self.distill if has_regions else whole,
            batch_size=self.batch_size,
            calibration_images=self.calibration_images,
        )
