"""What a detector costs, by arithmetic on its spec; each part counts itself."""

from __future__ import annotations

from functools import lru_cache

from optimizer.arch.bodies import AnyBody
from optimizer.arch.cost import Cost
from optimizer.arch.spec import ArchSpec

__all__ = ["Cost", "count", "count_parts"]


def count(arch: ArchSpec, num_classes: int = 80) -> Cost:
    """Cost of the whole detector; a Faster R-CNN sends all its region proposals through the box head."""
    return sum(count_parts(arch, num_classes).values(), Cost())


def count_parts(arch: ArchSpec, num_classes: int = 80) -> dict[str, Cost]:
    """Cost by part: "backbone", "neck", and the head's own, which are "head" and in a Faster R-CNN "rpn"."""
    return {
        "backbone": _count_body(arch.body, arch.input_size),
        "neck": arch.neck.count(arch.body_maps, arch.head.levels),
        **arch.head.count_parts(arch.maps, num_classes),
    }


@lru_cache(maxsize=10_000)  # most of the work, and strategies ask for one body under many necks and heads
def _count_body(body: AnyBody, input_size: tuple[int, int]) -> Cost:
    return body.count(input_size)
