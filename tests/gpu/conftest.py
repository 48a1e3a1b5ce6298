"""Small detectors, batches and images for what runs on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deploy.data import Dataset, read_dataset
from optimizer.arch.families import base_arch
from optimizer.arch.spec import ArchSpec
from optimizer.data.shapes import write_shapes
from optimizer.detectors import Truth

SIZE = (160, 128)
Batch = tuple[Tensor, list[Truth]]


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch reaches no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def make_arch() -> Callable[[str], ArchSpec]:
    def make(kind: str) -> ArchSpec:
        arch = base_arch("r18", SIZE, detector=kind)
        return arch if kind == "retinanet" else replace(arch, head=replace(arch.head, region_proposals=100))

    return make


@pytest.fixture(scope="session")
def batch() -> Batch:
    """Four images of noise; the last has no object."""
    random = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[10.0, 12.0, 70.0, 60.0], [80.0, 40.0, 150.0, 120.0]])
    truths = [Truth(boxes + shift, torch.tensor([0, 2])) for shift in (0.0, 2.0, 4.0)]
    truths.append(Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))
    return torch.randn(4, 3, SIZE[1], SIZE[0], generator=random), truths


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """Generated images: 32 to train on, 8 to look at."""
    folder: Path = write_shapes(tmp_path_factory.mktemp("shapes"), train=32, val=8, size=SIZE, seed=0)
    return read_dataset(folder, "train"), read_dataset(folder, "val")
