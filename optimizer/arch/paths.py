"""Paths through DetNAS' places (FACTS 3): one block of several in each, and the canvas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from optimizer.arch.bodies.shufflenet import CHOICES, SHUFFLES, ShuffleNetSpec
from optimizer.arch.families import PATH_SPACES, PathSpace
from optimizer.arch.heads import make_head
from optimizer.arch.necks import usual_neck
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["PathSubnet", "PathSubnets"]

Size = tuple[int, int]


@dataclass(frozen=True)
class PathSubnet:
    """The number of the block in each place, in the order data flows, and the canvas (width, height)."""

    choices: tuple[int, ...]
    size: Size

    def __str__(self) -> str:
        return "{} at {}x{}".format("".join(map(str, self.choices)), *self.size)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "path", "choices": list(self.choices), "size": list(self.size)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PathSubnet:
        """The inverse of `to_json`; an `InputError` where it is none."""
        try:
            width, height = value["size"]
            return PathSubnet(tuple(int(choice) for choice in value["choices"]), (int(width), int(height)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a path of blocks: {value!r}") from error


@dataclass(frozen=True)
class PathSubnets:
    """The paths through one space.

    Attributes:
        family: a key of `PATH_SPACES`.
        sizes: canvases (width, height), the super-network's first.
        region_proposals: of every path whose head has them. detector: a `Head.name`.
        choices: numbers of the blocks there are in every place, ascending.
        shuffle: how blocks part their channels.
    """

    family: str
    sizes: tuple[Size, ...]
    region_proposals: int = 1000
    detector: str = "faster_rcnn"
    choices: tuple[int, ...] = CHOICES
    shuffle: str = SHUFFLES[0]

    def __post_init__(self) -> None:
        if self.family not in PATH_SPACES:
            raise InputError(f"there is no space of paths {self.family!r}; choose one of {', '.join(PATH_SPACES)}")
        if not self.sizes or self.choices != tuple(sorted({*self.choices} & {*CHOICES})) or not self.choices:
            raise InputError(f"a space of paths has a canvas, and blocks from {CHOICES} in order, not {self}")

    @property
    def places(self) -> int:
        return sum(PATH_SPACES[self.family].depths)

    def count(self) -> int:
        """Paths on one canvas: 4 to the power of 20, or of 40, in the paper's spaces."""
        paths: int = len(self.choices) ** self.places
        return paths

    def largest(self) -> PathSubnet:
        return PathSubnet(tuple(max(costs, key=costs.__getitem__) for costs in self._list_costs()), self.sizes[0])

    def smallest(self) -> PathSubnet:
        return PathSubnet(tuple(min(costs, key=costs.__getitem__) for costs in self._list_costs()), self.sizes[0])

    def list_least(self) -> tuple[PathSubnet, ...]:
        """The path with the fewest operations on each canvas."""
        return tuple(replace(self.smallest(), size=size) for size in self.sizes)

    def representatives(self) -> tuple[PathSubnet, ...]:
        """The largest path, those with one block everywhere, and the smallest."""
        same = [PathSubnet((choice,) * self.places, self.sizes[0]) for choice in reversed(self.choices)]
        ends = self.largest(), self.smallest()
        between = sorted(set(same) - set(ends), key=lambda path: -self.body(path).count(path.size).macs)
        return tuple(dict.fromkeys((ends[0], *between, ends[1])))

    def contains(self, subnet: PathSubnet) -> bool:
        return (
            len(subnet.choices) == self.places
            and set(subnet.choices) <= set(self.choices)
            and subnet.size in self.sizes
        )

    def sample(self, rng: Random) -> PathSubnet:
        return PathSubnet(tuple(rng.choice(self.choices) for _ in range(self.places)), rng.choice(self.sizes))

    def mutate(self, subnet: PathSubnet, rng: Random) -> PathSubnet:
        """Another block in one place, or another canvas."""
        moves = [
            (place, choice)
            for place, own in enumerate(subnet.choices)
            for choice in self.choices
            if choice != own
        ]  # fmt: skip
        sizes = [size for size in self.sizes if size != subnet.size]
        if not moves and not sizes:
            return subnet
        number = rng.randrange(len(moves) + len(sizes))
        if number >= len(moves):
            return replace(subnet, size=sizes[number - len(moves)])
        place, choice = moves[number]
        return replace(subnet, choices=(*subnet.choices[:place], choice, *subnet.choices[place + 1 :]))

    def redraw(self, subnet: PathSubnet, rate: float, rng: Random) -> PathSubnet:
        """A copy, each of whose blocks, and its canvas, is drawn anew with this probability."""
        choices = tuple(rng.choice(self.choices) if rng.random() < rate else own for own in subnet.choices)
        return PathSubnet(choices, rng.choice(self.sizes) if rng.random() < rate else subnet.size)

    def crossover(self, one: PathSubnet, other: PathSubnet, rng: Random) -> PathSubnet:
        choices = tuple(rng.choice(pair) for pair in zip(one.choices, other.choices, strict=True))
        return PathSubnet(choices, rng.choice((one.size, other.size)))

    def body(self, subnet: PathSubnet) -> ShuffleNetSpec:
        """The body of a path."""
        return PATH_SPACES[self.family].make(subnet.choices, self.shuffle)

    def count_body(self, subnet: PathSubnet, size: Size) -> int:
        """MACs of a path's body on a canvas; what `body(subnet).count(size)` says, from a table."""
        costs = _list_costs(PATH_SPACES[self.family], self.choices, size)
        plain = costs[0][self.choices[0]]
        return plain + sum(place[choice] - plain for place, choice in zip(costs, subnet.choices, strict=True))

    def arch(self, subnet: PathSubnet) -> ArchSpec:
        head = make_head(self.detector, self.sizes[0]).propose(self.region_proposals)
        return ArchSpec(subnet.size, self.body(subnet), usual_neck(head), head)

    def _list_costs(self) -> tuple[Mapping[int, int], ...]:
        return _list_costs(PATH_SPACES[self.family], self.choices, self.sizes[0])


@lru_cache(maxsize=64)
def _list_costs(space: PathSpace, choices: tuple[int, ...], size: Size) -> tuple[Mapping[int, int], ...]:
    """MACs of each block in each place: those of one place do not depend on the others."""
    found = []
    for place in range(sum(space.depths)):
        plain = [choices[0]] * sum(space.depths)
        costs = {}
        for choice in choices:
            plain[place] = choice
            costs[choice] = space.make(tuple(plain)).count(size).macs
        found.append(costs)
    return tuple(found)
