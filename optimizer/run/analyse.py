"""`optimize analyse`: what students got of their teacher, and which mistakes they make; kept beside the run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from deploy import Preprocess, get_target
from deploy.data import Dataset, Record, read_image
from deploy.error_analysis import ErrorAnalysis, analyse_errors, write_page
from deploy.evaluate import judge_artefact
from deploy.files import write_file
from optimizer.config import RunConfig, parse_config
from optimizer.data.canvas import normalise_canvas, place_record
from optimizer.detectors import Detector, Truth, load_detector
from optimizer.detectors.tensors import load_tensors
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.config import DistillConfig
from optimizer.distill.distances import measure_distances
from optimizer.distill.gradients import map_gradients
from optimizer.distill.sets import choose_terms
from optimizer.distill.step import DistillStep
from optimizer.errors import InputError
from optimizer.handover.front import find_front
from optimizer.handover.variants import name_export
from optimizer.progress import RunProgress
from optimizer.report.analysis import ANALYSIS, FOLDER
from optimizer.run.gather import report_run
from optimizer.run.images import read_data
from optimizer.run.trained_teacher import choose_teacher
from optimizer.search.base import DoneTrial
from optimizer.store.run_store import RunStore
from optimizer.train.state import TrainState
from optimizer.trials.exporter import Exporter
from optimizer.trials.jobs import TrainedTeacher, choose_device

__all__ = ["analyse_run"]

PICTURES = 3
HEAT = (200, 30, 30)  # red, over the image


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
    path = store.artefacts.path(trial.files.weights)
    student = load_detector(trial.arch, len(val.class_names), load_tensors(path, trial.files.weights))
    shown = teacher.arch if config.distill.teacher_canvas == "own" else teacher.arch.with_size(*trial.arch.input_size)
    taught = load_detector(shown, len(val.class_names), teacher.read_weights())
    step = _build_step(store, config, trial, taught)
    adapters = dict(step.adapters.items()).get("neck")
    assert adapters is None or isinstance(adapters, MapAdapters)
    try:
        distances = measure_distances(student, taught, _place(val.records[:images], student), device, adapters)
        found["distances"] = {"objects": distances.objects, "background": distances.background}
    except InputError as error:
        found["distances"] = None
        found["no_distances"] = str(error)
    progress.advance_step(1)
    found["gradients"] = _draw_gradients(step, student, val.records, place, name, device)
    return found


def _find_errors(store: RunStore, config: RunConfig, trial: DoneTrial, val: Dataset) -> ErrorAnalysis:
    target = get_target("cpu")
    exporter = Exporter(store.artefacts, store.folder / "scratch", get_target(config.target).spec, val.class_names)

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


def _draw_gradients(
    step: DistillStep, student: Detector, records: Sequence[Record], place: Path, name: str, device: torch.device
) -> list[dict[str, Any]]:
    """A picture of the first images with objects, and how much stronger the gradient is in objects than outside."""
    drawn: list[dict[str, Any]] = []
    step.to(device)
    student.to(device)
    for record in records:
        if len(drawn) == PICTURES:
            break
        if not len(record.labels):
            continue
        batch = next(_place([record], student), None)
        if batch is None:
            continue
        images, [truth] = batch
        norms = map_gradients(step, student, images.to(device), [Truth(*(value.to(device) for value in truth))])
        heat = _add_levels(norms, student)
        inside = _cover(truth, student.arch.input_size)
        mean_in, mean_out = (float(heat[cells].mean()) if cells.any() else 0.0 for cells in (inside, ~inside))
        file = f"gradient-{name}-{len(drawn) + 1}.png"
        write_file(place / file, _paint(record, heat, student.arch.input_size))
        ratio = mean_in / mean_out if mean_out > 0 else None
        drawn.append({"image": record.path.name, "file": file, "objects_over_background": ratio})
    return drawn


def _place(records: Sequence[Record], student: Detector) -> Iterator[tuple[Tensor, list[Truth]]]:
    """Each record on the student's canvas, one a batch; those that cannot be read are left out."""
    preprocess = Preprocess.imagenet(*student.arch.input_size)
    for record in records:
        try:
            canvas, truth = place_record(record, preprocess)
        except InputError:
            continue
        yield normalise_canvas(canvas, preprocess)[None], [truth]


def _add_levels(norms: Sequence[Tensor], student: Detector) -> np.ndarray:
    """One map of the canvas (height, width): the levels' gradients, each spread over its cells, added up."""
    width, height = student.arch.input_size
    total = torch.zeros(height, width)
    for norm, level in zip(norms, student.arch.maps, strict=True):
        cells = norm[0].detach().float().cpu()[None, None] / level.stride**2
        spread = functional.interpolate(cells, scale_factor=level.stride, mode="nearest")[0, 0, :height, :width]
        total[: spread.shape[0], : spread.shape[1]] += spread
    return total.numpy()


def _cover(truth: Truth, canvas: tuple[int, int]) -> np.ndarray:
    """The pixels of the canvas in any object's box."""
    width, height = canvas
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in truth.boxes_xyxy.round().int().tolist():
        inside[max(top, 0) : bottom, max(left, 0) : right] = True
    return inside


def _paint(record: Record, heat: np.ndarray, size: tuple[int, int]) -> bytes:
    """The image in grey with the heat over it, as a PNG; the strongest place is opaque."""
    image = read_image(record.path, (record.width, record.height))
    canvas = Image.fromarray(Preprocess.imagenet(*size).canvas(image)).convert("L").convert("RGB")
    strength = Image.fromarray((255 * (heat / max(float(heat.max()), 1e-12)) ** 0.5).astype(np.uint8))
    painted = Image.composite(Image.new("RGB", canvas.size, HEAT), canvas, strength)
    buffer = io.BytesIO()
    painted.save(buffer, "PNG")
    return buffer.getvalue()
