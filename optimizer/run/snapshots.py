"""Validation images as the base and the best student see them, for the report."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

from PIL import Image

from deploy import Detector, ModelSource, Preprocess, parse_selection
from deploy.data import Dataset, read_image
from deploy.pipeline.draw import draw_detections
from optimizer.errors import InputError
from optimizer.report.page import Picture
from optimizer.search.base import DoneTrial
from optimizer.store import ArtefactStore
from optimizer.store.run_store import RunStore

__all__ = ["draw_pictures"]

COUNT = 3
SCORE = 0.5
MAX_WIDTH_PX = 640
SizedPath = tuple[Path, tuple[int, int]]  # where it is, and its width and height


def draw_pictures(store: RunStore, base: DoneTrial, best: DoneTrial, dataset: Dataset) -> list[Picture]:
    """The first readable images with objects, annotated by both models' detections above a score of 0.5."""
    images = tuple(islice(_find_readable(dataset), COUNT))
    drawn = []
    for trial in (base, best):
        source = ModelSource(
            store.artefacts.find(trial, "model"),
            Preprocess.imagenet(*trial.arch.input_size),
            trial.files.head,
            parse_selection(trial.files.selection),
        )
        drawn.append(_annotate(store.artefacts, source, images, dataset.class_names))
    return [
        Picture(f"{path.name}, score above {SCORE:g}", a, b) for (path, _), a, b in zip(images, *drawn, strict=True)
    ]


def _find_readable(dataset: Dataset) -> Iterator[SizedPath]:
    for record in dataset.records:
        if len(record.labels):
            size = (record.width, record.height)
            try:
                read_image(record.path, size)
            except InputError:
                continue
            yield record.path, size


@lru_cache(maxsize=4)  # the page is written after every trial, and the base and the best of it are mostly as before
def _annotate(
    artefacts: ArtefactStore, source: ModelSource, images: tuple[SizedPath, ...], class_names: tuple[str, ...]
) -> list[bytes]:
    artefacts.path(source.model.name, verify=True)
    pictures = []
    with Detector(source, spins=False) as detector:
        for path, size in images:
            image = read_image(path, size)
            picture = Image.fromarray(draw_detections(image, detector(image).above(SCORE), class_names))
            picture.thumbnail((MAX_WIDTH_PX, MAX_WIDTH_PX))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=88)
            pictures.append(buffer.getvalue())
    return pictures
