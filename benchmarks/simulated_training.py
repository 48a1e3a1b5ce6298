"""AP and latency of a detector as a formula, fitted to what was recorded; no torch.

Fitted to `reports/joint-detnas_cpu2_2026-11.json` (R18 at 256x192, two seeds) and to the table `EDITS` (one edit each
of a base that was trained out, R18 at 320x240):

- how AP grows with the epochs of a lineage and falls with operations: least squares over the 16 rows;
- what each kind of edit costs before training, in ln(AP) per ln(operations before / after): least squares over `EDITS`;
- what share of that damage is left after an epoch: least absolute error over the 76 recorded students and parents;
- latency as a straight line in the operations of the whole detector: least squares over the 16 rows.

Assumed: a part's operations count by its share of the base's; adding a layer costs no AP, and moving a block as much as
leaving one out; damage decays by the same share in every epoch. The formula knows one data set and one base, so it
ranks strategies and predicts no AP of a real run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from optimizer.arch import ArchSpec, count_parts

RECORDED = Path(__file__).parent / "reports" / "joint-detnas_cpu2_2026-11.json"
CLASSES = 3
TRAINED_OUT = 0.734  # AP of the base of `EDITS`

# One edit of a trained-out base, weights inherited, BatchNorm measured anew, not trained: (kind, operations left, AP).
EDITS = (
    ("set_region_proposals", 0.895, 0.733),
    ("set_region_proposals", 0.843, 0.733),
    ("prune_rpn", 0.929, 0.732),
    ("prune_rpn", 0.857, 0.719),
    ("prune_channels", 0.962, 0.713),
    ("prune_channels", 0.911, 0.627),
    ("prune_layer", 0.973, 0.588),
    ("prune_box_head", 0.945, 0.677),
    ("prune_box_head", 0.891, 0.615),
    ("prune_fpn", 0.755, 0.619),
    ("prune_fpn", 0.545, 0.365),
    ("resize", 0.851, 0.575),
    ("resize", 0.713, 0.468),
)


@dataclass(frozen=True)
class Formula:
    """AP and latency of a detector.

    Attributes:
        ceiling: AP of the base after endless training.
        tau, kappa: AP grows with 1 - exp(-(epochs / tau) ** kappa).
        capacity: share of AP lost per unit of `shrinkage`.
        damage: of each kind of action, in ln(AP) per unit of ln(operations before / after).
        left: share of the damage that is left after an epoch.
        slope: of latency over operations, both as ratios to the base's.
    """

    ceiling: float
    tau: float
    kappa: float
    capacity: float
    damage: Mapping[str, float]
    left: float
    slope: float

    def ap(self, shrinkage: float, epochs: float, damage: float = 0.0) -> float:
        """True AP of a network that was trained for `epochs` in all and carries `damage` from its last edits."""
        grown = 1 - math.exp(-((epochs / self.tau) ** self.kappa))
        return max(self.ceiling * grown * (1 - self.capacity * shrinkage) * math.exp(-damage), 0.0)

    def latency(self, macs_ratio: float) -> float:
        """As a ratio to the base's."""
        return 1 + self.slope * (macs_ratio - 1)

    def hurt(self, kind: str, before: int, after: int) -> float:
        """The damage of one action that changed the operations like this; an action that removes nothing costs none.

        Moving a block does as much damage as leaving out one of its size.
        """
        if kind == "rearrange":
            return self.damage["prune_layer"] * abs(math.log(before / after))
        return self.damage.get(kind, 0.0) * max(math.log(before / after), 0.0)

    def heal(self, damage: float, epochs: float) -> float:
        """What is left of a damage."""
        return damage * self.left**epochs


@lru_cache(maxsize=100_000)
def count_by_part(arch: ArchSpec) -> tuple[tuple[str, int], ...]:
    return tuple((name, cost.macs) for name, cost in count_parts(arch, CLASSES).items())


def shrinkage(arch: ArchSpec, base: ArchSpec) -> float:
    """How much smaller than the base: ln(operations of the base / its own) of each part, weighed by its share."""
    parts, own = dict(count_by_part(base)), dict(count_by_part(arch))
    total = sum(parts.values())
    return sum(macs / total * math.log(macs / own[name]) for name, macs in parts.items())


def total_macs(arch: ArchSpec) -> int:
    return sum(macs for _, macs in count_by_part(arch))


def read_recorded() -> dict[str, Any]:
    """The report that the formula is fitted to."""
    content: dict[str, Any] = json.loads(RECORDED.read_text())
    return content


def fit_formula(recorded: Mapping[str, Any]) -> Formula:
    """The formula nearest to the recorded rows, pairs and edits."""
    rows = recorded["rows"]
    archs = [ArchSpec.from_json(row["arch"]) for row in rows]
    base = next(arch for row, arch in zip(rows, archs) if row["row"] == "base")
    shrunk = np.array([shrinkage(arch, base) for arch in archs])
    epochs, ap = (np.array([row[key] for row in rows]) for key in ("epochs_of_student", "ap"))
    best = (math.inf, 0.0, 0.0, 0.0, 0.0)
    for kappa in np.arange(0.3, 1.51, 0.05):
        for tau in np.geomspace(0.3, 6, 60):
            grown = 1 - np.exp(-((epochs / tau) ** kappa))
            inputs = np.stack([grown, -grown * shrunk], axis=1)
            (ceiling, lost), *_ = np.linalg.lstsq(inputs, ap, rcond=None)
            error = float(((inputs @ (ceiling, lost) - ap) ** 2).sum())
            best = min(best, (error, float(ceiling), float(tau), float(kappa), float(lost / ceiling)))
    _, ceiling, tau, kappa, capacity = best
    ratios = np.array([row["macs"] for row in rows]) / total_macs(base) - 1
    slower = np.array([row["latency_over_base"] for row in rows]) - 1
    damage = fit_damage()
    return Formula(
        ceiling, tau, kappa, capacity, damage, fit_left(recorded["pairs"], damage),
        slope=float(ratios @ slower / (ratios @ ratios)),
    )  # fmt: skip


def slow(formula: Formula) -> Formula:
    """Images that take longer to learn: the base has 0.785 of its AP of 14 epochs after 5, as was seen on some.

    That damage heals as much more slowly is assumed.
    """
    return replace(formula, tau=3.4, kappa=1.0, left=formula.left ** (formula.tau / 3.4))


def fit_damage() -> dict[str, float]:
    """For each kind of `EDITS` the slope of the line through 0, of ln(AP before / after) over ln(operations)."""
    fitted = {}
    for kind in dict.fromkeys(kind for kind, _, _ in EDITS):
        points = [(-math.log(left), math.log(TRAINED_OUT / ap)) for edited, left, ap in EDITS if edited == kind]
        fitted[kind] = sum(x * y for x, y in points) / sum(x * x for x, _ in points)
    return fitted


def fit_left(pairs: Sequence[Mapping[str, Any]], damage: Mapping[str, float]) -> float:
    """The share of damage that is left after the epoch of a trial, with the actions at the smaller steps of `EDITS`."""
    step = {kind: -math.log(left) for kind, left, _ in reversed(EDITS)}
    unchanged = median(pair["ap_gain_on_parent"] for pair in pairs if not pair["actions"])
    edited = [pair for pair in pairs if pair["actions"]]

    def error(left: float) -> float:
        total = 0.0
        for pair in edited:
            hurt = sum(damage.get(kind, 0.0) * step.get(kind, 0.0) for kind in pair["actions"])
            parent = pair["student_ap"] - pair["ap_gain_on_parent"]
            expected = unchanged - parent * (1 - math.exp(-left * hurt))
            total += abs(expected - pair["ap_gain_on_parent"])
        return total

    return min((percent / 100 for percent in range(1, 100)), key=error)
