"""How a super-network is trained by DetOFA's path filter, as a value that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from optimizer.path_filter.schedule import Schedule

__all__ = ["Filtering"]

BUCKETS, LEAST = 5, 8  # paths of a bucket, so that two are held out


class Filtering(BaseModel):
    """What the filter is fitted to, and what it bars; the defaults are the paper's, less the pre-training.

    Attributes:
        bucket: what the five buckets are of: "flops" is multiply-accumulates of the body; "latency" that of the whole
            detector on the target, predicted from some subnets that are measured before the training.
        warm_up: share of the epochs that is trained on paths of the whole space: 5 of 70 (on COCO 10).
        paths: validated of each bucket, after the warm-up and at the end.
        weak: share of each bucket's paths that is not trained, by their scores.
        pruning: which operations are barred, see `PruningConfig`.
        ratio, overall, draws: as there.
        fit_epochs: of the filter, at most.
        classification_paths: of all buckets together, judged by how well they classify after the body's pre-training,
            that the filter is fitted to first; 0, or a body that is not pre-trained, begins with a new filter. Paper:
            10,000.
        ranker: what ranks the subnets that a search breeds: "images" is AP on images that are kept out, of those that
            the filter chose; "filter" is the filter alone, and only what it finds best is trained and evaluated.
        candidates: with "images", subnets that the filter chooses one from, for each that a search looks at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: Literal["flops", "latency"] = "flops"
    warm_up: float = Field(5 / 70, gt=0, lt=1)
    paths: int = Field(100, ge=LEAST)
    weak: float = Field(0.25, ge=0, lt=1)
    pruning: Literal["flops", "per bucket", "all", "none"] = "all"
    ratio: float = Field(0.3, ge=0, lt=1)
    overall: float = Field(0.1, ge=0, lt=1)
    draws: int = Field(100, ge=1)
    fit_epochs: int = Field(200, ge=1)
    ranker: Literal["images", "filter"] = "images"
    candidates: int = Field(8, ge=1)
    classification_paths: int = Field(0, ge=0)

    @field_validator("classification_paths")
    @classmethod
    def _enough_to_hold_out(cls, value: int) -> int:
        if value and (value < BUCKETS * LEAST or value % BUCKETS):
            raise ValueError(
                f"{value} classification paths do not fill five buckets: a multiple of {BUCKETS} from "
                f"{BUCKETS * LEAST} on, or 0 for none"
            )
        return value

    @property
    def validated(self) -> int:
        """Paths of all buckets together that are judged by their loss, after the warm-up and at the end."""
        return 2 * BUCKETS * self.paths

    def to_schedule(self, warm_up: int, train: int, *, classifies: bool = False) -> Schedule:
        """With so many epochs of the super-network.

        Args:
            classifies: whether there are paths that were trained to classify.
        """
        from optimizer.path_filter.pruning import PruningConfig
        from optimizer.path_filter.ranking import FitConfig
        from optimizer.path_filter.schedule import Schedule

        return Schedule(
            warm_up, train, self.paths, self.weak, PruningConfig(self.pruning, self.ratio, self.overall, self.draws),
            FitConfig(epochs=self.fit_epochs), self.classification_paths if classifies else 0,
        )  # fmt: skip
