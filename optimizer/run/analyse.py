"""`optimize analyse`: what students got of their teacher, and which mistakes they make; kept beside the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy import get_target
from deploy.data import Dataset
from deploy.error_analysis import ErrorAnalysis, analyse_errors, write_page
from deploy.evaluate import judge_artefact
from deploy.files import write_file
from deploy.targets import read_target
from optimizer.config import RunConfig, parse_config
from optimizer.detectors import Detector, load_detector
from optimizer.detectors.tensors import load_tensors
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.config import DistillConfig
from optimizer.distill.distances import measure_distances
from optimizer.distill.sets import choose_terms
from optimizer.distill.step import DistillStep
from optimizer.errors import InputError
from optimizer.handover.front import find_front
from optimizer.handover.variants import name_export
from optimizer.progress import RunProgress
from optimizer.report.analysis import ANALYSIS, FOLDER
from optimizer.run.gather import report_run
from optimizer.run.gradient_pictures import draw_gradients, place_records
from optimizer.run.images import read_data
from optimizer.run.trained_teacher import choose_teacher
from optimizer.search.base import DoneTrial
from optimizer.store.run_store import RunStore
from optimizer.train.state import TrainState
from optimizer.trials.exporter import Exporter
from optimizer.trials.jobs import TrainedTeacher, choose_device

__all__ = ["analyse_run"]


def analyse_run(folder: Path, images: int = 20) -> Path:
    """Analyse the base and the front of a run; writes RUN/analysis and the run's page anew; returns that folder.

    Of each model: COCO's error analysis on the validation images. Of each student with a teacher of its own besides:
    how far its neck is from the teacher's, channel by channel in objects and in the background, on `images` of the
    validation images; and where in an image the distillation pulls at it.

    Raises:
        InputError: nothing is trained yet.
    """
    with RunStore.open(folder) as store:
        config = parse_config(store.config)
        splits, progress = read_data(store, config), RunProgress()
        front = find_front(store)
        chosen = {export.trial.number: export.trial for export in ([front.base] if front.base else [])}
        chosen |= {export.trial.number: export.trial for export in front.best if export.is_plain}
        if not chosen:
            raise InputError(f"{folder} has no trained detector yet; analyse it when there is one")
        teacher = choose_teacher(store, config, splits.train.class_names)
        with progress.shown():
            found: dict[str, dict[str, Any]] = {name_export(number): {} for number in chosen}
            for number, trial in sorted(chosen.items()):
                found[name_export(number)] = _analyse(store, config, trial, teacher, splits.val, images, progress)
        content = {"images": images, "teacher": _name_teacher(config, teacher), "models": found}
        write_file(folder / FOLDER / ANALYSIS, (json.dumps(content, indent=1) + "\n").encode())
        report_run(store, config, splits.val, store.status)
    return folder / FOLDER


def _name_teacher(config: RunConfig, teacher: TrainedTeacher | None) -> str | None:
    where = config.search.teacher
    return None if teacher is None else "the base" if where == "base" else "/".join(Path(where).parts[-2:])


def _analyse(
    store: RunStore,
    config: RunConfig,
    trial: DoneTrial,
    teacher: TrainedTeacher | None,
    val: Dataset,
    images: int,
    progress: RunProgress,
) -> dict[str, Any]:
    name, place = name_export(trial.number), store.folder / FOLDER
    place.mkdir(exist_ok=True)
    progress.start_step(f"{name}: errors on {len(val.records)} images", 1)
    errors = _find_errors(store, config, trial, val)
    write_page(place / f"errors-{name}.html", errors, f"Errors of {name}", f"{len(val.records)} validation images")
    found: dict[str, Any] = {"errors": errors.to_json()}
    if teacher is None or trial.number == 0:
        return found
    progress.start_step(f"{name}: distances and gradients", 2)
    device = choose_device()
    path = store.artefacts.find(trial, "weights")
    student = load_detector(trial.arch, len(val.class_names), load_tensors(path, trial.files.weights))
    shown = teacher.arch if config.distill.teacher_canvas == "own" else teacher.arch.with_size(*trial.arch.input_size)
    taught = load_detector(shown, len(val.class_names), teacher.read_weights())
    step = _build_step(store, config, trial, taught)
    adapters = dict(step.adapters.items()).get("neck")
    assert adapters is None or isinstance(adapters, MapAdapters)
    try:
        distances = measure_distances(student, taught, place_records(val.records[:images], student), device, adapters)
        found["distances"] = {"objects": distances.objects, "background": distances.background}
    except InputError as error:
        found["distances"] = None
        found["no_distances"] = str(error)
    progress.advance_step(1)
    found["gradients"] = draw_gradients(step, student, val.records, place, name, device)
    return found


def _find_errors(store: RunStore, config: RunConfig, trial: DoneTrial, val: Dataset) -> ErrorAnalysis:
    target = get_target("cpu")
    exporter = Exporter(store.artefacts, store.folder / "scratch", read_target(config.target), val.class_names)

    def judge(results: Any) -> ErrorAnalysis:
        return analyse_errors(val, results)

    return judge_artefact(exporter.find(trial).source, val.class_names, val, target, judge)[0]


def _build_step(store: RunStore, config: RunConfig, trial: DoneTrial, teacher: Detector) -> DistillStep:
    """The step the student was trained with, its adapters as that left them where they were kept.

    Where the search chose to teach this one nothing, it is the step that distils by default.
    """
    terms = choose_terms(config.distill, trial.proposal.taught) or DistillConfig(
        teacher_canvas=config.distill.teacher_canvas
    )
    step = DistillStep(trial.arch, teacher, terms)
    if trial.files.state is not None:
        kept = TrainState.load(store.artefacts.path(trial.files.state)).state.step
        own = step.state_dict()
        if {name: value.shape for name, value in kept.items()} == {name: value.shape for name, value in own.items()}:
            step.load_state_dict(dict(kept))
    return step
