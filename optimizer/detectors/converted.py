"""Weights of other projects' detectors, turned into ours: the same outputs, but for how RoI features are sampled.

A project's names and conventions are an `Origin`; what each of them means for numbers is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from optimizer.detectors.base import BACKGROUND, Detector
from optimizer.detectors.checkpoints import Checkpoint, read_checkpoint
from optimizer.detectors.pretrained import ENTRIES
from optimizer.detectors.weights import LoadReport, fill, fold_name, take_classes
from optimizer.errors import InputError
from optimizer.origins import ORIGINS, Origin

__all__ = ["load_converted", "recognise"]

STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)  # of ImageNet's pixels, red to blue, as our images are divided by
STEM = "backbone.body.conv1.weight"
CLASSES, BOXES = "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"
DENSE = ("head.classification_head.cls_logits", "head.regression_head.bbox_reg")
COCO = tuple(name for name in ENTRIES[0].outcomes if name not in ("", BACKGROUND))  # its 80, in both projects' order
POOLED = (
    "; regions are sampled at 2x2 points a bin and without half a cell's shift, unlike there: until it is trained "
    "further, scores and boxes differ somewhat from those of {}"
)


def recognise(path: Path) -> str | None:
    """The key in `ORIGINS` of whose weights a file is; None where it is none's.

    The project is known by its names. A ResNet of Caffe's is one whose BatchNorms have no statistics of their own,
    because Caffe's weights have none, or of which the file itself says so.

    Raises:
        InputError: the project is known, and which of its conventions holds is not.
    """
    found = read_checkpoint(path)
    fitting = [origin for origin in ORIGINS.values() if any(name.startswith(origin.mark) for name in found.tensors)]
    if not fitting:
        return None
    means = [value for name, value in found.tensors.items() if name.endswith(".running_mean")]
    texts = [text for key in ("config", "cfg") if isinstance(text := found.find((key,)), str)]
    caffe = not any(bool(mean.any()) for mean in means) or any("style='caffe'" in text for text in texts)
    if not caffe and fitting[0].caffe:
        choices = " or ".join(f"--from {origin.name} ({origin.title})" for origin in fitting)
        raise InputError(f"{path} does not say how its ResNet was built, whose statistics are its own: {choices}")
    return next(origin.name for origin in fitting if origin.caffe == caffe)


def load_converted(detector: Detector, path: Path, origin: Origin, class_names: Sequence[str]) -> LoadReport:
    """Fill a detector, of the form that the origin wants, with another project's weights.

    Rows of the class layers are taken over for classes of the same name where the file names its classes, or has 80 and
    one of ours is COCO's; otherwise, where there are as many classes as ours, in their order.

    Raises:
        InputError: the file holds no weights, or weights of another architecture.
    """
    found = read_checkpoint(path)
    weights = _rename(found, detector, origin, path)
    if origin.caffe and STEM in weights:
        weights[STEM] = weights[STEM].flip(1) * torch.tensor(STD).view(1, 3, 1, 1)
    if CLASSES + ".weight" in weights and BOXES + ".weight" in weights:
        _put_background_first(weights, path)
    if origin.sides_first:
        _put_ratios_first(weights)
    outcomes = _name_outcomes(found, weights, origin, class_names)
    kept = None
    if outcomes:
        kept = take_classes(detector, weights, outcomes, class_names)
    report = fill(detector, weights, path)
    note = POOLED.format(origin.name) if detector.has_background else ""
    return replace(report, classes=kept, note=note)


def _rename(found: Checkpoint, detector: Detector, origin: Origin, path: Path) -> dict[str, Tensor]:
    if not any(name.startswith(origin.mark) for name in found.tensors):
        raise InputError(f"{path} is not of {origin.title}: none of its names begins with {origin.mark}")
    named = {origin.rename(name, detector.arch.head.kind): value for name, value in found.tensors.items()}
    return {name: value.float() for name, value in named.items() if name is not None}


def _put_background_first(weights: dict[str, Tensor], path: Path) -> None:
    """The background is last there and has no boxes. One box for all classes comes to the same one for each."""
    classes = len(weights[f"{CLASSES}.weight"]) - 1
    for end in ("weight", "bias"):
        rows, boxes = weights[f"{CLASSES}.{end}"], weights[f"{BOXES}.{end}"]
        if len(boxes) == 4:
            boxes = torch.cat([boxes] * classes)
        if len(boxes) != 4 * classes:
            raise InputError(
                f"{path} is of another architecture: {len(boxes)} rows of boxes are not 4 for each of {classes} classes"
            )
        weights[f"{CLASSES}.{end}"] = torch.cat((rows[-1:], rows[:-1]))
        weights[f"{BOXES}.{end}"] = torch.cat((torch.zeros_like(boxes[:4]), boxes))


def _put_ratios_first(weights: dict[str, Tensor]) -> None:
    """Anchors of three sides with three ratios each become three ratios with three sides each."""
    for name in (f"{layer}.{end}" for layer in DENSE for end in ("weight", "bias")):
        if name in weights and len(weights[name]) % 9 == 0:
            tensor = weights[name]
            weights[name] = tensor.view(3, 3, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)


def _name_outcomes(
    found: Checkpoint, weights: dict[str, Tensor], origin: Origin, class_names: Sequence[str]
) -> tuple[str, ...]:
    """Names of the outcomes of the class layers as they are now; none where they are not known."""
    background = (BACKGROUND,) if f"{CLASSES}.bias" in weights else ()
    bias = weights.get(f"{CLASSES}.bias", weights.get(f"{DENSE[0]}.bias"))
    if bias is None:
        return ()
    count = len(bias) - 1 if background else len(bias) // 9
    for keys in origin.class_keys:
        names = found.find(keys)
        if isinstance(names, (list, tuple)) and len(names) == count and all(isinstance(name, str) for name in names):
            return (*background, *names)
    known = {fold_name(name) for name in COCO}
    if count == len(COCO) and any(fold_name(name) in known for name in class_names):
        return (*background, *COCO)
    return ()
