"""`SupernetJob`: what a process has to know to take part in a training of a super-network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny, field_validator

from optimizer.supernet.catalogue import config_from_json
from optimizer.supernet.config import FrozenModel, SupernetConfig

__all__ = ["SupernetJob"]


class SupernetJob(FrozenModel):
    """A training of a super-network or of a part of it, as a value that JSON can hold.

    Attributes:
        folder: of the pool, on a file system that all processes see.
        data: folder of the training images.
        keep_out: whether those are left out that a run keeps to judge subnets by.
    """

    config: SerializeAsAny[SupernetConfig]
    folder: Path
    data: Path
    workers: int | None = None
    keep_out: bool = False

    @field_validator("config", mode="before")
    @classmethod
    def _read_config(cls, value: Any) -> SupernetConfig:
        return value if isinstance(value, SupernetConfig) else config_from_json(value)
