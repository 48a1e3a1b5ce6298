"""The learning rate over a training, as a pure function of the step."""

from __future__ import annotations

import math

from optimizer.train.config import TrainConfig

__all__ = ["lr_factor"]


def lr_factor(step: int, total: int, config: TrainConfig) -> float:
    """What `config.lr` is multiplied with at `step` (0 .. total - 1)."""
    warmup = min(config.warmup_steps, max(total // 10, 1)) if config.warmup_steps else 0
    if step < warmup:
        return 1e-3 + (1 - 1e-3) * step / warmup
    share = (step - warmup) / max(total - warmup, 1)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    if config.schedule == "linear":
        return 1 - share
    if config.schedule == "step":
        return 0.1 ** sum(step >= milestone * total for milestone in config.milestones)
    return 1.0
