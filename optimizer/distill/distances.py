"""How far a student's neck is from its teacher's, channel by channel, in objects and in the background."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from deploy import Preprocess
from deploy.data import Record
from optimizer.data.canvas import normalise_canvas, place_record
from optimizer.detectors.base import Detector
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.masks import draw_boxes, gather
from optimizer.errors import InputError

__all__ = ["Distances", "measure_distances"]


@dataclass(frozen=True)
class Distances:
    """Mean absolute difference of each channel of the finest map (C,), over the cells of all images.

    Attributes:
        objects, background: cells in any object's box, and all others; 0 where there are none.
    """

    objects: tuple[float, ...]
    background: tuple[float, ...]


@torch.no_grad()
def measure_distances(
    student: Detector,
    teacher: Detector,
    records: Iterable[Record],
    device: torch.device,
    adapters: MapAdapters | None = None,
) -> Distances:
    """`Distances` over some images, one after the other (DeFeat's supplement; FACTS 5.6).

    The teacher looks at the student's canvas. Images that cannot be read are left out.

    Args:
        adapters: of the neck, trained with the student; None compares the maps as they are.

    Raises:
        InputError: without adapters, for maps of different widths.
    """
    width, wanted = student.arch.maps[0].width, teacher.arch.maps[0].width
    if adapters is None and width != wanted:
        raise InputError(
            f"the student's maps have {width} channels and the teacher's {wanted}: they are only compared through the "
            "adapters of a training with a distiller of the neck"
        )
    stride, preprocess = student.arch.maps[0].stride, Preprocess.imagenet(*student.arch.input_size)
    sums, counts = torch.zeros(2, wanted, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for detector in (student, teacher):
        detector.to(device).eval()
    for record in records:
        try:
            canvas, truth = place_record(record, preprocess)
        except InputError:
            continue
        images = normalise_canvas(canvas, preprocess)[None].to(device)
        ours, theirs = (next(iter(detector.see(images).neck.values()))[0].float() for detector in (student, teacher))
        if adapters is not None:
            adapter = adapters[0]
            assert isinstance(adapter, torch.nn.Conv2d)
            ours = adapter(ours[None])[0]
        boxes, of = gather([truth])
        mask = draw_boxes(boxes, of, 1, (ours.shape[1], ours.shape[2]), stride)[0].to(device)
        difference = (theirs - ours).abs()
        for place, cells in enumerate((mask, 1 - mask)):
            sums[place] += (difference * cells).sum((1, 2)).double().cpu()
            counts[place] += cells.sum().double().cpu()
    means: Tensor = sums / counts.clamp(min=1)[:, None]
    return Distances(tuple(means[0].tolist()), tuple(means[1].tolist()))
