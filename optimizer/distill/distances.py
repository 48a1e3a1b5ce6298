"""How far a student's neck is from its teacher's, channel by channel, in objects and in the background."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from optimizer.detectors.base import Detector, Truth
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
    batches: Iterable[tuple[Tensor, list[Truth]]],
    device: torch.device,
    adapters: MapAdapters | None = None,
) -> Distances:
    """`Distances` over some images, a batch after the other (DeFeat's supplement; FACTS 5.6).

    Args:
        batches: images (B, 3, H, W) on the student's canvas, which the teacher looks at too, and their objects.
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
    stride = student.arch.maps[0].stride
    sums, counts = torch.zeros(2, wanted, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for detector in (student, teacher):
        detector.to(device).eval()
    for images, truths in batches:
        seen = (detector.see(images.to(device)).neck for detector in (student, teacher))
        ours, theirs = (next(iter(maps.values())).float() for maps in seen)
        if adapters is not None:
            ours = adapters.adapt(0, ours)
        boxes, of = gather(truths)
        mask = draw_boxes(boxes, of, len(truths), (ours.shape[2], ours.shape[3]), stride)[:, None].to(device)
        difference = (theirs - ours).abs()
        for place, cells in enumerate((mask, 1 - mask)):
            sums[place] += (difference * cells).sum((0, 2, 3)).double().cpu()
            counts[place] += cells.sum().double().cpu()
    means: Tensor = sums / counts.clamp(min=1)[:, None]
    return Distances(tuple(means[0].tolist()), tuple(means[1].tolist()))
