"""What is left of a space once operations are barred, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.space import Genes, Mask, PathSpace, find_layer_slots, identify, list_choices

__all__ = ["PrunedSpace", "find_obeying"]


@dataclass(frozen=True)
class PrunedSpace:
    """What is left of a space, bucket by bucket.

    Attributes:
        allowed: for each bucket and slot whether each choice may be drawn.
        thresholds: for each bucket the least score of a path that may be drawn; 0 allows all.
    """

    space_id: str
    allowed: tuple[tuple[tuple[bool, ...], ...], ...]
    thresholds: tuple[float, ...]

    @classmethod
    def whole(cls, buckets: Buckets) -> PrunedSpace:
        """Nothing is barred."""
        allowed = np.broadcast_to(list_choices(buckets.space), (buckets.count, *list_choices(buckets.space).shape))
        return cls.of(buckets, allowed)

    @classmethod
    def of(cls, buckets: Buckets, allowed: Mask) -> PrunedSpace:
        """One mask (slots, most choices of a slot) for each bucket, and no thresholds."""
        counts = [len(slot.choices) for slot in buckets.space.slots]
        kept = tuple(
            tuple(tuple(map(bool, row[:count])) for row, count in zip(mask, counts, strict=True)) for mask in allowed
        )
        return cls(identify(buckets.space), kept, (0.0,) * buckets.count)

    def mask(self, bucket: int) -> Mask:
        """What is allowed in a bucket (slots, most choices of a slot)."""
        rows = self.allowed[bucket]
        mask = np.zeros((len(rows), max(map(len, rows))), dtype=bool)
        for number, row in enumerate(rows):
            mask[number, : len(row)] = row
        return mask

    def permit(self, buckets: Buckets, genes: Genes) -> NDArray[np.bool_]:
        """Whether each path (paths,) consists of operations that are allowed in its bucket; thresholds play no part."""
        masks = np.stack([self.mask(bucket) for bucket in range(buckets.count)])
        return find_obeying(buckets.space, masks[buckets.find(genes)], genes)

    def to_json(self) -> dict[str, Any]:
        allowed = [[[int(kept) for kept in row] for row in rows] for rows in self.allowed]
        return {"space": self.space_id, "allowed": allowed, "thresholds": [*self.thresholds]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], space: PathSpace) -> PrunedSpace:
        """The inverse of `to_json`.

        Raises:
            InputError: it is damaged, or what is left of another space.
        """
        try:
            space_id = value["space"]
            allowed = tuple(tuple(tuple(map(bool, row)) for row in rows) for rows in value["allowed"])
            thresholds = tuple(float(threshold) for threshold in value["thresholds"])
            counts = [len(slot.choices) for slot in space.slots]
            whole = all([*map(len, rows)] == counts and all(map(any, rows)) for rows in allowed)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"a pruned space is damaged: {value!s:.80}") from error
        if space_id != identify(space):
            raise InputError(
                f"a pruned space is of another space of paths ({space_id!r:.20}, wanted {identify(space)}); prune again"
            )
        if not whole or len(thresholds) != len(allowed):
            raise InputError(f"a pruned space is damaged: it does not leave every slot a choice, {value!s:.80}")
        return cls(space_id, allowed, thresholds)


def find_obeying(space: PathSpace, masks: Mask, genes: Genes) -> NDArray[np.bool_]:
    """Whether each path makes allowed choices alone, by one mask or one per path; blocks it skips do not count."""
    masks = np.broadcast_to(masks, (len(genes), *masks.shape[-2:]))
    obeyed = masks[np.arange(len(genes))[:, None], np.arange(genes.shape[1]), genes]
    obeyed[:, find_layer_slots(space)] |= space.tokens(genes) == 0
    every: NDArray[np.bool_] = np.all(obeyed, axis=1)
    return every
