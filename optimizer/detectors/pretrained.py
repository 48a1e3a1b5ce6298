"""Weights that torchvision publishes and that fit a base: which there are, and how their files get here."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch.hub
from torchvision.models import ResNet18_Weights, ResNet50_Weights, ResNet101_Weights, WeightsEnum
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, RetinaNet_ResNet50_FPN_Weights

from optimizer.errors import InputError

__all__ = ["ENTRIES", "Pretrained", "choose_pretrained"]


@dataclass(frozen=True)
class Pretrained:
    """A file of published weights.

    Attributes:
        dataset: trained on: "coco" is a whole detector, "imagenet" a classifier, whose body alone is of use.
        base: the family whose body it is.
        detector: the kind of a whole detector; None is a classifier, under which any may be built.
        url: where it is; its name ends in the first digits of its SHA-256, as torch.hub wants it.
        outcomes: what the rows of its class layers are for, in order; "" is a row that was never trained.
        norm_eps: of its BatchNorm.
    """

    dataset: str
    base: str
    detector: str | None
    url: str
    outcomes: tuple[str, ...] = ()
    norm_eps: float = 1e-5

    @property
    def path(self) -> Path:
        """Where torch.hub keeps the file."""
        return Path(torch.hub.get_dir(), "checkpoints", Path(self.url).name)

    def fetch(self) -> Path:
        """The file, whole and checked; downloaded first where torch.hub's folder does not have it.

        Raises:
            InputError: it cannot be downloaded, or what is there is another file.
        """
        path, digits = self.path, Path(self.url).stem.rpartition("-")[2]
        if not path.is_file():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(self.url, str(path), digits, progress=sys.stderr.isatty())
            except (OSError, HTTPException, RuntimeError) as error:
                raise InputError(
                    f"the weights {path.name} cannot be downloaded ({error}): fetch {self.url} elsewhere and put it "
                    f"into {path.parent}, or start from random weights with --weights none"
                ) from error
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if not found.startswith(digits):
            raise InputError(
                f"{path} is damaged: its SHA-256 begins with {found[: len(digits)]} and not with {digits}; delete it, "
                f"and it is downloaded again from {self.url}"
            )
        return path


def _of_classifier(base: str, weights: WeightsEnum) -> Pretrained:
    return Pretrained("imagenet", base, None, weights.url)


def _of_detector(base: str, detector: str, weights: WeightsEnum) -> Pretrained:
    """torchvision's first detectors were trained with frozen statistics and an epsilon of 0."""
    outcomes = tuple("" if name == "N/A" else name for name in weights.meta["categories"])
    return Pretrained("coco", base, detector, weights.url, outcomes, norm_eps=0.0)


# Those of version 2 are other graphs (convolutions in the box head, two in the RPN, GroupNorm in the heads), and its
# ResNeXt-101 are 32x8d and 64x4d, wider than the papers' 32x4d.
ENTRIES = (
    _of_detector("r50", "faster_rcnn", FasterRCNN_ResNet50_FPN_Weights.COCO_V1),
    _of_detector("r50", "retinanet", RetinaNet_ResNet50_FPN_Weights.COCO_V1),
    _of_classifier("r18", ResNet18_Weights.IMAGENET1K_V1),
    _of_classifier("r50", ResNet50_Weights.IMAGENET1K_V1),
    _of_classifier("r101", ResNet101_Weights.IMAGENET1K_V1),
)


def choose_pretrained(dataset: str, base: str, detector: str) -> Pretrained | None:
    """The entry of a data set that fits; for "auto" that of COCO, else that of ImageNet, else None.

    Args:
        detector: `Head.name` of what the weights are for.

    Raises:
        InputError: the data set is named, and torchvision has nothing trained on it that fits.
    """
    fitting = {entry.dataset: entry for entry in ENTRIES if entry.base == base and entry.detector in (detector, None)}
    if dataset == "auto":
        return fitting.get("coco") or fitting.get("imagenet")
    if dataset not in fitting:
        there = [f"{e.base} {e.detector}" if e.detector else e.base for e in ENTRIES if e.dataset == dataset]
        raise InputError(
            f"torchvision has no {dataset} weights that fit {base} {detector}; it has them for {', '.join(there)}. "
            f"{f'--weights {next(iter(fitting))} fits' if fitting else 'Name a file, or --weights none'}"
        )
    return fitting[dataset]
