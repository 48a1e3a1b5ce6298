"""The trained base of one run, taken over by another: several searches from one start, trained and measured once."""

from __future__ import annotations

from pathlib import Path

from optimizer.config import RunConfig, parse_config
from optimizer.errors import InputError
from optimizer.search.base import DoneTrial
from optimizer.store import DataSummary, RunStore

__all__ = ["adopt_base", "check_base"]


def check_base(folder: Path, config: RunConfig, data: DataSummary | None) -> DoneTrial:
    """Trial 0 of another run, if students of this one can be searched from it and compared with it.

    How it was trained (epochs, weights it started from, seed) is that run's matter.

    Args:
        data: classes and numbers of images of this run; None where its images are yet to be generated.

    Raises:
        InputError: no run there, its base is not trained yet, or it is another one; the text says what differs.
    """
    with RunStore.open(folder, writable=False) as other:
        theirs = parse_config(other.config)
        history, seen = other.history(), other.data
    base = history[0] if history else None
    if not isinstance(base, DoneTrial):
        raise InputError(f"the base of {folder} is not trained yet")
    for name, own, found in (
        ("architecture or canvas", config.base_arch().arch_id, theirs.base_arch().arch_id),
        ("data", _name_data(config), _name_data(theirs)),
        ("target", ", ".join(config.targets), ", ".join(theirs.targets)),
        ("cost", config.search.cost, theirs.search.cost),
        ("share of steps that train children", config.search.elastic, theirs.search.elastic),
    ):
        if own != found:
            raise InputError(f"the base of {folder} is another one: its {name} is {found}, this run wants {own}")
    if data is not None and (seen is None or not data.is_same(seen)):
        raise InputError(f"the data changed since the base of {folder} was trained: was {seen}; is {data}")
    if config.keeps_images and not theirs.keeps_images:
        raise InputError(
            f"the base of {folder} was trained on every training image, and this run keeps some out to judge by: "
            "let that run train its base with --epochs auto or --method pareto"
        )
    if not base.ap:
        raise InputError(f"the base of {folder} detects nothing (AP 0), so students cannot be compared with it")
    return base


def adopt_base(store: RunStore, folder: Path, config: RunConfig) -> DoneTrial:
    """Copy weights and model of another run's base; returns the trial to record as this run's trial 0."""
    trial = check_base(folder, config, store.data)
    with RunStore.open(folder, writable=False) as other:
        for sha256 in (trial.files.weights, trial.files.model, trial.files.state):
            if sha256 is not None:
                store.artefacts.put_file(other.artefacts.path(sha256, verify=True))
    return trial


def _name_data(config: RunConfig) -> str:
    if config.data is not None:
        return str(config.data.resolve())
    return f"generated shapes ({config.shapes}, seed {config.seed})"
