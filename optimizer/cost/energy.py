"""Cost by energy: what a device draws per image while a model runs without a pause, in one lease with the base."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deploy import LatencyRecord, MeasurementFailure
from deploy.errors import MeasurementError
from optimizer.cost.base import RelativeCost
from optimizer.cost.latency import LatencyCost
from optimizer.search.latency import FurtherCost

__all__ = ["EnergyCost", "LatencyAndEnergy", "name_energy"]

UNREAD = "its energy could not be read (optimize targets check says what the device tells)"


@dataclass(frozen=True)
class EnergyCost(LatencyCost):
    """Scores by the gross energy of an image on a target that meters it; latencies are on record as well."""

    def score(self, base: LatencyRecord, answer: LatencyRecord) -> RelativeCost | MeasurementFailure:
        ratio = compare_energies(base, answer)
        return ratio if isinstance(ratio, MeasurementFailure) else RelativeCost(ratio, answer.to_json())


@dataclass(frozen=True)
class LatencyAndEnergy(LatencyCost):
    """Scores by latency; the energy of an image, metered in the same lease, is a further cost."""

    def score(self, base: LatencyRecord, answer: LatencyRecord) -> RelativeCost | MeasurementFailure:
        found, ratio = super().score(base, answer), compare_energies(base, answer)
        if isinstance(found, MeasurementFailure):
            return found
        if isinstance(ratio, MeasurementFailure):
            return ratio
        assert found.latency is not None
        energy = FurtherCost(ratio, found.latency, "energy")
        return replace(found, elsewhere={name_energy(self.target.spec.name): energy})


def compare_energies(base: LatencyRecord, answer: LatencyRecord) -> float | MeasurementFailure:
    """The base's energy divided by that of a model of the same lease.

    Raises:
        MeasurementError: the base has none.
    """
    drawn, of_base = (None if record.energy is None else record.energy.gross_mj for record in (answer, base))
    if not of_base or of_base < 0:
        raise MeasurementError(f"no energy for the base: {UNREAD}")
    if not drawn or drawn < 0:
        return MeasurementFailure(answer.protocol, answer.model_sha256, answer.target, UNREAD)
    return of_base / drawn


def name_energy(target: str) -> str:
    """What the energy on a target is called among further costs, which else are called by their targets."""
    return f"energy on {target}"
