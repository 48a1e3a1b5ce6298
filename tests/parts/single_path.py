"""The smallest super-network of another kind than the elastic one: at two places of a tiny body one of two blocks.

A subnet is a path through it, and only that path is trained (DetNAS). It is written with the contracts alone, and is
enrolled in the two catalogues by the tests that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from random import Random
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, StageSpec
from optimizer.detectors import Detector, build_detector
from optimizer.detectors.bodies.residual_blocks import build_block
from optimizer.supernet.base import Supernet
from optimizer.supernet.config import SupernetConfig

T = TypeVar("T")
WIDTH = 16
CHOICES = {"basic": (12, WIDTH), "bottleneck": (4, 4, WIDTH)}  # the basic block has more operations
PLACES = (2, 3)  # stages with a choice


@dataclass(frozen=True)
class Path:
    """The block at each place, and the canvas (width, height)."""

    blocks: tuple[str, ...]
    size: tuple[int, int]
    kind: Literal["single_path"] = "single_path"

    def __str__(self) -> str:
        return f"{'-'.join(self.blocks)} at {self.size[0]}x{self.size[1]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Path:
        return Path(tuple(value["blocks"]), (value["size"][0], value["size"][1]))


@dataclass(frozen=True)
class PathSpace:
    sizes: tuple[tuple[int, int], ...]

    def count(self) -> int:
        return len(CHOICES) ** len(PLACES)

    def largest(self) -> Path:
        return Path(("basic",) * len(PLACES), self.sizes[0])

    def smallest(self) -> Path:
        return Path(("bottleneck",) * len(PLACES), self.sizes[0])

    def representatives(self) -> tuple[Path, ...]:
        return self.largest(), self.smallest()

    def contains(self, subnet: Path) -> bool:
        return len(subnet.blocks) == len(PLACES) and set(subnet.blocks) <= set(CHOICES) and subnet.size in self.sizes

    def sample(self, rng: Random) -> Path:
        return Path(tuple(rng.choice(list(CHOICES)) for _ in PLACES), rng.choice(self.sizes))

    def mutate(self, subnet: Path, rng: Random) -> Path:
        others = [
            Path(blocks, size)
            for blocks, size in product(product(CHOICES, repeat=len(PLACES)), self.sizes)
            if sum(a != b for a, b in zip(blocks, subnet.blocks)) + (size != subnet.size) == 1
        ]
        return rng.choice(others)

    def crossover(self, one: Path, other: Path, rng: Random) -> Path:
        blocks = tuple(rng.choice(pair) for pair in zip(one.blocks, other.blocks))
        return Path(blocks, rng.choice((one.size, other.size)))

    def arch(self, subnet: Path) -> ArchSpec:
        chosen = dict(zip(PLACES, subnet.blocks))
        widths = [CHOICES[chosen[stage]] if stage in chosen else (8, WIDTH) for stage in range(4)]
        stages = tuple(
            StageSpec((BlockSpec(widths[stage], 1 if stage == 0 else 2, projection=True),)) for stage in range(4)
        )
        return ArchSpec(subnet.size, ResNetSpec(stages, 8), FpnSpec(16), FasterRCNNHead(16, 24, 20, anchor_scale=4))


class Fork(nn.Module):
    """Several blocks at one place, one of which is run."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen = ""
        self.branches = nn.ModuleDict(
            {name: build_block(WIDTH, BlockSpec(widths, 2, projection=True)) for name, widths in CHOICES.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branches[self.chosen](x)
        return y


class SinglePathSupernet(Supernet):
    space: PathSpace
    shared: Detector

    def __init__(self, space: PathSpace, num_classes: int, seed: int) -> None:
        super().__init__(space, build_detector(space.arch(space.largest()), num_classes, seed=seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.forks = [Fork().eval() for _ in PLACES]
        for stage, fork in zip(PLACES, self.forks):
            self.shared.get_submodule(f"backbone.body.layer{stage + 1}")[0] = fork

    def ask(self, subnet: Path, question: Callable[[Detector], T]) -> T:
        for fork, name in zip(self.forks, subnet.blocks):
            fork.chosen = name
        return question(self.shared)

    def extract(self, subnet: Path) -> Detector:
        weights = dict(self.shared.state_dict())
        for stage, chosen in zip(PLACES, subnet.blocks):
            place = f"backbone.body.layer{stage + 1}.0."
            for name in [name for name in weights if name.startswith(place)]:
                branch, _, rest = name.removeprefix(f"{place}branches.").partition(".")
                tensor = weights.pop(name)
                if branch == chosen:
                    weights[place + rest] = tensor
        detector = build_detector(self.space.arch(subnet), self.shared.num_classes)
        detector.load_state_dict(weights)
        return detector


class SinglePathConfig(SupernetConfig):
    kind: Literal["single_path"] = "single_path"

    @property
    def name(self) -> str:
        return "paths"

    def space(self, phase: int = -1) -> PathSpace:
        return PathSpace(self.sizes)

    def build(self, num_classes: int) -> SinglePathSupernet:
        return SinglePathSupernet(self.space(), num_classes, self.seed)
