"""Least squares for few unknowns that cannot be negative, drawn towards what was known before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["fit_nonnegative"]

ROUNDS = 4  # per unknown; one or two are enough
TOLERANCE = 1e-9


def fit_nonnegative(
    inputs: Sequence[Sequence[float]],
    outputs: Sequence[float],
    noise: Sequence[float],
    prior: Sequence[float],
    spread: Sequence[float],
) -> tuple[float, ...]:
    """The likeliest unknowns x >= 0 of ``inputs @ x = outputs``; the prior alone where there are no rows.

    Minimises the sum of ((inputs @ x - outputs) / noise)^2 and of ((x - prior) / spread)^2: unknowns that would be
    negative are held at 0, and let go where that would lessen the sum.

    Args:
        inputs: one row per observation, one column per unknown.
        noise: standard deviation of each observation.
        prior, spread: mean and standard deviation of each unknown before anything was observed.
    """
    rows = np.array(inputs, float).reshape(len(outputs), len(prior)) / np.array(noise, float)[:, None]
    precision = 1 / np.array(spread, float) ** 2
    curvature = rows.T @ rows + np.diag(precision)
    pull = rows.T @ (np.array(outputs, float) / np.array(noise, float)) + np.array(prior, float) * precision
    free = np.ones(len(pull), bool)
    found = np.zeros(len(pull))
    for _ in range(ROUNDS * len(pull)):
        found[:] = 0.0
        found[free] = np.linalg.solve(curvature[np.ix_(free, free)], pull[free])
        if found.min() < 0:
            free &= found > 0
            continue
        slope = np.where(free, 0.0, pull - curvature @ found)
        if slope.max() <= TOLERANCE:
            break
        free[slope.argmax()] = True
    return tuple(float(value) for value in np.maximum(found, 0.0))
