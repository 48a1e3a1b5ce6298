"""Pools whose members have a slim neck and head, so that a training step takes milliseconds; one that is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shapes_data import ShapesData, make_shapes
from slim_pools import slim_arch
from small_pool import CONFIG, train_in
from torch import Tensor

from optimizer.arch.pool import ElasticSpace, ElasticSubnet
from optimizer.detectors import Detector, Truth, build_detector
from optimizer.supernet.elastic import ElasticSupernet
from optimizer.supernet.pool import TeacherPool, find_pool

NUM_CLASSES = 3
CANVAS = (80, 64)
FAMILIES = {
    "basic": ElasticSpace("r18", ((1, 2), (2,), (1, 2), (1, 2)), (0.125, 0.25), (CANVAS, (64, 64)), 20),
    "bottleneck": ElasticSpace("r50", ((2, 3), (2, 3), (2, 3), (1, 2)), (0.125, 0.25), (CANVAS, (64, 64)), 20),
    "retinanet": ElasticSpace(
        "r18", ((1, 2), (2,), (1, 2), (1, 2)), (0.125, 0.25), (CANVAS, (64, 64)), detector="retinanet"
    ),
    "centernet": ElasticSpace(
        "r18", ((1, 2), (2,), (1, 2), (1, 2)), (0.125, 0.25), (CANVAS, (64, 64)), detector="centernet"
    ),
}


@pytest.fixture(scope="module", autouse=True)
def slim_necks_and_heads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ElasticSpace, "arch", slim_arch)
        yield


@pytest.fixture(params=FAMILIES)
def space(request: pytest.FixtureRequest) -> ElasticSpace:
    """A small pool of each kind."""
    return FAMILIES[request.param]


@pytest.fixture(scope="session")
def list_members() -> Callable[[ElasticSpace], list[ElasticSubnet]]:
    """A function of a pool: its ends, and members between them that are deep here and wide there."""

    def members(space: ElasticSpace) -> list[ElasticSubnet]:
        largest, smallest = space.largest(), space.smallest()
        narrow, wide = min(space.widths), max(space.widths)
        return [
            largest,
            smallest,
            replace(largest, widths=smallest.widths),
            replace(largest, depths=smallest.depths),
            replace(largest, widths=(narrow, wide, narrow, wide)),
            replace(smallest, widths=(wide, narrow, narrow, wide), depths=(*smallest.depths[:2], *largest.depths[2:])),
        ]

    return members


@pytest.fixture(scope="session")
def make_supernet() -> Callable[..., Detector]:
    """A function of (space, seed): the super-network with weights that look trained, statistics included."""

    def make(space: ElasticSpace, seed: int = 0) -> Detector:
        detector = build_detector(space.arch(space.largest()), NUM_CLASSES, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in detector.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.1, generator=generator)
            elif "body" in name and tensor.ndim == 1:
                signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
                tensor.uniform_(0.5, 1.5, generator=generator).mul_(signs)
        return detector

    return make


@pytest.fixture(scope="session")
def make_elastic(make_supernet: Callable[..., Detector]) -> Callable[..., ElasticSupernet]:
    """A function of (space, seed): what holds such a super-network, in training mode."""

    def make(space: ElasticSpace, seed: int = 0) -> ElasticSupernet:
        supernet = ElasticSupernet(space, NUM_CLASSES, seed)
        supernet.shared = make_supernet(space, seed).train()
        return supernet

    return make


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(2, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def truths() -> list[Truth]:
    return [
        Truth(torch.tensor([[8.0, 8, 40, 40], [30, 10, 70, 60]]), torch.tensor([0, 2])),
        Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShapesData:
    """Six images, and two to judge by."""
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=2)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for pools."""
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def trained(pools: Path, data: ShapesData) -> TeacherPool:
    """A pool that was trained without a disturbance."""
    return train_in(find_pool(pools, CONFIG, data.train)[0], data)


@pytest.fixture
def copied(trained: TeacherPool, tmp_path: Path) -> Path:
    """A pool that a test may damage."""
    return Path(shutil.copytree(trained.folder, tmp_path / "pool"))
