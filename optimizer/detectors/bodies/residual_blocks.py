"""Residual blocks of any widths, with torchvision's parameter names."""

from __future__ import annotations

from torch import Tensor, nn

from optimizer.arch.bodies import BlockSpec

__all__ = ["BasicBlock", "Bottleneck", "build_block"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the stride is on the first."""

    def __init__(self, in_width: int, spec: BlockSpec) -> None:
        super().__init__()
        middle, out = spec.widths
        self.conv1 = nn.Conv2d(in_width, middle, 3, spec.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(middle, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = _build_projection(in_width, spec)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (groups), 1x1; the stride is on the 3x3, or on the first."""

    def __init__(self, in_width: int, spec: BlockSpec) -> None:
        super().__init__()
        first, second, out = spec.widths
        strides = (spec.stride, 1) if spec.early_stride else (1, spec.stride)
        self.conv1 = nn.Conv2d(in_width, first, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, strides[1], 1, groups=spec.groups, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.conv3 = nn.Conv2d(second, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _build_projection(in_width, spec)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.project(x))

    def project(self, x: Tensor) -> Tensor:
        """What the shortcut hands on."""
        return x if self.downsample is None else self.downsample(x)


def build_block(in_width: int, spec: BlockSpec) -> nn.Module:
    """The module of a block spec: two widths are a basic block, three a bottleneck."""
    return BasicBlock(in_width, spec) if len(spec.widths) == 2 else Bottleneck(in_width, spec)


def _build_projection(in_width: int, spec: BlockSpec) -> nn.Sequential | None:
    if not spec.projection:
        return None
    return nn.Sequential(
        nn.Conv2d(in_width, spec.out_width, 1, spec.stride, bias=False), nn.BatchNorm2d(spec.out_width)
    )
