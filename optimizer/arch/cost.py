"""`Cost`: parameters and operations, and how layers are counted.

`flops_mmdet` is the counter behind the Joint-DetNAS tables, mmdetection's: a multiply-accumulate counts as one; a bias
adds one an output, BatchNorm two and a ReLU module one an element, a max-pool one an input element. Additions,
upsampling, functional ReLUs (the RPN's), RoIAlign and NMS are free. The canvas is counted as it is, unpadded.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost", "count_conv", "count_linear", "count_norm", "count_relu"]


@dataclass(frozen=True)
class Cost:
    """Cost of one image.

    Attributes:
        params: trainable parameters, BatchNorm's and biases included.
        macs: multiply-accumulates of convolutions and linears, biases left out (torch's FlopCounterMode, halved).
        flops_mmdet: the papers' counter, which takes class-specific boxes for the objects only.
    """

    params: int = 0
    macs: int = 0
    flops_mmdet: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.flops_mmdet + other.flops_mmdet)


def count_conv(in_width: int, out_width: int, kernel: int, cells: int, groups: int = 1, bias: bool = False) -> Cost:
    """A convolution that puts out `cells` cells in all."""
    weights = kernel * kernel * in_width * out_width // groups
    return Cost(
        params=weights + out_width * bias,
        macs=weights * cells,
        flops_mmdet=weights * cells + out_width * cells * bias,
    )


def count_norm(width: int, cells: int) -> Cost:
    """A BatchNorm over so many cells."""
    return Cost(params=2 * width, flops_mmdet=2 * width * cells)


def count_relu(width: int, cells: int) -> Cost:
    """A ReLU that is a module."""
    return Cost(flops_mmdet=width * cells)


def count_linear(in_width: int, out_width: int, rows: int) -> Cost:
    """A linear layer with biases on `rows` vectors."""
    weights = in_width * out_width
    return Cost(params=weights + out_width, macs=weights * rows, flops_mmdet=weights * rows)
