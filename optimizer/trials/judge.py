"""What a model is worth: its precision by the engine it will run in, its cost compared with the base, and a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy import ModelSource, get_target
from deploy.data import Dataset
from deploy.evaluate import AveragePrecision, evaluate_artefact
from deploy.targets import Target
from optimizer.config import RunConfig
from optimizer.cost.base import Candidate, CostMeter, RelativeCost
from optimizer.cost.energy import EnergyCost, LatencyAndEnergy
from optimizer.cost.latency import LatencyCost
from optimizer.cost.macs import MacsCost
from optimizer.cost.several import LatencyOnSeveral
from optimizer.progress import RunProgress
from optimizer.search.objective import OBJECTIVES

__all__ = ["Judge", "build_meter", "choose_engine"]

MEASURING_IMAGES = 64


def build_meter(
    config: RunConfig, targets: Sequence[Target], images: Dataset, level: str, report: Callable[[str], None]
) -> CostMeter:
    """What students are scored by: latency or energy on the first of the targets at a level of rigour, or operations.

    Where energy is a further cost it is that of the first target; of further targets it is latency.
    """
    if not config.search.cost_kind.is_measured:
        return MacsCost()
    paths = tuple(record.path for record in images.records[:MEASURING_IMAGES])
    kind = config.search.cost_kind
    by_latency = LatencyAndEnergy if kind.has_energy_axis else LatencyCost
    primary = (by_latency if kind.is_latency else EnergyCost)(targets[0], paths, level, report)
    further = [LatencyCost(target, paths, level, report) for target in targets[1:]]
    return LatencyOnSeveral(primary, tuple(further)) if further else primary


def choose_engine(config: RunConfig, target: Target) -> Target:
    """Where precision is found: on the target; a search by operations asks nothing of it."""
    return target if config.search.cost_kind.is_measured else get_target("cpu")


@dataclass(frozen=True)
class Judge:
    """Says how good a model is.

    Attributes:
        images: the validation images.
        engine: the target whose engine executes models for their precision.
    """

    config: RunConfig
    images: Dataset
    engine: Target
    meter: CostMeter
    progress: RunProgress

    def find_precision(self, model: ModelSource) -> AveragePrecision:
        """Average precision on the validation images."""
        return evaluate_artefact(model, self.images.class_names, self.images, self.engine, self.progress.note)[0]

    def compare(self, model: Candidate, base: Candidate) -> RelativeCost:
        """The model's cost compared with the base's.

        Raises:
            MeasurementError: it cannot be established.
        """
        return self.meter.measure(model, base)

    def score(self, ap: float, base_ap: float, cost_ratio: float) -> float:
        """What the search maximises; 0 where the base detects nothing."""
        search = self.config.search
        objective = OBJECTIVES[search.objective]
        return objective(ap / base_ap, cost_ratio, self.config.alpha, search.beta) if base_ap else 0.0
