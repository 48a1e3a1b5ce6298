"""The first steps of a training are what they were: a refactor leaves these values alone.

`make golden` accepts new ones; a commit that changes the file says why.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from deploy import Preprocess
from deploy.data import read_dataset
from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    Head,
    Neck,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
)
from optimizer.data.loader import TrainLoader
from optimizer.data.shapes import write_shapes
from optimizer.detectors import build_detector
from optimizer.train.config import TrainConfig
from optimizer.train.loop import Progress, train
from optimizer.train.steps import DetectionStep

GOLDEN = Path(__file__).with_name("loss_curve.json")
HEADS: dict[str, Head] = {
    "faster_rcnn": FasterRCNNHead(rpn_width=16, box_width=32, region_proposals=40, anchor_scale=4),
    "retinanet": RetinaNetHead(anchor_scale=4),
    "centernet": CenterNetHead(16),
}
NECKS: dict[str, Neck] = {"fpn": FpnSpec(16), "deconv": DeconvSpec(16, 16, 16)}
STAGES = (
    StageSpec((BlockSpec((8, 16)),)),
    StageSpec((BlockSpec((16, 24), stride=2, projection=True),)),
    StageSpec((BlockSpec((24, 32), stride=2, projection=True),)),
    StageSpec((BlockSpec((32, 40), stride=2, projection=True),)),
)


def loss_curve(kind: str, folder: Path) -> list[float]:
    size = (96, 64)
    data = read_dataset(write_shapes(folder / "shapes", train=8, val=2, size=size, seed=0), "train")
    arch = ArchSpec(size, ResNetSpec(STAGES, stem_width=16), NECKS[HEADS[kind].neck], HEADS[kind])
    loader = TrainLoader(data, Preprocess(*size), batch_size=2, seed=0, augment="light")
    config = TrainConfig(epochs=2, lr=1e-3, precision="fp32", warmup_steps=2, ema_decay=0.9, bn_l1=1e-5)
    losses: list[float] = []

    def keep(progress: Progress) -> None:
        losses.append(progress.loss)

    detector = build_detector(arch, len(data.class_names), seed=0)
    train(detector, loader, DetectionStep(), config, seed=0, report=keep)
    return losses


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_the_first_steps_are_what_they_were(kind: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    losses = loss_curve(kind, tmp_path)
    torch.set_num_threads(threads)
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("DETOPT_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps({**known, kind: [round(loss, 6) for loss in losses]}, indent=1) + "\n")
        return
    # one thread, and a hundredth: two kinds of processor sum in different orders
    assert losses == pytest.approx(known[kind], rel=1e-2)
