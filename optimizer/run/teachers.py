"""The teachers of a run: which pool it draws on, whether that can teach its students, and how it comes to be."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from deploy.data import Dataset
from optimizer.config import RunConfig
from optimizer.data.splits import Splits
from optimizer.distill.step import check_pair
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.search import StrategySettings
from optimizer.search.base import get_done
from optimizer.search.evolution import BREEDINGS, Breeding, Guide
from optimizer.search.predictor import Probe
from optimizer.search.teachers import Teachers
from optimizer.store.run_store import RunStore
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.manifest import Manifest, is_trained
from optimizer.supernet.path_latency import MeasuredPaths
from optimizer.supernet.pool import TeacherPool, find_pool
from optimizer.supernet.pretraining import check_pictures
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.trials.jobs import choose_device
from optimizer.trials.team import tell_team

__all__ = [
    "PoolChoice",
    "choose_pool",
    "choose_pool_images",
    "default_pools",
    "make_settings",
    "open_teachers",
    "prepare_pool",
    "require_own",
    "warn_of_weak_teachers",
]


@dataclass(frozen=True)
class PoolChoice:
    """The pool a run draws on.

    Attributes:
        folder: where it is, or will be.
        config: its own recipe, which is another than the run's where somebody named a pool.
    """

    folder: Path
    config: SupernetConfig

    @property
    def trained(self) -> bool:
        return is_trained(self.folder)


def default_pools(config: RunConfig, run: Path) -> Path:
    """Where pools are kept: what the configuration names, else beside the run's folder."""
    return (config.teacher_pool or run.resolve().parent / "teachers").resolve()


def choose_pool(config: RunConfig, pools: Path, train_data: Dataset | None, *, is_named: bool = False) -> PoolChoice:
    """The pool for these images; None are images that are yet to be generated, of which a pool knows nothing.

    Args:
        is_named: whether the user says where the pools are. Others, which are found beside a run, have to be the
            user's own: in a folder such as /tmp anybody can put some there.

    Raises:
        InputError: the pool cannot teach students of this run, or is somebody else's; the text says why.
    """
    if pools.exists() and not pools.is_dir():
        raise InputError(f"{pools} is a file; --teacher-pool takes a folder of teacher pools, or one pool")
    if not is_named:
        require_own(pools)
    wanted = config.pool_config()
    folder, found = find_pool(pools, wanted, train_data)
    if not is_named:
        require_own(folder, *(folder.iterdir() if folder.is_dir() else ()))
    space = found.space()
    largest = space.arch(space.largest())
    if any(found.teacher_phase(phase) is not None for phase in range(len(found.phases))):
        check_pair(largest, largest, found.distill.model_copy(update={"teacher_canvas": "student"}))
    if config.search.takes_pool_teachers:
        for student_size, teacher_size in product(config.search.space.sizes, found.sizes):
            student, teacher = config.base_arch().with_size(*student_size), largest.with_size(*teacher_size)
            check_pair(student, teacher, config.distill)
    return PoolChoice(folder, found)


def require_own(*places: Path) -> None:
    """Refuse what is there and is another user's, or what anybody may write to; the superuser's is taken.

    A folder like /tmp, where nobody may touch what is another's, is taken too: what is in it is asked in turn.
    """
    for place in places:
        if not place.exists():
            continue
        found = place.stat()
        is_shared = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if found.st_uid not in (os.geteuid(), 0) or (found.st_mode & stat.S_IWOTH and not is_shared):
            raise InputError(
                f"the teachers in {place} may be somebody else's: it is another user's, or anybody may write to it; if "
                f"you trust them, name them by --teacher-pool"
            )


def choose_pool_images(config: RunConfig, splits: Splits) -> Dataset:
    """What a super-network is trained on: subnets that are judged on images that are kept out must not know them."""
    return splits.fit if config.search.evolves else splits.train


def prepare_pool(
    choice: PoolChoice,
    config: RunConfig,
    splits: Splits,
    data: Path,
    progress: RunProgress,
    measured: MeasuredPaths | None = None,
) -> TeacherPool:
    """The pool of a run, trained here if it is not; `data` is the folder of the images in `splits`."""
    if not choice.trained:
        progress.say(f"no teacher pool for this data and recipe yet: training {choice.folder}, for later runs as well")
        if choice.config.pretrained_on is not None:
            warning = check_pictures(choice.config.pretrained_on, choose_pool_images(config, splits))
            if warning:
                progress.say(f"warning: {warning}")
    kept = splits.kept if choice.config.filtered_by is not None else None
    images = PoolImages(data, choose_pool_images(config, splits), splits.val, config.search.evolves, kept)
    pool = train_pool(
        choice.folder, choice.config, images, choose_device(), progress, config.workers, tell_team, measured
    )
    progress.say(f"teachers: {pool.folder}, {pool.space.count()} sub-networks of {pool.config.name}")
    return pool


def open_teachers(
    store: RunStore,
    config: RunConfig,
    splits: Splits,
    progress: RunProgress,
    moved_to: Path | None,
    probes: tuple[Probe, ...] = (),
) -> TeacherPool:
    """The run's teacher pool, trained first if need be; its place is remembered.

    Args:
        probes: latencies of subnets, for a pool whose training asks for some.

    Raises:
        InputError: students have been taught by a pool that is not there any more.
    """
    pools = moved_to or Path(store.teachers or default_pools(config, store.folder))
    is_named = moved_to is not None or config.teacher_pool is not None
    choice = choose_pool(config, pools, choose_pool_images(config, splits), is_named=is_named)
    if not choice.trained and any(t.proposal.teacher or t.proposal.subnet for t in store.history()):
        raise InputError(
            f"the teacher pool of this run is not in {choice.folder} any more; if it was moved: "
            f"optimize resume {store.folder} --teacher-pool FOLDER"
        )
    store.teachers = str(pools.resolve())
    store.pool = f"{choice.config.space().count()} sub-networks of {choice.config.name}"
    measured = None
    if target := config.pool_config().measured_on:
        measured = MeasuredPaths(target, get_done(store.history(), 0).arch, probes, len(splits.train.class_names))
    pool = prepare_pool(choice, config, splits, config.data or store.folder / "data", progress, measured)
    if config.search.takes_pool_teachers:
        warn_of_weak_teachers(pool.manifest, get_done(store.history(), 0).ap, progress)
    return pool


def warn_of_weak_teachers(pool: Manifest, base_ap: float, progress: RunProgress) -> None:
    """Say so where even the best teacher known detects less than the base."""
    strongest = max(pool.ap.values(), default=0.0)
    if strongest < base_ap:
        progress.say(
            f"these teachers (AP up to {strongest:.3f}) are weaker than the base (AP {base_ap:.3f}) and may hold "
            "students back: train them longer (--teacher-epochs), or go without (--teacher none)"
        )


def make_settings(
    config: RunConfig,
    pool: SupernetConfig | None,
    num_classes: int = 80,
    probes: tuple[Probe, ...] = (),
    rounds: int | None = None,
    guide: Guide | None = None,
    base_ms: float | None = None,
) -> StrategySettings:
    """What the run's strategy is made from; `probes` are latencies that were measured before the search.

    Args:
        rounds: students there is likely to be time for; None where nobody knows.
        guide: the path filter of the pool, if it has one.
        base_ms: the base's latency, where that is what students are scored by.
    """
    search = config.search
    teachers = None
    if pool is not None and search.takes_pool_teachers:
        # where a teacher looks at its student's canvas, its own is not searched
        sizes = pool.sizes[:1] if config.distill.teacher_canvas == "student" else pool.sizes
        teachers = Teachers(pool.model_copy(update={"sizes": sizes}).space(), fixed=search.teacher == "fixed")
    return StrategySettings(
        space=search.space,
        trials=search.trials,
        top_k=search.top_k,
        fixed_trials=search.fixed_trials,
        teachers=teachers,
        pool=pool.space() if pool is not None else None,
        max_actions=search.max_actions,
        screened=search.screened,
        rung_epochs=search.rung_epochs,
        probes=probes,
        num_classes=num_classes,
        rounds=rounds,
        student=config.trained_arch() if search.student is not None else None,
        limits=search.limits,
        breeding=_choose_breeding(config),
        generations=config.generations[0],
        by_macs=not search.cost_kind.is_measured,
        guide=guide,
        alone=config.ranks_alone,
        ceiling=config.constraints.find_ceiling(base_ms),
        most_params=config.constraints.most_params,
    )


def _choose_breeding(config: RunConfig) -> Breeding:
    """The variant that is asked for, in the proportions of its paper, with the population of this run."""
    usual = "ofa" if config.search.method == "detofa" else "code"
    known, population = BREEDINGS[config.search.breeding or usual], config.generations[1]
    share = population / known.population
    return replace(
        known, population=population, mutants=round(known.mutants * share), children=round(known.children * share),
        parents=max(round(known.parents * share), 2),
    )  # fmt: skip
