"""The gate before a bundle: an exported model detects what its source detects, object by object."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from deploy.engines import open_engine
from deploy.errors import ParityError

__all__ = ["ParityReport", "Tolerance", "check_parity"]

SOURCE_LIMIT = 100  # what a detector's `detect` gives at most


@dataclass(frozen=True)
class Tolerance:
    """How far two detections of one object may lie apart.

    Attributes:
        score: difference of scores. A detection nearer than this to the cut (the score threshold or, in a full list, the
            last place) may be missing on one side.
        box: difference of a coordinate, as a share of the canvas's longer side (1e-4: 0.03 pixels at 320).
        score_threshold: the score below which the detector drops objects.
    """

    score: float = 1e-3
    box: float = 1e-4
    score_threshold: float = 0.05


@dataclass(frozen=True)
class ParityReport:
    """What was compared, and the largest differences among matched detections.

    Attributes:
        images: canvases compared, the blank and the noise one included.
        detections: matched detections.
        excused: detections without a counterpart, all at the cut.
        box_px: largest difference of a coordinate, pixels.
        score: largest difference of a score.
    """

    images: int
    detections: int
    excused: int
    box_px: float
    score: float


@dataclass(frozen=True)
class _Found:
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def describe(self, index: int) -> str:
        box = ", ".join(f"{value:.2f}" for value in self.boxes[index])
        return f"label {self.labels[index]}, score {self.scores[index]:.4f}, box [{box}]"


@dataclass(frozen=True)
class _Match:
    detections: int
    excused: int
    box_px: float
    score: float


def check_parity(
    detector: nn.Module, model_path: Path, canvases: Iterable[np.ndarray], tolerance: Tolerance | None = None
) -> ParityReport:
    """Compares the detector's ``detect`` with an exported model on canvases (1, 3, H, W) float32, normalised.

    A blank and a noise canvas are always compared as well. Detections must match one to one: same label, score and box
    within ``tolerance``. `ParityError` names the first image and detection that do not.
    """
    tolerance = tolerance or Tolerance()
    source = copy.deepcopy(detector).cpu().float().eval()
    matches = []
    with open_engine(Path(model_path)) as engine:
        for name, canvas in chain(_synthetic_canvases(_input_shape(model_path)), _numbered(canvases)):
            expected = _detect(source, canvas)
            found = _read_outputs(engine.infer({"images": canvas}), name)
            matches.append(_match(expected, found, max(canvas.shape[2:]), tolerance, name))
    return ParityReport(
        images=len(matches),
        detections=sum(match.detections for match in matches),
        excused=sum(match.excused for match in matches),
        box_px=max(match.box_px for match in matches),
        score=max(match.score for match in matches),
    )


def _input_shape(model_path: Path) -> tuple[int, ...]:
    entry = onnx.load(model_path).graph.input[0]
    return tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)


def _synthetic_canvases(shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    yield "the blank image", np.zeros(shape, np.float32)
    yield "the noise image", np.random.default_rng(0).standard_normal(shape, np.float32)


def _numbered(canvases: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for number, canvas in enumerate(canvases, 1):
        yield f"image {number}", canvas


def _detect(detector: nn.Module, canvas: np.ndarray) -> _Found:
    # a copy, because torch cannot promise that it leaves an array it shares alone
    (prediction,) = detector.detect(torch.from_numpy(canvas.copy()))  # type: ignore[operator]
    return _Found(prediction.boxes_xyxy.numpy(), prediction.scores.numpy(), prediction.labels.numpy())


def _read_outputs(outputs: dict[str, np.ndarray], image: str) -> _Found:
    count = int(outputs["count"][0])
    if not 0 <= count <= len(outputs["scores"]):
        raise ParityError(f"{image}: the exported model counts {count} detections in {len(outputs['scores'])} rows")
    found = _Found(outputs["boxes"][:count], outputs["scores"][:count], outputs["labels"][:count])
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise ParityError(f"{image}: the exported model gives boxes or scores that are not finite")
    return found


def _match(expected: _Found, found: _Found, side_px: int, tolerance: Tolerance, image: str) -> _Match:
    """One to one, best first; what is left over must lie at the cut of the list it is missing from."""
    box_px = np.abs(expected.boxes[:, None] - found.boxes[None]).max(2, initial=0.0)
    score = np.abs(expected.scores[:, None] - found.scores[None])
    same = expected.labels[:, None] == found.labels[None]
    fits = same & (box_px <= tolerance.box * side_px) & (score <= tolerance.score)
    pairs: dict[int, int] = {}
    for row in range(len(expected.scores)):
        free = [column for column in np.flatnonzero(fits[row]) if column not in pairs.values()]
        if free:
            pairs[row] = min(free, key=lambda column: box_px[row, column])
    lost = [row for row in range(len(expected.scores)) if row not in pairs]
    extra = [column for column in range(len(found.scores)) if column not in pairs.values()]
    for side, other, left, what, gap, likeness in (
        (expected, found, lost, "the source finds an object the exported model does not", box_px, same),
        (found, expected, extra, "the exported model finds an object its source does not", box_px.T, same.T),
    ):
        for index in left:
            if side.scores[index] > _cut(other, tolerance) + tolerance.score:
                nearest = gap[index][likeness[index]].min(initial=np.inf)
                raise ParityError(
                    f"{image}: {what}: detection {index + 1} of {len(side.scores)}, {side.describe(index)}; "
                    f"the nearest of that label on the other side is {nearest:.2f} pixels away"
                )
    matched = list(pairs.items())
    return _Match(
        detections=len(matched),
        excused=len(lost) + len(extra),
        box_px=max((float(box_px[pair]) for pair in matched), default=0.0),
        score=max((float(score[pair]) for pair in matched), default=0.0),
    )


def _cut(found: _Found, tolerance: Tolerance) -> float:
    """The score a detection needs to be in this list."""
    full = len(found.scores) >= SOURCE_LIMIT
    return float(found.scores.min()) if full else tolerance.score_threshold
