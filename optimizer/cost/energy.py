"""Cost by energy: what a device draws per image while a model runs without a pause, in one lease with the base."""

from __future__ import annotations

from dataclasses import dataclass

from deploy import LatencyRecord, MeasurementFailure
from deploy.errors import MeasurementError
from optimizer.cost.base import RelativeCost
from optimizer.cost.latency import LatencyCost

__all__ = ["EnergyCost"]

UNREAD = "its energy could not be read (optimize targets check says what the device tells)"


@dataclass(frozen=True)
class EnergyCost(LatencyCost):
    """Scores by the gross energy of an image on a target that meters it; latencies are on record as well."""

    def score(self, base: LatencyRecord, answer: LatencyRecord) -> RelativeCost | MeasurementFailure:
        drawn, of_base = (None if record.energy is None else record.energy.gross_mj for record in (answer, base))
        if not of_base or of_base < 0:
            raise MeasurementError(f"no energy for the base: {UNREAD}")
        if not drawn or drawn < 0:
            return MeasurementFailure(answer.protocol, answer.model_sha256, answer.target, UNREAD)
        return RelativeCost(of_base / drawn, answer.to_json())
