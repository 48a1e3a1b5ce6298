"""A small space of paths, and what its paths would be worth if it were a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.path_filter.space import Floats, Genes

DEPTHS, WIDTHS, EXPANDS = (0, 1, 2), (0.65, 0.8, 1.0), (0.2, 0.25, 0.35)


@dataclass(frozen=True)
class ToySlot:
    name: str
    kind: str
    stage: int
    block: int | None
    choices: tuple[float, ...]


@dataclass(frozen=True)
class ToyPaths:
    """Stages of so many blocks and two more, with the choices of OFA-ResNet50."""

    base: tuple[int, ...] = (1, 2)
    expands: tuple[float, ...] = EXPANDS

    @property
    def slots(self) -> tuple[ToySlot, ...]:
        stages = range(len(self.base))
        return (
            *(ToySlot(f"depth {stage}", "depth", stage, None, DEPTHS) for stage in stages),
            *(ToySlot(f"width {stage}", "width", stage, None, WIDTHS) for stage in stages),
            *(ToySlot(f"expand {stage} {block}", "expand", stage, block, self.expands) for stage, block in self.layers),
        )

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        return tuple((stage, block) for stage, base in enumerate(self.base) for block in range(base + DEPTHS[-1]))

    def tokens(self, genes: Genes) -> NDArray[np.int64]:
        stages = len(self.base)
        columns = []
        for number, (stage, block) in enumerate(self.layers):
            token = 1 + 3 * genes[:, stages + stage] + genes[:, 2 * stages + number]
            columns.append(np.where(block < self.base[stage] + genes[:, stage], token, 0))
        return np.stack(columns, axis=1)

    def cost(self, genes: Genes) -> Floats:
        """Of a layer, width times expansion, more of a later stage."""
        tokens = self.tokens(genes)
        width, expand = np.divmod(np.maximum(tokens - 1, 0), 3)
        each = np.take(WIDTHS, width) ** 2 * np.take((*self.expands, 0.0), expand)
        weights = np.array([1.0 + 0.5 * stage for stage, _ in self.layers])
        return (np.where(tokens > 0, each, 0.0) * weights).sum(axis=1)


def make_up_losses(space: ToyPaths, genes: Genes, noise: float = 0.0, seed: int = 0) -> Floats:
    """What validation might find: work in some layers is worth more than in others, and two of them need each other."""
    tokens = space.tokens(genes)
    rng = np.random.default_rng(7)
    worth = rng.normal(size=(tokens.shape[1], 10)).cumsum(axis=1)
    gains = worth[np.arange(tokens.shape[1]), tokens].sum(axis=1) + (tokens[:, 0] > 4) * (tokens[:, -1] > 4) * 2.0
    return -gains + noise * np.random.default_rng(seed).normal(size=len(genes))
