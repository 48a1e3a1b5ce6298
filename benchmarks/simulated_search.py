"""Which strategy finds the best front in equal time, where AP is a formula? One process, no torch.

    python benchmarks/simulated_search.py [--seeds 30] [--time 45] [--slow] [--rows joint,pareto] [--json FILE]

Every strategy of `optimizer.search` runs through the real loop; only the evaluation is a formula (see
`simulated_training` and `simulated_run`), of the architecture, the epochs, what was inherited, and noise. Printed are
the hypervolume of each row's front (above AP 0, left of the base's latency, so that the base alone has 0) and the best
AP at 0.8, 0.6 and 0.4 of that latency or less; means over seeds with their standard deviation. A strategy sees noisy
figures and picks its front by them; what is printed are the true figures of what it picked.

All rows have the same time, the base's training included. Its unit is an epoch of the base: an epoch of a network that
has the share x of the base's latency takes 0.4 + 0.6 x, a screening 0.1 of that, measuring a student or a probe 0.1.
Unless a row says otherwise, it has every idea that is not its strategy's own: a base that was trained out, importance
by gradients, a teacher, weights and optimiser handed on, 35 % of the time for the last training of four members.

Taken as recorded: the noise of AP between equal students (sd 0.004 to 0.006) and of a latency at `quick` (3 %).

Assumed, and to be doubted: AP of a screening, on fewer images, has a noise of 0.01; importance by gradients takes 0.6
of the damage off the body's channels; an epoch with a teacher is worth 1.25 and takes 1.15; a restart costs the growth
of one epoch; siblings are luckier or less lucky by a factor on their damage (sd 0.3 of its logarithm), which a
screening sees; subnets of the pool have been trained for 16 epochs, and nobody pays for that.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev

from simulated_run import MEASURING_TIME, TEACHER_TIME, TRIAL_EPOCHS, Conditions, Simulation
from simulated_training import Formula, fit_formula, read_recorded, slow

from optimizer.arch import ArchSpec, Space, base_arch
from optimizer.arch.pool import ElasticSpace
from optimizer.arch.subnets import SubnetSpace
from optimizer.search import Search, StrategySettings, build_strategy, search
from optimizer.search.base import DoneTrial, Proposal, SearchStrategy, Trial, list_done
from optimizer.search.members import Member
from optimizer.search.pareto import hypervolume
from optimizer.search.pareto_search import ParetoSearch, Turn
from optimizer.search.random_search import extend_chain
from optimizer.search.sizing import Chain, apply_chain, choose_probes
from optimizer.search.teachers import Teachers

ENDLESS = 10_000


def best_ap(front: Sequence[tuple[float, float]], latency: float) -> float:
    """The best AP at no more than a latency; 0 where nothing is as fast."""
    return max((ap for ap, cost in front if cost <= latency), default=0.0)


class FixedSteps(Turn):
    """Without steps sized by latency: one or two actions of the space's own step sizes.

    They are not screened: of students of any latency the one that hardly changed would win.
    """

    def draw_chain(self, parent: DoneTrial, aim: float) -> Chain | None:
        for _ in range(20):
            chain = extend_chain((), parent.arch, self.of.space, self.rng.randint(1, 2), self.rng)
            child = apply_chain(parent.arch, chain)
            if child is not None and chain and (parent.number, chain, bool(self.of.screened)) not in self.tried:
                return chain
        return None


class NoBands(Turn):
    """Without bands: always a little faster than the student of the best score, which is the parent too."""

    def list_sweep(self) -> list[float]:
        return []

    def rate_rounds(self) -> Iterator[tuple[float, float, Member | None]]:
        best = max(list_done(self.history), key=lambda trial: trial.score)
        yield math.inf, round(self.of.band / best.cost_ratio, 3), None


@dataclass(frozen=True)
class Ablated(ParetoSearch):
    """The strategy with another way of choosing what comes next.

    Attributes:
        turn: `FixedSteps` or `NoBands`.
    """

    turn: type[Turn] = Turn

    def ask(self, history: Sequence[Trial], rng: Random) -> Proposal:
        return self.turn(self, history, rng).propose()


@dataclass(frozen=True)
class Setting:
    """What is searched, the same for every strategy."""

    base: ArchSpec
    space: Space
    pool: SubnetSpace
    trials: int
    under: Conditions = field(default_factory=Conditions)

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

    @staticmethod
    def of_time(time: float) -> Setting:
        """The same, for a base that is trained out and a run that ends with a last training."""
        under = Conditions(12.0, time, last=0.35, taylor=True, taught=True)
        trials = int((time * (1 - under.last) - under.base_epochs) / (TRIAL_EPOCHS * TEACHER_TIME + MEASURING_TIME))
        return replace(Setting.of_report(max(trials, 1)), under=under)

    def build(self, method: str) -> SearchStrategy:
        teachers = Teachers(self.pool)
        settings = StrategySettings(self.space, self.trials, teachers=teachers, pool=self.pool, max_actions=2)
        return build_strategy(method, settings)

    def simulate(
        self, method: str, formula: Formula, seed: int, change: Callable[[ParetoSearch], ParetoSearch] | None = None
    ) -> Simulation:
        """One whole run; `change` is applied to a strategy of the kind `ParetoSearch`."""
        simulation = Simulation(formula, self.base, self.pool, seed, self.under)
        strategy = self.build(method)
        if isinstance(strategy, ParetoSearch):
            strategy = replace(strategy, probes=simulation.probe(choose_probes(self.base, self.space)))
            strategy = change(strategy) if change is not None else strategy
        trials = self.trials if self.under.time is None else ENDLESS
        of = Search(
            strategy, lambda: tuple(simulation.history), simulation.record, seed, trials, simulation.has_time
        )  # fmt: skip
        search(of, simulation)
        simulation.train_last()
        return simulation


@dataclass(frozen=True)
class Row:
    """A strategy, and what is different for it."""

    method: str
    under: Mapping[str, float | bool] = field(default_factory=dict)
    change: Callable[[ParetoSearch], ParetoSearch] | None = None

    def simulate(self, setting: Setting, formula: Formula, seed: int) -> Simulation:
        under = replace(setting.under, **self.under)  # type: ignore[arg-type]
        return replace(setting, under=under).simulate(self.method, formula, seed, self.change)


def _ablate(turn: type[Turn], **changes: object) -> Callable[[ParetoSearch], ParetoSearch]:
    def change(of: ParetoSearch) -> ParetoSearch:
        settings = {name: getattr(of, name) for name in ParetoSearch.__dataclass_fields__}
        return Ablated(**{**settings, **changes}, turn=turn)

    return change


ROWS: dict[str, Row] = {
    "joint as before": Row("joint", {"base_epochs": 4.0, "last": 0.0, "taylor": False, "continues": False}),
    "joint": Row("joint"),
    "random": Row("random"),
    "pipeline": Row("pipeline"),
    "pareto": Row("pareto"),
    "- screening": Row("pareto", change=lambda of: replace(of, screened=0)),
    "- sized steps": Row("pareto", change=_ablate(FixedSteps, screened=0)),
    "- bands": Row("pareto", change=_ablate(NoBands)),
    "- taylor": Row("pareto", {"taylor": False}),
    "- continuity": Row("pareto", {"continues": False}),
    "- teacher": Row("pareto", {"taught": False}),
    "- inheritance": Row("pareto", {"inherits": False}),
    "- last training": Row("pareto", {"last": 0.0}),
    "- trained-out base": Row("pareto", {"base_epochs": 4.0}),
}


def summarise(fronts: Sequence[Sequence[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds of each figure."""
    figures = {
        "hypervolume": [hypervolume(front) for front in fronts],
        "ap_at_0.8": [best_ap(front, 0.8) for front in fronts],
        "ap_at_0.6": [best_ap(front, 0.6) for front in fronts],
        "ap_at_0.4": [best_ap(front, 0.4) for front in fronts],
    }
    return {name: (fmean(of), stdev(of) if len(of) > 1 else 0.0) for name, of in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument(
        "--time", type=float, default=45, help="of each run, in epochs of the base, its own 12 included"
    )
    parser.add_argument("--rows", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--slow", action="store_true", help="images on which a network learns and heals more slowly")
    parser.add_argument("--json", type=Path, help="also write the figures and the fitted formula here")
    arguments = parser.parse_args()
    formula = fit_formula(read_recorded())
    formula = slow(formula) if arguments.slow else formula
    setting = Setting.of_time(arguments.time)
    print(f"{'':20} {'hypervolume':>16} {'AP at 0.8':>16} {'AP at 0.6':>16} {'AP at 0.4':>16}  students")
    results = {}
    for name in arguments.rows.split(","):
        runs = [ROWS[name].simulate(setting, formula, seed) for seed in range(arguments.seeds)]
        results[name] = summarise([run.front() for run in runs])
        students = fmean(len(list_done(run.history)) - 1 for run in runs)
        figures = "".join(f"{mean:10.4f} ±{sd:.4f}" for mean, sd in results[name].values())
        print(f"{name:20}{figures} {students:9.1f}", flush=True)
    if arguments.json is not None:
        content = {"formula": asdict(formula), "seeds": arguments.seeds, "time": arguments.time, "results": results}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
