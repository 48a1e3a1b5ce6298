"""How the body of a super-network is pre-trained as a classifier, as a value that JSON can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from optimizer.train.config import TrainConfig

__all__ = ["Pretraining"]


class Pretraining(BaseModel):
    """Training of a body as a classifier before it learns to detect; the classifier is thrown away.

    Attributes:
        images: a folder of images with a folder for each class; "crops" of the objects in the images that are trained
            on afterwards; or "none", which is no pre-training.
        size: canvas (width, height) in pixels.
        least_area: share of a picture that is shown at least.
        jitter: most change of brightness, contrast and saturation.
        by_cost: of a super-network of paths alone: whether paths are drawn from bins of operations
            (`optimizer.arch.path_bins`), or uniformly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Literal["crops", "none"] | Path = "crops"
    train: TrainConfig
    batch_size: int = Field(16, ge=2)
    size: tuple[int, int]
    least_area: float = Field(0.08, gt=0, le=1)
    jitter: float = Field(0.4, ge=0, le=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    by_cost: bool = True

    @property
    def folder(self) -> Path | None:
        """The folder of classes; None where the images are crops."""
        return self.images if isinstance(self.images, Path) else None

    @property
    def is_any(self) -> bool:
        """Whether there is any pre-training."""
        return self.images != "none"

    def to_identity(self, no_matter: set[str]) -> dict[str, Any]:
        """What makes a body another one, as JSON; a folder of images is known by them, wherever it is.

        Args:
            no_matter: parts of a training's recipe that change nothing of its outcome.
        """
        recipe = self.model_dump(mode="json", exclude={"train": no_matter})
        if self.folder is not None:
            recipe["images"] = "folder"
        return recipe

    def with_precision(self, precision: str) -> Pretraining:
        """The same, trained in another arithmetic."""
        return self.model_copy(update={"train": self.train.model_copy(update={"precision": precision})})

    def __str__(self) -> str:
        return "crops of the objects" if self.folder is None else str(self.folder)
