"""How well scores agree with the losses that paths have: what the paper's tables show, and Kendall's tau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.path_filter.space import Floats

__all__ = ["Agreement", "compute_kendall_tau", "measure_agreement"]

WEAK = 0.25


@dataclass(frozen=True)
class Agreement:
    """Shares from 0 to 1, and tau from -1 to 1; NaN where there is nothing to divide by.

    A path is positive where it is among the weakest quarter of its bucket by loss, and called positive where its score
    is below the bucket's threshold. The paper does not define either, and its triples fit no single share of positives.

    Attributes:
        tau: Kendall's, the mean over buckets.
    """

    accuracy: float
    precision: float
    recall: float
    tau: float


def measure_agreement(
    scores: Floats,
    losses: Floats,
    buckets: NDArray[np.int64],
    weak: float = WEAK,
    thresholds: Floats | None = None,
) -> Agreement:
    """Compare scores with losses, both (paths,), within each bucket.

    Args:
        weak: which share is weak.
        thresholds: of each bucket, as those a training would reject paths by. None takes them from these very scores;
            then as many paths are called weak as are, and precision equals recall.
    """
    positive, called = np.zeros(len(scores), dtype=bool), np.zeros(len(scores), dtype=bool)
    taus = []
    for bucket in np.unique(buckets):
        rows = np.flatnonzero(buckets == bucket)
        count = round(weak * len(rows))
        positive[rows[np.argsort(-losses[rows], kind="stable")[:count]]] = True
        if thresholds is None:
            called[rows[np.argsort(scores[rows], kind="stable")[:count]]] = True
        else:
            called[rows] = scores[rows] < thresholds[bucket]
        taus.append(compute_kendall_tau(scores[rows], -losses[rows]))
    hits = int((positive & called).sum())
    return Agreement(
        float((positive == called).mean()) if len(scores) else float("nan"),
        hits / int(called.sum()) if called.any() else float("nan"),
        hits / int(positive.sum()) if positive.any() else float("nan"),
        float(np.nanmean(taus)) if np.isfinite(taus).any() else float("nan"),
    )


def compute_kendall_tau(one: Floats, other: Floats) -> float:
    """Kendall's tau-b, which allows for ties; NaN where either side has one value alone."""
    signs = [np.sign(values[:, None] - values[None, :]) for values in (one, other)]
    scale = np.sqrt(np.square(signs[0]).sum() * np.square(signs[1]).sum())
    return float((signs[0] * signs[1]).sum() / scale) if scale else float("nan")
