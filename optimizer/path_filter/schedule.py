"""How long each phase of DetOFA's training is, and what that costs compared with progressive shrinking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from optimizer.path_filter.pruning import PruningConfig
from optimizer.path_filter.ranking import FitConfig

__all__ = ["PAPER", "PROGRESSIVE_SHRINKING", "Schedule"]

PROGRESSIVE_SHRINKING = (70, 5, 65, 5, 65)  # epochs of its stages on Pascal VOC (table A2)


@dataclass(frozen=True)
class Schedule:
    """The numbers of a training; the defaults are the paper's on Pascal VOC, less the filter's pre-training.

    Attributes:
        warm_up: epochs on paths of the whole space. train: epochs on those of the pruned one.
        paths: validated of each bucket, once after the warm-up and once at the end.
        classified: paths of all buckets together, judged by classification, that the filter is pre-trained on; 0 begins
            with a new filter.
        weak: share of each bucket's paths that is not trained, by their scores.
    """

    warm_up: int = 5
    train: int = 65
    paths: int = 100
    weak: float = 0.25
    pruning: PruningConfig = field(default_factory=PruningConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    classified: int = 0

    @property
    def epochs(self) -> int:
        return self.warm_up + self.train

    def measure_saving(self, epoch: float, sampling: float, others: int = sum(PROGRESSIVE_SHRINKING)) -> float:
        """The share that is saved compared with a training of so many other epochs without a filter.

        Args:
            epoch: what an epoch costs. sampling: what validating the filter's paths costs, in the same unit.
        """
        return 1 - (self.epochs * epoch + sampling) / (others * epoch)

    def to_json(self) -> Mapping[str, Any]:
        content = asdict(self)
        if not self.classified:  # as before there were any
            del content["classified"]
        return content


PAPER: Mapping[str, Schedule] = {
    "voc": Schedule(classified=10_000),
    "coco": Schedule(warm_up=10, train=60, classified=10_000),
}
