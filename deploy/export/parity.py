"""The gate before a bundle: an exported model detects what its source detects, object by object."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Tuple

import numpy as np
import torch
from torch import nn

from deploy.detections import Detections
from deploy.engines import open_engine
from deploy.errors import EngineError, ParityError
from deploy.pipeline.decode import count_unsettled, get_head
from deploy.pipeline.nms import Selection

__all__ = ["ParityReport", "Tolerance", "check_parity"]

BLANK, NOISE = "the blank image", "the noise image"
SYNTHETIC = (BLANK, NOISE)
Prediction = Tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # boxes, scores, labels, of one canvas
SOURCE_LIMIT = 100  # what a detector's `detect` gives at most
# Two boxes whose IoU is an NMS threshold to the last bit, or a thousand equal scores in a blank image: rounding decides
# what is found. Such an image is known by the source contradicting itself on the same canvas with a little noise.
NUDGES = 4
NUDGE = 1e-5  # of the images' deviation, less than a hundredth of one grey level
MOST_NEAR_TIES = 0.1  # share of the images; a source that contradicts itself more often cannot be compared


@dataclass(frozen=True)
class Tolerance:
    """How far two detections of one object may lie apart.

    Attributes:
        score: difference of scores. A detection nearer than this to the cut (the score threshold or, in a full list,
            the last place) may be missing on one side.
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
        at_the_cut: detections without a counterpart, all within the score tolerance of the cut.
        near_ties: images that do not match and on which the source contradicts itself, see `check_parity`.
        box_px: largest difference of a coordinate, pixels.
        score: largest difference of a score.
        unsettled: sets of boxes, of all images, whose NMS by rounds or of cut candidates may not be greedy NMS; 0
            where it is exact.
    """

    images: int
    detections: int
    at_the_cut: int
    near_ties: int
    box_px: float
    score: float
    unsettled: int = 0


@dataclass(frozen=True)
class _Found:
    """Detections of one image by one side, of at most so many places, and the score one needs to be listed."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    places: int
    cut: float

    @staticmethod
    def of(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, places: int, tolerance: Tolerance) -> _Found:
        cut = float(scores[places - 1]) if len(scores) >= places else tolerance.score_threshold
        return _Found(boxes[:places], scores[:places], labels[:places], places, cut)


@dataclass(frozen=True)
class _Match:
    detections: int
    at_the_cut: int
    box_px: float
    score: float
    difference: str | None


def check_parity(
    detector: nn.Module,
    model_path: Path,
    canvases: Iterable[np.ndarray],
    tolerance: Tolerance | None = None,
    head: str = "detections",
    selection: Selection | None = None,
    predictions: Sequence[Prediction] = (),
) -> ParityReport:
    """Compares the detector's ``detect`` with an exported model on canvases (1, 3, H, W) float32, normalised.

    A blank and a noise canvas are always compared as well. Detections match one to one: same label, score and box
    within the tolerance. A canvas where they do not is passed over if the source does not match itself either once
    noise of a hundred-thousandth is added: a near tie. The blank canvas may be one, and a tenth of the others.
    The model's outputs are read by the head and the selection that its bundle will name.
    Of the first canvases the detector's ``predictions`` may be given, where they are known, so that it looks once.
    `ParityError` names the first image and detection that this does not explain.
    """
    tolerance = tolerance or Tolerance()
    source = copy.deepcopy(detector).cpu().float().eval()
    matches: list[_Match] = []
    near_ties: list[str] = []
    unsettled = 0
    known = iter(predictions)
    with open_engine(Path(model_path), spins=False) as engine:
        shape = tuple(size for size in engine.inputs[0].shape if size is not None)
        for image, canvas in chain(_synthetic_canvases(shape), _numbered(canvases)):
            outputs = engine.infer({"images": canvas})
            detections = _read_outputs(outputs, head, selection, (shape[3], shape[2]), image)
            unsettled += count_unsettled(outputs, detections, head, selection)
            places = min(SOURCE_LIMIT, selection.max_detections if selection else len(outputs["scores"]))
            found = _Found.of(detections.boxes_xyxy, detections.scores, detections.labels, places, tolerance)
            given = None if image in SYNTHETIC else next(known, None)
            expected = _read_prediction(given or _detect(source, canvas), found.places, tolerance)
            match = _match(expected, found, max(canvas.shape[2:]), tolerance)
            if match.difference is None:
                matches.append(match)
            elif _contradicts_itself(source, canvas, None if given else expected, found.places, tolerance):
                near_ties.append(image)
            else:
                raise ParityError(f"{image}: {match.difference}")
    images = len(matches) + len(near_ties)
    if not matches or len(set(near_ties) - {BLANK}) > max(1, MOST_NEAR_TIES * images):
        raise ParityError(
            f"on {len(near_ties)} of {images} images the source contradicts itself once noise of {NUDGE} is added: "
            "its scores are too nearly equal for a copy to be compared with it; train it further"
        )
    return ParityReport(
        images=images,
        detections=sum(match.detections for match in matches),
        at_the_cut=sum(match.at_the_cut for match in matches),
        near_ties=len(near_ties),
        box_px=max(match.box_px for match in matches),
        score=max(match.score for match in matches),
        unsettled=unsettled,
    )


def _synthetic_canvases(shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    yield BLANK, np.zeros(shape, np.float32)
    yield NOISE, np.random.default_rng(0).standard_normal(shape, np.float32)


def _numbered(canvases: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    for number, canvas in enumerate(canvases, 1):
        yield f"image {number}", canvas


def _read_outputs(
    outputs: dict[str, np.ndarray], head: str, selection: Selection | None, size: tuple[int, int], image: str
) -> Detections:
    try:
        found = get_head(head).decode(outputs, size, selection)
    except EngineError as error:
        raise ParityError(f"{image}: {error}") from error
    if not (np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()):
        raise ParityError(f"{image}: the exported model gives boxes or scores that are not finite")
    return found


def _detect(source: nn.Module, canvas: np.ndarray) -> Prediction:
    # a copy, because torch cannot promise to leave an array it shares alone
    (prediction,) = source.detect(torch.from_numpy(canvas.copy()))  # type: ignore[operator]
    return tuple(prediction)  # type: ignore[return-value]


def _read_prediction(prediction: Prediction, places: int, tolerance: Tolerance) -> _Found:
    boxes, scores, labels = (values.cpu().numpy() for values in prediction)
    return _Found.of(boxes, scores, labels, places, tolerance)


def _contradicts_itself(
    source: nn.Module, canvas: np.ndarray, expected: _Found | None, places: int, tolerance: Tolerance
) -> bool:
    expected = expected or _read_prediction(_detect(source, canvas), places, tolerance)
    noise = np.random.default_rng(1)
    for _ in range(NUDGES):
        nudged = canvas + np.float32(NUDGE) * noise.standard_normal(canvas.shape, np.float32)
        again = _read_prediction(_detect(source, nudged), places, tolerance)
        if _match(expected, again, max(canvas.shape[2:]), tolerance).difference is not None:
            return True
    return False


def _match(expected: _Found, found: _Found, side_px: int, tolerance: Tolerance) -> _Match:
    """Pairs detections one to one, best first; the difference is the first left over above the other side's cut."""
    box_px = np.abs(expected.boxes[:, None] - found.boxes[None]).max(2, initial=0.0)
    score = np.abs(expected.scores[:, None] - found.scores[None])
    same = expected.labels[:, None] == found.labels[None]
    fits = same & (box_px <= tolerance.box * side_px) & (score <= tolerance.score)
    pairs: dict[int, int] = {}  # expected row: found row
    taken = np.zeros(len(found.scores), bool)
    for row in range(len(expected.scores)):
        free = np.flatnonzero(fits[row] & ~taken)
        if len(free):
            pairs[row] = free[box_px[row, free].argmin()]
            taken[pairs[row]] = True
    lost = [row for row in range(len(expected.scores)) if row not in pairs]
    extra = np.flatnonzero(~taken).tolist()
    difference = None
    for row in lost:
        if expected.scores[row] > found.cut + tolerance.score:
            nearest = _describe_nearest(found, box_px[row], same[row])
            difference = f"the source finds {_describe(expected, row)}; the exported model does not: {nearest}"
            break
    for row in extra:
        if difference is None and found.scores[row] > expected.cut + tolerance.score:
            nearest = _describe_nearest(expected, box_px[:, row], same[:, row])
            difference = f"the exported model finds {_describe(found, row)}; its source does not: {nearest}"
    return _Match(
        detections=len(pairs),
        at_the_cut=len(lost) + len(extra),
        box_px=max((float(box_px[pair]) for pair in pairs.items()), default=0.0),
        score=max((float(score[pair]) for pair in pairs.items()), default=0.0),
        difference=difference,
    )


def _describe(side: _Found, row: int) -> str:
    box = ", ".join(f"{value:.2f}" for value in side.boxes[row])
    what = f"label {side.labels[row]}, score {side.scores[row]:.4f}, box [{box}]"
    return f"detection {row + 1} of {len(side.scores)} ({what})"


def _describe_nearest(side: _Found, box_px: np.ndarray, same_label: np.ndarray) -> str:
    if not same_label.any():
        return "it finds nothing with that label"
    row = int(np.where(same_label, box_px, np.inf).argmin())
    return f"its nearest with that label, {box_px[row]:.3f} pixels away, is {_describe(side, row)}"
