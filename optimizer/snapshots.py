"""Validation images as the base and the best student see them, for the report."""

from __future__ import annotations

import io

from PIL import Image

from deploy import Detector, ModelSource, Preprocess
from deploy.data import Dataset, read_image
from deploy.pipeline.draw import draw_detections
from optimizer.report.page import Picture
from optimizer.search.base import Trial
from optimizer.store.run_store import RunStore

__all__ = ["draw_pictures"]

COUNT = 3
SCORE = 0.5
MAX_WIDTH_PX = 640


def draw_pictures(store: RunStore, base: Trial, best: Trial, dataset: Dataset) -> list[Picture]:
    """The first images with objects, annotated by both models' detections above a score of 0.5."""
    records = [record for record in dataset.records if len(record.labels)][:COUNT]
    drawn = [_annotate(store, trial, records, dataset.class_names) for trial in (base, best)]
    return [Picture(f"{record.path.name}, score above {SCORE:g}", a, b) for record, a, b in zip(records, *drawn)]


def _annotate(store: RunStore, trial: Trial, records: list, class_names: tuple[str, ...]) -> list[bytes]:
    assert trial.model is not None and trial.arch is not None
    pictures = []
    with Detector(
        ModelSource(store.artefacts.path(trial.model), Preprocess.imagenet(*trial.arch.input_size))
    ) as detector:
        for record in records:
            image = read_image(record.path, (record.width, record.height))
            picture = Image.fromarray(draw_detections(image, detector(image).above(SCORE), class_names))
            picture.thumbnail((MAX_WIDTH_PX, MAX_WIDTH_PX))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=88)
            pictures.append(buffer.getvalue())
    return pictures
