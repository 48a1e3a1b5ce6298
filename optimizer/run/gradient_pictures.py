"""Pictures of where in an image the distillation pulls at a student."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from deploy import Preprocess
from deploy.data import Record, read_image
from deploy.files import write_file
from optimizer.data.canvas import normalise_canvas, place_record
from optimizer.detectors import Detector, Truth
from optimizer.distill.gradients import map_gradients
from optimizer.distill.step import DistillStep
from optimizer.errors import InputError

__all__ = ["draw_gradients", "place_records"]

PICTURES = 3
HEAT = (200, 30, 30)  # red, over the image


def place_records(records: Iterable[Record], student: Detector) -> Iterator[tuple[Tensor, list[Truth]]]:
    """Each record on the student's canvas, one a batch; those that cannot be read are left out."""
    preprocess = Preprocess.imagenet(*student.arch.input_size)
    for record in records:
        try:
            canvas, truth = place_record(record, preprocess)
        except InputError:
            continue
        yield normalise_canvas(canvas, preprocess)[None], [truth]


def draw_gradients(
    step: DistillStep, student: Detector, records: Sequence[Record], place: Path, name: str, device: torch.device
) -> list[dict[str, Any]]:
    """A picture of each of the first images with objects, written into `place`, and what it shows.

    Args:
        step: of the student's training, with its adapters as that left them. name: of the student, in the files' names.

    Returns of each picture the image's name, the file's, and how many times stronger the gradient is in objects than
    in the background (None where the background has none).
    """
    drawn: list[dict[str, Any]] = []
    step.to(device)
    student.to(device)
    for record in records:
        if len(drawn) == PICTURES:
            break
        if not len(record.labels):
            continue
        batch = next(place_records([record], student), None)
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
