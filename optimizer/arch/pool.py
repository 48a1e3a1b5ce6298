"""The elastic teacher pool as arithmetic: which subnets a super-network holds, and the spec of each. No torch.

Joint-DetNAS (supplement, A.1.3): one super-network as deep as its family and 1.5 times as wide; every stage of a
subnet has a depth and a width coefficient of its own. The contracts of both classes are in `arch/subnets.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from random import Random
from typing import Any

from optimizer.arch.families import FAMILIES
from optimizer.arch.heads import make_head
from optimizer.arch.necks import usual_neck
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["ElasticSpace", "ElasticSubnet"]

ATTEMPTS = 100


@dataclass(frozen=True)
class ElasticSubnet:
    """One member of a pool.

    Attributes:
        depths: blocks of each stage, the first ones of the super-network's.
        widths: width coefficient of each stage.
        size: canvas (width, height) in pixels.
    """

    depths: tuple[int, ...]
    widths: tuple[float, ...]
    size: tuple[int, int]

    def __str__(self) -> str:
        depths = "-".join(str(depth) for depth in self.depths)
        widths = "/".join(f"{width:g}" for width in self.widths)
        return f"[{depths}] x {widths} at {self.size[0]}x{self.size[1]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ElasticSubnet:
        """The inverse of `to_json`; an `InputError` names what is wrong."""
        try:
            return ElasticSubnet(
                tuple(int(depth) for depth in value["depths"]),
                tuple(float(width) for width in value["widths"]),
                (int(value["size"][0]), int(value["size"][1])),
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise InputError(f"not a member of a teacher pool: {value!r} ({error!r})") from error


@dataclass(frozen=True)
class ElasticSpace:
    """The subnets of one elastic super-network.

    Attributes:
        family: a sliceable body of `FAMILIES`; coefficient 1.0 is its own width.
        depths: for each stage the depths to choose from, ascending; the paper's R101 has 2-3, 2-4, 2-23, 2-3.
        widths: width coefficients, ascending (paper: 1.0, 1.25, 1.5).
        sizes: canvases (width, height), the super-network's first.
        region_proposals: of every member whose head has them.
        detector: a `Head.name`.
    """

    family: str
    depths: tuple[tuple[int, ...], ...]
    widths: tuple[float, ...]
    sizes: tuple[tuple[int, int], ...]
    region_proposals: int = 1000
    detector: str = "faster_rcnn"

    def __post_init__(self) -> None:
        sliceable = [name for name, body in FAMILIES.items() if body.sliceable]
        if self.family not in sliceable:
            raise InputError(f"a teacher pool is made from one of {', '.join(sliceable)}, not {self.family!r}")
        if len(self.depths) != 4 or not all(self.depths) or min(min(choices) for choices in self.depths) < 1:
            raise InputError(f"a teacher pool has a choice of depths for each of four stages, not {self.depths}")
        if not self.widths or min(self.widths) <= 0 or not self.sizes:
            raise InputError("a teacher pool has at least one width coefficient, above 0, and one canvas")

    def count(self) -> int:
        """Subnets, canvases not counted: 192 after the paper's first shrinking phase, 21 384 after the second."""
        return prod(len(choices) for choices in self.depths) * len(self.widths) ** 4

    def largest(self) -> ElasticSubnet:
        """The super-network itself, on its own canvas."""
        return ElasticSubnet(tuple(max(choices) for choices in self.depths), (max(self.widths),) * 4, self.sizes[0])

    def smallest(self) -> ElasticSubnet:
        """The narrowest and shallowest member, on the super-network's canvas."""
        return ElasticSubnet(tuple(min(choices) for choices in self.depths), (min(self.widths),) * 4, self.sizes[0])

    def representatives(self) -> tuple[ElasticSubnet, ...]:
        """The largest member, one in the middle of all choices and the smallest; each once."""
        middle = ElasticSubnet(
            tuple(choices[len(choices) // 2] for choices in self.depths),
            (self.widths[len(self.widths) // 2],) * 4,
            self.sizes[0],
        )
        return tuple(dict.fromkeys((self.largest(), middle, self.smallest())))

    def contains(self, subnet: ElasticSubnet) -> bool:
        return (
            len(subnet.depths) == len(subnet.widths) == 4
            and all(depth in choices for depth, choices in zip(subnet.depths, self.depths))
            and all(width in self.widths for width in subnet.widths)
            and subnet.size in self.sizes
        )

    def sample(self, rng: Random) -> ElasticSubnet:
        """Any member, all equally likely."""
        return ElasticSubnet(
            tuple(rng.choice(choices) for choices in self.depths),
            tuple(rng.choice(self.widths) for _ in range(4)),
            rng.choice(self.sizes),
        )

    def mutate(self, subnet: ElasticSubnet, rng: Random) -> ElasticSubnet:
        """Another member that differs in the depth and width of one stage, or in the canvas; itself if it is alone."""
        moves = [stage for stage in range(4) if len(self.depths[stage]) * len(self.widths) > 1]
        moves += [4] if len(self.sizes) > 1 else []
        for _ in range(ATTEMPTS if moves else 0):
            move = rng.choice(moves)
            if move == 4:
                changed = replace(subnet, size=rng.choice(self.sizes))
            else:
                depths, widths = list(subnet.depths), list(subnet.widths)
                depths[move], widths[move] = rng.choice(self.depths[move]), rng.choice(self.widths)
                changed = replace(subnet, depths=tuple(depths), widths=tuple(widths))
            if changed != subnet:
                return changed
        return subnet

    def crossover(self, one: ElasticSubnet, other: ElasticSubnet, rng: Random) -> ElasticSubnet:
        """A member whose depths, widths and canvas are each those of either parent (once-for-all, DetNAS)."""
        return ElasticSubnet(
            tuple(rng.choice(pair) for pair in zip(one.depths, other.depths)),
            tuple(rng.choice(pair) for pair in zip(one.widths, other.widths)),
            rng.choice((one.size, other.size)),
        )

    def arch(self, subnet: ElasticSubnet) -> ArchSpec:
        """The spec of a member.

        The stem keeps the family's 64 channels (a reconstruction: the paper does not say that it widens), and every
        stage starts with a projection, because the super-network's does.
        """
        assert self.contains(subnet), f"{subnet} is not in this pool"
        body = FAMILIES[self.family].stretch(subnet.depths, subnet.widths)
        head = make_head(self.detector, self.sizes[0]).propose(self.region_proposals)
        return ArchSpec(subnet.size, body, usual_neck(head), head)
