"""Which strategy finds the best front, where AP is a formula? Thirty seeds in seconds, one process, no torch.

    python benchmarks/simulated_search.py [--seeds 30] [--trials 12] [--methods joint,random] [--json FILE]

Every strategy of `optimizer.search` runs through the real loop; only the evaluation is a formula, of the architecture
(operations by part), the epochs, what was inherited, and noise. Printed are the hypervolume of each strategy's front
(above AP 0, left of the base's latency, so that the base alone has 0) and the best AP at 0.8 and at 0.6 of that latency
or less; means over seeds with their standard deviation. A strategy sees noisy figures and picks its front by them; what
is printed are the true figures of what it picked.

Fitted to `reports/joint-detnas_cpu2_2026-11.json` (R18 at 256x192, two seeds) and to the table `EDITS` (one edit each
of a base that was trained out, R18 at 320x240):

- how AP grows with the epochs of a lineage and falls with operations: least squares over the 16 rows;
- what each kind of edit costs before training, in ln(AP) per ln(operations before / after): least squares over `EDITS`;
- what share of that damage is left after an epoch: least absolute error over the 76 recorded students and parents;
- latency as a straight line in the operations of the whole detector: least squares over the 16 rows.

Taken as recorded: the noise of AP between equal students (sd 0.004 to 0.006) and of a latency at `quick` (3 %).

Assumed: a part's operations count by its share of the base's; adding a layer costs no AP, and moving a block as much as
leaving one out; damage decays by the same share in every epoch; a restart costs nothing; teachers make no difference
(the recorded rank correlation of a teacher's AP and a student's gain is 0.08); subnets of the pool have been trained
for 16 epochs. The formula knows one data set and one base, so it ranks strategies and predicts no AP of a real run.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from optimizer.arch import ArchSpec, IllegalAction, Space, base_arch, count, count_parts, uniform_importance
from optimizer.arch.pool import ElasticSpace
from optimizer.arch.subnets import SubnetSpace
from optimizer.search import STRATEGIES, StrategySettings, build_strategy, search
from optimizer.search.base import DoneTrial, Proposal, Trial, TrialFailed, TrialFiles, Work, list_done
from optimizer.search.objective import harmonic
from optimizer.search.pareto import pareto_front
from optimizer.search.teachers import Teachers
from optimizer.seeds import derive_seed

RECORDED = Path(__file__).parent / "reports" / "joint-detnas_cpu2_2026-11.json"
CLASSES = 3
AP_NOISE = 0.005
LATENCY_NOISE = 0.03
POOL_EPOCHS = 16.0
BASE_EPOCHS = 4.0
TRIAL_EPOCHS = 1.0
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


@dataclass
class Simulation:
    """One run of a search on the formula; called with a proposal it evaluates it.

    Attributes:
        history: the trials so far; the base is the first.
        true: AP and latency ratio of each trial, free of noise.
    """

    formula: Formula
    base: ArchSpec
    pool: SubnetSpace
    seed: int
    history: list[Trial] = field(default_factory=list)
    true: dict[int, tuple[float, float]] = field(default_factory=dict)
    damage: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.record(self._finish(0, Proposal(None), self.base, BASE_EPOCHS, 0.0))

    def __call__(self, number: int, proposal: Proposal) -> DoneTrial:
        if proposal.subnet is not None:
            arch = self.pool.arch(proposal.subnet)
            return self._finish(number, proposal, arch, POOL_EPOCHS + TRIAL_EPOCHS, 0.0)
        parent = next(trial for trial in list_done(self.history) if trial.number == proposal.parent)
        arch, damage = parent.arch, self.damage[parent.number]
        for action in proposal.actions:
            before = total_macs(arch)
            try:
                arch = action.apply(arch, uniform_importance(arch)).child
            except IllegalAction as error:
                raise TrialFailed(str(error)) from error
            damage += self.formula.hurt(action.kind, before, total_macs(arch))
        return self._finish(number, proposal, arch, parent.work.epochs_total + TRIAL_EPOCHS, damage)

    def record(self, trial: Trial) -> None:
        self.history[trial.number :] = [trial]

    def _finish(self, number: int, proposal: Proposal, arch: ArchSpec, epochs: float, damage: float) -> DoneTrial:
        rng = Random(derive_seed(self.seed, "noise", number))
        left = self.formula.heal(damage, TRIAL_EPOCHS)
        ap = self.formula.ap(shrinkage(arch, self.base), epochs, left)
        latency = self.formula.latency(total_macs(arch) / total_macs(self.base))
        self.true[number], self.damage[number] = (ap, latency), left
        seen_ap = min(max(rng.gauss(ap, AP_NOISE), 0.0), 1.0)
        ratio = 1.0 if number == 0 else 1 / (latency * math.exp(rng.gauss(0, LATENCY_NOISE)))
        base_ap = seen_ap if number == 0 else list_done(self.history)[0].ap
        return DoneTrial(
            number, proposal, arch, seen_ap, seen_ap, count(arch, CLASSES), ratio, harmonic(seen_ap / base_ap, ratio),
            None, TrialFiles("", ""), Work(epochs, 0.0),
        )  # fmt: skip

    def front(self) -> list[tuple[float, float]]:
        """True AP and latency of the trials that are on the front by what was seen."""
        done = list_done(self.history)
        chosen = pareto_front([trial.ap for trial in done], [1 / trial.cost_ratio for trial in done])
        return [self.true[done[index].number] for index in chosen]


def hypervolume(front: Sequence[tuple[float, float]], latency: float = 1.0) -> float:
    """The area that (AP, latency) points beat, above AP 0 and left of a latency."""
    area, best = 0.0, 0.0
    left = sorted((cost, ap) for ap, cost in front if cost < latency)
    for (cost, ap), following in zip(left, [*(cost for cost, _ in left[1:]), latency]):
        best = max(best, ap)
        area += best * (following - cost)
    return area


def best_ap(front: Sequence[tuple[float, float]], latency: float) -> float:
    """The best AP at no more than a latency; 0 where nothing is as fast."""
    return max((ap for ap, cost in front if cost <= latency), default=0.0)


@dataclass(frozen=True)
class Setting:
    """What is searched, the same for every strategy."""

    base: ArchSpec
    space: Space
    pool: SubnetSpace
    trials: int

    @staticmethod
    def of_report(trials: int) -> Setting:
        """That of the recorded rows, with the canvases that a run of this size searches."""
        sizes = ((256, 192), (224, 168), (192, 144))
        return Setting(
            base_arch("r18", sizes[0], region_proposals=100),
            Space(sizes=sizes, region_proposals=(100, 50)),
            ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.25, 1.5), sizes[:1], region_proposals=100),
            trials,
        )

    def simulate(self, method: str, formula: Formula, seed: int) -> Simulation:
        """One whole search."""
        strategy = build_strategy(
            method,
            StrategySettings(self.space, self.trials, teachers=Teachers(self.pool), pool=self.pool, max_actions=2),
        )
        simulation = Simulation(formula, self.base, self.pool, seed)
        search(
            strategy, lambda: tuple(simulation.history), simulation, simulation.record, seed=seed, trials=self.trials,
            keep_going=lambda: True,
        )  # fmt: skip
        return simulation


def summarise(fronts: Sequence[Sequence[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds of each figure."""
    figures = {
        "hypervolume": [hypervolume(front) for front in fronts],
        "ap_at_0.8": [best_ap(front, 0.8) for front in fronts],
        "ap_at_0.6": [best_ap(front, 0.6) for front in fronts],
    }
    return {name: (fmean(of), stdev(of) if len(of) > 1 else 0.0) for name, of in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=12, help="students of each search")
    parser.add_argument("--methods", default=",".join(STRATEGIES), help="strategies, separated by commas")
    parser.add_argument("--json", type=Path, help="also write the figures and the fitted formula here")
    arguments = parser.parse_args()
    formula = fit_formula(json.loads(RECORDED.read_text()))
    setting = Setting.of_report(arguments.trials)
    print(f"{'strategy':10} {'hypervolume':>16} {'AP at 0.8':>16} {'AP at 0.6':>16}")
    results = {}
    for method in arguments.methods.split(","):
        fronts = [setting.simulate(method, formula, seed).front() for seed in range(arguments.seeds)]
        results[method] = summarise(fronts)
        print(f"{method:10}" + "".join(f"{mean:10.4f} ±{sd:.4f}" for mean, sd in results[method].values()))
    if arguments.json is not None:
        content = {"formula": asdict(formula), "seeds": arguments.seeds, "trials": arguments.trials, "results": results}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
