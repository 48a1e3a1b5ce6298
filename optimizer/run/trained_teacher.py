"""A teacher that is there already: the run's own base, a detector of another run, or a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optimizer.arch.spec import ArchSpec
from optimizer.config import RunConfig, parse_config
from optimizer.detectors import Detector, build_detector, load_detector
from optimizer.detectors.weights import load_weights
from optimizer.distill.step import check_pair
from optimizer.errors import InputError, RunFailed
from optimizer.handover.variants import name_export
from optimizer.search.base import DoneTrial, Proposal, get_done, list_done
from optimizer.store import KeptTeacher, RunStore
from optimizer.store.run_store import DATABASE
from optimizer.train.tensor_files import save_tensors
from optimizer.trials.builder import Student
from optimizer.trials.evaluation import Evaluation
from optimizer.trials.jobs import TrainedTeacher

__all__ = ["adopt_teacher", "check_teacher", "choose_teacher", "follow_teacher"]


def follow_teacher(where: Path, family: str | None) -> dict[str, object]:
    """What one student takes over from its teacher where nobody says otherwise, as changes of a configuration.

    That is the kind of detector, the canvas and the number of region proposals of a run's detector. A file of weights
    says nothing of that, and its `family` has to be named.

    Raises:
        InputError: there is no such teacher, or its family is missing, or named and known already.
    """
    found = _find_run(where)
    if found is None:
        if not where.is_file():
            raise InputError(
                f"there is no teacher {where}; --teacher takes the folder of a run, a detector of one "
                "(RUN/student-004), or a file of weights"
            )
        if family is None:
            raise InputError(f"{where} does not say which detector its weights are of: name it, such as --base r50")
        return {}
    if family is not None:
        raise InputError(
            f"--base {family} is for a teacher that is a file of weights, and {where} is of a run: leave it out"
        )
    with _opened(*found) as (other, trial):
        run = parse_config(other.config)
        changes: dict[str, object] = {"base": run.base, "box_head": run.box_head}
    changes |= {"detector": trial.arch.head.kind, "input_size": trial.arch.input_size}
    if trial.arch.head.region_proposals is not None:
        changes["region_proposals"] = trial.arch.head.region_proposals
    return changes


def check_teacher(config: RunConfig, class_names: Sequence[str]) -> ArchSpec | None:
    """Refuse, before any work, a teacher that is not there or cannot teach the students of this run.

    Returns its architecture, where it is one for all students.

    Raises:
        InputError: the text says why.
    """
    where = config.search.teacher
    if config.search.takes_pool_teachers or where == "none":
        return None
    arch = config.base_arch()
    if isinstance(where, Path):
        found = _find_run(where)
        if found is not None:
            with _opened(*found) as (other, trial):
                _require_classes(other, class_names, config)
                arch = trial.arch
        elif where.exists():
            _read_checkpoint(where, config, len(class_names))
        else:
            raise InputError(
                f"there is no teacher {where}; --teacher takes base, dynamic, fixed, none, the folder of a run, a "
                "detector of one (RUN/student-004), or a file of weights"
            )
    student = config.trained_arch()
    sizes = config.search.space.sizes if config.search.student is None else (student.input_size,)
    for size in sizes:
        check_pair(student.with_size(*size), arch, config.distill)
    return arch


def choose_teacher(store: RunStore, config: RunConfig, class_names: Sequence[str]) -> TrainedTeacher | None:
    """The run's one teacher, whose weights are kept with the run; None in runs with others or with none."""
    where = config.search.teacher
    if config.search.takes_pool_teachers or where == "none":
        return None
    if where == "base":
        base = get_done(store.history(), 0)
        return TrainedTeacher(arch=base.arch, weights=store.artefacts.find(base, "weights"))
    assert isinstance(where, Path)
    if store.trained_teacher is None:
        store.trained_teacher = _keep(store, where, config, class_names)
    kept = store.trained_teacher
    return TrainedTeacher.model_validate({"arch": kept.arch, "weights": store.artefacts.path(kept.weights)})


def adopt_teacher(store: RunStore, config: RunConfig, class_names: Sequence[str], evaluation: Evaluation) -> DoneTrial:
    """The run's one teacher as its base, trained no further; returns the trial to record as this run's trial 0.

    Raises:
        RunFailed: it detects nothing here, or cannot be exported or measured.
    """
    teacher, kept = choose_teacher(store, config, class_names), store.trained_teacher
    assert teacher is not None and kept is not None
    detector = load_detector(teacher.arch, len(class_names), teacher.read_weights())
    student = Student(detector, teacher.arch, (f"taken over from {config.search.teacher}",), kept.epochs)
    trial = evaluation.adopt(Proposal(None, (), "the teacher, as it is"), student)
    if not trial.ap:
        raise RunFailed(
            f"the teacher {config.search.teacher} detects nothing on the validation images (AP 0): is it of these "
            "classes in this order, trained on images like these, and on such a canvas (--size)?"
        )
    return trial


def _find_run(where: Path) -> tuple[Path, str | None] | None:
    """The run that a path leads into and the detector it names there, as RUN, RUN/student-004 or its bundle does.

    The detector is None where only the run is named. None is a path that leads into no run, or to a file.
    """
    if where.is_file():
        return None
    inside = where.parent.parent if where.parent.name == "bundles" else where.parent
    for folder, name in ((where, None), (inside, where.name)):
        if (folder / DATABASE).is_file():
            return folder, name
    return None


@contextmanager
def _opened(folder: Path, name: str | None) -> Iterator[tuple[RunStore, DoneTrial]]:
    """Another run, and the detector of that name in it, or its best one.

    Raises:
        InputError: there is no such run, or nothing of that name is trained there.
    """
    with RunStore.open(folder, writable=False) as other:
        done = {name_export(trial.number): trial for trial in list_done(other.history())}
        if not done:
            raise InputError(f"{folder} has no trained detector yet that could teach")
        if name is not None and name not in done:
            raise InputError(f"{folder} has no trained detector {name}; it has {', '.join(done)}")
        kept = [trial for trial in done.values() if not trial.files.dropped]
        yield other, done[name] if name else max(kept, key=lambda trial: (trial.ap, -trial.number))


def _keep(store: RunStore, where: Path, config: RunConfig, class_names: Sequence[str]) -> KeptTeacher:
    """Copy a teacher's weights into the run."""
    found = _find_run(where)
    if found is not None:
        with _opened(*found) as (other, best):
            _require_classes(other, class_names, config)
            weights = store.artefacts.put_file(other.artefacts.find(best, "weights", verify=True))
            return KeptTeacher(best.arch.to_json(), weights, best.work.epochs_total)
    detector = _read_checkpoint(where, config, len(class_names))
    with tempfile.TemporaryDirectory(dir=store.folder / "scratch") as folder:
        path = Path(folder) / "teacher.safetensors"
        save_tensors(path, detector.state_dict())
        return KeptTeacher(config.base_arch().to_json(), store.artefacts.put_file(path))


def _require_classes(other: RunStore, class_names: Sequence[str], config: RunConfig) -> None:
    known = other.data.class_names if other.data is not None else ()
    if tuple(known) != tuple(class_names):
        images = "" if config.data is not None else ", whose images are generated: name others with --data"
        raise InputError(
            f"the detectors of {other.folder} know other classes ({', '.join(known)}) than this run "
            f"({', '.join(class_names)}{images}); a teacher knows the same ones in the same order"
        )


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
