"""What students can be scored by: the kinds of cost, and what a run does differently for each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COSTS", "CostKind"]


@dataclass(frozen=True)
class CostKind:
    """One kind of cost.

    Attributes:
        name: its key in `COSTS`. noun: as a sentence calls it.
        unit: of a student's own figure. better: what a ratio of the base's cost to a student's says.
        is_measured: whether models are run on the target for it; otherwise it is counted.
        also: what a target has to tell besides latencies (`deploy.measuring.protocols.EXTRAS`).
        has_energy_axis: whether the front is over energy too, which no student is scored by.
    """

    name: str
    noun: str
    unit: str
    better: str = "times as fast"
    is_measured: bool = True
    also: tuple[str, ...] = ()
    has_energy_axis: bool = False

    @property
    def is_latency(self) -> bool:
        """Whether the costs that are compared are times."""
        return self.unit == "ms"


COSTS: dict[str, CostKind] = {
    kind.name: kind
    for kind in (
        CostKind("latency", "latency", "ms"),
        CostKind("latency+energy", "latency", "ms", also=("energy",), has_energy_axis=True),
        CostKind("energy", "energy", "mJ", "times as frugal", also=("energy",)),
        CostKind("macs", "MACs", "GMAC", is_measured=False),
    )
}
