"""The body of an arch is the network that the papers and torchvision mean by it."""

from __future__ import annotations

import pytest
import torch
import torchvision

from optimizer.arch.families import base_arch
from optimizer.detectors.bodies import ResNetBody


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("r18", torchvision.models.resnet18),
        ("r50", torchvision.models.resnet50),
        ("r101", torchvision.models.resnet101),
        ("x101", lambda: torchvision.models.ResNet(
            torchvision.models.resnet.Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)),
    ],
)  # fmt: skip
def test_names_and_shapes_are_torchvisions(name: str, reference: object) -> None:
    with torch.device("meta"):
        ours = ResNetBody(base_arch(name, (64, 64)).body).state_dict()
        theirs = reference().state_dict()  # type: ignore[operator]
    shapes = {key: value.shape for key, value in theirs.items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in ours.items()} == shapes


def test_outputs_are_torchvisions() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet18().eval()
    body = ResNetBody(base_arch("r18", (64, 64)).body).eval()
    body.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(1, 3, 64, 96)
    maps = body(images)
    x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(images))))
    for index, name in enumerate(("layer1", "layer2", "layer3", "layer4")):
        x = getattr(reference, name)(x)
        assert torch.equal(maps[str(index)], x)
