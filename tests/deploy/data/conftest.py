"""Small data sets written by the tests themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw() -> Draw:
    """Writes a noise image of a size; the ending of its path is its format unless one is given."""

    def write(path: Path, size: tuple[int, int] = (40, 30), image_format: str | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format=image_format)
        return path

    return write


@pytest.fixture
def coco(tmp_path: Path, draw: Draw) -> Callable[..., Path]:
    """Writes a COCO data set of one split: images 1.png, 2.png, ... of 40x30 and the given annotations."""

    def write(
        annotations: list[Any],
        *,
        images: list[Any] | None = None,
        split: str = "train",
        categories: list[Any] | None = None,
        count: int = 2,
    ) -> Path:
        entries = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(1, count + 1)]
        for entry in entries:
            draw(tmp_path / split / entry["file_name"])
        content = {
            "images": entries + (images or []),
            "annotations": annotations,
            "categories": categories or [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        }
        path = tmp_path / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.fixture
def voc(tmp_path: Path, draw: Draw) -> Callable[..., Path]:
    """Writes one VOC image and its label file; objects are (name, xmin, ymin, xmax, ymax) as text."""

    def write(
        stem: str, objects: list[tuple[object, ...]], *, filename: str | None = None, size: str = "40x30"
    ) -> Path:
        draw(tmp_path / "JPEGImages" / f"{stem}.png")
        listed = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
            "</bndbox></object>"
            for name, a, b, c, d in objects
        )
        width, height = size.split("x")
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{filename or stem + '.png'}</filename>"
            f"<size><width>{width}</width><height>{height}</height></size>{listed}</annotation>"
        )
        return tmp_path

    return write


@pytest.fixture
def yolo(tmp_path: Path, draw: Draw) -> Callable[..., Path]:
    """Writes a YOLO data set of 40x30 images; `labels` are the label files' texts, None for no file."""

    def write(labels: list[str | None], *, description: str = "names: [cat, dog]\ntrain: images/train\n") -> Path:
        (tmp_path / "data.yaml").write_text(description)
        for index, text in enumerate(labels):
            draw(tmp_path / "images" / "train" / f"{index}.png")
            if text is not None:
                path = tmp_path / "labels" / "train" / f"{index}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return tmp_path

    return write
