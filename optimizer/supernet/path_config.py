"""How a super-network of paths is made and trained (DetNAS), as a value that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from optimizer.arch.bodies.shufflenet import CHOICES
from optimizer.arch.families import PATH_SPACES
from optimizer.arch.path_bins import BinnedPaths
from optimizer.arch.paths import PathSubnets
from optimizer.errors import InputError
from optimizer.supernet.config import FrozenModel, Phase, SupernetConfig
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.train.config import TrainConfig

if TYPE_CHECKING:
    from optimizer.supernet.single_path import SinglePathSupernet

__all__ = ["PathConfig", "PathRecipe"]


class PathConfig(SupernetConfig):
    """DetNAS' super-network: in every step one path, uniformly drawn, is trained alone.

    Attributes:
        family: a key of `PATH_SPACES`.
        choices: numbers of the blocks in every place.
        shuffle: how blocks part their channels; the paper's super-networks have "halves", its released nets "split".
        pretraining: of the body, before the first phase; None begins with random weights.
    """

    kind: Literal["path"] = "path"
    family: str
    choices: tuple[int, ...] = CHOICES
    shuffle: Literal["split", "halves"] = "split"
    pretraining: Pretraining | None = None

    @property
    def name(self) -> str:
        return self.family

    @property
    def pretrained_on(self) -> Pretraining | None:
        return self.pretraining

    def classified(self) -> PathSubnets | BinnedPaths:
        by_cost = self.pretraining is not None and self.pretraining.by_cost
        return BinnedPaths.of(self.space()) if by_cost else self.space()

    def space(self, phase: int = -1) -> PathSubnets:
        return PathSubnets(self.family, self.sizes, self.region_proposals, self.detector, self.choices, self.shuffle)

    def build(self, num_classes: int) -> SinglePathSupernet:
        from optimizer.supernet.single_path import SinglePathSupernet

        return SinglePathSupernet(self.space(), num_classes, self.seed)


class PathRecipe(FrozenModel):
    """How to make a super-network of paths for whatever base a run has.

    Attributes:
        train: of the super-network, on the user's images.
        pretraining: of its body, before that; with images "none", or without it, the body begins with random weights.
        calibration_images: on which BatchNorm is measured anew for every path (paper: 500 batches of 8).
    """

    train: TrainConfig
    pretraining: Pretraining | None = None
    shuffle: Literal["split", "halves"] = "split"
    batch_size: int = Field(4, ge=1)
    calibration_images: int = Field(256, ge=1)

    @property
    def is_pretrained(self) -> bool:
        return self.pretraining is not None and self.pretraining.is_any

    def with_precision(self, precision: str) -> PathRecipe:
        """The same, trained in another arithmetic."""
        train = self.train.model_copy(update={"precision": precision})
        before = None if self.pretraining is None else self.pretraining.with_precision(precision)
        return self.model_copy(update={"train": train, "pretraining": before})

    def make(self, base: str, sizes: tuple[tuple[int, int], ...], region_proposals: int, detector: str) -> PathConfig:
        """The super-network of a base.

        Raises:
            InputError: the base is no path of a space.
        """
        family = base.partition(":")[0]  # whatever the base's own blocks are
        if family not in PATH_SPACES:
            raise InputError(
                f"method detnas chooses among the blocks of a space; --base is one of {', '.join(PATH_SPACES)}, not "
                f"{base}"
            )
        return PathConfig(
            family=family,
            shuffle=self.shuffle,
            pretraining=self.pretraining if self.is_pretrained else None,
            phases=(Phase(train=self.train),),
            sizes=sizes,
            region_proposals=region_proposals,
            detector=detector,
            batch_size=self.batch_size,
            calibration_images=self.calibration_images,
        )
