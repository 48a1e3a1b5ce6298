"""The module of a `ResNetSpec`, with torchvision's names, and what it has in common with others of its blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from torch import Tensor, nn

from optimizer.arch.bodies import BlockSpec, ResNetSpec
from optimizer.detectors.bodies.residual_blocks import build_block

__all__ = ["ResNetBody", "ResidualBody"]


class ResidualBody(nn.Module, ABC):
    """Four stages of residual blocks, named "layer1" to "layer4", behind a stem that `read` runs."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self._depths = spec.depths

    @abstractmethod
    def read(self, images: Tensor) -> Tensor:
        """What the stem puts out."""

    def _add_stages(self, spec: ResNetSpec, build_block: Callable[[int, BlockSpec], nn.Module]) -> None:
        """The stages, and first weights for them and the stem, which is there already."""
        width = spec.stem_width
        for index, stage in enumerate(spec.stages):
            blocks = []
            for block in stage.blocks:
                blocks.append(build_block(width, block))
                width = block.out_width
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        x, maps = self.read(images), OrderedDict()
        for index, depth in enumerate(self._depths):
            stage = self.get_submodule(f"layer{index + 1}")
            assert isinstance(stage, nn.Sequential)
            for block in islice(stage, depth):
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


class ResNetBody(ResidualBody):
    """torchvision's stem and four stages; `forward` gives the stages' maps as "0" to "3", strides 4 to 32."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__(spec)
        self.conv1 = nn.Conv2d(3, spec.stem_width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(spec.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self._add_stages(spec, build_block)

    def read(self, images: Tensor) -> Tensor:
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return x
