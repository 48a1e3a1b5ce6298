"""How a super-network is made and trained, as a value that JSON can hold. No torch here until one is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from optimizer.arch.subnets import SubnetSpace
from optimizer.distill.config import DistillConfig
from optimizer.train.config import TrainConfig

if TYPE_CHECKING:
    from optimizer.supernet.base import Supernet
    from optimizer.supernet.filter_config import Filtering
    from optimizer.supernet.pretrain_config import Pretraining

__all__ = ["NO_MATTER", "FrozenModel", "Phase", "SupernetConfig"]

NO_MATTER = {"checkpoint_every_s", "max_bad_losses"}


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(FrozenModel):
    """One phase of a training; a kind of super-network adds what it draws subnets from."""

    train: TrainConfig


class SupernetConfig(FrozenModel, ABC):
    """A super-network and its training; each kind in `SUPERNETS` adds what is its own.

    Its JSON names its kind, by a field ``kind: Literal["..."]``. Only that of an elastic pool names none.

    Attributes:
        phases: trained one after the other; the last one's space is that of the pool.
        sizes: canvases (width, height) in pixels, the super-network's own first; one is drawn for every step.
        region_proposals: of every subnet whose head has them.
        detector: a `Head.name`.
        distill: what a phase that has a teacher is taught; the teacher always looks at the canvas of the batch.
        batch_size: images per training step.
        calibration_images: from which an extracted subnet's BatchNorm statistics are measured anew.
    """

    phases: tuple[Phase, ...] = Field(min_length=1)
    sizes: tuple[tuple[int, int], ...] = Field(min_length=1)
    region_proposals: int = Field(1000, ge=1)
    detector: str = "faster_rcnn"
    distill: DistillConfig = DistillConfig(teacher_canvas="student")
    batch_size: int = Field(4, ge=1)
    calibration_images: int = Field(256, ge=1)
    seed: int = 0

    @property
    @abstractmethod
    def name(self) -> str:
        """What a pool's folder and messages call the super-network; part of a file name."""

    @abstractmethod
    def space(self, phase: int = -1) -> SubnetSpace:
        """What a phase draws from."""

    @abstractmethod
    def build(self, num_classes: int) -> Supernet:
        """The untrained super-network, with all subnets of the last phase; its weights depend on `seed` alone."""

    @property
    def pretrained_on(self) -> Pretraining | None:
        """How the body is trained before the first phase; None where it is not."""
        return None

    def classified(self) -> Any:
        """What subnets are drawn from, by `sample`, while the body is pre-trained."""
        return self.space()

    @property
    def filtered_by(self) -> Filtering | None:
        """How a path filter chooses what is trained, and then what is searched; None where there is none."""
        return None

    @property
    def classification_paths(self) -> int:
        """How many paths, judged as classifiers, a path filter learns first; 0 where there are none."""
        if self.filtered_by is None or self.pretrained_on is None:
            return 0
        return self.filtered_by.classification_paths

    @property
    def measured_on(self) -> str:
        """The target whose latencies the training asks for; empty where it asks for none."""
        return ""

    def for_target(self, target: str) -> SupernetConfig:
        """The same, for students on this target; most are the same for all."""
        return self

    def to_identity(self) -> dict[str, Any]:
        """What makes a super-network another one, as JSON.

        How often a training is saved, and when it gives up, change nothing of the outcome and are not part of it.
        """
        recipe = self.model_dump(mode="json", exclude={"phases": {"__all__": {"train": NO_MATTER}}})
        recipe["distill"] = self.distill.to_identity()
        before = self.pretrained_on
        if before is not None:
            recipe["pretraining"] = before.to_identity(NO_MATTER)
        else:  # as before there was any
            recipe.pop("pretraining", None)
        return recipe

    def teacher_phase(self, phase: int) -> int | None:
        """The earlier phase whose largest subnet, as that phase left it, teaches this one; None is no teacher."""
        return None

    @property
    def epochs(self) -> int:
        return sum(phase.train.epochs for phase in self.phases)
