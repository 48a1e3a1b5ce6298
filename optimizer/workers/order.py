"""What a worker is told, and what it sends home: values that travel, and nothing that needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from optimizer.search.base import Trial
from optimizer.store.schema import COLUMNS, row_from_trial, trial_from_row

__all__ = ["Answer", "Order", "ParcelLost", "dump_trial", "parse_trial"]


class Order(BaseModel):
    """A proposal of a run whose folder, images and teachers every worker finds under these paths.

    Attributes:
        config: the run's, as JSON. target: what of its target exports depend on, and its name.
        trial: the pending one. parent: the finished one that it inherits from, if any.
        pool: folder of the teacher pool. teacher: JSON of the `optimizer.trials.jobs.TrainedTeacher` of students that
            none of the pool teaches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: str
    target: dict[str, Any]
    folder: Path
    trial: str
    parent: str | None = None
    pool: Path | None = None
    teacher: dict[str, Any] | None = None


class Answer(NamedTuple):
    """What became of an order.

    Attributes:
        trial: trained and not judged yet (`Evaluation.prepare`), or screened; empty where it failed.
        files: what is to be kept of it, by SHA-256.
        failed: why this student came to nothing. stopped: why no other one would fare better.
    """

    trial: str = ""
    files: Mapping[str, bytes] = {}
    failed: str = ""
    stopped: str = ""


class ParcelLost(Exception):
    """A worker cannot get what was sent to it; another try may."""


def dump_trial(trial: Trial) -> str:
    """A trial in JSON, by the columns of the database."""
    return json.dumps(dict(zip(COLUMNS, row_from_trial(trial), strict=True)))


def parse_trial(text: str) -> Trial:
    """The inverse of `dump_trial`."""
    return trial_from_row(json.loads(text))
