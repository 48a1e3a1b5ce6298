"""Images of a data set on whichever canvas is asked for, read once as long as they fit into memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deploy import Detections, Placement, Preprocess
from deploy.data import ImageId, Record, read_image
from optimizer.detectors.base import Detector
from optimizer.errors import InputError

__all__ = ["Canvases", "detect_on"]

BATCH_SIZE = 8
LIMIT_BYTES = 512 * 2**20

Size = tuple[int, int]


class Batch(NamedTuple):
    """Network input (B, 3, H, W), and of each image its id and where it lies on its canvas."""

    images: Tensor
    places: tuple[tuple[ImageId, Placement], ...]


@dataclass(frozen=True)
class Canvases:
    """Batches of these images; one that cannot be read is left out."""

    records: Sequence[Record]
    limit_bytes: int = LIMIT_BYTES
    _kept: OrderedDict[Size, list[Batch]] = field(default_factory=OrderedDict, repr=False, compare=False)

    def on(self, size: Size) -> Iterable[Batch]:
        """All of them on a canvas (width, height)."""
        if size in self._kept:
            return self._kept[size]
        if self._count_bytes(size) > self.limit_bytes:
            return self._read(size)
        while self._kept and sum(map(self._count_bytes, [*self._kept, size])) > self.limit_bytes:
            self._kept.popitem(last=False)
        self._kept[size] = list(self._read(size))
        return self._kept[size]

    def _count_bytes(self, size: Size) -> int:
        return len(self.records) * 3 * size[0] * size[1] * 4

    def _read(self, size: Size) -> Iterator[Batch]:
        for start in range(0, len(self.records), BATCH_SIZE):
            placed = list(_place(self.records[start : start + BATCH_SIZE], Preprocess.imagenet(*size)))
            if placed:
                images, places = zip(*placed)
                yield Batch(torch.from_numpy(np.concatenate(images)), places)


def detect_on(
    detector: Detector, batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[ImageId, Detections]]:
    """(image id, detections in image pixels) of every image of batches on the detector's canvas."""
    preprocess = Preprocess.imagenet(*detector.arch.input_size)
    detector.to(device)
    for images, places in batches:
        for found, (image_id, placement) in zip(detector.detect(images.to(device)), places):
            boxes = preprocess.boxes_to_image(found.boxes_xyxy.cpu().numpy(), placement)
            yield image_id, Detections(boxes, found.scores.cpu().numpy(), found.labels.cpu().numpy())


def _place(records: Iterable[Record], preprocess: Preprocess) -> Iterator[tuple[np.ndarray, tuple[ImageId, Placement]]]:
    for record in records:
        try:
            image = read_image(record.path, (record.width, record.height))
        except InputError:
            continue
        images, placement = preprocess(image)
        yield images, (record.image_id, placement)
