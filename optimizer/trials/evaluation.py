"""Proposal to trial: build, train, export, judge. The search is handed an `Evaluation` and calls it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from deploy import MeasurementFailure
from deploy.errors import BoardError, DeployError, InputError
from optimizer.arch.edits import IllegalAction
from optimizer.arch.macs import count
from optimizer.config import RunConfig
from optimizer.cost.base import Candidate, CostMeter, RelativeCost
from optimizer.data.splits import Splits
from optimizer.errors import RunFailed
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, History, Proposal, ScreenedTrial, TrialFailed, Work, get_done
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.run_store import RunStore
from optimizer.supernet.pool import TeacherPool
from optimizer.train.loop import TrainingDiverged
from optimizer.trials.builder import Builder, Student
from optimizer.trials.exporter import Exporter
from optimizer.trials.jobs import TrainedTeacher, choose_device
from optimizer.trials.judge import Judge, choose_engine
from optimizer.trials.screener import Screener
from optimizer.trials.study import Studies
from optimizer.trials.targets import open_targets
from optimizer.trials.trainer import Trained, Trainer, name_trial

__all__ = ["Evaluation", "build_evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """Turns proposals into trials.

    A student of its parent's architecture has its parent's cost, and is not measured: the graph is the same, and what
    weights change of its latency is less than a search can tell apart. The last lease of a run measures it itself.

    Attributes:
        history: the trials recorded so far, read anew at every call.
        crew: evaluates in its place, elsewhere (`optimizer.workers`); None where this process does it.
    """

    builder: Builder
    trainer: Trainer
    exporter: Exporter
    judge: Judge
    screener: Screener
    history: Callable[[], History]
    progress: RunProgress
    crew: Callable[[int, Proposal], DoneTrial | ScreenedTrial] | None = None

    def __call__(self, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        """The finished trial, or the screened one where that is what the proposal asks for.

        Raises:
            TrialFailed: the student cannot be trained, exported or measured; the search can go on without it.
            RunFailed: nothing can go on, for example because the disk is full, or the base or the only student failed.
            BoardError: the board is gone; the trial can be evaluated when it is back.
        """
        if self.crew is not None:
            return self.crew(number, proposal)
        with self._telling_failures(number):
            return (self._screen if proposal.screens else self._evaluate)(number, proposal)

    def adopt(self, proposal: Proposal, student: Student) -> DoneTrial:
        """Trial 0 of a detector that was trained elsewhere: exported, judged and measured as it is.

        Raises:
            RunFailed, BoardError: as above.
        """
        with self._telling_failures(0):
            return self._judge_one(self._export(0, proposal, student, Trained((), 0.0), _Clock()))

    @contextmanager
    def _telling_failures(self, number: int) -> Iterator[None]:
        """What goes wrong within says whether the run can go on."""
        try:
            with explain_disk_errors(self.exporter.scratch):
                yield
        except (InputError, BoardError):  # the next student would fare no better
            raise
        except (TrainingDiverged, IllegalAction, DeployError) as error:
            needed = number == 0 or self.builder.config.search.student is not None
            raise (RunFailed if needed else TrialFailed)(str(error)) from error

    def with_pool(self, pool: TeacherPool) -> Evaluation:
        """The same, with a teacher pool to draw on."""
        return replace(self, builder=replace(self.builder, pool=pool), trainer=replace(self.trainer, pool=pool))

    def with_history(self, history: History) -> Evaluation:
        """The same, of these trials."""
        return replace(self, history=lambda: history)

    def with_teacher(self, teacher: TrainedTeacher | None) -> Evaluation:
        """The same, with one teacher for every student that none of the pool teaches."""
        return replace(self, trainer=replace(self.trainer, teacher=teacher))

    def _screen(self, number: int, proposal: Proposal) -> ScreenedTrial:
        assert proposal.parent is not None or proposal.subnet is not None, "nothing is inherited to look at"
        started = time.monotonic()
        parent = None if proposal.parent is None else get_done(self.history(), proposal.parent)
        student = self.builder.build(number, proposal, parent)  # a subnet's BatchNorm is measured anew with it
        precision = self.screener.find_precision(student, student.arch if parent is None else parent.arch)
        return ScreenedTrial(
            number=number,
            proposal=proposal,
            arch=student.arch,
            ap=precision.ap,
            ap50=precision.ap50,
            counts=count(student.arch, len(self.builder.class_names)),
            seconds=time.monotonic() - started,
        )

    def _evaluate(self, number: int, proposal: Proposal) -> DoneTrial:
        made = self._train(number, proposal)
        return self._judge_one(made)

    def prepare(self, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        """As when called, without the judging: a trained student is exported, with AP 0, cost 1 and score 0.

        Raises:
            TrialFailed, RunFailed: as there.
        """
        with self._telling_failures(number):
            return (self._screen if proposal.screens else self._train)(number, proposal)

    def judge_all(self, made: Sequence[DoneTrial]) -> dict[int, DoneTrial | TrialFailed]:
        """Judge what `prepare` gave: students of one base, all of them in one lease, or the base alone; by number.

        Raises:
            RunFailed, BoardError: as when called.
        """
        if made[0].number == 0:
            self.progress.start_step("base: measure", 3)
            with self._telling_failures(0):
                return {0: self._judge_one(made[0])}
        self.progress.start_step(f"measure {len(made)} students", 1)
        base = get_done(self.history(), 0)
        found: dict[int, DoneTrial | TrialFailed] = {}
        candidates = {0: self.exporter.find(base)}
        for trial in made:
            try:
                with self._telling_failures(trial.number):
                    found[trial.number] = self._add_precision(trial, self.exporter.find(trial))
                if self._find_known_cost(trial) is None:
                    candidates[trial.number] = self.exporter.find(trial)
            except TrialFailed as error:
                found[trial.number] = error
        costs = self._measure_all(candidates) if len(candidates) > 1 else {}
        for number, judged in found.items():
            if isinstance(judged, DoneTrial):
                cost = costs.get(number) or self._find_known_cost(judged)
                assert cost is not None, "measured, or known from its parent"
                found[number] = cost if isinstance(cost, TrialFailed) else self._add_cost(judged, cost, base)
        return found

    def _train(self, number: int, proposal: Proposal) -> DoneTrial:
        """The student, trained and exported; it waits to be judged."""
        parent = None if proposal.parent is None else get_done(self.history(), proposal.parent)
        clock = _Clock()
        student = self.builder.build(number, proposal, parent)
        clock.tick("build")
        trained = self.trainer.train(number, proposal, student)
        clock.tick("train")
        return self._export(number, proposal, student, trained, clock)

    def _export(self, number: int, proposal: Proposal, student: Student, trained: Trained, clock: _Clock) -> DoneTrial:
        self.progress.start_step(f"{name_trial(number)}: export and measure", 3)
        files = self.exporter.store(number, student.arch, student.detector, trained.state)
        clock.tick("export")
        self.progress.advance_step(1)
        return DoneTrial(
            number=number,
            proposal=proposal,
            arch=student.arch,
            ap=0.0,
            ap50=0.0,
            counts=count(student.arch, len(self.builder.class_names)),
            cost_ratio=1.0,
            score=0.0,
            latency=None,
            files=files,
            work=Work(
                epochs_total=student.epochs_before + trained.epochs,
                seconds=sum(clock.seconds.values()),
                curve=trained.curve,
                changes=student.changes,
                seconds_by_part=clock.seconds,
                judged=trained.judged,
                still_gaining=trained.still_gaining,
            ),
        )

    def _judge_one(self, made: DoneTrial) -> DoneTrial:
        """The trial of what was trained: its precision and its cost, compared with the base's where there is one."""
        base = None if made.number == 0 else get_done(self.history(), 0)
        model = self.exporter.make_candidate(made.arch, made.files)
        trial = self._add_precision(made, model)
        self.progress.advance_step(2)
        started = time.monotonic()
        cost = self._find_known_cost(trial)
        if cost is None:
            cost = self.judge.compare(model, model if base is None else self.exporter.find(base))
        trial = _add_seconds(trial, "measure", time.monotonic() - started)
        self.progress.advance_step(3)
        return self._add_cost(trial, cost, base or trial)

    def _add_precision(self, made: DoneTrial, model: Candidate) -> DoneTrial:
        started = time.monotonic()
        precision = self.judge.find_precision(model.source)
        trial = replace(made, ap=precision.ap, ap50=precision.ap50)
        return _add_seconds(trial, "evaluate", time.monotonic() - started)

    def _find_known_cost(self, trial: DoneTrial) -> RelativeCost | None:
        """Of one trained further, which is the same graph as its parent with other weights."""
        if trial.proposal.parent is None:
            return None
        parent = get_done(self.history(), trial.proposal.parent)
        return RelativeCost(parent.cost_ratio, parent.latency, parent.elsewhere) if parent.arch == trial.arch else None

    def _add_cost(self, trial: DoneTrial, cost: RelativeCost, base: DoneTrial) -> DoneTrial:
        score = self.judge.score(trial.ap, base.ap, cost.ratio)
        return replace(trial, cost_ratio=cost.ratio, score=score, latency=cost.latency, elsewhere=cost.elsewhere)

    def _measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | TrialFailed]:
        """What they cost, all in one lease; number 0 is the base."""
        try:
            found = self.judge.meter.measure_all(candidates)
        except (InputError, BoardError):
            raise
        except DeployError as error:
            return {number: TrialFailed(str(error)) for number in candidates}
        return {
            number: TrialFailed(f"no latency for the student: {cost.reason}")
            if isinstance(cost, MeasurementFailure)
            else cost
            for number, cost in found.items()
        }


def build_evaluation(
    config: RunConfig, store: RunStore, splits: Splits, meter: CostMeter, progress: RunProgress
) -> Evaluation:
    """What evaluates the proposals of a run with these images."""
    class_names, device = splits.train.class_names, choose_device()
    target, scratch = open_targets(config)[0], store.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    studies = Studies(config, splits.fit, store.artefacts, scratch, device)
    return Evaluation(
        Builder(config, class_names, store.artefacts, device, progress, studies),
        Trainer(config, splits, config.data or store.folder / "data", scratch, device, progress),
        Exporter(store.artefacts, scratch, target.spec, class_names, config.max_detections),
        Judge(config, splits.val, choose_engine(config, target), meter, progress),
        Screener.of(splits.fit, splits.kept, device),
        store.history,
        progress,
    )


def _add_seconds(trial: DoneTrial, part: str, seconds: float) -> DoneTrial:
    """With the time that a part of the work took."""
    parts = {**trial.work.seconds_by_part, part: seconds}
    return replace(trial, work=replace(trial.work, seconds=trial.work.seconds + seconds, seconds_by_part=parts))


class _Clock:
    """Seconds of each part of an evaluation, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def tick(self, name: str) -> None:
        """What passed since the last tick belongs to `name`."""
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now
