"""BatchNorm statistics of an extracted subnet, measured anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.data.loader import TrainLoader
from optimizer.detectors.base import Detector
from optimizer.supernet.config import SupernetConfig

__all__ = ["calibration_batches", "measure_norms", "recalibrate"]

BATCH_SIZE = 4  # images; any number gives much the same averages


def calibration_batches(dataset: Dataset, config: SupernetConfig, canvas: tuple[int, int]) -> Iterator[Tensor]:
    """At least `config.calibration_images` images on a canvas, or all there are, the same ones each time."""
    loader = TrainLoader(dataset, Preprocess.imagenet(*canvas), batch_size=BATCH_SIZE, seed=config.seed, augment="none")
    for images, _ in islice(loader.epoch(0), -(-config.calibration_images // BATCH_SIZE)):
        yield images


def recalibrate(detector: Detector, batches: Iterable[Tensor], device: torch.device) -> None:
    """Replace running means and variances by the averages over these batches (B, 3, H, W); weights stay as they are.

    A subnet shares its BatchNorms with every other one, so the statistics it comes with are nobody's. Leaves the
    detector in evaluation mode. Recalibration is a reconstruction (DetNAS and once-for-all networks do it).
    """
    norms = _list_norms(detector)
    run = next(run for part, run in _list_runs(detector) if all(norm in part for norm in norms))
    measure_norms(detector, run, batches, device)


@torch.no_grad()
def measure_norms(
    model: nn.Module, run: Callable[[Tensor], object], batches: Iterable[Tensor], device: torch.device
) -> None:
    """`recalibrate` of any model, by whatever runs all of its BatchNorms."""
    norms = _list_norms(model)
    momenta = [norm.momentum for norm in norms]
    model.to(device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
        norm.train()
    for images in batches:
        run(images.to(device))
    assert all(norm.num_batches_tracked for norm in norms), "a BatchNorm was not measured"
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.eval()


def _list_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _list_runs(detector: Detector) -> Iterator[tuple[set[nn.Module], Callable[[Tensor], object]]]:
    """Parts of a detector with all their modules, and how each is run; the smallest first, and all of it last."""
    for name in ("backbone.body", "backbone"):
        part = detector.get_submodule(name)
        yield set(part.modules()), part
    yield set(detector.modules()), detector.detect
