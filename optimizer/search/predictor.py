"""Latency of an architecture that was not measured, from those that were: it chooses what is worth measuring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from optimizer.arch.macs import count_parts
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError
from optimizer.search.base import History, list_done
from optimizer.search.nonnegative import fit_nonnegative

__all__ = ["LatencyPredictor", "Probe", "count_features", "fit_predictor", "list_measured"]

NOISE = 0.03  # of a measured latency, as a share of itself
OVERHEADS = {"constant": 0.04, "blocks": 0.02, "pixels": 0.02, "regions": 0.02}  # shares of the base's, before a fit
LEAST_SPREAD = 0.05


class Probe(NamedTuple):
    """An architecture whose latency is known, as a share of the base's; nobody needs to have trained it."""

    arch: ArchSpec
    share: float

    def to_json(self) -> dict[str, Any]:
        return {"arch": self.arch.to_json(), "share": self.share}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Probe:
        """The inverse; an `InputError` where it is none."""
        try:
            share = float(value["share"])
            if not 0 < share < math.inf:
                raise ValueError(f"a share of {share}")
            return Probe(ArchSpec.from_json(value["arch"]), share)
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(f"not a measured latency: {error!r:.160}") from error


@dataclass(frozen=True)
class LatencyPredictor:
    """Latency as a sum over what it is made of: operations of each part, blocks, pixels, region features, a constant.

    Attributes:
        base: the architecture that is predicted to take 1.
        shares: how much of the base's latency each feature accounts for, by name; they add up to 1.
        num_classes: of the data set.
    """

    base: ArchSpec
    shares: Mapping[str, float]
    num_classes: int = 80

    def predict(self, arch: ArchSpec) -> float:
        """Latency of `arch` as a share of the base's."""
        return self.weigh(count_features(arch, self.num_classes))

    def weigh(self, features: Mapping[str, float]) -> float:
        """The same of an architecture whose features are known (`count_features`)."""
        return sum(rate * features.get(name, 0.0) for name, rate in self._rates)

    @cached_property
    def _rates(self) -> list[tuple[str, float]]:
        base = count_features(self.base, self.num_classes)
        return [(name, share / base[name]) for name, share in self.shares.items()]


def fit_predictor(base: ArchSpec, measured: Sequence[Probe], num_classes: int = 80) -> LatencyPredictor:
    """The predictor nearest to what was measured, and without measurements one that is nine tenths operations."""
    features = count_features(base, num_classes)
    names = [name for name, value in features.items() if value > 0]
    macs = sum(features[name] for name in names if name not in OVERHEADS)
    overhead = sum(OVERHEADS[name] for name in names if name in OVERHEADS)
    prior = [OVERHEADS.get(name, (1 - overhead) * features[name] / macs) for name in names]
    rows = [Probe(base, 1.0), *measured]
    counted = [count_features(probe.arch, num_classes) for probe in rows]
    shares = fit_nonnegative(
        [[own.get(name, 0.0) / features[name] for name in names] for own in counted],
        [probe.share for probe in rows],
        [NOISE / 10, *(NOISE * probe.share for probe in measured)],
        prior,
        [max(share / 2, LEAST_SPREAD) for share in prior],
    )
    total = sum(shares)
    return LatencyPredictor(base, {name: share / total for name, share in zip(names, shares)}, num_classes)


def list_measured(history: History) -> list[Probe]:
    """What the trials after the base tell of latency."""
    return [Probe(trial.arch, 1 / trial.cost_ratio) for trial in list_done(history) if trial.number != 0]


@lru_cache(maxsize=50_000)
def count_features(arch: ArchSpec, num_classes: int) -> Mapping[str, float]:
    """What latency may depend on, each in a unit of its own."""
    parts = {name: float(cost.macs) for name, cost in count_parts(arch, num_classes).items()}
    width, height = arch.input_size
    regions = (arch.head.region_proposals or 0) * arch.maps[0].width
    return {**parts, "constant": 1, "blocks": sum(arch.body.depths), "pixels": width * height, "regions": regions}
