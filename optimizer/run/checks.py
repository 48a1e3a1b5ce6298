"""What is looked at before a run begins: nothing has been started when one of these complains."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from deploy import Target
from deploy.targets import require_reading, require_working
from optimizer.arch.macs import count
from optimizer.config import RunConfig
from optimizer.data.shapes import CLASS_NAMES
from optimizer.data.splits import Splits
from optimizer.detectors.converted import recognise
from optimizer.detectors.pretrained import choose_pretrained
from optimizer.errors import InputError
from optimizer.handover.variants import choose_precisions
from optimizer.run.base_run import check_base
from optimizer.run.budget import count_images, find_durations, fit_budget
from optimizer.run.images import describe_data, read_splits
from optimizer.run.plan import Plan, find_step_s, plan_run
from optimizer.run.reach import check_size
from optimizer.run.teachers import choose_pool, choose_pool_images, default_pools
from optimizer.run.trained_teacher import check_teacher
from optimizer.search.evolution import GeneSpace, count_body, describe_limit, find_least, is_of_body
from optimizer.supernet.classified import check_judged
from optimizer.supernet.pretraining import check_pictures
from optimizer.track.catalogue import check_trackers
from optimizer.train.distributed import current_world
from optimizer.trials.export import check_export
from optimizer.trials.jobs import choose_device
from optimizer.trials.targets import open_targets
from optimizer.workers.parcels import check_unpacking
from optimizer.workers.pool import check_machines, open_ray

__all__ = ["check_run", "check_targets", "check_workers"]


def check_run(config: RunConfig, folder: Path) -> tuple[RunConfig, Splits | None, Plan]:
    """A run as its budget allows it, its images (None where they are yet to be generated), how long it will take.

    Raises:
        InputError: something is wrong with the request.
    """
    check_trackers(config.track)
    check_workers(config, folder)
    targets = check_targets(config)
    if config.weights_from is not None and config.base_run is None and not isinstance(config.weights, Path):
        raise InputError(
            f"--from {config.weights_from} says whose detector a file of --weights is, and this run starts from "
            f"{config.weights or 'random weights'}: leave it out, or name the file"
        )
    if isinstance(config.weights, Path) and config.base_run is None:
        config = choose_origin(config, config.weights)
    published = None
    if isinstance(config.weights, str) and config.base_run is None:
        published = choose_pretrained(config.weights, config.trained_family, config.head_name)
    splits = read_splits(config.data, config.keeps_images) if config.data is not None else None
    if config.base_run is not None:
        check_base(config.base_run, config, describe_data(splits) if splits else None)
    pool_exists, step_s = False, None
    if config.needs_pool:
        pools, is_named = default_pools(config, folder), config.teacher_pool is not None
        images = choose_pool_images(config, splits) if splits else None
        choice = choose_pool(config, pools, images, is_named=is_named)
        pool_exists = choice.trained
        if not pool_exists and choice.config.pretrained_on is not None:
            check_pictures(choice.config.pretrained_on, images)
            check_judged(choice.config, splits.kept if splits else None)
        if config.search.evolves and config.budget_s is not None:
            counted = count_images(config, splits, pool_exists=pool_exists)
            step_s = find_step_s(config, choose_device())
            config = fit_budget(config, find_durations(config, counted, step_s, pool_exists=pool_exists))
            pool_exists = choose_pool(config, pools, images, is_named=is_named).trained
    class_names = splits.train.class_names if splits else CLASS_NAMES
    teacher = check_teacher(config, class_names)
    if config.search.evolves and config.search.trials:
        check_limits(config, len(class_names))
    check_size(config, len(class_names))
    for target in targets:
        check_export(config.trained_arch(), len(class_names), target.spec)
    plan = plan_run(
        config,
        targets[0].spec,
        splits,
        base_exists=config.base_run is not None,
        pool_exists=pool_exists,
        teacher=teacher,
        step_s=step_s,
    )
    plan.check()
    if published is not None:  # last: nothing is downloaded for a run that cannot be
        published.fetch()
    return config, splits, plan


def choose_origin(config: RunConfig, weights: Path) -> RunConfig:
    """The run with the name of whose detector a file of weights is, unless that was said or it is our own."""
    found = config.weights_from or recognise(weights)
    return config if found == config.weights_from else config.changed({"weights_from": found})


def check_workers(config: RunConfig, folder: Path) -> None:
    """Refuse workers that cannot work for a run: before it begins, and before it goes on."""
    if config.workers_on is None:
        if (config.at_once, config.trial_gpus, config.shared_folder) != (None, None, True):
            raise InputError("--at-once, --gpus-per-trial and --no-shared-folder are of workers: add --workers-on ray")
        return
    if current_world().size > 1:
        raise InputError("torchrun shares out each training, and --workers-on shares out trainings: choose one")
    if not config.shared_folder:
        check_unpacking()
        if config.data is not None and config.data.is_file():
            raise InputError(
                f"--no-shared-folder sends the folder of the images, and --data {config.data} is a file: name the "
                "folder of the images instead"
            )
    folders = [folder if folder.is_dir() else folder.parent, config.data] if config.shared_folder else []
    check_machines(open_ray(config.workers_on), [path.resolve() for path in folders if path is not None])


def check_limits(config: RunConfig, num_classes: int) -> None:
    """Refuse, before a super-network is trained, limits that are known to be below all of its subnets.

    What is measured is not known before, so a share of that is not looked at.
    """
    space, base = cast(GeneSpace, config.pool_config().space()), count(config.base_arch(), num_classes).macs
    for limit in config.search.limits:
        if not is_of_body(limit) and config.search.cost_kind.is_measured:
            continue
        price = count_body if is_of_body(limit) else lambda arch: count(arch, num_classes).macs / base
        least = find_least(space, price)[1]
        if least > limit:
            raise InputError(
                f"no student costs at most {describe_limit(limit)}: the least is {describe_limit(least)}; raise --limit"
                f"{'' if is_of_body(limit) else ', or search over smaller canvases too (--sizes)'}"
            )


def check_targets(config: RunConfig) -> tuple[Target, ...]:
    """The run's targets; `InputError` where cost could not be measured, before hours are spent on what would be."""
    targets = open_targets(config)
    choose_precisions(config, targets[0].spec)
    if config.search.cost_kind.is_measured:
        for name, target in zip(config.targets, targets, strict=True):
            conditions = target.check()
            require_working(name, conditions)
            for reading, option in config.asked_of_target.items() if name == config.target else ():
                require_reading(name, conditions, reading, option)
    return targets
