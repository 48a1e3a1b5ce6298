"""What a user needs of a student: at most so slow, so large and so hungry for memory, at least so precise."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BYTES_OF_A_PARAMETER", "UNCONSTRAINED", "Breach", "Constraints", "Figures"]

MIB = 1 << 20
BYTES_OF_A_PARAMETER = 4  # in the plain export, which is FP32; the graph itself is small


class Figures(NamedTuple):
    """What constraints are about; None is not known, and breaks nothing."""

    ap: float
    latency_ms: float | None
    model_bytes: int | None
    memory_mib: float | None = None


class Breach(NamedTuple):
    """How figures break constraints.

    Attributes:
        text: each figure that does, with what it should be.
        excess: the ratio by which the worst of them misses it, above 1.
    """

    text: str
    excess: float


class Constraints(BaseModel):
    """Bounds of a student's figures; None bounds nothing.

    Attributes:
        max_latency_ms: of one image on the run's target.
        max_bytes: of the exported model file.
        max_memory_bytes: of memory while the model runs on the run's target (`deploy.measuring.memory`).
        min_ap: COCO average precision on the validation images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_latency_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    max_bytes: int | None = Field(None, gt=0)
    max_memory_bytes: int | None = Field(None, gt=0)
    min_ap: float | None = Field(None, gt=0, lt=1)

    def find_breach(self, of: Figures) -> Breach | None:
        """How these figures break the constraints; None where they keep all of them."""
        found: list[Breach] = []
        if self.max_latency_ms is not None and of.latency_ms is not None and of.latency_ms > self.max_latency_ms:
            text = f"{of.latency_ms:.4g} ms, above {self.max_latency_ms:g} ms"
            found.append(Breach(text, of.latency_ms / self.max_latency_ms))
        if self.max_bytes is not None and of.model_bytes is not None and of.model_bytes > self.max_bytes:
            text = f"{of.model_bytes / 1e6:.4g} MB, above {self.max_bytes / 1e6:g} MB"
            found.append(Breach(text, of.model_bytes / self.max_bytes))
        if self.max_memory_bytes is not None and of.memory_mib is not None:
            excess = of.memory_mib * MIB / self.max_memory_bytes
            if excess > 1:
                text = f"{of.memory_mib * MIB / 1e6:.4g} MB of memory, above {self.max_memory_bytes / 1e6:g} MB"
                found.append(Breach(text, excess))
        if self.min_ap is not None and of.ap < self.min_ap:
            excess = self.min_ap / of.ap if of.ap else math.inf
            found.append(Breach(f"AP {of.ap:.4f}, below {self.min_ap:g}", excess))
        if not found:
            return None
        return Breach("; ".join(breach.text for breach in found), max(breach.excess for breach in found))

    def find_ceiling(self, base_ms: float | None) -> float:
        """The most latency that a student may have, as a share of the base's; infinite where any will do."""
        return math.inf if self.max_latency_ms is None or not base_ms else self.max_latency_ms / base_ms

    @property
    def most_params(self) -> float:
        """The most parameters that a student may have; infinite where any number will do."""
        return self.most_weight_bytes / BYTES_OF_A_PARAMETER

    @property
    def most_weight_bytes(self) -> float:
        """The most that weights may take, in a file or in memory; infinite where any number will do."""
        return min(math.inf if most is None else most for most in (self.max_bytes, self.max_memory_bytes))

    @property
    def of_architecture(self) -> Constraints:
        """Those that no training can meet."""
        return self.model_copy(update={"min_ap": None})

    def __str__(self) -> str:
        """The bounds in words; empty where there are none."""
        parts = (
            f"at most {self.max_latency_ms:g} ms" if self.max_latency_ms is not None else "",
            f"at most {self.max_bytes / 1e6:g} MB" if self.max_bytes is not None else "",
            f"at most {self.max_memory_bytes / 1e6:g} MB of memory" if self.max_memory_bytes is not None else "",
            f"AP at least {self.min_ap:g}" if self.min_ap is not None else "",
        )
        return ", ".join(part for part in parts if part)


UNCONSTRAINED = Constraints()
