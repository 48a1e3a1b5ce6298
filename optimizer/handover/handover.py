"""The end of a run: other exports of the front, one lease that measures all of them, and bundles of what stays."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from deploy import BundleManifest, MeasurementFailure, write_bundle
from deploy.errors import MeasurementError, ParityError
from optimizer.cost.base import CostMeter, RelativeCost
from optimizer.errors import RunFailed
from optimizer.handover.front import find_front
from optimizer.handover.reexport import Workshop, is_whole
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import (
    KEPT,
    MADE,
    NOT_WRITTEN,
    Tried,
    judge,
    list_variants,
    name_export,
    summarise_tried,
)
from optimizer.search.base import DoneTrial, get_done
from optimizer.search.objective import OBJECTIVES
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation
from optimizer.trials.export import write_student

__all__ = ["hand_over"]


def hand_over(store: RunStore, evaluation: Evaluation, meter: CostMeter) -> None:
    """Try other exports of base and front, measure all together once more, write bundles. What exists is kept.

    Raises:
        RunFailed: not one bundle could be written.
    """
    config, folder = evaluation.config, store.folder / "scratch" / "variants"
    data = config.data or store.folder / "data"
    workshop = Workshop(folder, evaluation, data, config.variants.max_ap_drop)
    _HandOver(store, evaluation, workshop).finish(meter)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _HandOver:
    """One run's hand-over, whose state is in the store after every variant, the lease, and every bundle."""

    store: RunStore
    evaluation: Evaluation
    workshop: Workshop

    def finish(self, meter: CostMeter) -> None:
        state = HandOverState.from_json(self.store.handover)
        if state.measured is None:
            numbers = state.numbers or tuple(sorted({0, *find_front(self.store).numbers}))
            state = self._try_variants(HandOverState(numbers, state.tried))
            state = self._measure(state, meter)
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
        config, spec, progress = self.evaluation.config, self.evaluation.target.spec, self.evaluation.progress
        trials = self._list_trials(state)
        todo = [(trial, variant) for trial in trials for variant in list_variants(config, spec, trial.arch)]
        if todo:
            progress.start_step("try other exports", len(todo))
        for position, (trial, variant) in enumerate(todo):
            name = name_export(trial.number, variant)
            known = state.tried.get(name)
            if known is None or (known.outcome == MADE and not self.workshop.is_made(known)):
                with explain_disk_errors(self.store.folder):
                    made = self.workshop.make(trial, variant)
                self._say(made)
                state = self._save(state.with_tried(made))
            progress.advance_step(position + 1, name)
        return state

    def _measure(self, state: HandOverState, meter: CostMeter) -> HandOverState:
        """The base, the front and what was made of them, in one lease; then variants are judged."""
        trials = {trial.number: trial for trial in self._list_trials(state)}
        made = [item for item in state.tried.values() if item.outcome == MADE]
        candidates = [self.evaluation.candidate(trial) for trial in trials.values()]
        candidates += [self.workshop.make_candidate(trials[item.trial], item.variant) for item in made]
        self.evaluation.progress.start_step(f"measure {len(candidates)} models in one lease", 1)
        found = meter.measure_all(dict(enumerate(candidates)))
        answers = [found[place] for place in range(len(candidates))]
        measured: dict[int, RelativeCost] = {}
        for number, answer in zip(trials, answers, strict=False):
            if isinstance(answer, MeasurementFailure):
                raise MeasurementError(f"no latency for {name_export(number)}: {answer.reason}")
            measured[number] = answer
        state = replace(state, measured=measured)
        for item, answer in zip(made, answers[len(trials) :], strict=True):
            judged = self._judge(item, measured[item.trial], answer)
            self._say(judged)
            state = state.with_tried(judged)
        if state.tried:
            self.evaluation.progress.say(summarise_tried(state.tried.values()))
        return self._save(state)

    def _judge(self, item: Tried, plain: RelativeCost, answer: RelativeCost | MeasurementFailure) -> Tried:
        assert plain.latency is not None
        judged = judge(item, plain.latency, answer)
        base_ap, config = get_done(self.store.history(), 0).ap, self.evaluation.config
        if not base_ap or judged.ratio is None or item.ap is None:
            return judged
        objective = OBJECTIVES[config.search.objective]
        return replace(judged, score=objective(item.ap / base_ap, judged.ratio, config.alpha, config.search.beta))

    def _write_bundles(self, state: HandOverState) -> HandOverState:
        assert state.measured is not None
        self.evaluation.progress.start_step("write bundles", len(state.numbers))
        for position, trial in enumerate(self._list_trials(state)):
            path = state.bundles.get(trial.number)
            if path is None or not is_whole(self.store.folder / path):
                try:
                    path = self._write_bundle(trial, state.measured[trial.number])
                    state = state.with_bundle(trial.number, path)
                except ParityError as error:
                    state = state.with_refusal(trial.number, str(error))
                    self.evaluation.progress.say(f"no bundle for {name_export(trial.number)}: {error}")
                self._save(state)
            self.evaluation.progress.advance_step(position + 1)
        return state

    def _write_bundle(self, trial: DoneTrial, measured: RelativeCost) -> str:
        """Write the bundle of a plain export; returns its path relative to the run's folder."""
        evaluation, name = self.evaluation, name_export(trial.number)
        candidate = evaluation.candidate(trial)
        assert candidate.head is not None
        manifest = BundleManifest(
            name=name,
            arch_id=trial.arch.arch_id,
            arch=trial.arch.to_json(),
            class_names=evaluation.val_data.class_names,
            preprocess=candidate.preprocess,
            head=candidate.head,
            selection=candidate.selection,
            nms=evaluation.target.spec.nms,
            metrics={
                "ap": trial.ap,
                "ap50": trial.ap50,
                "macs": trial.counts.macs,
                "params": trial.counts.params,
                "ratio": measured.ratio,
                "latency": measured.latency,
            },
        )
        model, path = evaluation.artefacts.path(trial.files.model, verify=True), self._find_place(name)
        self._write_gated(path, trial, model, manifest, trial.ap)
        return str(path.relative_to(self.store.folder))

    def _write_variants(self, state: HandOverState) -> HandOverState:
        """Bundles of kept variants: behind the gate where they are in FP32; another precision's gate was its AP."""
        history = self.store.history()
        for item in state.tried.values():
            if item.outcome != KEPT or (item.bundle and is_whole(self.store.folder / item.bundle)):
                continue
            try:
                self._write_variant(get_done(history, item.trial), item)
                item = replace(item, bundle=str(self._find_place(item.name).relative_to(self.store.folder)))
            except ParityError as error:
                item = replace(item, outcome=NOT_WRITTEN, reason=str(error))
                self._say(item)
            state = self._save(state.with_tried(item))
        return state

    def _write_variant(self, trial: DoneTrial, item: Tried) -> None:
        assert item.ap is not None
        if not self.workshop.is_made(item):
            again = self.workshop.make(trial, item.variant)
            if again.model != item.model:
                raise ParityError("its model was lost before the bundle was written, and came out as another one")
        bundle = self.workshop.open(item)
        metrics = {**bundle.manifest.metrics, "ratio": item.ratio, "latency": item.latency}
        manifest = replace(bundle.manifest, name=item.name, metrics=metrics)
        if item.variant.precision != "fp32":
            write_bundle(self._find_place(item.name), bundle.model, manifest)
            return
        exported = replace(trial, arch=item.variant.change_arch(trial.arch))
        self._write_gated(self._find_place(item.name), exported, bundle.model, manifest, item.ap)

    def _write_gated(self, path: Path, trial: DoneTrial, model: Path, manifest: BundleManifest, ap: float) -> None:
        """The gate is for the graph: its AP is ONNX Runtime's, asked for where another engine found `ap`."""
        by_ort = ap if self.evaluation.judge.spec.engine == "ort" else None
        detector = self.evaluation.load_detector(trial)
        write_student(path, detector, model, manifest, self.evaluation.val_data, by_ort)

    def _find_place(self, name: str) -> Path:
        return self.store.folder / "bundles" / name

    def _say(self, item: Tried) -> None:
        """Why a variant was not kept."""
        if item.reason:
            self.evaluation.progress.say(f"{item.name} is not kept, {item.outcome}: {item.reason}")
