"""BatchNorm statistics of an extracted sub-network, measured anew."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from optimizer.detectors.base import Detector

__all__ = ["recalibrate"]


@torch.no_grad()
def recalibrate(detector: Detector, batches: Iterable[Tensor], device: torch.device) -> None:
    """Replace running means and variances by the averages over these batches (B, 3, H, W); weights stay as they are.

    A sub-network shares its BatchNorms with every other one, so the statistics it comes with are nobody's. Leaves the
    detector in evaluation mode. Recalibration is a reconstruction (DetNAS and once-for-all networks do it).
    """
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    detector.to(device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
        norm.train()
    for images in batches:
        detector.get_submodule("backbone")(images.to(device))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    detector.eval()
