"""The modules of DetNAS' blocks."""

from __future__ import annotations

import pytest
import torch

from optimizer.arch.bodies import ShuffleBlock
from optimizer.detectors.bodies.shufflenet import ShuffleUnit, part_channels


@pytest.mark.parametrize(
    ("shuffle", "passing", "read"), [("split", [0, 2, 4, 6], [1, 3, 5, 7]), ("halves", [0, 4, 1, 5], [2, 6, 3, 7])]
)
def test_channels_are_parted_in_two_ways(shuffle: str, passing: list[int], read: list[int]) -> None:
    numbered = torch.arange(8.0).reshape(1, 8, 1, 1).expand(2, 8, 3, 5)
    one, other = part_channels(numbered, shuffle)
    assert one[1, :, 2, 4].tolist() == passing and other[0, :, 0, 0].tolist() == read
    assert one.shape == other.shape == (2, 4, 3, 5)


@pytest.mark.parametrize("choice", range(4))
@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_has_the_layers_that_its_block_lists(choice: int, stride: int) -> None:
    block = ShuffleBlock((32,), stride, choice)
    unit = ShuffleUnit(32 if stride == 1 else 12, block, "split")
    layers = block.list_layers(32 if stride == 1 else 12)
    found = {name: tuple(value.shape) for name, value in unit.named_parameters() if "conv" in name}
    assert found == {f"{layer.conv}.weight": layer.shape for layer in layers}
    assert unit(torch.rand(2, 32 if stride == 1 else 12, 9, 7)).shape == (2, 32, *((9, 7) if stride == 1 else (5, 4)))
    depthwise = [module for module in unit.modules() if isinstance(module, torch.nn.Conv2d) and module.groups > 1]
    assert {module.kernel_size[0] for module in depthwise} == {(3, 5, 7, 3)[choice]}
    relus = sum(isinstance(module, torch.nn.ReLU) for module in unit.modules())
    assert relus == sum(layer.group_width == 0 for layer in layers), "one behind each pointwise convolution"


def test_half_of_the_channels_pass_by_untouched() -> None:
    unit = ShuffleUnit(16, ShuffleBlock((16,), 1, 3), "split")
    x = torch.rand(1, 16, 5, 5)
    assert torch.equal(unit(x)[:, :8], x[:, ::2])
