"""Networks of a once-for-all space as rows of whole numbers: what thousands of them cost, at once. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from optimizer.arch.bodies.ofa_resnet import OfaShape

__all__ = ["OfaGenes", "Slot"]


@dataclass(frozen=True)
class Slot:
    """One choice of a network.

    Attributes:
        block: of an "expand" slot; None is a choice of the whole stage.
        choices: ascending.
    """

    name: str
    kind: Literal["depth", "width", "expand"]
    stage: int
    block: int | None
    choices: tuple[float | int, ...]


@dataclass(frozen=True)
class OfaGenes:
    """What the genes of a space mean: for each slot the number of a choice; of a block that does not run, none counts.

    Attributes:
        depths, widths, expands: choices of D, W and E, ascending; a stage that cannot grow so much takes its most.
    """

    shape: OfaShape
    depths: tuple[int, ...]
    widths: tuple[float, ...]
    expands: tuple[float, ...]

    @cached_property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(stage, block) of every block there may be, from 0, in the order data flows."""
        return self.shape.places

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Depths of the stages, then their widths, then the inner widths of all blocks."""
        stages = range(len(self.shape.base_depths))
        depths = [Slot(f"D{stage + 1}", "depth", stage, None, self.list_depths(stage)) for stage in stages]
        widths = [Slot(f"W{stage + 1}", "width", stage, None, self.widths) for stage in stages]
        expands = [
            Slot(f"E{stage + 1}.{block + 1}", "expand", stage, block, self.expands) for stage, block in self.layers
        ]
        return (*depths, *widths, *expands)

    def list_depths(self, stage: int) -> tuple[int, ...]:
        """The choices of D of a stage."""
        return tuple(dict.fromkeys(min(depth, self.shape.growth[stage]) for depth in self.depths))

    def tokens(self, genes: np.ndarray) -> np.ndarray:
        """(N, slots) genes to (N, layers): 0 for a block that does not run, else 1 + E + W times the choices of E.

        With three choices of each that is 1 to 9.
        """
        depths, widths, expands = self._split(genes)
        return np.where(self._find_running(depths), 1 + len(self.expands) * widths[:, self._stages] + expands, 0)

    def cost(self, genes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, slots) genes to (N,) MACs of the body on a canvas (width, height)."""
        depths, widths, expands = self._split(genes)
        stem, tables = _tabulate_macs(self, size)
        before = widths[:, np.maximum(self._stages - 1, 0)]
        macs = tables[np.arange(len(self.layers)), before, widths[:, self._stages], expands]
        total: np.ndarray = stem + np.where(self._find_running(depths), macs, 0).sum(axis=1)
        return total

    @cached_property
    def out_widths(self) -> np.ndarray:
        """(stages, W): output widths."""
        stages = range(len(self.shape.base_depths))
        return np.array([[self.shape.out_width(stage, width) for width in self.widths] for stage in stages])

    @cached_property
    def inner_widths(self) -> np.ndarray:
        """(stages, W, E): inner widths."""
        inner = self.shape.inner_width
        stages = range(len(self.shape.base_depths))
        return np.array(
            [[[inner(stage, width, expand) for expand in self.expands] for width in self.widths] for stage in stages]
        )

    @cached_property
    def _stages(self) -> np.ndarray:
        """The stage of each layer."""
        return np.array([stage for stage, _ in self.layers])

    @cached_property
    def _running(self) -> np.ndarray:
        """(layers, choices of D): whether a block runs; a stage with fewer choices leaves the last ones unused."""
        runs = np.zeros((len(self.layers), len(self.depths)), dtype=bool)
        for place, (stage, block) in enumerate(self.layers):
            depths = self.list_depths(stage)
            runs[place, : len(depths)] = block < self.shape.base_depths[stage] + np.array(depths)
        return runs

    def _split(self, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns of D, of W and of E."""
        stages = len(self.shape.base_depths)
        assert genes.ndim == 2 and genes.shape[1] == len(self.slots), f"genes of shape {genes.shape}"
        return genes[:, :stages], genes[:, stages : 2 * stages], genes[:, 2 * stages :]

    def _find_running(self, depths: np.ndarray) -> np.ndarray:
        """(N, layers): whether each block runs, by the genes of D."""
        runs: np.ndarray = self._running[np.arange(len(self.layers)), depths[:, self._stages]]
        return runs


@lru_cache(maxsize=64)
def _tabulate_macs(of: OfaGenes, size: tuple[int, int]) -> tuple[int, np.ndarray]:
    """MACs of the stem, and of each block by W of the stage before, its own W and E (layers, W, W, E).

    Only the first block of a stage reads the stage before; that of the first stage reads the stem.
    """
    whole = of.shape.largest()
    maps = (whole.stem_map(size), *whole.maps(size))
    tables = []
    for stage, block in of.layers:
        before, cells = maps[stage if block == 0 else stage + 1].cells, maps[stage + 1].cells
        out, inner = of.out_widths[stage][None, :, None], of.inner_widths[stage][None]
        reads = out
        if block == 0:
            reads = np.full(len(of.widths), whole.stem_width) if stage == 0 else of.out_widths[stage - 1]
            reads = reads[:, None, None]
        macs = inner * (reads * before + 9 * inner * cells + out * cells) + (block == 0) * reads * out * cells
        tables.append(np.broadcast_to(macs, (len(of.widths), len(of.widths), len(of.expands))))
    return whole.count_stem(size).macs, np.stack(tables)
