"""95 % intervals of medians, as arithmetic on samples; seeded, so that a record always has the same one."""

from __future__ import annotations

from math import comb
from typing import Sequence

import numpy as np

__all__ = ["FEWEST_VALUES", "cut_tails", "find_median_interval", "resample_medians"]

RESAMPLES = 1000
FEWEST_VALUES = 6  # no interval of fewer values holds their median in 95 % of cases


def find_median_interval(values: np.ndarray) -> tuple[float, float]:
    """Order statistics between which the median lies in at least 95 % of cases (the sign test's interval).

    It holds for any distribution of independent values, from `FEWEST_VALUES` of them on; of fewer it is their range,
    which holds it less often. A bootstrap of so few is too narrow: of equal models timed in 7 windows it sets about
    10 % apart, this one 2 %.
    """
    ordered, count = np.sort(values), len(values)
    beyond, outside = 0, 2 / 2**count  # values left out at either end, and how often the median lies there
    while outside + 2 * comb(count, beyond + 1) / 2**count <= 0.05:
        beyond += 1
        outside += 2 * comb(count, beyond) / 2**count
    return float(ordered[beyond]), float(ordered[count - 1 - beyond])


def resample_medians(windows: Sequence[Sequence[float]], seed: int = 0) -> np.ndarray:
    """(RESAMPLES,) bootstrap values of the median of the windows' medians."""
    rng = np.random.default_rng(seed)
    medians = np.empty((RESAMPLES, len(windows)))
    for index, window in enumerate(windows):
        samples = np.array(window)
        medians[:, index] = np.median(samples[rng.integers(0, len(samples), (RESAMPLES, len(samples)))], axis=1)
    chosen = rng.integers(0, len(windows), (RESAMPLES, len(windows)))
    return np.asarray(np.median(np.take_along_axis(medians, chosen, axis=1), axis=1))


def cut_tails(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of bootstrap values."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
