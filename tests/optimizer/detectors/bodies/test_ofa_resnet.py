"""The modules of once-for-all's ResNet."""

from __future__ import annotations

import torch

from optimizer.arch.bodies import BlockSpec
from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.detectors.bodies.ofa_resnet import OfaResNetBody, PooledBottleneck

SMALL = OfaShape((1, 1, 1, 1), (0, 0, 0, 0), (32, 48, 64, 80), 16, 8)


def test_a_shortcut_averages_the_cells_that_there_are() -> None:
    block = PooledBottleneck(3, BlockSpec((4, 4, 8), stride=2, projection=True)).eval()
    x = torch.arange(75.0).reshape(1, 3, 5, 5)
    cells = block.pool(x)
    assert cells.shape == (1, 3, 3, 3)
    assert torch.allclose(cells[0, 0, 0, 0], x[0, 0, :2, :2].mean())
    assert torch.allclose(cells[0, 0, 0, 2], x[0, 0, :2, 4].mean()), "half of the cell is beyond the border"
    assert torch.equal(cells[0, 0, 2, 2], x[0, 0, 4, 4])
    torch.testing.assert_close(block.project(x), block.downsample(cells))  # type: ignore[misc]
    inner = PooledBottleneck(8, BlockSpec((4, 4, 8)))
    assert torch.equal(inner.project(x), x), "an identity stays one"


def test_the_residual_of_the_stem_is_there_only_at_full_depth() -> None:
    full, short = (OfaResNetBody(SMALL.make((0,) * 4, (0.35,) * 4, (1.0,) * 4, (1.0, 1.0, d))).eval() for d in (2, 0))
    weights = full.state_dict()
    assert set(weights) - set(short.state_dict()) == {name for name in weights if name.startswith("stem.residual.")}
    short.load_state_dict({name: tensor for name, tensor in weights.items() if name in short.state_dict()})
    images = torch.rand(1, 3, 33, 41)
    assert not torch.equal(full.read(images), short.read(images))
    full.stem["residual"].norm.weight.data.zero_()
    full.stem["residual"].norm.bias.data.zero_()
    assert torch.equal(full.read(images), short.read(images)) and full.read(images).shape == (1, 16, 9, 11)
