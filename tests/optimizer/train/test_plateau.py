"""When a training is told to have stopped gaining, on curves that are known."""

from __future__ import annotations

import math
from random import Random

import pytest

from optimizer.train.plateau import is_gaining

NOISE = 0.005  # between equal networks


def train_until_it_stops(epochs_to_learn: float, highest: float, rng: Random, most: int = 400) -> tuple[int, float]:
    """Epochs after which the rule ends a training, and what it then lacks of what can be reached."""
    judged: list[float] = []
    while is_gaining(judged) and len(judged) < most:
        true = highest * (1 - math.exp(-(len(judged) + 1) / epochs_to_learn))
        judged.append(max(true + rng.gauss(0, NOISE), 0.0))
    return len(judged), highest - true


@pytest.mark.parametrize("epochs_to_learn", [3, 8, 20, 40])
@pytest.mark.parametrize("highest", [0.3, 0.7])
def test_a_training_ends_near_the_top_and_not_long_after(epochs_to_learn: float, highest: float) -> None:
    runs = [train_until_it_stops(epochs_to_learn, highest, Random(seed)) for seed in range(100)]
    lacking = sorted(lack for _, lack in runs)
    epochs = sorted(epochs for epochs, _ in runs)
    assert lacking[90] < 0.01, "nine in ten are trained out"
    assert epochs[90] < 12 + 7 * epochs_to_learn


def test_what_has_only_begun_is_not_over() -> None:
    assert is_gaining([0.0] * 30)
    assert not is_gaining([0.4] * 30)
    assert is_gaining([0.4] * 7), "too few to tell"
