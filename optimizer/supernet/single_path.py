"""The super-network of paths: several blocks in every place, one of which is run (DetNAS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from optimizer.arch.families import PATH_SPACES
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.detectors.bodies.shufflenet import ShuffleUnit
from optimizer.morph.layers import name_block
from optimizer.supernet.base import Supernet

__all__ = ["Fork", "SinglePathSupernet"]

T = TypeVar("T")


class Fork(nn.Module):
    """The blocks of one place, by their number; `chosen` is the one that runs.

    Those that do not run see no image: they get no gradient, and their statistics stay.
    """

    def __init__(self, units: dict[int, ShuffleUnit]) -> None:
        super().__init__()
        self.units = nn.ModuleDict({str(choice): unit for choice, unit in units.items()})
        self.chosen = min(units)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.units[str(self.chosen)](x)
        return y


class SinglePathSupernet(Supernet):
    """All paths on one set of weights; `shared` is the detector of one of them, with a fork in every place.

    Args:
        seed: its first weights depend on that alone.
    """

    space: PathSubnets
    shared: Detector

    def __init__(self, space: PathSubnets, num_classes: int, seed: int) -> None:
        super().__init__(space, build_detector(space.arch(space.largest()), num_classes, seed=seed))
        self._forks: list[Fork] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for place in self._list_places():
                fork = self._make_fork(place)
                stage, _, index = place.rpartition(".")
                blocks = self.shared.get_submodule(stage)
                assert isinstance(blocks, nn.Sequential)
                blocks[int(index)] = fork
                self._forks.append(fork)

    def ask(self, subnet: PathSubnet, question: Callable[[Detector], T]) -> T:
        self._choose(subnet)
        return question(self.shared)

    @property
    def classifier_width(self) -> int:
        return PATH_SPACES[self.space.family].classifier_width

    def extract(self, subnet: PathSubnet) -> Detector:
        weights: dict[str, Any] = dict(self.shared.state_dict())
        for place, choice in zip(self._list_places(), subnet.choices, strict=True):
            for name in [name for name in weights if name.startswith(f"{place}.units.")]:
                number, _, rest = name.removeprefix(f"{place}.units.").partition(".")
                tensor = weights.pop(name)
                if number == str(choice):
                    weights[f"{place}.{rest}"] = tensor
        detector = build_detector(self.space.arch(subnet), self.shared.num_classes)
        detector.load_state_dict(weights)
        return detector

    def _choose(self, subnet: PathSubnet) -> None:
        for fork, choice in zip(self._forks, subnet.choices, strict=True):
            fork.chosen = choice

    def _list_places(self) -> list[str]:
        body = self.space.body(self.space.largest())
        return [name_block(body, (stage, index)) for stage, index, _ in body.blocks()]

    def _make_fork(self, place: str) -> Fork:
        """Every block there may be in a place, with first weights of its own."""
        body = self.space.body(self.space.largest())
        width = body.stem_width
        for stage, index, block in body.blocks():
            if name_block(body, (stage, index)) == place:
                break
            width = block.out_width
        units = {
            choice: ShuffleUnit(width, type(block)(block.widths, block.stride, choice), self.space.shuffle)
            for choice in self.space.choices
        }
        for unit in units.values():
            for module in unit.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return Fork(units)
