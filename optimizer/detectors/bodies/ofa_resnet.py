"""The module of an `OfaResNetSpec`."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from optimizer.arch.bodies import BlockSpec, OfaResNetSpec
from optimizer.detectors.bodies.residual_blocks import Bottleneck
from optimizer.detectors.bodies.resnet import ResidualBody

__all__ = ["OfaResNetBody", "PooledBottleneck"]


class PooledBottleneck(Bottleneck):
    """A bottleneck whose projection reads averages of its stride's cells; at the border, of those there are."""

    def __init__(self, in_width: int, spec: BlockSpec) -> None:
        super().__init__(in_width, spec)
        self.pool: nn.Module = nn.Identity()
        if self.downsample is not None and spec.stride > 1:
            self.pool = nn.AvgPool2d(spec.stride, spec.stride, ceil_mode=True, count_include_pad=False)
            self.downsample[0] = nn.Conv2d(in_width, spec.out_width, 1, bias=False)

    def project(self, x: Tensor) -> Tensor:
        return super().project(self.pool(x))


class OfaResNetBody(ResidualBody):
    """A stem of 3x3 convolutions and four stages; `forward` gives the stages' maps as "0" to "3", strides 4 to 32."""

    def __init__(self, spec: OfaResNetSpec) -> None:
        super().__init__(spec)
        inner = spec.stem_inner
        self.stem = nn.ModuleDict(OrderedDict(first=_build_layer(3, inner, stride=2)))
        if spec.stem_residual:
            self.stem["residual"] = _build_layer(inner, inner)
        self.stem["last"] = _build_layer(inner, spec.stem_width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self._add_stages(spec, PooledBottleneck)

    def read(self, images: Tensor) -> Tensor:
        x = self.stem["first"](images)
        if "residual" in self.stem:
            x = x + self.stem["residual"](x)
        return self.maxpool(self.stem["last"](x))


def _build_layer(reads: int, writes: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(reads, writes, 3, stride, 1, bias=False),
            norm=nn.BatchNorm2d(writes),
            relu=nn.ReLU(inplace=True),
        )
    )
