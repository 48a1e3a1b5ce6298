"""One tiny example of each kind of super-network, and of one that is in no catalogue."""

from __future__ import annotations

from typing import Any

import pytest
from single_path import Path as PathSubnet
from single_path import SinglePathConfig
from slim_pools import slim_arch, slim_ofa, slim_path

from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import OFA_SHAPES, PATH_SPACES, PathSpace
from optimizer.arch.ofa_space import OfaSpace
from optimizer.arch.paths import PathSubnets
from optimizer.arch.pool import ElasticSpace
from optimizer.arch.subnets import SUBNETS
from optimizer.distill.config import DistillConfig
from optimizer.supernet.catalogue import SUPERNETS
from optimizer.supernet.config import Phase, SupernetConfig
from optimizer.supernet.elastic_config import ElasticConfig, ElasticPhase
from optimizer.supernet.ofa_config import OfaConfig, OfaPhase
from optimizer.supernet.path_config import PathConfig
from optimizer.train.config import TrainConfig

CLASSES = 4
CANVAS = (80, 64)
TRAIN = TrainConfig(epochs=1, lr=1e-3, precision="fp32", checkpoint_every_s=0.0)
SHARED: dict[str, Any] = {
    "sizes": (CANVAS, (64, 64)),
    "region_proposals": 20,
    "batch_size": 2,
    "calibration_images": 4,
    "distill": DistillConfig(feature_regions=8, teacher_canvas="student"),
}
TINY: dict[str, SupernetConfig] = {
    "elastic": ElasticConfig(
        family="r18",
        phases=(
            ElasticPhase(depths=((2,), (1,), (2,), (1,)), widths=(0.25,), train=TRAIN),
            ElasticPhase(depths=((1, 2), (1,), (1, 2), (1,)), widths=(0.125, 0.25), train=TRAIN),
        ),
        **SHARED,
    ),
    "ofa": OfaConfig(
        family="tiny",
        phases=(
            OfaPhase(depths=(1,), widths=(1.0,), expands=(1.0,), train=TRAIN),
            OfaPhase(depths=(0, 1), widths=(0.5, 1.0), expands=(0.5, 1.0), train=TRAIN),
        ),
        **SHARED,
    ),
    "path": PathConfig(family="tiny", choices=(0, 3), phases=(Phase(train=TRAIN),), **SHARED),
    "single_path": SinglePathConfig(phases=(Phase(train=TRAIN),), **SHARED),
}


def enrol(patch: pytest.MonkeyPatch) -> None:
    """The smallest super-network joins the catalogues; members of the others get a slim neck and head."""
    patch.setitem(SUPERNETS, "single_path", SinglePathConfig)
    patch.setitem(SUBNETS, "single_path", PathSubnet.from_json)
    patch.setattr(ElasticSpace, "arch", slim_arch)
    patch.setitem(PATH_SPACES, "tiny", PathSpace((1, 2, 1, 1), (16, 24, 32, 40), 8, 64))
    patch.setattr(PathSubnets, "arch", slim_path)
    patch.setitem(OFA_SHAPES, "tiny", OfaShape((1, 1, 1, 1), (1, 0, 0, 0), (32, 32, 48, 64), 16, 8))
    patch.setattr(OfaSpace, "arch", slim_ofa)
