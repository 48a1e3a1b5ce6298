"""Whether a training still gains, judged by average precisions that are noisy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, linear_regression

__all__ = ["is_gaining"]

JUDGED_BY = 8  # judgements, and the last third of many: equal networks differ by sd 0.005
LONGER = 0.25  # what a gain is asked of: so much more training than there was
LEAST_GAIN = 0.005
LEAST_AP = 0.05  # what detects less has only begun


def is_gaining(judged: Sequence[float]) -> bool:
    """Whether a quarter more training would gain more than 0.005 of AP, if it went on as by the last judgements.

    Args:
        judged: average precisions (0..1) after equal pieces of training; of fewer than 8 nothing can be said.
    """
    count = max(JUDGED_BY, len(judged) // 3)
    if len(judged) < count:
        return True
    last = judged[-count:]
    rise = linear_regression(range(count), last).slope
    return rise * LONGER * len(judged) > LEAST_GAIN or fmean(last) < LEAST_AP
