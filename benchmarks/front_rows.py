"""Strategies that only a comparison needs: what a person does without this project, and a search of the field's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from optimizer.arch.actions import ACTIONS, uniform_importance
from optimizer.arch.edits import Action, IllegalAction
from optimizer.arch.space import Space
from optimizer.arch.spec import ArchSpec
from optimizer.search.base import DoneTrial, FailedTrial, History, Proposal, SpaceExhausted, get_done

__all__ = ["Nsga2", "UniformWidths", "scale_widths"]

RATIOS = (0.25, 0.4, 0.55)  # of its widths, that a uniformly scaled student loses
WIDTHS = ("prune_channels", "prune_fpn", "prune_rpn", "prune_box_head")


@dataclass(frozen=True)
class UniformWidths:
    """Every width of the base scaled by one factor, three times, on inherited weights, each trained once.

    What a person does who has no search.
    """

    space: Space

    def ask(self, history: History, rng: Random) -> Proposal:
        base = get_done(history, 0).arch
        begun = [trial for trial in history[1:] if trial.proposal.actions]
        if len(begun) < len(RATIOS):
            ratio = RATIOS[len(begun)]
            return Proposal(0, scale_widths(base, ratio, self.space), f"{ratio:.0%} narrower")
        raise SpaceExhausted("all scaled students were tried")


def scale_widths(base: ArchSpec, ratio: float, space: Space) -> tuple[Action, ...]:
    """The actions that take this share of every width the detector has."""
    return _make_chain(base, dict.fromkeys(WIDTHS, ratio), space)


def _make_chain(arch: ArchSpec, ratios: Mapping[str, float], space: Space) -> tuple[Action, ...]:
    """Actions on widths at these ratios, in a fixed order; those that an architecture does not admit are left out."""
    chain: list[Action] = []
    for kind in WIDTHS:
        for action in ACTIONS[kind].list_candidates(space) if ratios.get(kind) else ():
            values: dict[str, Any] = {name: value for name, value in action.to_json().items() if name != "kind"}
            scaled: Action = type(action)(**{**values, "ratio": ratios[kind]})
            child = _apply(arch, scaled)
            if child is not None:
                arch = child
                chain.append(scaled)
    return tuple(chain)


def _apply(arch: ArchSpec, action: Action) -> ArchSpec | None:
    try:
        return action.apply(arch, uniform_importance(arch)).child
    except IllegalAction:
        return None


@dataclass(frozen=True)
class Nsga2:
    """Optuna's NSGA-II over the same widths, canvases and region proposals; objectives are AP and latency.

    A genome is written in terms of the base. The study is a file beside the run, so that a run that was killed goes on;
    a trial's note has its number in the study.

    Attributes:
        study: path of the study's journal.
    """

    space: Space
    study: Path
    population: int = 6

    def ask(self, history: History, rng: Random) -> Proposal:
        from optuna.trial import TrialState

        study = self._open(rng.randrange(2**31))
        running = {trial.number for trial in study.trials if not trial.state.is_finished()}
        for trial in history[1:]:
            number = int(trial.proposal.note.rsplit(" ", 1)[1])
            if number in running and isinstance(trial, DoneTrial):
                study.tell(number, [trial.ap, 1 / trial.cost_ratio])
            elif number in running and isinstance(trial, FailedTrial):
                study.tell(number, state=TrialState.FAIL)
        base = get_done(history, 0).arch
        tried = {trial.proposal.actions for trial in history}
        for _ in range(100):
            asked = study.ask(self._genes)
            actions = self._read(asked.params, base)
            if actions and actions not in tried:
                return Proposal(0, actions, f"number {asked.number}")
            study.tell(asked.number, state=TrialState.FAIL)  # the base, or a student that is known
        raise SpaceExhausted("100 genomes held none that is new")

    def _open(self, seed: int) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        backend = optuna.storages.journal.JournalFileBackend(str(self.study))
        return optuna.create_study(
            study_name="front", storage=optuna.storages.JournalStorage(backend), load_if_exists=True,
            directions=["maximize", "minimize"],
            sampler=optuna.samplers.NSGAIISampler(population_size=self.population, seed=seed),
        )  # fmt: skip

    @cached_property
    def _genes(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        genes: dict[str, Any] = {kind: FloatDistribution(0.0, 0.7, step=0.05) for kind in WIDTHS}
        for kind in ("resize", "set_region_proposals"):
            candidates = list(ACTIONS[kind].list_candidates(self.space))
            genes[kind] = CategoricalDistribution(list(range(len(candidates))))
        return genes

    def _read(self, genes: Mapping[str, Any], base: ArchSpec) -> tuple[Action, ...]:
        chain = _make_chain(base, {kind: genes[kind] for kind in WIDTHS}, self.space)
        chosen = [list(ACTIONS[kind].list_candidates(self.space))[genes[kind]] for kind in genes if kind not in WIDTHS]
        return (*chain, *(action for action in chosen if _apply(base, action) is not None))
