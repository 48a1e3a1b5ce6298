"""Once-for-all's choices as arithmetic (FACTS 4.1, 4.6): depth D, width W and inner width E of an elastic ResNet.

The stem is whole in every subnet (a reading: DetOFA's table of choices leaves it out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from random import Random
from typing import Any

import numpy as np

from optimizer.arch.bodies.ofa_resnet import DEPTHS, EXPANDS, WIDTHS, OfaResNetSpec, OfaShape, write_runs
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.heads import make_head
from optimizer.arch.necks import usual_neck
from optimizer.arch.ofa_genes import OfaGenes, Slot
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["OfaSpace", "OfaSubnet", "Slot"]

Size = tuple[int, int]


@dataclass(frozen=True)
class OfaSubnet:
    """One network of a space; equal networks on equal canvases are equal values.

    Attributes:
        depths: D of each stage, the blocks added to its base.
        expands: E of each block there may be, in the order data flows; the space's first E for one that does not run.
        widths: W of each stage.
        size: canvas (width, height) in pixels.
    """

    depths: tuple[int, ...]
    expands: tuple[float, ...]
    widths: tuple[float, ...]
    size: Size

    def __str__(self) -> str:
        depths, expands, widths = map(write_runs, (self.depths, self.expands, self.widths))
        return f"D{depths} E{expands} W{widths} at {self.size[0]}x{self.size[1]}"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "ofa", "depths": list(self.depths), "expands": list(self.expands), "widths": list(self.widths),
            "size": list(self.size),
        }  # fmt: skip

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> OfaSubnet:
        """The inverse of `to_json`; an `InputError` where it is none."""
        try:
            width, height = value["size"]
            return OfaSubnet(
                tuple(int(depth) for depth in value["depths"]),
                tuple(float(expand) for expand in value["expands"]),
                tuple(float(factor) for factor in value["widths"]),
                (int(width), int(height)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a subnet of a once-for-all network: {value!r}") from error


@dataclass(frozen=True)
class OfaSpace:
    """The subnets of one once-for-all network.

    A network is also known by its genes: for each slot the number of the choice, 0 for a block that does not run.

    Attributes:
        family: a key of `OFA_SHAPES`.
        sizes: canvases (width, height), the super-network's first.
        region_proposals: of every subnet whose head has them. detector: a `Head.name`.
        depths, widths, expands: choices of D, W and E, ascending; a stage that cannot grow so much takes its most.
        coupled: whether a stage's D and W go together, the first with the first and so on (DetOFA's CompOFA*).
    """

    family: str
    sizes: tuple[Size, ...]
    region_proposals: int = 1000
    detector: str = "faster_rcnn"
    depths: tuple[int, ...] = DEPTHS
    widths: tuple[float, ...] = WIDTHS
    expands: tuple[float, ...] = EXPANDS
    coupled: bool = False

    def __post_init__(self) -> None:
        if self.family not in OFA_SHAPES:
            raise InputError(f"there is no once-for-all network {self.family!r}; choose one of {', '.join(OFA_SHAPES)}")
        choices: tuple[tuple[float, ...], ...] = (self.depths, self.widths, self.expands)
        if not all((self.sizes, *choices)) or any(list(values) != sorted({*values}) for values in choices):
            raise InputError(f"a space has a canvas, and D, W and E to choose from, each ascending; not {self}")
        if self.depths[0] < 0 or min(self.widths[0], self.expands[0]) <= 0:
            raise InputError(f"D is from 0, W and E are above 0; not {self}")
        if self.coupled and len(self.depths) != len(self.widths):
            raise InputError(f"as many D as W go together, not {len(self.depths)} and {len(self.widths)}")

    # what there is to choose

    @property
    def shape(self) -> OfaShape:
        return OFA_SHAPES[self.family]

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(stage, block) of every block there may be, from 0, in the order data flows."""
        return self._genes.layers

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Depths of the stages, then their widths, then the inner widths of all blocks."""
        return self._genes.slots

    def count(self) -> int:
        """Subnets on one canvas: 1.366e11 in the whole space, 1.686e9 where D and W are coupled."""
        return prod(
            sum(len(self.expands) ** (self.shape.base_depths[stage] + depth) for depth, _ in pairs)
            for stage, pairs in enumerate(self._pairs)
        )

    def largest(self) -> OfaSubnet:
        return self._make_uniform(-1)

    def smallest(self) -> OfaSubnet:
        return self._make_uniform(0)

    def list_least(self) -> tuple[OfaSubnet, ...]:
        """The smallest subnet on each canvas."""
        return tuple(replace(self.smallest(), size=size) for size in self.sizes)

    def representatives(self) -> tuple[OfaSubnet, ...]:
        """The largest subnet, the one in the middle of all choices, and the smallest; each once."""
        return tuple(dict.fromkeys((self.largest(), self._make_uniform(None), self.smallest())))

    def contains(self, subnet: OfaSubnet) -> bool:
        if (len(subnet.depths), len(subnet.widths)) != (len(self._pairs),) * 2:
            return False
        if len(subnet.expands) != len(self.layers) or subnet.size not in self.sizes:
            return False
        stages = zip(subnet.depths, subnet.widths)
        return (
            all(pair in pairs for pair, pairs in zip(stages, self._pairs))
            and all(expand in self.expands for expand in subnet.expands)
            and subnet == self._clean(subnet)
        )

    # drawing

    def sample(self, rng: Random) -> OfaSubnet:
        """Each choice drawn evenly and on its own (a coupled D and W as one)."""
        pairs = [rng.choice(pairs) for pairs in self._pairs]
        return self._make(pairs, [rng.choice(self.expands) for _ in self.layers], rng.choice(self.sizes))

    def mutate(self, subnet: OfaSubnet, rng: Random) -> OfaSubnet:
        """One stage with another D, W or both, one block with another E, or another canvas; itself if it is alone."""
        own = list(zip(subnet.depths, subnet.widths))
        moves: list[OfaSubnet] = [replace(subnet, size=size) for size in self.sizes if size != subnet.size]
        for stage, pairs in enumerate(self._pairs):
            for pair in pairs:
                if pair != own[stage]:
                    changed = [*own[:stage], pair, *own[stage + 1 :]]
                    moves.append(self._make(changed, self._fill(subnet, changed, rng), subnet.size))
        for place, layer in enumerate(self.layers):
            if self.shape.runs(layer, subnet.depths):
                moves += [
                    replace(subnet, expands=(*subnet.expands[:place], expand, *subnet.expands[place + 1 :]))
                    for expand in self.expands
                    if expand != subnet.expands[place]
                ]
        return rng.choice(moves) if moves else subnet

    def redraw(self, subnet: OfaSubnet, rate: float, rng: Random) -> OfaSubnet:
        """A copy, each of whose choices, and its canvas, is drawn anew with this probability.

        E of a block that comes to run is drawn in any case.
        """
        pairs = []
        for stage, own in enumerate(zip(subnet.depths, subnet.widths)):
            drawn, again = rng.choice(self._pairs[stage]), rng.choice(self._pairs[stage])
            if self.coupled:
                pairs.append(drawn if rng.random() < rate else own)
            else:
                depth = drawn[0] if rng.random() < rate else own[0]
                pairs.append((depth, again[1] if rng.random() < rate else own[1]))
        expands = [rng.choice(self.expands) if rng.random() < rate else own for own in self._fill(subnet, pairs, rng)]
        return self._make(pairs, expands, rng.choice(self.sizes) if rng.random() < rate else subnet.size)

    def crossover(self, one: OfaSubnet, other: OfaSubnet, rng: Random) -> OfaSubnet:
        """D, W and E each of either parent, a coupled D and W of the same; E of a block that one alone runs is its."""
        parents = (one, other)
        pairs = []
        for stage in range(len(self._pairs)):
            by_depth = rng.choice(parents)
            by_width = by_depth if self.coupled else rng.choice(parents)
            pairs.append((by_depth.depths[stage], by_width.widths[stage]))
        expands = []
        for place, layer in enumerate(self.layers):
            running = [parent for parent in parents if self.shape.runs(layer, parent.depths)]
            expands.append(rng.choice(running or parents).expands[place])
        return self._make(pairs, expands, rng.choice(parents).size)

    # the network of a choice

    def body(self, subnet: OfaSubnet) -> OfaResNetSpec:
        return self.shape.make(subnet.depths, subnet.expands, subnet.widths)

    def arch(self, subnet: OfaSubnet) -> ArchSpec:
        head = make_head(self.detector, self.sizes[0]).propose(self.region_proposals)
        return ArchSpec(subnet.size, self.body(subnet), usual_neck(head), head)

    # the same as arrays

    def genes(self, subnet: OfaSubnet) -> tuple[int, ...]:
        """The number of the choice for each slot."""
        values = (*subnet.depths, *subnet.widths, *subnet.expands)
        return tuple(slot.choices.index(value) for slot, value in zip(self.slots, values, strict=True))

    def subnet(self, genes: Sequence[int], size: Size) -> OfaSubnet:
        """The subnet of these genes; what they say of a block that does not run is left aside."""
        values = [slot.choices[gene] for slot, gene in zip(self.slots, genes, strict=True)]
        stages = len(self._pairs)
        pairs = [(int(depth), width) for depth, width in zip(values[:stages], values[stages : 2 * stages])]
        return self._make(pairs, values[2 * stages :], size)

    def tokens(self, genes: np.ndarray) -> np.ndarray:
        """See `OfaGenes.tokens`."""
        return self._genes.tokens(genes)

    def cost(self, genes: np.ndarray, size: Size | None = None) -> np.ndarray:
        """(N, slots) genes to (N,) MACs of the body; `size` is the canvas, None the super-network's."""
        return self._genes.cost(genes, size or self.sizes[0])

    @cached_property
    def _genes(self) -> OfaGenes:
        return OfaGenes(self.shape, self.depths, self.widths, self.expands)

    @cached_property
    def _pairs(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """For each stage every D with every W, or with its own where they are coupled."""
        found = []
        for stage, growth in enumerate(self.shape.growth):
            if self.coupled:
                found.append(tuple((min(depth, growth), width) for depth, width in zip(self.depths, self.widths)))
            else:
                found.append(tuple(product(self._genes.list_depths(stage), self.widths)))
        return tuple(found)

    def _make_uniform(self, rank: int | None) -> OfaSubnet:
        """With the choice of this rank everywhere; None is the middle one."""
        pairs = [pairs[len(pairs) // 2 if rank is None else rank] for pairs in self._pairs]
        expand = self.expands[len(self.expands) // 2 if rank is None else rank]
        return self._make(pairs, [expand] * len(self.layers), self.sizes[0])

    def _make(self, pairs: Sequence[tuple[int, float]], expands: Sequence[float], size: Size) -> OfaSubnet:
        depths, widths = zip(*pairs)
        return self._clean(OfaSubnet(depths, tuple(expands), widths, size))

    def _clean(self, subnet: OfaSubnet) -> OfaSubnet:
        expands = (
            expand if self.shape.runs(layer, subnet.depths) else self.expands[0]
            for layer, expand in zip(self.layers, subnet.expands, strict=True)
        )
        return replace(subnet, expands=tuple(expands))

    def _fill(self, subnet: OfaSubnet, pairs: Sequence[tuple[int, float]], rng: Random) -> list[float]:
        """E of each block; drawn for one that does not run in this subnet, and does with other depths."""
        depths = [depth for depth, _ in pairs]
        return [
            rng.choice(self.expands)
            if self.shape.runs(layer, depths) and not self.shape.runs(layer, subnet.depths)
            else own
            for layer, own in zip(self.layers, subnet.expands)
        ]
