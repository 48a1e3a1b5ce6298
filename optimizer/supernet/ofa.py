"""The once-for-all super-network: slices of the largest subnet, whose inner channels are sorted before E shrinks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optimizer.arch.ofa_space import OfaSpace
from optimizer.detectors.base import Detector
from optimizer.morph.layers import name_block, take_channels, take_layer
from optimizer.supernet.elastic import SlicedSupernet

__all__ = ["OfaSupernet", "sort_inner"]


class OfaSupernet(SlicedSupernet):
    """D takes the first blocks of a stage, W the first channels of the residual stream, E the first inner ones.

    Args:
        spaces: what each phase of the training draws from; the last one's subnets are the super-network's.
    """

    space: OfaSpace

    def __init__(self, spaces: Sequence[OfaSpace], num_classes: int, seed: int) -> None:
        super().__init__(spaces[-1], num_classes, seed)
        self._spaces = tuple(spaces)

    def begin_phase(self, number: int) -> None:
        """Sort the inner channels before a phase that draws smaller E than the one before."""
        if number and self._spaces[number].expands[0] < self._spaces[number - 1].expands[0]:
            sort_inner(self.shared, [_list_inner(self._spaces[number - 1], stage) for stage in range(4)])


def sort_inner(detector: Detector, cuts: Sequence[Sequence[int]]) -> None:
    """Sort the inner channels of every block in place, the most important first, without changing what it computes.

    What a channel matters is the sum of |w| of the next convolution's weights that read it. The outputs of the second
    convolution are sorted first, then those of the first (once-for-all, FACTS 4.2).

    Args:
        cuts: for each stage the inner widths that subnets were trained with: channels stay between two of these. That
            those of narrow stages count as well is a reading; there are none yet where W shrinks last.
    """
    arch, weights = detector.arch, dict(detector.state_dict())
    width = arch.body.stem_width
    for stage, index, block in arch.body.blocks():
        name, layers = name_block(arch.body, (stage, index)), block.list_layers(width)
        for reader in reversed(layers):
            if reader.reads is not None:
                writer = layers[reader.reads]
                conv = f"{name}.{reader.conv}.weight"
                order = _order_within(weights[conv].abs().sum((0, 2, 3)), cuts[stage])
                sorted_layer = take_layer(weights, name, writer, order, None)
                weights |= {f"{name}.{key}": tensor for key, tensor in sorted_layer.items()}
                weights[conv] = take_channels(weights[conv], columns=order)
        width = block.out_width
    detector.load_state_dict(weights)


def _order_within(importance: Tensor, cuts: Sequence[int]) -> Tensor:
    """The order of channels, the most important first between two cuts; of equals the first stays first."""
    ends = sorted({*(cut for cut in cuts if cut < len(importance)), len(importance)})
    starts = [0, *ends[:-1]]
    return torch.cat(
        [start + torch.argsort(importance[start:end], descending=True, stable=True) for start, end in zip(starts, ends)]
    )


def _list_inner(space: OfaSpace, stage: int) -> list[int]:
    """The inner widths that blocks of a stage have in a space."""
    return sorted({space.shape.inner_width(stage, width, expand) for width in space.widths for expand in space.expands})
