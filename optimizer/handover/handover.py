"""The end of a run: other exports of the front, one lease that measures all of them, and bundles of what stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deploy import MeasurementFailure
from deploy.errors import MeasurementError, ParityError
from optimizer.config import RunConfig
from optimizer.cost.base import CostMeter, RelativeCost
from optimizer.errors import RunFailed
from optimizer.handover.bundles import BundleWriter
from optimizer.handover.front import find_front
from optimizer.handover.reexport import VariantBuilder, is_whole
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import (
    KEPT,
    MADE,
    NOT_WRITTEN,
    VariantResult,
    decide,
    list_variants,
    name_export,
    summarise_tried,
)
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, get_done
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation
from optimizer.trials.exporter import Exporter
from optimizer.trials.judge import Judge

__all__ = ["hand_over"]


def hand_over(
    store: RunStore,
    config: RunConfig,
    evaluation: Evaluation,
    meter: CostMeter,
    has_time: Callable[[], bool] = lambda: True,
) -> None:
    """Try other exports of base and front, measure all together once more, write bundles. What exists is kept.

    Args:
        meter: measures as rigorously as the front deserves.
        has_time: asked before each of the other exports; those that are left when it denies are not tried.

    Raises:
        RunFailed: not one bundle could be written.
    """
    waiting = store.folder / "scratch" / "variants"
    data = config.data or store.folder / "data"
    parts = (evaluation.builder, evaluation.exporter, evaluation.judge)
    variants = VariantBuilder(waiting, *parts, data, config.variants.max_ap_drop)
    bundles = BundleWriter(store.folder / "bundles", *parts)
    judge = replace(evaluation.judge, meter=meter)
    _HandOver(store, config, variants, bundles, evaluation.exporter, judge, evaluation.progress, has_time).finish()
    shutil.rmtree(waiting, ignore_errors=True)


@dataclass(frozen=True)
class _HandOver:
    """One run's hand-over, whose state is in the store after every variant, the lease, and every bundle."""

    store: RunStore
    config: RunConfig
    variants: VariantBuilder
    bundles: BundleWriter
    exporter: Exporter
    judge: Judge
    progress: RunProgress
    has_time: Callable[[], bool]

    def finish(self) -> None:
        state = HandOverState.from_json(self.store.handover)
        if state.measured is None:
            front = find_front(self.store)
            numbers = state.numbers or tuple(sorted({0, *front.numbers, *(e.trial.number for e in front.beaten)}))
            state = self._try_variants(HandOverState(numbers, state.tried))
            state = self._measure(state)
        state = self._write_bundles(state)
        state = self._write_variants(state)
        if not state.bundles:
            raise RunFailed(f"no bundle passed the gate; the first reason: {next(iter(state.refused.values()))}")

    def _save(self, state: HandOverState) -> HandOverState:
        self.store.handover = state.to_json()
        return state

    def _list_trials(self, state: HandOverState) -> list[DoneTrial]:
        history = self.store.history()
        return [get_done(history, number) for number in state.numbers]

    def _try_variants(self, state: HandOverState) -> HandOverState:
        """Make what can be faster; a variant that is made already is not made again."""
        trials, target = self._list_trials(state), self.exporter.target
        todo = [(trial, variant) for trial in trials for variant in list_variants(self.config, target, trial.arch)]
        if todo:
            self.progress.start_step("try other exports", len(todo))
        for position, (trial, variant) in enumerate(todo):
            name = name_export(trial.number, variant)
            known = state.tried.get(name)
            if known is None and not self.has_time():
                self.progress.say(
                    f"{len(todo) - position} of {len(todo)} other exports are not tried: the time is used up"
                )
                break
            if known is None or (known.outcome == MADE and not self.variants.is_made(known)):
                with explain_disk_errors(self.store.folder):
                    made = self.variants.make(trial, variant)
                self._say(made)
                state = self._save(state.with_tried(made))
            self.progress.advance_step(position + 1, name)
        return state

    def _measure(self, state: HandOverState) -> HandOverState:
        """The base, the front and what was made of them, in one lease; then variants are judged."""
        trials = {trial.number: trial for trial in self._list_trials(state)}
        made = [item for item in state.tried.values() if item.outcome == MADE]
        candidates = [self.exporter.find(trial) for trial in trials.values()]
        candidates += [self.variants.make_candidate(trials[item.trial], item.variant) for item in made]
        self.progress.start_step(f"measure {len(candidates)} models in one lease", 1)
        found = self.judge.meter.measure_all(dict(enumerate(candidates)))
        answers = [found[place] for place in range(len(candidates))]
        measured: dict[int, RelativeCost] = {}
        for number, answer in zip(trials, answers, strict=False):
            if isinstance(answer, MeasurementFailure):
                raise MeasurementError(f"no latency for {name_export(number)}: {answer.reason}")
            measured[number] = answer
        state = replace(state, measured=measured)
        for item, answer in zip(made, answers[len(trials) :], strict=True):
            judged = self._decide(item, measured[item.trial], answer)
            self._say(judged)
            state = state.with_tried(judged)
        if state.tried:
            self.progress.say(summarise_tried(state.tried.values()))
        return self._save(state)

    def _decide(
        self, item: VariantResult, plain: RelativeCost, answer: RelativeCost | MeasurementFailure
    ) -> VariantResult:
        assert plain.latency is not None
        judged = decide(item, plain.latency, answer, self.config.search.cost_kind)
        if judged.ratio is None or item.ap is None:
            return judged
        base_ap = get_done(self.store.history(), 0).ap
        return replace(judged, score=self.judge.score(item.ap, base_ap, judged.ratio))

    def _write_bundles(self, state: HandOverState) -> HandOverState:
        assert state.measured is not None
        self.progress.start_step("write bundles", len(state.numbers))
        for position, trial in enumerate(self._list_trials(state)):
            path = state.bundles.get(trial.number)
            if path is None or not is_whole(self.store.folder / path):
                try:
                    written = self.bundles.write_plain(trial, state.measured[trial.number])
                    state = state.with_bundle(trial.number, self._place(written))
                except ParityError as error:
                    state = state.with_refusal(trial.number, str(error))
                    self.progress.say(f"no bundle for {name_export(trial.number)}: {error}")
                self._save(state)
            self.progress.advance_step(position + 1)
        return state

    def _write_variants(self, state: HandOverState) -> HandOverState:
        """Bundles of kept variants: behind the gate where they are in FP32; another precision's gate was its AP."""
        history = self.store.history()
        for item in state.tried.values():
            if item.outcome != KEPT or (item.bundle and is_whole(self.store.folder / item.bundle)):
                continue
            try:
                written = self._write_variant(get_done(history, item.trial), item)
                item = replace(item, bundle=self._place(written))
            except ParityError as error:
                item = replace(item, outcome=NOT_WRITTEN, reason=str(error))
                self._say(item)
            state = self._save(state.with_tried(item))
        return state

    def _write_variant(self, trial: DoneTrial, item: VariantResult) -> Path:
        if not self.variants.is_made(item):
            again = self.variants.make(trial, item.variant)
            if again.model != item.model:
                raise ParityError("its model was lost before the bundle was written, and came out as another one")
        return self.bundles.write_variant(trial, item, self.variants.open(item))

    def _say(self, item: VariantResult) -> None:
        """Why a variant was not kept."""
        if item.reason:
            self.progress.say(f"{item.name} is not kept, {item.outcome}: {item.reason}")

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.store.folder))
