"""The module of a `ShuffleNetSpec`."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from optimizer.arch.bodies import ShuffleBlock, ShuffleNetSpec

__all__ = ["ShuffleNetBody", "ShuffleUnit", "part_channels"]


def part_channels(x: Tensor, shuffle: str) -> tuple[Tensor, Tensor]:
    """The half of the channels that passes by, and the half that a branch reads: (B, C, h, w) to two (B, C / 2, h, w).

    "split" takes every other channel; "halves" deals them out by turns from both halves before it cuts them in two.
    """
    if shuffle == "split":
        return x[:, ::2], x[:, 1::2]
    batch, width, height, columns = x.shape
    dealt = x.reshape(batch, 2, width // 2, height, columns).transpose(1, 2).reshape(batch, width, height, columns)
    passing, read = dealt.chunk(2, 1)
    return passing, read


class ShuffleUnit(nn.Module):
    """One block: what passes by, or its projection, and behind it what the branch puts out."""

    def __init__(self, in_width: int, spec: ShuffleBlock, shuffle: str) -> None:
        super().__init__()
        self.stride, self.shuffle = spec.stride, shuffle
        paths: dict[str, OrderedDict[str, nn.Module]] = {}
        strides: dict[str, int] = {}  # which a path's first depthwise convolution takes
        for layer in spec.list_layers(in_width):
            path, name = layer.conv.split(".")
            out, width, kernel, _ = layer.shape
            layers = paths.setdefault(path, OrderedDict())
            if layer.group_width:
                stride = strides.setdefault(path, spec.stride)
                strides[path] = 1
                layers[name] = nn.Conv2d(out, out, kernel, stride, kernel // 2, groups=out, bias=False)
            else:
                layers[name] = nn.Conv2d(width, out, 1, bias=False)
            layers[layer.norm.split(".")[1]] = nn.BatchNorm2d(out)
            if not layer.group_width:
                layers[f"relu{name.removeprefix('conv')}"] = nn.ReLU(inplace=True)
        self.branch = nn.Sequential(paths["branch"])
        self.projection = nn.Sequential(paths["projection"]) if "projection" in paths else None

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return torch.cat((self.projection(x), self.branch(x)), 1)
        passing, read = part_channels(x, self.shuffle)
        return torch.cat((passing, self.branch(read)), 1)


class ShuffleNetBody(nn.Module):
    """Stem and four stages; `forward` gives the stages' maps as "0" to "3", strides 4 to 32."""

    def __init__(self, spec: ShuffleNetSpec) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, spec.stem_width, 3, 2, 1),
                norm=nn.BatchNorm2d(spec.stem_width),
                relu=nn.ReLU(inplace=True),
            )
        )
        width = spec.stem_width
        for index, stage in enumerate(spec.stages):
            units = []
            for block in stage.blocks:
                units.append(ShuffleUnit(width, block, spec.shuffle))
                width = block.out_width
            self.add_module(f"stage{index + 1}", nn.Sequential(*units))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        x, maps = self.stem(images), OrderedDict()
        for index in range(4):
            x = maps[str(index)] = self.get_submodule(f"stage{index + 1}")(x)
        return maps
