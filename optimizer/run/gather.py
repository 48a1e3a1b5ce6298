"""A run's `front.json` and `report.html`, out of what its folder holds."""

from __future__ import annotations

from pathlib import Path

from deploy.data import Dataset
from optimizer.config import UNLIMITED, RunConfig
from optimizer.distill.sets import SETS
from optimizer.environment import describe_environment
from optimizer.handover.front import find_front, write_front
from optimizer.progress import format_duration
from optimizer.report.analysis import read_analysis
from optimizer.report.filtered import Filtered
from optimizer.report.page import ReportData, write_report
from optimizer.report.timeline import split_time
from optimizer.run.snapshots import draw_pictures
from optimizer.search.base import get_done, list_done
from optimizer.search.evolution import describe_limit
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.run_store import RunStore

__all__ = ["describe_last_training", "is_page_due", "report_run"]

ALWAYS = 50  # trials, after each of which the page is written; of more, after every part of them that is as small
OLDEST_S = 60.0  # that a page may be behind


def is_page_due(trials: int, age_s: float) -> bool:
    """Whether the page is to be written after so many trials, when it is that old.

    It has all trials and takes longer the more there are. So that a trial's share of that stays the same, of fast ones
    it is written after some only; trials of a minute or more find it written after each.
    """
    return age_s >= OLDEST_S or trials % max(trials // ALWAYS, 1) == 0


def report_run(store: RunStore, config: RunConfig, val_data: Dataset, status: str) -> Path:
    """Write `front.json` and `report.html` as things stand."""
    store.status = status
    trials = store.history()
    front = find_front(store)
    students = [trial for trial in list_done(trials) if trial.number > 0 and not trial.files.dropped]
    best = max(students, key=lambda trial: trial.score, default=None)
    page = store.folder / "report.html"
    images = config.data.resolve().name if config.data else "generated shapes"
    data = ReportData(
        title=f"{config.trained_family} for {', '.join(Path(target).stem for target in config.targets)}",
        status=f"{status}; {_name_method(config)} on {images}",
        finished=status != "running",
        settings=_list_settings(store, config),
        environment=describe_environment(),
        trials=trials,
        trials_wanted=config.search.trials if config.search.trials < UNLIMITED else None,
        elapsed=format_duration(store.elapsed_seconds),
        front=front,
        pictures=draw_pictures(store, get_done(trials, 0), best, val_data) if best is not None else (),
        seconds_by_part=split_time(trials, store.elapsed_seconds, own_base=config.base_run is None),
        analysed=read_analysis(store.folder),
        filtered=Filtered.from_json(store.filtered) if store.filtered is not None else None,
    )
    with explain_disk_errors(store.folder):
        write_front(store.folder / "front.json", front)
        write_report(page, data)
    return page


def _name_method(config: RunConfig) -> str:
    return f"{config.search.method} search" if config.search.student is None else "one student, one teacher"


def _list_settings(store: RunStore, config: RunConfig) -> dict[str, str]:
    search_config = config.search
    return {
        "command": store.command,
        "preset, seed": f"{config.preset}, {config.seed}",
        **(_describe_search(config) if search_config.student is None else _describe_student(config)),
        "objective": f"{search_config.objective} of AP and {search_config.cost}, alpha {config.alpha:g}, "
        f"beta {search_config.beta:g} (a reconstruction of the papers' score)",
        **({"asked of a student": str(config.constraints)} if str(config.constraints) else {}),
        **(
            {"searched for": f"{config.target}; measured on {', '.join(config.further_targets)} too"}
            if config.further_targets
            else {}
        ),
        "teachers": _describe_teaching(store, config),
        "other exports": _describe_variants(config),
        "latency protocol": f"{config.search_protocol} in the search, {config.final_protocol} for the front",
    }


def _describe_search(config: RunConfig) -> dict[str, str]:
    search_config = config.search
    return {
        "base canvas": "{}x{}".format(*config.input_size),
        "searched canvases": ", ".join("{}x{}".format(*size) for size in search_config.space.sizes),
        "region proposals": ", ".join(str(count) for count in search_config.space.region_proposals),
        "base training": _describe_base_training(config),
        **(_describe_breeding(config) if search_config.evolves else _describe_students(config)),
    }


def _describe_breeding(config: RunConfig) -> dict[str, str]:
    """Of a search that breeds subnets of a super-network."""
    search, pool, last = config.search, config.pool_config(), config.finetune
    assert last is not None
    generations, population = config.generations
    ranked = ", ranked by the path filter alone" if config.ranks_alone else ""
    before = pool.pretrained_on
    pretraining = f"its body pre-trained for {before.train.epochs} on {before}" if before else "from random weights"
    return {
        "super-network": f"{pool.epochs} epochs, {pretraining}",
        "generations": f"{generations} of {population} for each of the limits "
        f"{', '.join(map(describe_limit, search.limits))}{ranked}",
        "each student": f"{last.epochs} epochs, lr {last.lr:g}, weights of the super-network",
    }


def _describe_students(config: RunConfig) -> dict[str, str]:
    search_config = config.search
    return {
        "each student": f"{config.trial_train.epochs} epochs, lr {config.trial_train.lr:g}, weights "
        f"{'inherited' if search_config.inherit else 'drawn anew'}",
        "after the search": describe_last_training(config),
    }


def describe_last_training(config: RunConfig) -> str:
    """How many students have it, and for how long, as far as that is known before it."""
    search, last = config.search, config.finetune
    if not search.finetuned or last is None:
        return "nothing trained further"
    if config.budget_s is None:
        return f"{search.finetuned} trained further for {last.epochs} epochs"
    if search.aims:
        return f"at most {search.finetuned} trained for as many epochs as the budget has time for"
    return f"at most {search.finetuned} trained further, for at most {last.epochs} epochs"


def _describe_student(config: RunConfig) -> dict[str, str]:
    return {
        "student": f"{config.trained_family} on {{}}x{{}}".format(*config.input_size),
        "training": _describe_base_training(config),
    }


def _describe_base_training(config: RunConfig) -> str:
    recipe, until = config.base_train, "until it stops gaining, at most " if config.base_epochs == "auto" else ""
    return f"{until}{recipe.epochs} epochs, {recipe.optimizer}, lr {recipe.lr:g}"


def _describe_variants(config: RunConfig) -> str:
    wanted = config.variants
    if not config.search.cost_kind.is_measured:
        return "none: operations are what is scored"
    precisions = "the target's" if wanted.precisions is None else ", ".join(wanted.precisions) or "fp32"
    counts = config.search.space.region_proposals if wanted.region_proposals is None else wanted.region_proposals
    listed = ", ".join(map(str, counts)) or "as they are"
    return f"precisions: {precisions}; region proposals: {listed}; at most {wanted.max_ap_drop:g} of AP lost"


def _describe_teaching(store: RunStore, config: RunConfig) -> str:
    if config.search.teacher == "none":
        return "none"
    terms = "weights " + ", ".join(f"{name} {weight:g}" for name, weight in config.distill.weights.items())
    if not config.distill.weights:
        terms = f"what is taught is a choice of each training: {', '.join(SETS)}"
    pool = f"; pool of {store.pool}" if config.search.takes_pool_teachers else ""
    return f"{config.search.teacher}{pool}; {terms}"
