"""A training as a value: what the other processes are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from optimizer.arch import base_arch
from optimizer.arch.pool import ElasticSubnet
from optimizer.distill.config import DistillConfig
from optimizer.train.config import Freeze, TrainConfig
from optimizer.trials.jobs import Batches, PoolTeacher, StudentJob, Teaching, TrainedTeacher

TEACHER = ElasticSubnet((2, 1, 2, 2), (1.5, 1.25, 1.0, 1.5), (160, 120))
PLAIN = StudentJob(
    arch=base_arch("r18", (160, 120)),
    recipe=TrainConfig(epochs=1, lr=0.01),
    batches=Batches(data=Path("images"), size=4, augment="light", workers=2),
    seed=7,
    checkpoint=Path("student.ckpt"),
)
TAUGHT = PLAIN.model_copy(
    update={
        "teaching": Teaching(
            teacher=PoolTeacher(pool=Path("teachers"), subnet=TEACHER), distill=DistillConfig(temperature=2.0)
        )
    }
)


BY_BASE = PLAIN.model_copy(
    update={
        "teaching": Teaching(
            teacher=TrainedTeacher(arch=base_arch("r18", (160, 120)), weights=Path("base.safetensors")),
            distill=DistillConfig(),
        )
    }
)


GOING_ON = PLAIN.model_copy(
    update={
        "batches": PLAIN.batches.model_copy(update={"keep_out": True, "sizes": ((160, 120), (128, 96))}),
        "freeze": Freeze(stages=1, norm=True),
        "start": Path("trial-1.start"),
        "first_epoch": 4,
    }
)


@pytest.mark.parametrize(
    "job", [PLAIN, TAUGHT, BY_BASE, GOING_ON], ids=["plain", "taught", "taught by the base", "going on"]
)
def test_a_job_survives_json(job: StudentJob) -> None:
    told = json.loads(json.dumps(job.model_dump(mode="json")))
    assert told["kind"] == "student"
    assert StudentJob.model_validate(told) == job


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="epochs"):
        StudentJob.model_validate({**PLAIN.model_dump(mode="json"), "epochs": 3})
