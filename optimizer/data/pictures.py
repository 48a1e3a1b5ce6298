"""What a classifier is shown in pre-training: part of a picture, mirrored or not, in changed colours (FACTS 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from deploy import Preprocess
from optimizer.data.batches import Source
from optimizer.data.canvas import normalise_canvas
from optimizer.detectors.base import Truth
from optimizer.errors import InputError

__all__ = ["PictureView", "Pictures", "View", "WholeView", "count_unreadable"]

TRIED = 64  # pictures that are read before a training, to see whether they can be


class Pictures(Source, Protocol):
    """A source whose samples have one class each: the only label of their `Truth`."""

    class_names: tuple[str, ...]


class View(Protocol):
    """How a picture becomes the network's input."""

    def show(self, pixels: np.ndarray, label: int, seed: int) -> tuple[Tensor, Truth]:
        """(3, H, W) float32 of pixels (H, W, 3) uint8 RGB, and their label; decided by the arguments."""
        ...


@dataclass(frozen=True)
class WholeView:
    """The whole of each picture, stretched to one canvas (width, height), to judge a classifier by."""

    size: tuple[int, int]

    def show(self, pixels: np.ndarray, label: int, seed: int) -> tuple[Tensor, Truth]:
        """As `View`; the seed changes nothing."""
        width, height = self.size
        image = v2.functional.resize(_to_tensor(pixels), [height, width], antialias=True)
        return _finish(image, self.size, label)


@dataclass(frozen=True)
class PictureView:
    """Random views of pictures, on one canvas, as the network's input.

    The paper shows its networks BGR of 0 to 255; here it is what detectors are shown, so that the weights fit them.

    Attributes:
        size: canvas (width, height) in pixels.
        least_area: share of a picture that a view shows at least.
        jitter: most change of brightness, contrast and saturation.
    """

    size: tuple[int, int]
    least_area: float = 0.08
    jitter: float = 0.4

    def show(self, pixels: np.ndarray, label: int, seed: int) -> tuple[Tensor, Truth]:
        """As `View`."""
        image = _to_tensor(pixels)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torchvision draws from the global generator
            image = self._transform(image)
        return _finish(image, self.size, label)

    @cached_property
    def _transform(self) -> v2.Transform:
        width, height = self.size
        return v2.Compose(
            [
                v2.RandomResizedCrop((height, width), scale=(self.least_area, 1.0), antialias=True),
                v2.RandomHorizontalFlip(0.5),
                v2.ColorJitter(self.jitter, self.jitter, self.jitter),
            ]
        )


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def _finish(image: Tensor, size: tuple[int, int], label: int) -> tuple[Tensor, Truth]:
    box = torch.tensor([[0.0, 0.0, *size]])
    return normalise_canvas(image, Preprocess.imagenet(*size)), Truth(box, torch.tensor([label]))


def count_unreadable(pictures: Pictures) -> tuple[list[str], int]:
    """Names of those pictures that cannot be read, among some that are tried, and how many are.

    Raises:
        InputError: not one of them can.
    """
    chosen = range(0, len(pictures), max(1, len(pictures) // TRIED))[:TRIED]
    unreadable, why = [], ""
    for index in chosen:
        try:
            pictures.read(index, 0, 0)
        except InputError as error:
            unreadable.append(pictures.name(index))
            why = why or str(error)
    if len(unreadable) == len(chosen):
        raise InputError(
            f"not one of {len(chosen)} images tried, of {len(pictures)} for pre-training, can be read ({why})"
        )
    return unreadable, len(chosen)
