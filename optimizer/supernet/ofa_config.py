"""How a once-for-all super-network is made and trained (OFA, DetOFA), as a value that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from optimizer.arch.bodies.ofa_resnet import DEPTHS, EXPANDS, WIDTHS
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.heads import make_head
from optimizer.arch.ofa_space import OfaSpace
from optimizer.distill.config import DistillConfig
from optimizer.errors import InputError
from optimizer.supernet.config import FrozenModel, Phase, SupernetConfig
from optimizer.supernet.filter_config import Filtering
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.train.config import TrainConfig

if TYPE_CHECKING:
    from optimizer.supernet.ofa import OfaSupernet

__all__ = ["OfaConfig", "OfaPhase", "OfaRecipe", "Shrinking"]

Shrinking = Literal["none", "dwe", "dew", "filter"]
FIRST_SHARE = 1 / 14  # of a dimension's epochs, for the first of its two smaller choices: 5 of 70


class OfaPhase(Phase):
    """One phase of progressive shrinking: the D, W and E that are drawn, ascending."""

    depths: tuple[int, ...] = DEPTHS
    widths: tuple[float, ...] = WIDTHS
    expands: tuple[float, ...] = EXPANDS


class OfaConfig(SupernetConfig):
    """A once-for-all super-network and its training.

    In every step one subnet of the phase, each choice drawn evenly, is trained. Each phase draws all that the one
    before it drew, and every phase can draw the largest subnet.

    Attributes:
        family: a key of `OFA_SHAPES`.
        coupled: whether D and W of a stage go together (CompOFA*).
        taught: whether the full network, as the first phase left it, teaches all others; what, `distill` says.
        filtering: DetOFA's way: of two phases, both of the whole space, the first is the warm-up of a path filter, and
            the second draws what it finds good.
        target: whose latency the filter's buckets are of; empty where they are of operations.
        pretraining: of the body, before the first phase; None begins with random weights.
    """

    kind: Literal["ofa"] = "ofa"
    family: str
    phases: tuple[OfaPhase, ...] = Field(min_length=1)
    coupled: bool = False
    taught: bool = True
    filtering: Filtering | None = None
    target: str = ""
    pretraining: Pretraining | None = None

    @model_validator(mode="after")
    def _filter_fits(self) -> OfaConfig:
        if self.filtering is not None and (self.coupled or self.taught or len(self.phases) != 2):
            raise ValueError("a path filter has two phases, neither coupled nor taught")
        return self

    @model_validator(mode="after")
    def _phases_grow(self) -> OfaConfig:
        for before, after in zip(self.phases, self.phases[1:]):
            for name in ("depths", "widths", "expands"):
                smaller, larger = getattr(before, name), getattr(after, name)
                if not {*smaller} <= {*larger} or max(smaller) != max(larger):
                    raise ValueError("each phase draws what the phase before it drew, and nothing that is larger")
        return self

    @property
    def name(self) -> str:
        return self.family

    @property
    def pretrained_on(self) -> Pretraining | None:
        return self.pretraining

    @property
    def filtered_by(self) -> Filtering | None:
        return self.filtering

    @property
    def measured_on(self) -> str:
        return self.target

    def for_target(self, target: str) -> OfaConfig:
        by_latency = self.filtering is not None and self.filtering.bucket == "latency"
        return self.model_copy(update={"target": target}) if by_latency else self

    def to_identity(self) -> dict[str, Any]:
        recipe = super().to_identity()
        if self.filtering is None:  # as before there was any
            del recipe["filtering"]
        else:  # a search alone reads them
            del recipe["filtering"]["candidates"], recipe["filtering"]["ranker"]
            if not self.classification_paths:  # as before there were any
                del recipe["filtering"]["classification_paths"]
        if not self.target:  # likewise
            del recipe["target"]
            recipe.get("filtering", {}).pop("bucket", None)
        return recipe

    def space(self, phase: int = -1) -> OfaSpace:
        drawn = self.phases[phase]
        return OfaSpace(
            self.family, self.sizes, self.region_proposals, self.detector, drawn.depths, drawn.widths, drawn.expands,
            self.coupled,
        )  # fmt: skip

    def build(self, num_classes: int) -> OfaSupernet:
        from optimizer.supernet.ofa import OfaSupernet

        return OfaSupernet([self.space(phase) for phase in range(len(self.phases))], num_classes, self.seed)

    def teacher_phase(self, phase: int) -> int | None:
        return 0 if phase > 0 and self.taught else None


class OfaRecipe(FrozenModel):
    """How to make a once-for-all super-network for whatever base a run has.

    Attributes:
        train: of the first phase, which is the only one without shrinking. Its epochs are those of every dimension
            that shrinks: of 70 the larger of two new choices has 5, and the smaller the other 65 (DetOFA).
        shrinking: "none" draws everything from the first step on; "dwe" is DetOFA's order of depth, width and inner
            width, "dew" once-for-all's; "filter" is DetOFA's own way, without shrinking.
        filtering: of "filter" alone.
        pretraining: of the body, before that, every choice of a subnet drawn evenly; with images "none", or without it,
            the body begins with random weights.
        whole_epochs: of the full network alone, before any subnet is drawn; it then teaches them.
        coupled: as in `OfaConfig`.
        distill: what the full network teaches; None is once-for-all's soft cross-entropy of classes, of weight 1, and
            under a head without regions the maps of the neck (a reading).
        calibration_images: on which BatchNorm is measured anew for every subnet (once-for-all: 2000).
    """

    train: TrainConfig
    pretraining: Pretraining | None = None
    shrinking: Shrinking = "none"
    filtering: Filtering = Filtering()
    whole_epochs: int = Field(0, ge=0)
    coupled: bool = False
    distill: DistillConfig | None = None
    batch_size: int = Field(4, ge=1)
    calibration_images: int = Field(256, ge=1)

    @model_validator(mode="after")
    def _coupled_do_not_shrink(self) -> OfaRecipe:
        if self.shrinking == "filter" and (self.coupled or self.whole_epochs):
            raise ValueError("the path filter chooses D and W on their own, and has no teacher: leave out the others")
        if self.coupled and self.shrinking != "none":
            raise ValueError("D and W that go together cannot shrink one after the other: leave out the shrinking")
        return self

    def phases(self) -> tuple[OfaPhase, ...]:
        """The phases of a training, in order."""
        epochs = self.train.epochs
        first = max(1, round(epochs * FIRST_SHARE))
        phases: list[OfaPhase] = []

        def add(epochs: int, depths: int, widths: int, expands: int) -> None:
            """A phase that draws so many of the largest choices."""
            train = self.train.model_copy(update={"epochs": epochs})
            phases.append(
                OfaPhase(depths=DEPTHS[-depths:], widths=WIDTHS[-widths:], expands=EXPANDS[-expands:], train=train)
            )

        if self.shrinking == "filter":
            warm_up = max(1, round(epochs * self.filtering.warm_up))
            add(warm_up, 3, 3, 3)
            add(max(1, epochs - warm_up), 3, 3, 3)
            return tuple(phases)
        if self.whole_epochs:
            add(self.whole_epochs, 1, 1, 1)
        if self.shrinking == "none":
            add(epochs, 3, 3, 3)
            return tuple(phases)
        add(epochs, 3, 1, 1)
        rest = max(1, epochs - first)
        for dimension in range(2):
            for count, share in ((2, first), (3, rest)):
                now, later = (count, 1) if dimension == 0 else (3, count)
                widths, expands = (now, later) if self.shrinking == "dwe" else (later, now)
                add(share, 3, widths, expands)
        return tuple(phases)

    def with_precision(self, precision: str) -> OfaRecipe:
        """The same, trained in another arithmetic."""
        train = self.train.model_copy(update={"precision": precision})
        before = None if self.pretraining is None else self.pretraining.with_precision(precision)
        return self.model_copy(update={"train": train, "pretraining": before})

    def make(self, base: str, sizes: tuple[tuple[int, int], ...], region_proposals: int, detector: str) -> OfaConfig:
        """The super-network of a base.

        Raises:
            InputError: the base is no once-for-all network.
        """
        family = base.partition(":")[0]  # whatever the base's own depths and widths are
        if family not in OFA_SHAPES:
            raise InputError(
                f"depths and widths are chosen of a once-for-all network; --base is one of {', '.join(OFA_SHAPES)}, "
                f"not {base}"
            )
        terms = "classification" if "regions" in make_head(detector, sizes[0]).readable else "whole_feature"
        usual = DistillConfig(weights={terms: 1.0}, teacher_canvas="student")
        return OfaConfig(
            family=family,
            phases=self.phases(),
            coupled=self.coupled,
            pretraining=self.pretraining if self.pretraining is not None and self.pretraining.is_any else None,
            taught=self.shrinking != "filter",
            filtering=self.filtering if self.shrinking == "filter" else None,
            sizes=sizes,
            region_proposals=region_proposals,
            detector=detector,
            distill=self.distill or usual,
            batch_size=self.batch_size,
            calibration_images=self.calibration_images,
        )
