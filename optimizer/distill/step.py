"""Distillation as a `LossStep`: the detector's own losses and, weighed, what each distiller adds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector, RegionView, Seen, Truth
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.base import Distiller, Scene
from optimizer.distill.catalogue import DISTILLERS
from optimizer.distill.config import DistillConfig, find_decay
from optimizer.errors import InputError

__all__ = ["DistillStep", "build_distillers", "check_pair", "show_canvas"]


class DistillStep(nn.Module):
    """One training step of a student with a frozen teacher.

    Teacher and student are looked at once for all distillers, and what none of them reads is not computed. The regions
    that the student's head is trained on go through the teacher as well (Joint-DetNAS, A.2). Parameters and state are
    those of the distillers and adapters: the teacher is neither trained nor saved, and a student has neither.

    Args:
        teacher: its weights are not changed; it is put in evaluation mode.
    """

    def __init__(self, student: ArchSpec, teacher: Detector, config: DistillConfig) -> None:
        super().__init__()
        check_pair(student, teacher.arch, config)
        self.distillers = build_distillers(student, teacher.arch, config)
        self.adapters = _build_adapters(student, teacher.arch, config, self._reads)
        self.weights = {name: config.weights[name] for name in self.distillers}
        self.canvas = teacher.arch.input_size if config.teacher_canvas == "own" else None  # None: the student's
        self._strides = tuple(level.stride for level in student.maps)
        self._stages, self._decay, self._done = config.defeat.stages, config.decay, 0.0
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list, so that it is not part of this module

    def set_progress(self, done: float) -> None:
        """What share of the training is done before the next step: weights may change with it."""
        self._done = done

    def forward(self, model: Detector, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        reads, seen = self._reads, model.see(images)
        losses, regions, view = model.losses_and_regions(images, truths, "regions" in reads, seen)
        own = (images.shape[-1], images.shape[-2])
        scene = Scene(truths, own, self._strides, partial(model.list_anchors, images, seen))
        with torch.no_grad():
            shown, teacher = self._show(images)
            theirs = teacher.see(shown)
        compared: dict[str, tuple[Any, ...]] = {}
        if view is not None:
            with torch.no_grad():
                compared["regions"] = view, teacher.view(shown, regions, own, theirs)
        if "sample" in reads:
            with torch.no_grad():
                chosen, positive = teacher.sample(shown, truths, theirs)
                taught = teacher.view(shown, chosen, own, theirs).log_probs
            compared["sample"] = model.view(images, chosen, own, seen).log_probs, taught, positive
        for name, adapters in self.adapters.items():
            compared[name] = adapters(self._list_maps(name, seen), self._list_maps(name, theirs)), scene
        return {**losses, **self._add_up(compared)}

    def compare(self, student: RegionView, images: Tensor, regions: list[Tensor]) -> dict[str, Tensor]:
        """The weighed loss of each distiller of regions, named ``distill_<name>``, of a student that was looked at."""
        assert self._reads <= {"regions"}, "distillers of maps look at the student themselves"
        with torch.no_grad():
            shown, teacher = self._show(images)
            theirs = teacher.view(shown, regions, (images.shape[-1], images.shape[-2]))
        return self._add_up({"regions": (student, theirs)})

    @property
    def _reads(self) -> set[str]:
        return {distiller.reads for distiller in _list_distillers(self.distillers)}

    def _show(self, images: Tensor) -> tuple[Tensor, Detector]:
        """The images on the canvas that the teacher is shown, and the teacher, beside them."""
        own = (images.shape[-1], images.shape[-2])
        return show_canvas(images, self.canvas or own), self._teacher[0].to(images.device)

    def _list_maps(self, name: str, seen: Seen) -> list[Tensor]:
        if name == "neck":
            return list(seen.neck.values())
        stages = list(seen.body.values())
        return [stages[stage] for stage in self._stages]

    def _add_up(self, compared: dict[str, tuple[Any, ...]]) -> dict[str, Tensor]:
        factor = find_decay(self._decay, self._done)
        return {
            f"distill_{name}": factor * self.weights[name] * distiller(*compared[distiller.reads])
            for name, distiller in zip(self.distillers, _list_distillers(self.distillers))
        }


def build_distillers(student: ArchSpec, teacher: ArchSpec, config: DistillConfig) -> nn.ModuleDict:
    """The distillers whose weight is above 0, by name."""
    wanted = [name for name in DISTILLERS if config.weights.get(name, 0) > 0]
    distillers = nn.ModuleDict()
    for name in wanted:
        with _first_weights():
            distillers[name] = DISTILLERS[name](student, teacher, config)
    return distillers


def check_pair(student: ArchSpec, teacher: ArchSpec, config: DistillConfig) -> None:
    """Refuse a pair whose regions, maps or outputs cannot be compared, before any work.

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
    for name, distiller in build_distillers(student, teacher, config).items():
        assert isinstance(distiller, Distiller)
        lacking = sorted({distiller.reads, *distiller.asks} - student.head.readable)
        if lacking:
            raise InputError(
                f"the distiller {name} reads {lacking[0]}, and a {student.head.kind} has none; --distillers takes, of "
                f"those that can be read of it: {', '.join(_list_readable(student, teacher, config))}"
            )
        if distiller.reads != "regions":
            _check_maps(name, distiller.reads, student, teacher, config)
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
            "{}x{}, teacher {}x{}; choose one canvas (--sizes) or show the student's (--teacher-canvas student)".format(
                *student.input_size, *teacher.input_size
            )
        )


def _list_readable(student: ArchSpec, teacher: ArchSpec, config: DistillConfig) -> list[str]:
    """The distillers that read nothing but what the student's head has."""
    every = build_distillers(student, teacher, config.model_copy(update={"weights": dict.fromkeys(DISTILLERS, 1.0)}))
    distillers = zip(every, _list_distillers(every))
    return [name for name, distiller in distillers if {distiller.reads, *distiller.asks} <= student.head.readable]


def _check_maps(name: str, reads: str, student: ArchSpec, teacher: ArchSpec, config: DistillConfig) -> None:
    """Refuse maps that are not the same cells of the same image."""
    if config.teacher_canvas == "own" and student.input_size != teacher.input_size:
        raise InputError(
            "the distiller {} compares cell by cell, and the student's canvas is {}x{}, the teacher's {}x{}: show the "
            "teacher the student's (--teacher-canvas student)".format(name, *student.input_size, *teacher.input_size)
        )
    ours, theirs = ([level.stride for level in arch.maps] for arch in (student, teacher))
    if reads == "body":
        ours, theirs = ([stage.stride for stage in arch.body_maps] for arch in (student, teacher))
        if max(config.defeat.stages) >= len(ours):
            raise InputError(f"the distiller {name} reads stage {max(config.defeat.stages)} of the body, which has "
                             f"{len(ours)}, counted from 0")  # fmt: skip
    if ours != theirs:
        raise InputError(
            f"the distiller {name} compares maps of the {reads}: the student's have strides {ours}, the teacher's "
            f"{theirs}"
        )


def _build_adapters(student: ArchSpec, teacher: ArchSpec, config: DistillConfig, reads: set[str]) -> nn.ModuleDict:
    """Those of the maps that are read: of the neck, of some stages of the body."""
    adapters = nn.ModuleDict()
    if "neck" in reads:
        ours, theirs = ([level.width for level in arch.maps] for arch in (student, teacher))
        with _first_weights():
            adapters["neck"] = MapAdapters(ours, theirs)
    if "body" in reads:
        ours, theirs = ([arch.body_maps[at].width for at in config.defeat.stages] for arch in (student, teacher))
        with _first_weights():
            adapters["body"] = MapAdapters(ours, theirs, rectified=True)
    return adapters


@contextmanager
def _first_weights() -> Iterator[None]:
    """The same ones whenever a training begins, or begins again, whatever else takes part in it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _list_distillers(distillers: nn.ModuleDict) -> list[Distiller]:
    return [distiller for distiller in distillers.values() if isinstance(distiller, Distiller)]


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
