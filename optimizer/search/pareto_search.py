"""`ParetoSearch`: a whole front of students, each aimed at a latency, screened without training, and then trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from statistics import fmean

from optimizer.arch.actions import ACTIONS
from optimizer.arch.macs import count
from optimizer.arch.space import Space, legal_actions
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet
from optimizer.search.base import DoneTrial, History, Proposal, ScreenedTrial, SpaceExhausted, get_done, list_done
from optimizer.search.members import Member, list_members
from optimizer.search.pareto import hypervolume
from optimizer.search.predictor import LatencyPredictor, Probe, fit_predictor, list_measured
from optimizer.search.sensitivity import fit_sensitivities
from optimizer.search.sizing import Chain, apply_chain, draw_split, find_least, is_saving, size_chain
from optimizer.search.teachers import Teachers

__all__ = ["ParetoSearch", "Turn"]

DRAWS = 12
TOLERANCE = 0.02  # of a predicted latency from its aim
MARGIN = 0.05  # that what is aimed at stays below the most that is asked for: students are not quite as predicted
SCREENING_EPOCHS = 0.1  # what a screening costs, in epochs of training
LONGEST_STEP = 0.55  # of the first aims: what a student keeps without training falls steeply below
UNTRAINED_START, UNTRAINED_STEP = 0.67, 0.67  # where nobody is trained before the end: three, the last at the floor
LEAST_STEP = 1.03  # a parent is slower than the aim by at least this factor


# The defaults are from benchmarks/simulated_search.py (--slow, 12 seeds, the time of 45 epochs): hypervolume 0.349 with
# them, 0.218 for random search, 0.326 with fixed steps, 0.160 without bands, 0.308 without inheritance. To screen 8 a
# round leaves the hypervolume as it is (fewer students are trained) and gains 0.008 of AP at 0.8 and 0.009 at 0.6 of
# the latency; 4 or 12 of them, and first steps of 0.55 to 0.85, differ by no more than the noise (6 seeds). The floor
# is from runs: students at 0.26 and 0.29 of the latency kept the base's AP untrained.
@dataclass(frozen=True)
class ParetoSearch:
    """Students for every latency, by rounds.

    A round aims at a latency. Its parent is the front's next slower member, which has trained weights. Some children
    are screened, which differ in how the saving is split over kinds of action; the one that detects best untrained is
    trained. The first rounds go down in steps of `sweep`. After them, whichever is expected to add most to the
    hypervolume per epoch comes next: a round in one of the bands, or further training of a member of the front.

    Attributes:
        screened: students that a round looks at without training; 0 trains the first that is drawn.
        rung_epochs: of a student's first training, of its second and so on; after the last it is trained no further.
        band: each band's latency is this share of the one above.
        sweep: each of the first aims is this share of the one before, or less where `rounds` would not do to come near
            the floor.
        rounds: students there is likely to be time for; None where nobody knows.
        floor: the least latency aimed at, as a share of the base's, where that is fast enough.
        p_move: probability that a chain starts by adding or moving a block.
        tie: students whose screened AP differs by less than this share are equal, and the faster one is trained.
        ceiling: the most latency that a student may have, as a share of the base's: all aims are below it, and where it
            is near the floor or below, so is the least of them.
        most_params: the most parameters that a student may have.
        probes: latencies that were measured before the search.
        teachers: None trains without teachers.
        num_classes: of the data set.
    """

    space: Space
    screened: int = 8
    rung_epochs: tuple[int, ...] = (1, 2, 4)
    band: float = 0.85
    sweep: float = 0.75
    floor: float = 0.2
    p_move: float = 0.1
    tie: float = 0.02
    rounds: int | None = None
    probes: tuple[Probe, ...] = ()
    teachers: Teachers | None = None
    num_classes: int = 80
    ceiling: float = math.inf
    most_params: float = math.inf

    def __post_init__(self) -> None:
        assert self.rung_epochs and min(self.rung_epochs) >= 1
        assert 0 < self.band < 1 and 0 < self.sweep < 1 and 0 < self.floor < 1 and self.ceiling > 0

    @property
    def step(self) -> float:
        """What each of the first aims is of the one before: large enough to come near the least in time."""
        if self.rounds is None:
            return self.sweep
        return min(max(math.pow(self.least / self.top, 1 / self.rounds), LONGEST_STEP), self.sweep)

    @property
    def top(self) -> float:
        """The slowest there is to aim at: the base's latency, or a little less than what is asked for."""
        return min(self.ceiling * (1 - MARGIN), 1.0)

    @property
    def least(self) -> float:
        """The least latency aimed at: two steps below the most that is asked for, where that is below the floor."""
        return min(self.floor, self.ceiling * (1 - MARGIN) * self.sweep**2)

    def list_aims(self, share: float) -> list[float]:
        """Latencies down to the least, each this share of the one above; the first that of the base's, or the top."""
        first = min(self.top, share)
        steps = math.floor(math.log(self.least / first) / math.log(share) + 1e-9)
        return [round(first * share**step, 3) for step in range(steps + 1)]

    def ask(self, history: History, rng: Random) -> Proposal:
        return Turn(self, history, rng).propose()

    def ask_faster(self, history: History, rng: Random, steps: int) -> Proposal | None:
        """A child of the fastest member to look at for the last training, so many steps faster.

        None below the floor, where none can be made, and for a search that screens nothing.
        """
        return Turn(self, history, rng).propose_faster(steps) if self.screened else None


@dataclass(frozen=True)
class Turn:
    """One question to the strategy, and what the history says about it."""

    of: ParetoSearch
    history: History
    rng: Random

    @cached_property
    def front(self) -> list[Member]:
        return list_members(self.history)

    @cached_property
    def predictor(self) -> LatencyPredictor:
        base = get_done(self.history, 0).arch
        return fit_predictor(base, (*self.of.probes, *list_measured(self.history)), self.of.num_classes)

    @cached_property
    def sensitivities(self) -> dict[str, float]:
        kinds = [kind for kind in self.of.space.actions if is_saving(ACTIONS[kind])]
        return fit_sensitivities(self.history, self.predictor, kinds)

    @cached_property
    def tried(self) -> set[tuple[int | None, Chain, bool]]:
        """(parent, actions, whether only screened) of every trial."""
        return {(trial.proposal.parent, trial.proposal.actions, trial.proposal.screens) for trial in self.history}

    @cached_property
    def seen(self) -> set[tuple[int, ArchSpec | None]]:
        """(parent, child as predicted) of every look: widths are rounded, so that other actions may lead to it too."""
        made = [trial.proposal for trial in self.history if isinstance(trial, ScreenedTrial)]
        parents = {of.parent: get_done(self.history, of.parent).arch for of in made if of.parent is not None}
        return {(of.parent, apply_chain(parents[of.parent], of.actions)) for of in made if of.parent is not None}

    def propose(self) -> Proposal:
        base = get_done(self.history, 0).arch
        if not any(is_saving(action) for action in legal_actions(base, self.of.space)):
            raise SpaceExhausted("no action of the search space can make the base faster")
        for proposal in self._list_proposals():
            if proposal is not None:
                return proposal
        raise SpaceExhausted("no new student of the front can be made faster, and all of them are trained out")

    def _list_proposals(self) -> Iterator[Proposal | None]:
        """What could be done next, the best first; None is what turned out to be impossible."""
        yield self._continue_round()
        for aim in self.list_sweep():
            yield self._start_round(aim)
        options = [*self.rate_rounds(), *self.rate_trainings()]
        for _, aim, member in sorted(options, key=lambda option: -option[0]):
            yield self._start_round(aim) if member is None else self._train_further(member)

    # rounds

    def _continue_round(self) -> Proposal | None:
        """The rest of the round that was begun last, unless a student of it is trained."""
        last = next((trial.proposal for trial in reversed(self.history) if trial.proposal.screens), None)
        if last is None or last.aim is None or last.parent is None:
            return None
        looks: list[ScreenedTrial] = []
        begun = 0
        for trial in reversed(self.history):
            if (trial.proposal.parent, trial.proposal.aim) == (last.parent, last.aim):
                if isinstance(trial, DoneTrial):
                    break
                begun += trial.proposal.screens
                looks += [trial] if isinstance(trial, ScreenedTrial) else []
        if 0 < begun < self.of.screened:
            chain = self.draw_chain(get_done(self.history, last.parent), last.aim)
            if chain is not None:
                return self._propose_round(last.parent, last.aim, chain)
        return self._promote(looks, last.aim)

    def _promote(self, looks: list[ScreenedTrial], aim: float) -> Proposal | None:
        """Train the best of the students that were screened; of those within the noise, the fastest."""
        looks = [t for t in looks if (t.proposal.parent, t.proposal.actions, False) not in self.tried]
        if not looks:
            return None
        looks = [trial for trial in looks if trial.counts.params <= self.of.most_params] or looks
        best = max(trial.ap for trial in looks)
        ties = [trial for trial in looks if trial.ap >= best * (1 - self.of.tie)]
        chosen = min(ties, key=lambda trial: (self.predictor.predict(trial.arch), trial.number))
        parent = chosen.proposal.parent
        assert parent is not None
        return self._train(parent, chosen.proposal.actions, 1, f"the best of {len(looks)} screened", aim)

    def _start_round(self, aim: float) -> Proposal | None:
        parent = self.find_parent(aim)
        if parent is None or find_least(parent.trial.arch, self.of.space, self.predictor) > aim * (1 + TOLERANCE):
            return None
        chain = self.draw_chain(parent.trial, aim)
        if chain is None:
            return None
        return self._propose_round(parent.trial.number, aim, chain)

    def _propose_round(self, parent: int, aim: float, chain: Chain) -> Proposal:
        if self.of.screened:
            return Proposal(parent, chain, f"aims at {aim:.2f} of the base's latency", epochs=0, aim=aim)
        return self._train(parent, chain, 1, f"aims at {aim:.2f} of the base's latency", aim)

    def propose_faster(self, steps: int) -> Proposal | None:
        fastest = self.front[0]
        trained = fastest.trial.number > 0
        step, start = (self.of.sweep, fastest.latency) if trained else (UNTRAINED_STEP, UNTRAINED_START)
        aim = round(min(start, self.of.top / step) * step**steps, 3)
        if aim < self.of.least * (1 - TOLERANCE):
            return None
        chain = self.draw_chain(fastest.trial, aim)
        return None if chain is None else self._propose_round(fastest.trial.number, aim, chain)

    def find_parent(self, aim: float) -> Member | None:
        """The fastest member that is slower than the aim, both as measured and as predicted."""
        slower = (
            member
            for member in self.front
            if min(member.latency, self.predictor.predict(member.trial.arch)) >= aim * LEAST_STEP
        )
        return next(slower, None)

    def draw_chain(self, parent: DoneTrial, aim: float) -> Chain | None:
        """New actions that lead from a parent to a latency; the nearest of some draws, if it is in the aim's band."""
        moves = [action for action in legal_actions(parent.arch, self.of.space) if not is_saving(action)]
        found: list[tuple[float, Chain]] = []
        most = self.of.most_params * (1 - MARGIN)
        for _ in range(DRAWS):
            split = draw_split(list(self.sensitivities), self.sensitivities, self.rng)
            first = self.rng.choice(moves) if moves and self.rng.random() < self.of.p_move else None
            chain = size_chain(parent.arch, aim, split, self.of.space, self.predictor, first)
            child = apply_chain(parent.arch, chain)
            if not chain or child is None or (parent.number, chain, bool(self.of.screened)) in self.tried:
                continue
            if self.of.screened and (parent.number, child) in self.seen:
                continue
            if math.isfinite(most) and count(child, self.of.num_classes).params > most:
                continue
            found.append((abs(math.log(self.predictor.predict(child) / aim)), chain))
            if found[-1][0] <= TOLERANCE:
                break
        off, chain = min(found, key=lambda entry: entry[0], default=(math.inf, ()))
        return chain if off <= -math.log(self.of.band) / 2 else None

    # what comes next

    def list_sweep(self) -> list[float]:
        """The first aims, except those that were tried."""
        return [aim for aim in self.of.list_aims(self.of.step) if not self._count_tries(aim)]

    def _count_tries(self, aim: float) -> int:
        """Trainings at an aim, and rounds of which every screening failed."""
        trials = [trial for trial in self.history if trial.proposal.aim == aim]
        lost = sum(trial.proposal.screens and not isinstance(trial, ScreenedTrial) for trial in trials)
        return sum(not trial.proposal.screens for trial in trials) + lost // max(self.of.screened, 1)

    def rate_rounds(self) -> Iterator[tuple[float, float, Member | None]]:
        """(expected gain in hypervolume per epoch, aim, None) of a round in each band; less where it was tried."""
        epochs = self.of.rung_epochs[0] + SCREENING_EPOCHS * self.of.screened
        for aim in self.of.list_aims(self.of.band):
            parent = self.find_parent(aim)
            if parent is not None:
                ap = parent.trial.ap * math.exp(-self._loss * math.log(parent.latency / aim))
                yield self._gain((ap, aim)) / epochs / (1 + self._count_tries(aim)), aim, None

    def rate_trainings(self) -> Iterator[tuple[float, float, Member | None]]:
        """(expected gain in hypervolume per epoch, latency, member) of further training of each member."""
        for member in self.front:
            open_ = (member.trial.number, (), False) not in self.tried and not member.trial.proposal.finetune
            open_ = open_ and member.latency <= self.of.ceiling and member.trial.counts.params <= self.of.most_params
            if member.trial.number and open_ and member.rung < len(self.of.rung_epochs):
                epochs = self.of.rung_epochs[member.rung]
                ap = min(member.trial.ap * (1 + self._growth * epochs / member.rung), 1.0)
                yield self._gain((ap, member.latency)) / epochs, member.latency, member

    def _gain(self, point: tuple[float, float]) -> float:
        front = [member.point for member in self.front]
        return hypervolume([*front, point]) - hypervolume(front)

    @cached_property
    def _loss(self) -> float:
        """ln(AP of parent / AP of child) per ln(latency saved), after training: two trials at 0.15, and the run's."""
        losses = [0.15, 0.15]
        for trial, parent in self._list_children(edited=True):
            saved = math.log(trial.cost_ratio / parent.cost_ratio)
            if saved > 0.05:
                losses.append(min(max(math.log(parent.ap / max(trial.ap, 0.01)) / saved, 0.0), 2.0))
        return fmean(losses)

    @cached_property
    def _growth(self) -> float:
        """Relative gain in AP per epoch of further training: two trials at 0.01, and the run's."""
        grown = [0.01, 0.01]
        for trial, parent in self._list_children(edited=False):
            grown.append(min(max(trial.ap / parent.ap - 1, 0.0), 0.2) / (trial.proposal.epochs or 1))
        return fmean(grown)

    def _list_children(self, edited: bool) -> Iterator[tuple[DoneTrial, DoneTrial]]:
        done = {trial.number: trial for trial in list_done(self.history)}
        for trial in done.values():
            parent = done.get(trial.proposal.parent) if trial.proposal.parent is not None else None
            if parent is not None and parent.ap > 0 and bool(trial.proposal.actions) == edited:
                yield trial, parent

    # trainings

    def _train_further(self, member: Member) -> Proposal:
        return self._train(member.trial.number, (), member.rung + 1, f"trial {member.trial.number}, trained further")

    def _train(self, parent: int, actions: Chain, rung: int, note: str, aim: float | None = None) -> Proposal:
        epochs = self.of.rung_epochs[rung - 1]
        return Proposal(parent, actions, note, teacher=self._draw_teacher(parent), epochs=epochs, aim=aim)

    def _draw_teacher(self, parent: int) -> Subnet | None:
        if self.of.teachers is None:
            return None
        return self.of.teachers.keep_or_move(self.of.teachers.of(get_done(self.history, parent)), self.rng)
