"""Detections of a PyTorch detector over a data set, one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch

from deploy import Detections, Preprocess
from deploy.data import ImageId, Record, read_image
from optimizer.detectors.base import Detector, Prediction
from optimizer.errors import InputError

__all__ = ["predict"]


def predict(
    detector: Detector,
    records: Iterable[Record],
    preprocess: Preprocess,
    device: torch.device,
    see: Callable[[Prediction], None] = lambda prediction: None,
) -> Iterator[tuple[ImageId, Detections]]:
    """(image id, detections in image pixels) of every record whose image can be read, in evaluation mode.

    `see` is shown each of these predictions as the detector made it, in pixels of the canvas.
    """
    assert not detector.training
    detector.to(device)
    for record in records:
        try:
            image = read_image(record.path, (record.width, record.height))
        except InputError:
            continue  # counts as an image where nothing was detected
        images, placement = preprocess(image)
        found = detector.detect(torch.from_numpy(images).to(device))[0]
        see(found)
        boxes = preprocess.boxes_to_image(found.boxes_xyxy.cpu().numpy(), placement)
        yield record.image_id, Detections(boxes, found.scores.cpu().numpy(), found.labels.cpu().numpy())
