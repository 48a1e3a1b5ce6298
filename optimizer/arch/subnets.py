"""What a subnet and a space of subnets can do, whatever kind of super-network holds them. No torch here.

Strategies, teachers, trainings and the store know these two contracts and never ask for a kind. A new kind of subnet is
one module (`arch/pool.py` is the example to read) and one line in `SUBNETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Protocol

from optimizer.arch.ofa_space import OfaSubnet
from optimizer.arch.paths import PathSubnet
from optimizer.arch.pool import ElasticSubnet
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["SUBNETS", "Subnet", "SubnetSpace", "subnet_from_json"]


class Subnet(Protocol):
    """One subnet of a super-network: an immutable, hashable value whose `str` is its name in reports."""

    def __hash__(self) -> int: ...

    def to_json(self) -> dict[str, Any]:
        """One entry per choice, the same entries for every subnet of a space; `subnet_from_json` is the inverse.

        The entry "kind" is the subnet's key in `SUBNETS`. Only those of an elastic pool have none.
        """
        ...


class SubnetSpace(Protocol):
    """The subnets of one super-network.

    The canvas (input size) is one of a subnet's choices. It costs no weights: `count` leaves it out, and the largest
    and the smallest subnet have the super-network's own. Arguments typed `Any` are subnets of this very space.
    """

    def count(self) -> int:
        """How many subnets there are on one canvas."""
        ...

    def largest(self) -> Subnet:
        """The subnet with the most operations."""
        ...

    def smallest(self) -> Subnet:
        """The subnet with the fewest operations."""
        ...

    def representatives(self) -> tuple[Subnet, ...]:
        """A few subnets from the largest to the smallest, each once: what a report evaluates."""
        ...

    def contains(self, subnet: Any) -> bool: ...

    def sample(self, rng: Random) -> Subnet:
        """Any subnet, each of its choices drawn evenly and on its own."""
        ...

    def mutate(self, subnet: Any, rng: Random) -> Subnet:
        """Another subnet close to this one; itself where it is the only one."""
        ...

    def crossover(self, one: Any, other: Any, rng: Random) -> Subnet:
        """A subnet each of whose choices is that of one of two parents; it may equal a parent."""
        ...

    def arch(self, subnet: Any) -> ArchSpec:
        """The architecture of the plain detector that a subnet is extracted to."""
        ...


SUBNETS: dict[str, Callable[[Mapping[str, Any]], Subnet]] = {
    "elastic": ElasticSubnet.from_json,
    "path": PathSubnet.from_json,
    "ofa": OfaSubnet.from_json,
}


def subnet_from_json(value: Mapping[str, Any]) -> Subnet:
    """A subnet of any kind; JSON that names no kind is of an elastic pool, as version 0.1.0 wrote it.

    Raises:
        InputError: the kind is unknown, or an entry is missing or not what the kind takes.
    """
    kind = value.get("kind", "elastic") if isinstance(value, Mapping) else "elastic"
    if kind not in SUBNETS:
        raise InputError(f"there is no kind of subnet {kind!r}; there are: {', '.join(SUBNETS)}")
    return SUBNETS[kind](value)
