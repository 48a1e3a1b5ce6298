"""One process of test_team.py, in torchrun's environment: a pool is trained, then a student with a teacher from it.

Usage: one_of_a_team.py FOLDER [BATCH_SIZE]; FOLDER/data holds the images. The first process writes FOLDER/found.json.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch

from deploy.data import read_dataset
from optimizer.arch import base_arch
from optimizer.detectors import build_detector
from optimizer.distill.config import DistillConfig
from optimizer.progress import RunProgress
from optimizer.recipes import smoke
from optimizer.supernet.path_config import PathConfig
from optimizer.supernet.pretraining import PretrainJob, pretrain_body
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.train.config import TrainConfig
from optimizer.train.distributed import current_world
from optimizer.trials.jobs import Batches, PoolTeacher, StudentJob, Teaching, train_student
from optimizer.trials.team import assemble_team, tell_team

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=1, lr=1e-3, precision="fp32", ema_decay=0.5)


def main(folder: Path, batch_size: int) -> None:
    with assemble_team([batch_size]) as leads:
        if leads:
            lead(folder)


def lead(folder: Path) -> None:
    config = smoke(folder / "data").changed({"base_train.precision": "fp32", "input_size": (64, 64)})
    config = config.changed({"search.space.sizes": ((64, 64),), "region_proposals": 20})
    splits = read_dataset(folder / "data", "train"), read_dataset(folder / "data", "val")
    pool = train_pool(
        folder / "pool", config.pool_config(), PoolImages(folder / "data", *splits), CPU, RunProgress(), tell=tell_team
    )
    detnas = config.changed(
        {"base": "shufflenetv2_20", "search.method": "detnas", "search.teacher": "none"}
    ).pool_config()
    assert isinstance(detnas, PathConfig)
    (folder / "paths").mkdir()
    pretraining = PretrainJob(config=detnas, folder=folder / "paths", data=folder / "data", workers=0)
    tell_team(pretraining)
    pretrain_body(pretraining, splits[0], CPU, RunProgress())
    arch = base_arch("r18", (64, 64), region_proposals=20)
    job = StudentJob(
        arch=arch, recipe=TRAIN, batches=Batches(data=folder / "data", size=2, augment="none", workers=0), seed=1,
        checkpoint=folder / "student.ckpt",
        teaching=Teaching(
            teacher=PoolTeacher(pool=pool.folder, subnet=pool.space.smallest()),
            distill=DistillConfig(teacher_canvas="student"),
        ),
    )  # fmt: skip
    detector = build_detector(arch, len(splits[0].class_names), seed=0)
    tell_team(job)
    result = train_student(job, detector, splits[0], pool, CPU)
    weights = b"".join(tensor.numpy().tobytes() for tensor in detector.state_dict().values())
    found = {
        "processes": current_world().size,
        "steps": result.steps,
        "finite": all(bool(torch.isfinite(tensor).all()) for tensor in detector.state_dict().values()),
        "weights": hashlib.sha256(weights).hexdigest(),
    }
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
