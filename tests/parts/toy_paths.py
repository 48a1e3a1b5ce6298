"""A small space of paths, and what its paths would be worth if it were a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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

    @cached_property
    def _of_layers(self) -> NDArray[np.int64]:
        """Stage and block of each layer, and the least depth at which it runs (3, layers)."""
        return np.array([(stage, block, block - self.base[stage] + 1) for stage, block in self.layers]).T

    def tokens(self, genes: Genes) -> NDArray[np.int64]:
        stages, (stage, _, depth) = len(self.base), self._of_layers
        tokens = 1 + 3 * genes[:, stages + stage] + genes[:, 2 * stages :]
        return np.where(genes[:, stage] >= depth, tokens, 0)

    def cost(self, genes: Genes) -> Floats:
        """Of a layer, width times expansion, more of a later stage."""
        each = np.outer(np.square(WIDTHS), self.expands)
        return np.array([0.0, *each.ravel()])[self.tokens(genes)] @ (1.0 + 0.5 * self._of_layers[0])


def make_up_losses(space: ToyPaths, genes: Genes, noise: float = 0.0, seed: int = 0) -> Floats:
    """What validation might find: work in some layers is worth more than in others, and two of them need each other."""
    tokens = space.tokens(genes)
    rng = np.random.default_rng(7)
    worth = rng.normal(size=(tokens.shape[1], 10)).cumsum(axis=1)
    gains = worth[np.arange(tokens.shape[1]), tokens].sum(axis=1) + (tokens[:, 0] > 4) * (tokens[:, -1] > 4) * 2.0
    return -gains + noise * np.random.default_rng(seed).normal(size=len(genes))
