"""How a student is scored: pure functions of (AP / AP of the base, cost of the base / cost of the student).

The definition of the papers' "H score" is in no text available to us. What is known is its name, that it takes alpha
(0.4; 0.1 for X101) and beta (0.8), and what it prefers. `harmonic` is a reconstruction that fits all of it; the other
three alternatives are offered. The base always scores 1; every function rises with either argument.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pow

__all__ = ["OBJECTIVES", "Objective", "arithmetic", "geometric", "harmonic", "product"]

Objective = Callable[[float, float, float, float], float]


def harmonic(ap_ratio: float, cost_ratio: float, alpha: float = 0.4, beta: float = 0.8) -> float:
    """Weighted harmonic mean of the AP ratio and cost_ratio ** alpha (reconstruction of the H score)."""
    if ap_ratio <= 0:
        return 0.0
    return 1 / (beta / ap_ratio + (1 - beta) / pow(cost_ratio, alpha))


def geometric(ap_ratio: float, cost_ratio: float, alpha: float = 0.4, beta: float = 0.8) -> float:
    """ap_ratio ** beta * cost_ratio ** (alpha * (1 - beta))."""
    return pow(max(ap_ratio, 0.0), beta) * pow(cost_ratio, alpha * (1 - beta))


def product(ap_ratio: float, cost_ratio: float, alpha: float = 0.4, beta: float = 0.8) -> float:
    """ap_ratio * cost_ratio ** alpha, as MnasNet weighs latency; `beta` plays no part."""
    return max(ap_ratio, 0.0) * pow(cost_ratio, alpha)


def arithmetic(ap_ratio: float, cost_ratio: float, alpha: float = 0.4, beta: float = 0.8) -> float:
    """beta * ap_ratio + (1 - beta) * cost_ratio ** alpha; a student that detects nothing scores 0."""
    return beta * ap_ratio + (1 - beta) * pow(cost_ratio, alpha) if ap_ratio > 0 else 0.0


OBJECTIVES: dict[str, Objective] = {
    "harmonic": harmonic,
    "geometric": geometric,
    "product": product,
    "arithmetic": arithmetic,
}
