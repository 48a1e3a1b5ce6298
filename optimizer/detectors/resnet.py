"""The backbone: a ResNet body of any widths and depths, with a feature pyramid on top."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.blocks import build_block

__all__ = ["Backbone", "ResNetBody"]


class ResNetBody(nn.Module):
    """Stem and four stages; `forward` gives the stages' maps as "0" to "3", strides 4 to 32."""

    def __init__(self, arch: ArchSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, arch.stem_width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(arch.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self._depths = arch.depths
        width = arch.stem_width
        for index, stage in enumerate(arch.stages):
            blocks = []
            for spec in stage.blocks:
                blocks.append(build_block(width, spec))
                width = spec.out_width
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = OrderedDict()
        for index, depth in enumerate(self._depths):
            stage = self.get_submodule(f"layer{index + 1}")
            assert isinstance(stage, nn.Sequential)
            for block in stage[:depth]:
                x = block(x)
            maps[str(index)] = x
        return maps

    @contextmanager
    def shortened(self, depths: tuple[int, ...]) -> Iterator[None]:
        """Meanwhile only the first blocks of each stage are run."""
        before, self._depths = self._depths, depths
        try:
            yield
        finally:
            self._depths = before


class Backbone(nn.Module):
    """Body and pyramid; `first_map` is the lowest stage (from 0) the pyramid reads."""

    def __init__(self, arch: ArchSpec, first_map: int, extra: ExtraFPNBlock) -> None:
        super().__init__()
        self.body = ResNetBody(arch)
        self.first_map = first_map
        widths = [stage.out_width for stage in arch.stages[first_map:]]
        self.fpn = FeaturePyramidNetwork(widths, arch.fpn_width, extra_blocks=extra)
        self.out_channels = arch.fpn_width

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.body(images)
        return self.fpn(OrderedDict((name, maps[name]) for name in list(maps)[self.first_map :]))
