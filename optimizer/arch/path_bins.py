"""Paths drawn by their operations, as in DetNAS' pre-training (FACTS 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random

from optimizer.arch.families import PATH_SPACES
from optimizer.arch.paths import PathSubnet, PathSubnets

__all__ = ["BinnedPaths"]

CANVAS = (224, 224)  # operations are counted on it, whatever the canvas of the training
CLASSES = 1000
PAPER_SPACE, PAPER_RANGE = "shufflenetv2_20", (290e6, 360e6)
BINS = 7
ATTEMPTS = 500


@dataclass(frozen=True)
class BinnedPaths:
    """Paths of a space: a bin of operations is drawn uniformly, then a path within it.

    Without bins the very cheap and the very dear ones would hardly ever be drawn. The paper's bins, of its space of 20
    places, are 10 M operations wide, from 290 to 360 M, those of a classifier of 1000 included. Those of other spaces
    lie at the same shares between the cheapest and the dearest path (a reconstruction).

    Attributes:
        bins: (least, most) operations on a canvas of 224x224, body and classifier.
        attempts: paths drawn for a bin before one is taken as it comes.
    """

    space: PathSubnets
    bins: tuple[tuple[float, float], ...]
    attempts: int = ATTEMPTS

    @classmethod
    def of(cls, space: PathSubnets) -> BinnedPaths:
        whole = PathSubnets(PAPER_SPACE, (CANVAS,))
        least, most = _find_range(whole)
        shares = [(end - least) / (most - least) for end in PAPER_RANGE]
        least, most = _find_range(space)
        low, high = (least + share * (most - least) for share in shares)
        edges = [low + (high - low) * number / BINS for number in range(BINS + 1)]
        return cls(space, tuple(pairwise(edges)))

    def sample(self, rng: Random) -> PathSubnet:
        least, most = rng.choice(self.bins)
        rest = _count_classifier(self.space)
        for _ in range(self.attempts):
            path = self.space.sample(rng)
            if least <= self.space.count_body(path, CANVAS) + rest <= most:
                return path
        return self.space.sample(rng)


def _find_range(space: PathSubnets) -> tuple[int, int]:
    """Operations of the cheapest and the dearest path."""
    rest = _count_classifier(space)
    ends = space.smallest(), space.largest()
    low, high = sorted(space.count_body(path, CANVAS) + rest for path in ends)
    return low, high


def _count_classifier(space: PathSubnets) -> int:
    return PATH_SPACES[space.family].count_classifier(CANVAS, CLASSES)
