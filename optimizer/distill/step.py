"""Distillation as a `LossStep`: the detector's own losses and, weighed, what each distiller adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector, RegionView, Truth
from optimizer.distill.catalogue import DISTILLERS
from optimizer.distill.config import DistillConfig
from optimizer.errors import InputError

__all__ = ["DistillStep", "build_distillers", "check_pair", "show_canvas"]


class DistillStep(nn.Module):
    """One training step of a student with a frozen teacher.

    The regions that the student's head is trained on go through the teacher as well (Joint-DetNAS, A.2), once for all
    distillers. Parameters and state are those of the distillers (adapters): the teacher is neither trained nor saved.

    Args:
        teacher: its weights are not changed; it is put in evaluation mode.
    """

    def __init__(self, student: ArchSpec, teacher: Detector, config: DistillConfig) -> None:
        super().__init__()
        check_pair(student, teacher.arch, config)
        self.distillers = build_distillers(student, teacher.arch, config)
        self.weights = {name: config.weights[name] for name in self.distillers}
        self.canvas = teacher.arch.input_size if config.teacher_canvas == "own" else None  # None: the student's
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list, so that it is not part of this module

    def forward(self, model: Detector, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        losses, regions, student = model.losses_and_regions(images, truths, with_view=True)
        assert student is not None
        return {**losses, **self.compare(student, images, regions)}

    def compare(self, student: RegionView, images: Tensor, regions: list[Tensor]) -> dict[str, Tensor]:
        """The weighed loss of each distiller, named ``distill_<name>``."""
        own = (images.shape[-1], images.shape[-2])
        with torch.no_grad():
            shown = show_canvas(images, self.canvas or own)
            teacher = self._teacher[0].to(images.device).view(shown, regions, own)
        return {
            f"distill_{name}": self.weights[name] * distiller(student, teacher)
            for name, distiller in self.distillers.items()
        }


def build_distillers(student: ArchSpec, teacher: ArchSpec, config: DistillConfig) -> nn.ModuleDict:
    """The distillers whose weight is above 0, by name."""
    wanted = [name for name in DISTILLERS if config.weights.get(name, 0) > 0]
    return nn.ModuleDict({name: DISTILLERS[name](student, teacher, config) for name in wanted})


def check_pair(student: ArchSpec, teacher: ArchSpec, config: DistillConfig) -> None:
    """Refuse a pair whose regions or outputs cannot be compared, before any work.

    Raises:
        InputError: with the reason.
    """
    unknown = [name for name in config.weights if name not in DISTILLERS]
    if unknown:
        raise InputError(f"there is no distiller {unknown[0]!r}; there are: {', '.join(DISTILLERS)}")
    if student.head.kind != teacher.head.kind:
        raise InputError(
            f"a {teacher.head.kind} cannot teach a {student.head.kind}: their regions and outputs are of another kind"
        )
    ours, theirs = student.head.region_anchor_scale, teacher.head.region_anchor_scale
    if ours is None:
        return
    if ours != theirs:
        raise InputError(
            f"a {student.head.kind} teaches through its anchors, and those of the teacher (scale {theirs}) are not "
            f"the student's (scale {ours})"
        )
    if config.teacher_canvas == "own" and student.input_size != teacher.input_size:
        raise InputError(
            f"a {student.head.kind} teaches through its anchors, which are the same on the same canvas only: student "
            "{}x{}, teacher {}x{}; choose one canvas (--sizes) or show the student's (distill.teacher_canvas)".format(
                *student.input_size, *teacher.input_size
            )
        )


def show_canvas(images: Tensor, canvas: tuple[int, int]) -> Tensor:
    """A batch of canvases on one of another size (width, height): scaled as a whole, padded right and below.

    Itself on its own. A teacher on a larger canvas than the student's sees what the student sees, larger: the image is
    not read again.
    """
    height, width = images.shape[-2:]
    if (width, height) == canvas:
        return images
    scale = min(canvas[0] / width, canvas[1] / height)
    size = (min(round(height * scale), canvas[1]), min(round(width * scale), canvas[0]))
    shown = functional.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
    return functional.pad(shown, (0, canvas[0] - size[1], 0, canvas[1] - size[0]))
