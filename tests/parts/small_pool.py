"""A pool that is trained in seconds, where its members are slim (`slim_pools`): three phases on six images."""

from __future__ import annotations

from pathlib import Path

import torch
from shapes_data import ShapesData
from watched import Watched

from optimizer.distill.config import DistillConfig
from optimizer.supernet.elastic_config import ElasticConfig, ElasticPhase
from optimizer.supernet.pool import TeacherPool
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.train.config import TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=1, lr=1e-3, precision="fp32", checkpoint_every_s=0.0)
CONFIG = ElasticConfig(
    family="r18",
    phases=tuple(
        ElasticPhase(depths=depths, widths=widths, train=TRAIN)
        for depths, widths in (
            (((2,),) * 4, (0.25,)),
            (((2,), (2,), (1, 2), (2,)), (0.125, 0.25)),
            (((1, 2),) * 4, (0.0625, 0.125, 0.25)),
        )
    ),
    sizes=((80, 64), (64, 64)),
    region_proposals=20,
    distill=DistillConfig(feature_regions=8),
    batch_size=2,
    calibration_images=4,
)
STEPS = 3  # of each phase


def train_in(folder: Path, data: ShapesData, progress: Watched | None = None) -> TeacherPool:
    return train_pool(folder, CONFIG, PoolImages(data.folder, data.train, data.val), CPU, progress or Watched())


def weights_of(pool: TeacherPool) -> dict[str, torch.Tensor]:
    return pool.supernet.shared.state_dict()


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())


def often_saved(config: ElasticConfig, **changes: object) -> ElasticConfig:
    """The same training, saved at another time (or changed otherwise)."""
    update = changes or {"checkpoint_every_s": 999.0, "max_bad_losses": 7}
    phases = tuple(phase.model_copy(update={"train": phase.train.model_copy(update=update)}) for phase in config.phases)
    return config.model_copy(update={"phases": phases})
