"""`ElasticConfig`: how an elastic teacher pool is trained, as a value that JSON can hold. No torch here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optimizer.arch.families import FAMILIES
from optimizer.arch.pool import ElasticSpace
from optimizer.distill.config import DistillConfig
from optimizer.train.config import TrainConfig

__all__ = ["ElasticConfig", "ElasticPhase", "ElasticRecipe"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ElasticPhase(_Value):
    """One phase of integrated progressive shrinking: what is sampled, and how long it is trained.

    Attributes:
        depths: for each stage the depths to sample from.
        widths: width coefficients to sample from.
    """

    depths: tuple[tuple[int, ...], ...]
    widths: tuple[float, ...]
    train: TrainConfig


class ElasticConfig(_Value):
    """An elastic teacher pool and its training (Joint-DetNAS, supplement A.1.3 and Table 1).

    Attributes:
        family: backbone of the super-network; coefficient 1.0 is its own width.
        phases: the first trains the super-network alone, the others sub-networks that it distils. Each phase's space
            holds the one before; the last one's is the pool's.
        sizes: canvases one of which is drawn for every step.
        distill: what the super-network teaches its sub-networks (that these are the terms of the search is a
            reconstruction); it always looks at their canvas.
        batch_size: images a training step.
        calibration_images: from which an extracted network's BatchNorm statistics are measured anew.
    """

    family: str
    phases: tuple[ElasticPhase, ...] = Field(min_length=1)
    sizes: tuple[tuple[int, int], ...] = Field(min_length=1)
    region_proposals: int = Field(1000, ge=1)
    detector: str = "faster_rcnn"
    distill: DistillConfig = DistillConfig(teacher_canvas="student")
    batch_size: int = Field(4, ge=1)
    calibration_images: int = Field(256, ge=1)
    seed: int = 0

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
        """What a phase samples from; of the last one, the pool."""
        return ElasticSpace(
            self.family,
            self.phases[phase].depths,
            self.phases[phase].widths,
            self.sizes,
            self.region_proposals,
            self.detector,
        )

    @property
    def epochs(self) -> int:
        return sum(phase.train.epochs for phase in self.phases)


class ElasticRecipe(_Value):
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

    def make(
        self, base: str, sizes: tuple[tuple[int, int], ...], region_proposals: int, detector: str
    ) -> ElasticConfig:
        """The pool of a base.

        Depths shrink as in the paper's table: first stage 3 alone, down to half; then every stage down to two blocks,
        or to half of one that has only two.
        """
        family = self.family or {"x101": "r101"}.get(base, base)
        full = FAMILIES[family].depths
        alone = tuple((depth,) for depth in full)
        half = tuple(
            tuple(range(-(-depth // 2), depth + 1)) if stage == 2 else (depth,) for stage, depth in enumerate(full)
        )
        all_depths = tuple(tuple(range(min(2, -(-depth // 2)), depth + 1)) for depth in full)
        spaces = ((alone, self.widths[2:]), (half, self.widths[1:]), (all_depths, self.widths))
        return ElasticConfig(
            family=family,
            phases=tuple(
                ElasticPhase(depths=depths, widths=widths, train=train)
                for (depths, widths), train in zip(spaces, self.train)
            ),
            sizes=sizes,
            region_proposals=region_proposals,
            detector=detector,
            distill=self.distill,
            batch_size=self.batch_size,
            calibration_images=self.calibration_images,
        )
