"""One run, as a sentence: load the data, train the base, search, hand over the front, report. Resumable anywhere."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from optimizer.config import UNLIMITED, RunConfig, parse_config
from optimizer.cost.base import CostMeter
from optimizer.data.splits import Splits
from optimizer.errors import InputError, RunFailed
from optimizer.handover.front import find_front
from optimizer.handover.handover import hand_over
from optimizer.progress import RunProgress
from optimizer.report.console import front_table
from optimizer.run.base_run import adopt_base
from optimizer.run.budget import describe_fit, is_same_request
from optimizer.run.checks import check_run, check_targets, check_workers
from optimizer.run.finetune import finetune_best, is_all_trained, trains_at_end_only
from optimizer.run.gather import is_page_due, report_run
from optimizer.run.images import read_data, read_splits, say_images
from optimizer.run.lost import redo_lost
from optimizer.run.plan import Plan, plan_run
from optimizer.run.probes import measure_probes
from optimizer.run.reach import explain_unreachable
from optimizer.run.stopping import clocked, interruptible, logged, stoppable
from optimizer.run.storage import keep_within
from optimizer.run.teachers import choose_pool, choose_pool_images, make_settings, open_teachers, prepare_pool
from optimizer.run.teaching_sets import list_sets
from optimizer.run.tracking import Tracking, tracked
from optimizer.run.trained_teacher import adopt_teacher, choose_teacher
from optimizer.search import Search, build_strategy, draw_numbers, search, search_at_once, try_proposal
from optimizer.search.base import (
    DoneTrial,
    FailedTrial,
    FrontStrategy,
    History,
    PendingTrial,
    Proposal,
    Trial,
    count_students,
    get_done,
    list_done,
)
from optimizer.search.predictor import Probe
from optimizer.search.what_is_taught import name_set
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.run_store import DATABASE, RunStore
from optimizer.supernet.filtering import open_guide
from optimizer.supernet.pool import TeacherPool
from optimizer.track.catalogue import check_trackers
from optimizer.trials.evaluation import Evaluation, build_evaluation
from optimizer.trials.judge import build_meter
from optimizer.trials.targets import open_targets
from optimizer.trials.team import assemble_team
from optimizer.workers.crew import Crew, assembled_crew

__all__ = ["resume_run", "rewrite_report", "run_or_resume", "start_run", "train_supernet"]


def start_run(config: RunConfig, folder: Path, command: str = "", progress: RunProgress | None = None) -> Path:
    """A new run in `folder`, from data to report; returns the folder. The report quotes `command`.

    `progress` shows it, in place of the terminal's display.

    Raises:
        InputError: something is wrong with the request; nothing has been started then.
        RunFailed, Interrupted: what was found so far is in the folder, and `resume_run` goes on.
    """
    with assemble_team(_list_batches(config)) as leads:
        if leads:
            progress = progress or RunProgress()
            config, splits, plan = check_run(config, folder)
            progress.say(plan.describe())
            if config.search.evolves and config.budget_s is not None:
                progress.say(describe_fit(config))
            with RunStore.create(folder, config.model_dump(mode="json")) as store:
                store.command = command
                _work(store, config, progress, splits, plan)
    return folder


def resume_run(
    folder: Path,
    teacher_pool: Path | None = None,
    host: str = "",
    changes: Mapping[str, object] | None = None,
    progress: RunProgress | None = None,
) -> Path:
    """Go on with a run that was stopped or killed; a finished one is only reported again.

    Args:
        teacher_pool: where the run's teachers are now, if they were moved.
        host: where its board is now, if that has moved.
        changes: of its configuration from here on, such as of `keep_bytes`, which no trial depends on.
        progress: shows it, in place of the terminal's display.
    """
    with RunStore.open(folder, writable=False) as store:
        config = parse_config(store.config)
    config = config.changed({**({"host": host} if host else {}), **(changes or {})})
    with assemble_team(_list_batches(config)) as leads:
        if leads:
            with RunStore.open(folder) as store:
                if store.status != "finished":
                    check_trackers(config.track)
                    check_workers(config, folder)
                    check_targets(config)
                store.log_event("resumed")
                _work(store, config, progress or RunProgress(), teacher_pool=teacher_pool)
    return folder


def train_supernet(config: RunConfig, folder: Path) -> Path:
    """The super-network of runs with this configuration, in a folder of them; returns its own folder."""
    assert config.data is not None
    with assemble_team([config.pool_config().batch_size]) as leads:
        splits = read_splits(config.data, config.keeps_images)
        choice = choose_pool(config, folder, choose_pool_images(config, splits), is_named=True)
        if leads:
            progress = RunProgress()
            with interruptible("optimize supernets train, with the same options"), progress.shown():
                prepare_pool(choice, config, splits, config.data, progress)
    return choice.folder


def run_or_resume(config: RunConfig, folder: Path, progress: RunProgress | None = None) -> dict[str, Any]:
    """What `optimizer.optimize` does."""
    if (folder / DATABASE).exists():
        with RunStore.open(folder, writable=False) as store:
            if not is_same_request(config, parse_config(store.config)):
                raise InputError(f"{folder} holds a run with other settings; choose another folder")
        resume_run(folder, progress=progress)
    else:
        start_run(config, folder, progress=progress)
    front: dict[str, Any] = json.loads((folder / "front.json").read_text())
    return front


def rewrite_report(folder: Path) -> Path:
    """`report.html` and `front.json` of a run, written again from its database; returns the page."""
    with RunStore.open(folder) as store:
        config = parse_config(store.config)
        find_front(store)
        report_run(store, config, read_data(store, config).val, store.status)
    return folder / "report.html"


def _work(
    store: RunStore,
    config: RunConfig,
    progress: RunProgress,
    splits: Splits | None = None,
    plan: Plan | None = None,
    teacher_pool: Path | None = None,
) -> None:
    with logged(store.folder), clocked(store) as clock, stoppable(store), explain_disk_errors(store.folder):
        find_front(store)  # what a damaged run holds is not found out after hours
        splits = read_data(store, config, splits)
        say_images(splits, progress)
        redo_lost(store, progress)
        with tracked(store, config, progress) as tracking:
            run = _Run(store, config, splits, progress, clock, plan, tracking)
            with progress.shown():
                evaluation = run.build_evaluation()
                with assembled_crew(store, config, evaluation) as crew:
                    if crew is not None:
                        evaluation = replace(evaluation, crew=crew)
                    run.train_base(evaluation)
                    pool = run.open_teachers(evaluation, teacher_pool)
                    if pool is not None:
                        evaluation = evaluation.with_pool(pool)
                    evaluation = evaluation.with_teacher(choose_teacher(store, config, splits.train.class_names))
                    if crew is not None:
                        crew.evaluation = evaluation
                    run.search_students(evaluation, pool, crew)
                    run.finetune_best(evaluation)
                run.hand_over(evaluation)
            run.report()


@dataclass(frozen=True)
class _Run:
    """The steps of a run; each does what the database does not have yet."""

    store: RunStore
    config: RunConfig
    splits: Splits
    progress: RunProgress
    clock: Callable[[], float]
    first_plan: Plan | None
    tracking: Tracking

    def build_evaluation(self) -> Evaluation:
        meter = self._build_meter(self.config.search_protocol)
        return build_evaluation(self.config, self.store, self.splits, meter, self.progress)

    def train_base(self, evaluation: Evaluation) -> None:
        """Trial 0; trained here, unless it is another run's base, or the one teacher of one student.

        Raises:
            RunFailed: it detects nothing.
        """
        record = self._recorder(evaluation)
        if not list_done(self.store.history()):
            if self.config.base_run is not None:
                record(adopt_base(self.store, self.config.base_run, self.config))
            elif self.config.search.student is not None:
                class_names = self.splits.train.class_names
                record(adopt_teacher(self.store, self.config, class_names, evaluation))
            else:
                try_proposal(0, Proposal(None), evaluation, record)
        if not get_done(self.store.history(), 0).ap:
            raise RunFailed(
                "the base detects nothing on the validation images (AP 0), so students cannot be compared with it; "
                "train it longer (--epochs), at a larger --size, or start from --weights"
            )

    def open_teachers(self, evaluation: Evaluation, moved_to: Path | None) -> TeacherPool | None:
        """The teacher pool, trained first if need be; None where no student is left that needs it."""
        if not self.config.needs_pool or is_all_trained(self.store, self.config):
            return None
        asked = self.config.pool_config().measured_on
        probes = measure_probes(self.store, self.config, evaluation, self.progress) if asked else ()
        pool = open_teachers(self.store, self.config, self.splits, self.progress, moved_to, probes)
        self.clock()
        return pool

    def search_students(self, evaluation: Evaluation, pool: TeacherPool | None, crew: Crew | None = None) -> None:
        """Try students until the trials are done or time is up."""
        if self.store.search_ended is not None:
            return
        config, history = self.config, self.store.history
        is_searched = config.search.student is None
        if not is_searched:
            self.store.asked_for = [1]
        probes = measure_probes(self.store, config, evaluation, self.progress)
        if self.store.rounds is None:  # once: a run that goes on aims at what it aimed at before
            self.store.rounds = self.plan.count_rounds(self.clock()) * (crew.size if crew is not None else 1)
        num_classes, members = len(self.splits.train.class_names), pool.config if pool is not None else None
        why_not = explain_unreachable(config, get_done(history(), 0), probes, num_classes)
        if why_not is None and trains_at_end_only(config, self.store.rounds):
            why_not = "there is time for one training of each student, so they are chosen untrained"
        if why_not is not None:
            self.store.search_ended = why_not
            self.progress.say(f"search: {why_not}")
            return
        guide = open_guide(pool.manifest) if pool is not None and config.search.evolves else None
        self.store.filtered = guide.describe() if guide is not None else None
        sets = list_sets(config, evaluation.trainer.teacher, pool, self.progress.say)
        self.progress.start_search(count_students(history()), self._count_students())
        settings = make_settings(config, members, num_classes, probes, self.store.rounds, guide, self._base_ms)
        strategy = build_strategy(config.search.method, settings)
        of = Search(
            strategy,
            history,
            self._recorder(evaluation),
            seed=config.seed,
            trials=self._count_students(),
            complete=lambda proposal, past, rng: name_set(proposal, sets, past, rng),
            keep_going=lambda: not is_searched or self.plan.has_time_for_trial(self.clock(), history()),
        )
        why = search(of, evaluation) if crew is None else search_at_once(of, crew)
        self.store.search_ended = why
        if crew is not None and (waits := crew.describe_waits()):
            self.progress.say(waits)
        if is_searched:
            self.progress.say(f"search ended: {why}")

    def finetune_best(self, evaluation: Evaluation) -> None:
        finetune_best(
            self.store, self.config, evaluation, self._recorder(evaluation),
            lambda: self.plan.find_last_training_s(self.clock()), self._ask_faster,
        )  # fmt: skip

    def _ask_faster(self, history: History, steps: int) -> Proposal | None:
        """A child for the last training, of a strategy that has some."""
        probes = tuple(Probe.from_json(value) for value in self.store.probes or ())
        num_classes = len(self.splits.train.class_names)
        settings = make_settings(self.config, None, num_classes, probes, self.store.rounds, base_ms=self._base_ms)
        strategy = build_strategy(self.config.search.method, settings)
        rng = draw_numbers(self.config.seed, len(history))
        return strategy.ask_faster(history, rng, steps) if isinstance(strategy, FrontStrategy) else None

    def hand_over(self, evaluation: Evaluation) -> None:
        meter = self._build_meter(self.config.final_protocol)
        hand_over(self.store, self.config, evaluation, meter, lambda: self.plan.has_time_for_export(self.clock()))
        self.clock()

    def report(self) -> None:
        """The page, the table, and where everything is."""
        page = report_run(self.store, self.config, self.splits.val, "finished")
        self.progress.front_written()
        front = find_front(self.store)
        self.tracking.finish(front, page)
        self.progress.console.print(front_table(front))
        if front.tried:
            self.progress.say(f"{front.summary} (why: front.json)")
        self.progress.say(f"bundles: {self.store.folder / 'bundles'}")
        self.progress.say(f"report:  {page}")
        if front.shortfall:
            self.progress.say(front.shortfall)

    @property
    def _base_ms(self) -> float | None:
        """The base's latency, as the search saw it; None where something else is what is scored."""
        figures = get_done(self.store.history(), 0).figures
        return figures.median_ms if figures is not None and self.config.search.cost_kind.is_latency else None

    def _count_students(self) -> int | None:
        """How many students are to be tried; None where only the time decides."""
        return self.config.search.trials if self.config.search.trials < UNLIMITED else None

    @cached_property
    def plan(self) -> Plan:
        """The one it was started with; a run that goes on times a step anew, once."""
        target = open_targets(self.config)[0].spec
        return self.first_plan or plan_run(self.config, target, self.splits, base_exists=True, pool_exists=True)

    def _recorder(self, evaluation: Evaluation) -> Callable[[Trial], None]:
        """Writes a trial, and what follows from it: the clock, a line, the page."""
        page_written = -math.inf

        def record(trial: Trial) -> None:
            nonlocal page_written
            self.store.record(trial)
            self.clock()
            if not isinstance(trial, PendingTrial):
                evaluation.trainer.forget(trial.number)
                self.progress.trial_done(trial, self._count_students())
                keep_within(self.store, self.config.keep_bytes, self.config, self.progress.say)
                self.tracking.tell()
            is_student = isinstance(trial, (DoneTrial, FailedTrial))
            if is_student and is_page_due(trial.number, time.monotonic() - page_written):
                report_run(self.store, self.config, self.splits.val, "running")
                self.progress.front_written()
                page_written = time.monotonic()

        return record

    def _build_meter(self, protocol: str) -> CostMeter:
        targets = open_targets(self.config)
        return build_meter(self.config, targets, self.splits.val, protocol, self.progress.note)


def _list_batches(config: RunConfig) -> list[int]:
    """Sizes of the batches that all processes of a run share."""
    sizes = [config.batch_size]
    if config.needs_pool:
        pool = config.pool_config()
        sizes += [pool.batch_size, *([pool.pretrained_on.batch_size] if pool.pretrained_on else [])]
    return sizes
