"""One run of a search whose trainings are a formula (`simulated_training`), with noise and a time that they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from simulated_training import CLASSES, Formula, shrinkage, total_macs

from optimizer.arch import ArchSpec, IllegalAction, count, uniform_importance
from optimizer.arch.subnets import SubnetSpace
from optimizer.search.base import (
    DoneTrial,
    Proposal,
    ScreenedTrial,
    Trial,
    TrialFailed,
    TrialFiles,
    Work,
    get_done,
    list_done,
)
from optimizer.search.members import select_last
from optimizer.search.objective import harmonic
from optimizer.search.pareto import pareto_front
from optimizer.search.predictor import Probe
from optimizer.search.sizing import Chain, apply_chain
from optimizer.seeds import derive_seed

AP_NOISE = 0.005
SCREEN_NOISE = 0.01
LATENCY_NOISE = 0.03
LUCK = 0.3
POOL_EPOCHS = 16.0
BASE_EPOCHS = 4.0
TRIAL_EPOCHS = 1.0
TAYLOR = 0.4
TEACHER_GAIN, TEACHER_TIME = 1.25, 1.15
RESTART_EPOCHS = 1.0
SCREENING_TIME = MEASURING_TIME = 0.1


@dataclass(frozen=True)
class Conditions:
    """Under which a strategy works. The defaults are those of the recorded rows.

    Attributes:
        time: of the whole run, in epochs of the base; None is without limit.
        last: share of the time that is left for the last training, of at most `last_members`.
        taylor, taught, continues, inherits: whether importance is by gradients, a teacher teaches, the optimiser's
            state is handed on, and weights are.
    """

    base_epochs: float = BASE_EPOCHS
    time: float | None = None
    last: float = 0.0
    last_members: int = 4
    taylor: bool = False
    taught: bool = False
    continues: bool = True
    inherits: bool = True


@dataclass(frozen=True)
class State:
    """What a network carries.

    Attributes:
        epochs: that count, along its lineage.
        damage: that is not healed.
        trained: epochs along its lineage, whether they count or not.
    """

    epochs: float
    damage: float
    trained: float


@dataclass
class Simulation:
    """One run of a search on the formula; called with a proposal it evaluates it.

    Attributes:
        history: the trials so far; the base is the first.
        true: AP and latency ratio of each trial, free of noise.
        spent: time so far.
    """

    formula: Formula
    base: ArchSpec
    pool: SubnetSpace
    seed: int
    under: Conditions = Conditions()
    history: list[Trial] = field(default_factory=list)
    true: dict[int, tuple[float, float]] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    spent: float = 0.0

    def __post_init__(self) -> None:
        self.spent = epochs = self.under.base_epochs
        self.record(self._finish(0, Proposal(None), self.base, State(epochs, 0.0, epochs)))

    def __call__(self, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        if proposal.subnet is not None:
            return self._train(number, proposal, self.pool.arch(proposal.subnet), State(POOL_EPOCHS, 0.0, POOL_EPOCHS))
        assert proposal.parent is not None
        parent = get_done(self.history, proposal.parent)
        arch, damage = parent.arch, 0.0
        for action in proposal.actions:
            before = total_macs(arch)
            try:
                arch = action.apply(arch, uniform_importance(arch)).child
            except IllegalAction as error:
                raise TrialFailed(str(error)) from error
            spared = TAYLOR if self.under.taylor and action.kind == "prune_channels" else 1.0
            damage += spared * self.formula.hurt(action.kind, before, total_macs(arch))
        luck = Random(derive_seed(self.seed, "luck", arch.arch_id)).gauss(0.0, LUCK)
        carried = self.states[parent.number]
        state = State(carried.epochs, carried.damage + damage * math.exp(luck), carried.trained)
        if not self.under.inherits:
            state = State(0.0, 0.0, 0.0)
        if proposal.screens:
            return self._screen(number, proposal, arch, state)
        return self._train(number, proposal, arch, state)

    def record(self, trial: Trial) -> None:
        self.history[trial.number :] = [trial]

    def latency(self, arch: ArchSpec) -> float:
        return self.formula.latency(total_macs(arch) / total_macs(self.base))

    def pace(self, arch: ArchSpec) -> float:
        """Time of an epoch."""
        return 0.4 + 0.6 * self.latency(arch)

    def probe(self, chains: Sequence[Chain]) -> tuple[Probe, ...]:
        """Untrained networks, measured before the search."""
        rng, probes = Random(derive_seed(self.seed, "probes")), []
        for chain in chains:
            arch = apply_chain(self.base, chain)
            assert arch is not None
            probes.append(Probe(arch, self.latency(arch) * math.exp(rng.gauss(0, LATENCY_NOISE))))
        self.spent += MEASURING_TIME * len(probes)
        return tuple(probes)

    def has_time(self) -> bool:
        """Whether one more student can be trained before the last training begins."""
        time = self.under.time
        return time is None or self.spent + TRIAL_EPOCHS <= time * (1 - self.under.last)

    def train_last(self) -> None:
        """Use the rest of the time for members of the front, the same number of epochs each."""
        if self.under.time is None or not self.under.last:
            return
        done = list_done(self.history)
        indices = pareto_front([trial.ap for trial in done], [1 / trial.cost_ratio for trial in done])
        chosen = select_last([done[index] for index in indices], self.under.last_members)
        pace = sum(self.pace(trial.arch) for trial in chosen) * (TEACHER_TIME if self.under.taught else 1.0)
        left = self.under.time - self.spent - MEASURING_TIME * len(chosen)
        for trial in chosen:
            epochs = max(left / pace, 0.0)
            proposal = Proposal(trial.number, (), "last training", finetune=True)
            self.record(self._train(len(self.history), proposal, trial.arch, self.states[trial.number], epochs))

    def _screen(self, number: int, proposal: Proposal, arch: ArchSpec, state: State) -> ScreenedTrial:
        self.spent += SCREENING_TIME * self.pace(arch)
        ap = self.formula.ap(shrinkage(arch, self.base), state.epochs, state.damage)
        seen = min(max(Random(derive_seed(self.seed, "noise", number)).gauss(ap, SCREEN_NOISE), 0.0), 1.0)
        return ScreenedTrial(number, proposal, arch, seen, seen, count(arch, CLASSES), 0.0)

    def _train(
        self, number: int, proposal: Proposal, arch: ArchSpec, state: State, epochs: float | None = None
    ) -> DoneTrial:
        epochs = proposal.epochs or TRIAL_EPOCHS if epochs is None else epochs
        self.spent += epochs * self.pace(arch) * (TEACHER_TIME if self.under.taught else 1.0) + MEASURING_TIME
        worth = epochs * (TEACHER_GAIN if self.under.taught else 1.0)
        grown = worth if self.under.continues else max(worth - RESTART_EPOCHS, 0.0)
        left = self.formula.heal(state.damage, worth)
        return self._finish(number, proposal, arch, State(state.epochs + grown, left, state.trained + epochs))

    def _finish(self, number: int, proposal: Proposal, arch: ArchSpec, state: State) -> DoneTrial:
        rng = Random(derive_seed(self.seed, "noise", number))
        ap = self.formula.ap(shrinkage(arch, self.base), state.epochs, state.damage)
        latency = self.latency(arch)
        self.true[number], self.states[number] = (ap, latency), state
        seen_ap = min(max(rng.gauss(ap, AP_NOISE), 0.0), 1.0)
        ratio = 1.0 if number == 0 else 1 / (latency * math.exp(rng.gauss(0, LATENCY_NOISE)))
        base_ap = seen_ap if number == 0 else list_done(self.history)[0].ap
        return DoneTrial(
            number, proposal, arch, seen_ap, seen_ap, count(arch, CLASSES), ratio, harmonic(seen_ap / base_ap, ratio),
            None, TrialFiles("", ""), Work(state.trained, 0.0),
        )  # fmt: skip

    def front(self) -> list[tuple[float, float]]:
        """True AP and latency of the trials that are on the front by what was seen."""
        done = list_done(self.history)
        chosen = pareto_front([trial.ap for trial in done], [1 / trial.cost_ratio for trial in done])
        return [self.true[done[index].number] for index in chosen]
