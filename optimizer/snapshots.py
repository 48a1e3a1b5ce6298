"""Validation images as the base and the best student see them, for the report."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice

import numpy as np
from PIL import Image

from deploy import Detector, ModelSource, Preprocess, parse_selection
from deploy.data import Dataset, read_image
from deploy.errors import InputError
from deploy.pipeline.draw import draw_detections
from optimizer.report.page import Picture
from optimizer.search.base import Trial
from optimizer.store.run_store import RunStore

__all__ = ["draw_pictures"]

COUNT = 3
SCORE = 0.5
MAX_WIDTH_PX = 640


def draw_pictures(store: RunStore, base: Trial, best: Trial, dataset: Dataset) -> list[Picture]:
    """The first readable images with objects, annotated by both models' detections above a score of 0.5."""
    named = list(islice(_read_images(dataset), COUNT))
    images = [image for _, image in named]
    drawn = [_annotate(store, trial, images, dataset.class_names) for trial in (base, best)]
    return [Picture(f"{name}, score above {SCORE:g}", a, b) for (name, _), a, b in zip(named, *drawn)]


def _read_images(dataset: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    for record in dataset.records:
        if len(record.labels):
            try:
                yield record.path.name, read_image(record.path, (record.width, record.height))
            except InputError:
                continue


def _annotate(store: RunStore, trial: Trial, images: list[np.ndarray], class_names: tuple[str, ...]) -> list[bytes]:
    assert trial.model is not None and trial.arch is not None
    pictures = []
    source = ModelSource(
        store.artefacts.path(trial.model),
        Preprocess.imagenet(*trial.arch.input_size),
        trial.details.get("head", "detections"),
        parse_selection(trial.details.get("selection")),
    )
    with Detector(source) as detector:
        for image in images:
            picture = Image.fromarray(draw_detections(image, detector(image).above(SCORE), class_names))
            picture.thumbnail((MAX_WIDTH_PX, MAX_WIDTH_PX))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=88)
            pictures.append(buffer.getvalue())
    return pictures
