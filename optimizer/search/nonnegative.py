"""Least squares for few unknowns that cannot be negative, drawn towards what was known before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["fit_nonnegative"]

SWEEPS = 300
TOLERANCE = 1e-7


def fit_nonnegative(
    inputs: Sequence[Sequence[float]],
    outputs: Sequence[float],
    noise: Sequence[float],
    prior: Sequence[float],
    spread: Sequence[float],
) -> tuple[float, ...]:
    """The likeliest unknowns x >= 0 of ``inputs @ x = outputs``; the prior alone where there are no rows.

    Minimises the sum of ((inputs @ x - outputs) / noise)^2 and of ((x - prior) / spread)^2, one unknown after the other
    until none moves: the sum is strictly convex, so this ends at its only minimum.

    Args:
        inputs: one row per observation, one column per unknown.
        noise: standard deviation of each observation.
        prior, spread: mean and standard deviation of each unknown before anything was observed.
    """
    rows = np.array(inputs, float).reshape(len(outputs), len(prior)) / np.array(noise, float)[:, None]
    precision = 1 / np.array(spread, float) ** 2
    curvature = rows.T @ rows + np.diag(precision)
    pull = rows.T @ (np.array(outputs, float) / np.array(noise, float)) + np.array(prior, float) * precision
    found = np.maximum(np.linalg.solve(curvature, pull), 0.0)
    for _ in range(SWEEPS):
        before = found.copy()
        for column, (slopes, wanted) in enumerate(zip(curvature, pull)):
            rest = slopes @ found - slopes[column] * found[column]
            found[column] = max((wanted - rest) / slopes[column], 0.0)
        if np.abs(found - before).max() < TOLERANCE:
            break
    return tuple(float(value) for value in found)
