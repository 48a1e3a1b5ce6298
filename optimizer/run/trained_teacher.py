"""A teacher that is there already: the run's own base, the best detector of another run, or a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from optimizer.config import RunConfig
from optimizer.detectors import Detector, build_detector
from optimizer.detectors.weights import load_weights
from optimizer.distill.step import check_pair
from optimizer.errors import InputError
from optimizer.search.base import DoneTrial, get_done, list_done
from optimizer.store import RunStore
from optimizer.store.run_store import DATABASE
from optimizer.trials.jobs import TrainedTeacher

__all__ = ["check_teacher", "choose_teacher"]


def check_teacher(config: RunConfig, class_names: Sequence[str]) -> None:
    """Refuse, before any work, a teacher that is not there or cannot teach the students of this run.

    Raises:
        InputError: the text says why.
    """
    where = config.search.teacher
    if config.search.takes_pool_teachers or where == "none":
        return
    if isinstance(where, Path) and not where.exists():
        raise InputError(
            f"there is no teacher {where}; --teacher takes base, dynamic, fixed, none, the folder of a run, or a file "
            "of weights"
        )
    arch = config.base_arch()
    if isinstance(where, Path) and (where / DATABASE).exists():
        with RunStore.open(where, writable=False) as other:
            arch = _find_best(other, class_names).arch
    elif isinstance(where, Path):
        _read_checkpoint(where, config, len(class_names))
    for size in config.search.space.sizes:
        check_pair(config.base_arch().with_size(*size), arch, config.distill)


def choose_teacher(store: RunStore, config: RunConfig, class_names: Sequence[str]) -> TrainedTeacher | None:
    """The run's one teacher, whose weights are kept with the run; None in runs with others or with none."""
    where = config.search.teacher
    if config.search.takes_pool_teachers or where == "none":
        return None
    if where == "base":
        base = get_done(store.history(), 0)
        return TrainedTeacher(arch=base.arch, weights=store.artefacts.path(base.files.weights))
    assert isinstance(where, Path)
    if store.trained_teacher is None:
        store.trained_teacher = _adopt(store, where, config, class_names)
    arch, sha256 = store.trained_teacher
    return TrainedTeacher.model_validate({"arch": arch, "weights": store.artefacts.path(sha256)})


def _adopt(
    store: RunStore, where: Path, config: RunConfig, class_names: Sequence[str]
) -> tuple[dict[str, object], str]:
    """Copy a teacher's weights into the run; returns its architecture as JSON, and their SHA-256."""
    if (where / DATABASE).exists():
        with RunStore.open(where, writable=False) as other:
            best = _find_best(other, class_names)
            return best.arch.to_json(), store.artefacts.put_file(other.artefacts.path(best.files.weights, verify=True))
    detector = _read_checkpoint(where, config, len(class_names))
    with tempfile.TemporaryDirectory(dir=store.folder / "scratch") as folder:
        path = Path(folder) / "teacher.safetensors"
        save_file({name: value.contiguous() for name, value in detector.state_dict().items()}, path)
        return config.base_arch().to_json(), store.artefacts.put_file(path)


def _find_best(other: RunStore, class_names: Sequence[str]) -> DoneTrial:
    """The trial of highest AP of another run.

    Raises:
        InputError: nothing is trained there, or it knows other classes.
    """
    done = list_done(other.history())
    if not done:
        raise InputError(f"{other.folder} has no trained detector yet that could teach")
    known = other.data.class_names if other.data is not None else ()
    if tuple(known) != tuple(class_names):
        raise InputError(
            f"the detectors of {other.folder} know other classes ({', '.join(known)}) than this run "
            f"({', '.join(class_names)}); a teacher knows the same ones in the same order"
        )
    return max(done, key=lambda trial: (trial.ap, -trial.number))


def _read_checkpoint(path: Path, config: RunConfig, num_classes: int) -> Detector:
    """A detector of the base's architecture with a checkpoint's weights, all of them."""
    detector = build_detector(config.base_arch(), num_classes)
    report = load_weights(detector, path)
    anew = [group for group, (_, left) in report.groups.items() if left]
    if anew:
        raise InputError(
            f"{path} cannot teach: it has no weights for {', '.join(anew)} of a detector with {num_classes} classes"
        )
    return detector
