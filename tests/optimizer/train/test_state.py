"""A training that goes on from another one's state, and parts that are left as they are."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from optimizer.arch import base_arch
from optimizer.detectors import build_detector
from optimizer.detectors.base import Truth
from optimizer.errors import RunFailed
from optimizer.train.config import Freeze, TrainConfig
from optimizer.train.freeze import frozen
from optimizer.train.loop import TrainResult, train
from optimizer.train.state import TrainState

VARIANTS = [{"optimizer": "adamw"}, {"optimizer": "adamw", "ema_decay": 0.9}, {"optimizer": "sgd", "ema_decay": 0.5}]


class Small(nn.Module):
    """Without random numbers, so that one training and two that follow each other do the same steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))

    def forward(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        return {"far": (self.layers(images).mean((1, 2, 3)) - 1).square().mean()}


class WithGain(nn.Module):
    """A step with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([2.0]))

    def forward(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        return {name: loss * self.gain.square().sum() for name, loss in model(images, truths).items()}


class Batches:
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 5

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        self.epochs.append(number)
        for step in range(start_step, len(self)):
            random = torch.Generator().manual_seed(100 * number + step)
            truths = [Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))] * 2
            yield torch.randn(2, 3, 8, 8, generator=random), truths


@pytest.fixture
def small() -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Small()


def run(model: nn.Module, step: nn.Module, epochs: int, start: TrainState | None = None, **rest: object) -> TrainResult:
    first = int(rest.pop("first_epoch", 0))  # type: ignore[call-overload]
    config = TrainConfig.model_validate(
        {"epochs": epochs, "lr": 0.01, "precision": "fp32", "schedule": "constant", **rest}
    )
    return train(model, Batches(), step, config, seed=3, start=start, first_epoch=first)


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_trainings_that_follow_each_other_are_one(variant: dict[str, object], small: Small, tmp_path: Path) -> None:
    """But for the moments, which are kept in bfloat16."""
    whole, parts, step = copy.deepcopy(small), copy.deepcopy(small), WithGain()
    run(whole, step, 4, **variant)
    first = run(parts, WithGain(), 2, **variant)
    first.state.save(tmp_path / "state", parts.state_dict())
    state, weights, _ = TrainState.load(tmp_path / "state")
    again, other = copy.deepcopy(small), WithGain()  # another process has nothing but the file
    again.load_state_dict(weights)
    run(again, other, 2, state, first_epoch=2, **variant)
    cold = copy.deepcopy(small)
    cold.load_state_dict(weights)
    run(cold, WithGain(), 2, first_epoch=2, **variant)

    def distance(model: nn.Module) -> float:
        pairs = zip(whole.parameters(), model.parameters())
        return max(float((one - other).detach().abs().max()) for one, other in pairs)

    assert distance(again) < 5e-4 < distance(cold)
    torch.testing.assert_close(other.gain, step.gain, rtol=0, atol=2e-3)


def test_what_a_state_does_not_know_starts_anew(small: Small) -> None:
    state = run(small, WithGain(), 1).state
    wider = Small()
    wider.layers[2] = nn.Conv2d(4, 2, 1)
    run(wider, WithGain(), 1, state)
    run(small, WithGain(), 1, state, optimizer="sgd")
    assert all(torch.isfinite(parameter).all() for parameter in [*wider.parameters(), *small.parameters()])


def test_an_average_forgets_its_first_weights_and_then_decays_as_told(small: Small) -> None:
    seen: list[Tensor] = []

    class Watched(WithGain):
        def forward(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
            seen.append(model.layers[0].weight.detach().clone())
            return super().forward(model, images, truths)

    plain = copy.deepcopy(small)
    run(plain, WithGain(), 4)
    run(small, Watched(), 4, ema_decay=0.5)
    average = seen[1]
    for updates, weights in enumerate([*seen[2:], plain.layers[0].weight], start=1):
        decay = min(0.5, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * weights
    torch.testing.assert_close(small.layers[0].weight, average)


def test_a_damaged_state_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"nothing")
    with pytest.raises(RunFailed, match="cannot be read"):
        TrainState.load(tmp_path / "state")


def test_a_hole_in_a_state_is_seen(tmp_path: Path) -> None:
    """As power cuts leave them; safetensors reads zeros as it reads weights."""
    path = tmp_path / "state"
    TrainState(ahead={"a": torch.ones(1000, dtype=torch.bfloat16)}, averaged=3).save(path, {"b": torch.ones(())})
    assert TrainState.load(path).state.averaged == 3
    content = path.read_bytes()
    path.write_bytes(content[:-1000] + bytes(1000))
    with pytest.raises(RunFailed, match="cannot be read"):
        TrainState.load(path)


@pytest.mark.parametrize(
    ("base", "stages", "stopped"),
    [
        ("r18", 0, ()),
        ("r18", 1, ("conv1", "bn1", "layer1")),
        ("r18", 2, ("bn1", "layer2")),
        ("shufflenetv2_20", 2, ("stem", "stage1", "stage2")),
    ],
)
def test_frozen_stages_keep_weights_and_statistics(base: str, stages: int, stopped: tuple[str, ...]) -> None:
    detector = build_detector(base_arch(base, (64, 64), region_proposals=20), 2, seed=0)
    detector.train()
    with frozen(detector, Freeze(stages=stages)):
        body = detector.get_submodule("backbone.body")
        moving = {name for name, part in body.named_children() if any(p.requires_grad for p in part.parameters())}
        measured = {name for name, part in body.named_modules() if isinstance(part, nn.BatchNorm2d) and part.training}
    assert not moving & set(stopped) and moving & {f"layer{stages + 1}", f"stage{stages + 1}"}
    assert not any(name.split(".")[0] in stopped for name in measured) and len(measured) > 3
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_a_training_leaves_frozen_parts_alone(small: Small) -> None:
    before = copy.deepcopy(small.state_dict())
    config = TrainConfig(epochs=1, lr=0.1, precision="fp32", weight_decay=0.1)
    train(small, Batches(), WithGain(), config, seed=3, freeze=Freeze(norm=True))
    after = small.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == {
        "layers.0.weight", "layers.2.weight", "layers.2.bias",
    }  # fmt: skip
