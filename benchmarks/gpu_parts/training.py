"""Our training step compared with torchvision's modules in a plain loop, and how long it waits for images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from deploy import Preprocess
from deploy.data import read_dataset
from gpu_parts.day import Day
from gpu_parts.machine import read_gpu
from gpu_parts.pairs import r50_arch
from optimizer.data.loader import TrainLoader
from optimizer.detectors import Truth, build_detector
from optimizer.detectors.faster_rcnn import count_box_samples
from optimizer.train.config import TrainConfig
from optimizer.train.loop import Loader, train
from optimizer.train.precision import autocast_dtype
from optimizer.train.steps import DetectionStep

__all__ = ["describe", "make_batches", "run", "time_ours", "time_theirs", "time_waiting"]

SIZE, CLASSES = (640, 480), 3
WARM_UP, STEPS = 5, 12
OBJECTS = 8  # an image
Batch = tuple[Tensor, list[Truth]]


def run(day: Day) -> dict[str, Any]:
    device = torch.device("cuda")
    result: dict[str, Any] = {"size": SIZE, "steps": {}, "waiting": {}, "gpu_before": read_gpu()}
    batches = make_batches(SIZE, 16, 4)
    for suffix, layout in ((", batch 16", torch.contiguous_format), (", channels_last, batch 16", torch.channels_last)):
        for side in ("ours", "torchvision", "torchvision", "ours"):  # a host's slow seconds then meet both
            measure = time_ours if side == "ours" else time_theirs
            _add(result, day, side + suffix, lambda m=measure, layout=layout: m(batches, SIZE, device, layout))
    if day.data is not None:
        for workers in (8, 0):
            waiting = _attempt(lambda workers=workers: time_waiting(day, SIZE, 16, workers, device))
            result["waiting"][f"{workers} workers"] = waiting
            day.keep(result)
    for size in (32, 8):
        more = make_batches(SIZE, size, 2)
        _add(result, day, f"ours, batch {size}", lambda more=more: time_ours(more, SIZE, device))
        _add(result, day, f"torchvision, batch {size}", lambda more=more: time_theirs(more, SIZE, device))
    return result


def _add(result: dict[str, Any], day: Day, name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """One more measurement under this name; unlike the others a failure here (memory, say) is a figure too."""
    result["steps"].setdefault(name, []).append(_attempt(measure))
    result["gpu_after"] = read_gpu()
    day.keep(result)


def _attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return measure()
    except Exception as error:  # kept as what was found
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def make_batches(size: tuple[int, int], images: int, count: int) -> list[Batch]:
    """Seeded noise with objects all over it, in host memory."""
    random = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        truths = []
        for _ in range(images):
            corner = torch.rand(OBJECTS, 2, generator=random) * torch.tensor([0.7 * size[0], 0.7 * size[1]])
            side = (0.05 + 0.2 * torch.rand(OBJECTS, 2, generator=random)) * min(size)
            labels = torch.randint(CLASSES, (OBJECTS,), generator=random)
            truths.append(Truth(torch.cat([corner, corner + side], 1), labels))
        batches.append((torch.randn(images, 3, size[1], size[0], generator=random), truths))
    return batches


class FixedBatches:
    """A `Loader` of batches that are there already, over and over."""

    def __init__(self, batches: list[Batch], steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
        for step in range(start_step, self.steps):
            yield self.batches[step % len(self.batches)]


def time_ours(
    batches: list[Batch],
    size: tuple[int, int],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
    warm_up: int = WARM_UP,
    steps: int = STEPS,
    region_proposals: int = 1000,
) -> dict[str, Any]:
    """Our loop as a run has it: autocast, scaler, clipping, a look at each step's loss."""
    detector = build_detector(r50_arch("faster_rcnn", size, region_proposals), CLASSES, seed=0).to(
        memory_format=memory_format
    )
    times = [_start(device)]
    config = TrainConfig(epochs=1, lr=1e-4)
    trained = train(
        detector.to(device), FixedBatches(batches, warm_up + steps), DetectionStep(), config, seed=0,
        report=lambda progress: times.append(time.perf_counter()),
    )  # fmt: skip
    return {**_figures(times, warm_up, len(batches[0][0]), device), "skipped_batches": trained.skipped_batches}


def time_theirs(
    batches: list[Batch],
    size: tuple[int, int],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
    warm_up: int = WARM_UP,
    steps: int = STEPS,
    region_proposals: int = 1000,
) -> dict[str, Any]:
    """torchvision's Faster R-CNN R50-FPN, all of it trained: autocast, scaler, the same optimiser, nothing else.

    Its parts are called in its own order without resizing and padding, which these canvases do not need.
    """
    torch.manual_seed(0)
    model = detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1,
        rpn_post_nms_top_n_train=min(2000, 2 * region_proposals),
        box_batch_size_per_image=count_box_samples(region_proposals),
    )  # fmt: skip
    model.to(device, memory_format=memory_format).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    dtype = autocast_dtype("auto", device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    times = [_start(device)]
    for step in range(warm_up + steps):
        images, truths = batches[step % len(batches)]
        images = images.to(device, non_blocking=True)
        targets = [{"boxes": truth.boxes_xyxy.to(device), "labels": truth.labels.to(device) + 1} for truth in truths]
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = torch.stack(list(_find_losses(model, images, targets).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        _wait(device)
        times.append(time.perf_counter())
    return _figures(times, warm_up, len(batches[0][0]), device)


def _find_losses(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    canvases = ImageList(images, [(images.shape[-2], images.shape[-1])] * len(images))
    maps = model.backbone(images)
    proposals, rpn_losses = model.rpn(canvases, maps, targets)
    _, losses = model.roi_heads(maps, proposals, canvases.image_sizes, targets)
    return {**rpn_losses, **losses}


def time_waiting(
    day: Day, size: tuple[int, int], batch_size: int, workers: int, device: torch.device, epochs: int = 3
) -> dict[str, Any]:
    """Our loop on real images: seconds, and the share of them in which it waits for its next batch."""
    assert day.data is not None
    loader = TrainLoader(
        read_dataset(day.data, "train"), Preprocess.imagenet(*size), batch_size=batch_size, seed=0, augment="light",
        workers=workers,
    )  # fmt: skip
    watched = Watched(loader)
    times = [_start(device)]
    detector = build_detector(r50_arch("faster_rcnn", size), CLASSES, seed=0)
    train(
        detector.to(device), watched, DetectionStep(), TrainConfig(epochs=epochs, lr=1e-4), seed=0,
        report=lambda progress: times.append(time.perf_counter()),
    )  # fmt: skip
    first = len(loader)  # the first epoch warms up
    seconds, waited = times[-1] - times[first], sum(watched.waited_s[first:])
    return {
        "images_per_s": round(batch_size * len(loader) * (epochs - 1) / seconds, 2),
        "waiting_share": round(waited / seconds, 4),
        "first_batch_s": round(watched.waited_s[0], 3),
        "steps_an_epoch": len(loader),
    }


class Watched:
    """A `Loader` that knows how long was waited for each of its batches."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.waited_s = loader, list[float]()

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
        batches = iter(self.loader.epoch(number, start_step))
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.waited_s.append(time.perf_counter() - began)
            yield batch


def _start(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return time.perf_counter()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _figures(times: list[float], warm_up: int, images: int, device: torch.device) -> dict[str, Any]:
    seconds = [after - before for before, after in zip(times[warm_up:], times[warm_up + 1 :])]
    middle = median(seconds)
    peak = torch.cuda.max_memory_allocated() >> 20 if device.type == "cuda" else None
    return {
        "images_per_s": round(images / middle, 2),
        "step_ms": [round(1e3 * x, 2) for x in seconds],
        "peak_mib": peak,
    }


def describe(result: dict[str, Any]) -> Iterator[str]:
    width, height = result["size"]
    yield f"Faster R-CNN R50-FPN at {width}x{height}, fp16 autocast on a GPU; batches in host memory.\n"
    yield "| side | images per second, each time | peak memory, MiB |"
    yield "|---|---|---|"
    for name, rows in result["steps"].items():
        rates = ", ".join(str(row.get("images_per_s", row.get("error"))) for row in rows)
        yield f"| {name} | {rates} | {rows[-1].get('peak_mib', '')} |"
    for suffix in ("batch 16", "channels_last, batch 16", "batch 32", "batch 8", "batch 64"):
        ours, theirs = (_best(result, f"{side}, {suffix}") for side in ("ours", "torchvision"))
        if ours and theirs:
            yield f"\nOurs over torchvision, {suffix}: {ours / theirs:.3f} (wanted: at least 1.0)"
    for name, row in result["waiting"].items():
        yield f"\nReal images, {name}: " + ", ".join(f"{key} {value}" for key, value in row.items())
    yield f"\nGPU after: {result.get('gpu_after')}"


def _best(result: dict[str, Any], name: str) -> float | None:
    rates = [row["images_per_s"] for row in result["steps"].get(name, []) if "images_per_s" in row]
    return max(rates, default=None)
