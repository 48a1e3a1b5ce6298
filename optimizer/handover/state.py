"""How far the hand-over of a run is: what the database keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from optimizer.cost.base import RelativeCost
from optimizer.errors import InputError
from optimizer.handover.variants import VariantResult, parse_bundle_place
from optimizer.store.schema import LEAST_RATIO, read_elsewhere
from optimizer.store.values import DAMAGE, read_mapping, read_number, read_text, read_whole

__all__ = ["HandOverState"]


@dataclass(frozen=True)
class HandOverState:
    """Each step makes a new one, which is written before the next step begins.

    Attributes:
        numbers: trials that are handed over, the base among them; none before it began.
        tried: other exports by name.
        measured: cost of the plain exports in the final lease, by number of the trial; None before that lease.
        bundles: path of each plain export's bundle, relative to the run's folder; refused: why there is none.
    """

    numbers: tuple[int, ...] = ()
    tried: Mapping[str, VariantResult] = field(default_factory=dict)
    measured: Mapping[int, RelativeCost] | None = None
    bundles: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)

    def with_tried(self, item: VariantResult) -> HandOverState:
        return replace(self, tried={**self.tried, item.name: item})

    def with_bundle(self, number: int, path: str) -> HandOverState:
        refused = {other: reason for other, reason in self.refused.items() if other != number}
        return replace(self, bundles={**self.bundles, number: path}, refused=refused)

    def with_refusal(self, number: int, reason: str) -> HandOverState:
        return replace(self, refused={**self.refused, number: reason})

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "numbers": list(self.numbers),
            "tried": {name: item.to_json() for name, item in self.tried.items()},
            "bundles": dict(self.bundles),
            "refused": dict(self.refused),
        }
        if self.measured is not None:
            value["measured"] = {number: asdict(cost) for number, cost in self.measured.items()}
        return value

    @staticmethod
    def from_json(value: Mapping[str, Any] | None) -> HandOverState:
        """The inverse; None is one that has not begun, and what a run of an older version lacks is empty.

        Raises:
            InputError: it is not what a run of ours keeps.
        """
        value = value or {}
        measured = value.get("measured")
        try:
            return HandOverState(
                numbers=tuple(read_whole(number) for number in value.get("numbers", ())),
                tried={name: VariantResult.from_json(item) for name, item in value.get("tried", {}).items()},
                measured=None if measured is None else {int(n): _read_cost(cost) for n, cost in measured.items()},
                bundles={int(number): parse_bundle_place(path) for number, path in value.get("bundles", {}).items()},
                refused={int(number): read_text(reason) for number, reason in value.get("refused", {}).items()},
            )
        except DAMAGE as error:
            raise InputError(f"the run is damaged: its hand-over cannot be read ({error!r:.160})") from error


def _read_cost(value: Mapping[str, Any]) -> RelativeCost:
    latency = value["latency"]
    ratio, elsewhere = read_number(value["ratio"], LEAST_RATIO), read_elsewhere(value.get("elsewhere", {}))
    return RelativeCost(ratio, None if latency is None else read_mapping(latency), elsewhere)
