"""RoIAlign as an embedding bag beside torchvision's operator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from optimizer.detectors.region_pool import RegionPool

CANVAS = (150, 200)
ODD = [
    [0.0, 0.0, 200.0, 150.0],  # everything
    [0.0, 0.0, 0.0, 0.0],  # a point
    [199.5, 149.5, 200.0, 150.0],  # the last pixels
    [10.0, 20.0, 10.5, 149.0],  # a line
    [3.0, 4.0, 180.0, 6.0],
    [-60.0, -50.0, 10.0, 10.0],  # partly outside, as a region of a teacher on another canvas may be
    [190.0, 140.0, 300.0, 260.0],
]


def make_maps(names: list[str], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(-(-CANVAS[0] // stride), -(-CANVAS[1] // stride)) for stride in (4, 8, 16, 32, 64)]
    return {
        name: torch.randn(2, 5, *size, generator=generator).to(dtype).requires_grad_()
        for name, size in zip(names, sizes)
    }


def make_boxes(count: int) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(1)).sort(1).values
    return corners.flatten(1) * torch.tensor([200.0, 150.0, 200.0, 150.0])


@pytest.mark.parametrize("levels", [1, 4, 5])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_features_and_gradients_are_torchvisions(levels: int, ratio: int) -> None:
    names = [str(level) for level in range(levels)]
    boxes, shapes = [torch.cat((torch.tensor(ODD), make_boxes(100))), make_boxes(40)], [CANVAS, CANVAS]
    found = []
    for kind in (MultiScaleRoIAlign, RegionPool):
        maps = make_maps(names)
        features = kind(names, output_size=(7, 3), sampling_ratio=ratio)(maps, boxes, shapes)
        (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
        found.append((features, [map_.grad for map_ in maps.values()]))
    (features, gradients), (own_features, own_gradients) = found
    torch.testing.assert_close(own_features, features, rtol=1e-4, atol=1e-4)
    for own, gradient in zip(own_gradients, gradients):
        torch.testing.assert_close(own, gradient, rtol=1e-3, atol=1e-4)


def test_images_without_regions_have_no_features() -> None:
    pool = RegionPool(["0", "1"], output_size=7, sampling_ratio=2)
    maps = make_maps(["0", "1"])
    assert pool(maps, [torch.zeros(0, 4)] * 2, [CANVAS] * 2).shape == (0, 5, 7, 7)
    some = pool(maps, [torch.zeros(0, 4), make_boxes(3)], [CANVAS] * 2)
    assert some.shape == (3, 5, 7, 7)
    some.sum().backward()
    grad = maps["0"].grad
    assert grad is not None and not grad[0].any()


def test_half_precision_maps_give_half_precision_features() -> None:
    names = ["0", "1", "2", "3"]
    boxes = [make_boxes(20), make_boxes(20)]
    exact = RegionPool(names, 7, 2)(make_maps(names), boxes, [CANVAS] * 2)
    half = RegionPool(names, 7, 2)(make_maps(names, torch.bfloat16), boxes, [CANVAS] * 2)
    assert half.dtype is torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=2e-2, atol=2e-2)
