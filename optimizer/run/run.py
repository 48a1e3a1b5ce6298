"""One run, as a sentence: load the data, train the base, search, hand over the front, report. Resumable anywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy import Target, get_target
from deploy.data import (
    Dataset,
    describe_splits,
    keep_fitting,
    read_dataset,
    summarise_problems,
    warn_of_problems,
)
from deploy.targets import require_working
from optimizer.config import RunConfig, parse_config
from optimizer.data.shapes import CLASS_NAMES, write_shapes
from optimizer.errors import InputError, RunFailed
from optimizer.handover.front import find_front
from optimizer.handover.handover import hand_over
from optimizer.handover.variants import choose_precisions, list_variants
from optimizer.progress import RunProgress
from optimizer.report.console import front_table
from optimizer.run.base_run import adopt_base, check_base
from optimizer.run.finetune import finetune_best, is_all_trained
from optimizer.run.gather import report_run
from optimizer.run.plan import Plan, make_plan
from optimizer.run.stopping import clocked, interruptible, logged, stoppable
from optimizer.run.teachers import choose_pool, default_pools, make_settings, prepare_pool, warn_of_weak_teachers
from optimizer.search import build_strategy, search, try_proposal
from optimizer.search.base import PendingTrial, Proposal, Trial, get_done, list_done
from optimizer.store import DataSummary
from optimizer.store.run_store import DATABASE, RunStore
from optimizer.supernet.pool import TeacherPool
from optimizer.trials.evaluation import Evaluation, build_meter
from optimizer.trials.export import check_export
from optimizer.trials.jobs import choose_device
from optimizer.trials.team import assemble_team

__all__ = ["read_data", "resume_run", "rewrite_report", "run_or_resume", "start_run", "train_teachers"]

Splits = tuple[Dataset, Dataset]  # training, validation


def start_run(config: RunConfig, folder: Path, command: str = "") -> Path:
    """A new run in `folder`, from data to report; returns the folder. The report quotes `command`.

    Raises:
        InputError: something is wrong with the request; nothing has been started then.
        RunFailed, Interrupted: what was found so far is in the folder, and `resume_run` goes on.
    """
    with assemble_team(_list_batches(config)) as leads:
        if leads:
            _start(config, folder, command)
    return folder


def resume_run(folder: Path, teacher_pool: Path | None = None, host: str = "") -> Path:
    """Go on with a run that was stopped or killed; a finished one is only reported again.

    Args:
        teacher_pool: where the run's teachers are now, if they were moved.
        host: where its board is now, if that has moved.
    """
    with RunStore.open(folder, writable=False) as store:
        config = parse_config(store.config)
    if host:
        config = config.changed({"host": host})
    with assemble_team(_list_batches(config)) as leads:
        if leads:
            with RunStore.open(folder) as store:
                if store.status != "finished":
                    _check_target(config)
                store.log_event("resumed")
                _work(store, config, RunProgress(), teacher_pool=teacher_pool)
    return folder


def train_teachers(config: RunConfig, folder: Path) -> Path:
    """A teacher pool for the runs of this configuration, in a folder of pools; returns the pool's folder."""
    assert config.data is not None
    with assemble_team([config.pool_config().batch_size]) as leads:
        splits = _read_splits(config.data)
        choice = choose_pool(config, folder, splits[0])
        if leads:
            progress = RunProgress()
            with interruptible("optimize teachers train, with the same options"), progress.shown():
                prepare_pool(choice, config, splits, config.data, progress)
    return choice.folder


def _start(config: RunConfig, folder: Path, command: str) -> None:
    progress = RunProgress()
    target = _check_target(config)
    if config.weights is not None and not config.weights.is_file():
        raise InputError(f"there is no weights file {config.weights}")
    data = _read_splits(config.data) if config.data is not None else None
    if config.base_run is not None:
        check_base(config.base_run, config, describe_data(data) if data else None)
    trained = False
    if config.needs_pool:
        trained = choose_pool(config, default_pools(config, folder), data[0] if data else None).trained
    check_export(config.base_arch(), len(data[0].class_names) if data else len(CLASS_NAMES), target.spec)
    images, val_images = (len(split.records) for split in data) if data else (config.shapes.train, config.shapes.val)
    variants = len(list_variants(config, target.spec, config.base_arch()))
    plan = make_plan(
        config, images, choose_device(), base_exists=config.base_run is not None, pool_exists=trained,
        variants=variants, val_images=val_images,
    )  # fmt: skip
    plan.check()
    progress.say(plan.describe())
    with RunStore.create(folder, config.model_dump(mode="json")) as store:
        store.command = command
        _work(store, config, progress, plan, data)


def _check_target(config: RunConfig) -> Target:
    """The run's target; `InputError` where latency could not be measured, before hours are spent on what would be."""
    target = get_target(config.target, config.host)
    choose_precisions(config, target.spec)
    if config.search.cost == "latency":
        require_working(config.target, target.check())
    return target


def _list_batches(config: RunConfig) -> list[int]:
    """Sizes of the batches that all processes of a run share."""
    return [config.batch_size, *([config.pool_config().batch_size] if config.needs_pool else [])]


def run_or_resume(config: RunConfig, folder: Path) -> dict[str, Any]:
    """What `optimizer.optimize` does."""
    if (folder / DATABASE).exists():
        with RunStore.open(folder, writable=False) as store:
            if parse_config(store.config) != config:
                raise InputError(f"{folder} holds a run with other settings; choose another folder")
        resume_run(folder)
    else:
        start_run(config, folder)
    front: dict[str, Any] = json.loads((folder / "front.json").read_text())
    return front


def rewrite_report(folder: Path) -> Path:
    """`report.html` and `front.json` of a run, written again from its database; returns the page."""
    with RunStore.open(folder) as store:
        config = parse_config(store.config)
        report_run(store, config, read_data(store, config)[1], store.status)
    return folder / "report.html"


def _work(
    store: RunStore,
    config: RunConfig,
    progress: RunProgress,
    plan: Plan | None = None,
    splits: Splits | None = None,
    teacher_pool: Path | None = None,
) -> Path:
    with logged(store.folder), clocked(store) as clock, stoppable(store):
        train_data, val_data = read_data(store, config, splits)
        progress.say(describe_splits(train_data, val_data))
        for dataset, name in ((train_data, "training"), (val_data, "validation")):
            for warning in warn_of_problems(dataset):
                progress.say(f"warning: {name} data: {warning}")
            if dataset.problems:
                progress.say(f"{name} data: {summarise_problems(dataset.problems)} (see: optimize data check)")
        target = get_target(config.target, config.host)
        device = choose_device()
        scratch = store.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        evaluation = Evaluation(
            config, train_data, val_data, store.artefacts, store.history, target,
            build_meter(config, target, val_data, config.search_protocol, progress.note), scratch, device,
            progress,
        )  # fmt: skip

        def record(trial: Trial) -> None:
            store.record(trial)
            clock()
            if not isinstance(trial, PendingTrial):
                evaluation.forget(trial.number)
                progress.trial_done(trial, config.search.trials)
                report_run(store, config, val_data, "running")

        with progress.shown():
            _train_base(store, evaluation, record)
            if config.needs_pool and not is_all_trained(store, config):
                pool = _open_teachers(store, config, (train_data, val_data), progress, teacher_pool)
                evaluation = replace(evaluation, pool=pool)
                clock()
            if store.search_ended is None:
                plan = plan or make_plan(
                    config, len(train_data.records), device, base_exists=True, pool_exists=True,
                    variants=len(list_variants(config, target.spec, config.base_arch())),
                    val_images=len(val_data.records),
                )  # fmt: skip
                progress.start_search(len(store.history()) - 1, config.search.trials)
                pool_config = evaluation.pool.config if evaluation.pool is not None else None
                why = search(
                    build_strategy(config.search.method, make_settings(config, pool_config)),
                    store.history,
                    evaluation,
                    record,
                    seed=config.seed,
                    trials=config.search.trials,
                    keep_going=lambda: plan.has_time_for_trial(clock(), store.history()),
                )
                store.search_ended = why
                progress.say(f"search ended: {why}")
            finetune_best(store, config, evaluation, record)
            hand_over(store, evaluation, build_meter(config, target, val_data, config.final_protocol, progress.note))
            clock()
        store.status = "finished"
        page = report_run(store, config, val_data, "finished")
    front = find_front(store)
    progress.console.print(front_table(front))
    if front.tried:
        progress.say(f"{front.summary} (why: front.json)")
    progress.say(f"bundles: {store.folder / 'bundles'}")
    progress.say(f"report:  {page}")
    return store.folder


def _train_base(store: RunStore, evaluation: Evaluation, record: Any) -> None:
    """Trial 0, unless it is recorded."""
    config = evaluation.config
    if not list_done(store.history()):
        if config.base_run is not None:
            record(adopt_base(store, config.base_run, config))
        else:
            try_proposal(0, Proposal(None), evaluation, record)
    if not get_done(store.history(), 0).ap:
        raise RunFailed(
            "the base detects nothing on the validation images (AP 0), so students cannot be scored beside it; "
            "train it longer (--epochs), at a larger --size, or start from --weights"
        )


def _open_teachers(
    store: RunStore, config: RunConfig, splits: Splits, progress: RunProgress, moved_to: Path | None
) -> TeacherPool:
    """The run's teacher pool, trained first if need be; its place is remembered.

    Raises:
        InputError: students have been taught by a pool that is not there any more.
    """
    pools = moved_to or Path(store.teachers or default_pools(config, store.folder))
    choice = choose_pool(config, pools, splits[0])
    if not choice.trained and any(t.proposal.teacher or t.proposal.subnet for t in store.history()):
        raise InputError(
            f"the teacher pool of this run is not in {choice.folder} any more; if it was moved: "
            f"optimize resume {store.folder} --teacher-pool FOLDER"
        )
    store.teachers = str(pools.resolve())
    store.pool = f"{choice.config.space().count()} sub-networks of {choice.config.name}"
    pool = prepare_pool(choice, config, splits, config.data or store.folder / "data", progress)
    if config.search.teacher != "none":
        warn_of_weak_teachers(pool.manifest, get_done(store.history(), 0).ap, progress)
    return pool


def read_data(store: RunStore, config: RunConfig, splits: Splits | None = None) -> Splits:
    """Training and validation records, unless they are read already; refuses data that changed since the run began."""
    folder = config.data
    if folder is None:
        shapes = config.shapes
        folder = write_shapes(
            store.folder / "data", train=shapes.train, val=shapes.val, size=shapes.size, seed=config.seed
        )
    train_data, val_data = splits or _read_splits(folder)
    found = describe_data((train_data, val_data))
    known = store.data
    if known is None:
        store.data = found
    elif known != found:
        raise InputError(f"the data in {folder} changed since this run began: was {known}; is {found}")
    return train_data, val_data


def describe_data(splits: Splits) -> DataSummary:
    """Class names, and how many images there are to train and to validate on."""
    train_data, val_data = splits
    return DataSummary(tuple(train_data.class_names), len(train_data.records), len(val_data.records))


def _read_splits(folder: Path) -> Splits:
    train_data, val_data = read_dataset(folder, "train"), keep_fitting(read_dataset(folder, "val"))
    if train_data.class_names != val_data.class_names:
        raise InputError(
            f"{folder}: training and validation list different classes: {', '.join(train_data.class_names)} and "
            f"{', '.join(val_data.class_names)}"
        )
    return train_data, val_data
