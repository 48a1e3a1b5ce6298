"""The loop against what a few lines of plain torch do, and against damage."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from optimizer.detectors.base import Truth
from optimizer.train import loop
from optimizer.train.config import TrainConfig
from optimizer.train.loop import Progress, TrainingDiverged, TrainResult, train
from optimizer.train.schedule import lr_factor
from optimizer.train.steps import DetectionStep, LossStep

CPU = torch.device("cpu")
VARIANTS = [
    {"optimizer": "adamw"},
    {"optimizer": "sgd", "momentum": 0.9, "schedule": "step", "milestones": (0.5,)},
    {"optimizer": "adamw", "ema_decay": 0.9, "bn_l1": 1e-2},
    {"optimizer": "sgd", "clip_norm": 0.1, "precision": "bf16"},
]


class TinyModel(nn.Module):
    """Trains in milliseconds and has all that the loop must keep: BatchNorm, biases, dropout. Named like a detector."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2))
        self.head = nn.Sequential(nn.Conv2d(4, 1, 1), nn.BatchNorm2d(1))

    def forward(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        wanted = torch.stack([truth.boxes_xyxy.sum() for truth in truths])
        found = self.head(self.backbone.body(images)).mean((1, 2, 3))
        return {"near": ((found - wanted) ** 2).mean(), "small": found.abs().mean()}


class TinyLoader:
    """Five batches an epoch, which depend on the epoch and the step alone; can be told to stop the process."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.served: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return 5

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        for step in range(start_step, len(self)):
            if self.stop_at == number * len(self) + step:
                raise KeyboardInterrupt
            self.served.append((number, step))
            random = torch.Generator().manual_seed(100 * number + step)
            images = torch.randn(2, 3, 8, 8, generator=random)
            yield images, [Truth(torch.rand(1, 4, generator=random), torch.ones(1).long()) for _ in range(2)]


@pytest.fixture
def tiny() -> TinyModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return TinyModel()


def make_config(**changes: object) -> TrainConfig:
    values = {"epochs": 3, "lr": 0.05, "precision": "fp32", "warmup_steps": 2, "checkpoint_every_s": 0.0}
    return TrainConfig.model_validate({**values, **changes})


def run(
    model: nn.Module, step: LossStep | None = None, loader: TinyLoader | None = None, **rest: object
) -> TrainResult:
    checkpoint, report = rest.pop("checkpoint", None), rest.pop("report", None)
    return train(
        model, loader or TinyLoader(), step or DetectionStep(), make_config(**rest),
        seed=3, checkpoint=checkpoint, report=report,
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stop_at", [1, 5, 8, 14])
def test_a_stopped_training_goes_on_bit_for_bit(
    variant: dict[str, object], stop_at: int, tiny: TinyModel, tmp_path: Path
) -> None:
    whole, halves = copy.deepcopy(tiny), copy.deepcopy(tiny)
    undisturbed = run(whole, **variant)
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(KeyboardInterrupt):
        run(halves, loader=TinyLoader(stop_at), checkpoint=checkpoint, **variant)
    again = copy.deepcopy(tiny)  # another process has nothing but the checkpoint
    loader = TinyLoader()
    resumed = run(again, loader=loader, checkpoint=checkpoint, **variant)
    assert loader.served[0] == divmod(stop_at, 5), "only what was missing is done"
    assert resumed.curve == undisturbed.curve and resumed.steps == undisturbed.steps == 15
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_training_whose_checkpoint_is_damaged_starts_over(tiny: TinyModel, tmp_path: Path) -> None:
    whole, again = copy.deepcopy(tiny), copy.deepcopy(tiny)
    undisturbed = run(whole)
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(tiny), loader=TinyLoader(8), checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    loader = TinyLoader()
    assert run(again, loader=loader, checkpoint=checkpoint).curve == undisturbed.curve
    assert loader.served[0] == (0, 0)


def test_it_is_what_plain_torch_does(tiny: TinyModel) -> None:
    ours, plain = copy.deepcopy(tiny), copy.deepcopy(tiny)
    config = make_config(optimizer="sgd", momentum=0.9, weight_decay=0.1, clip_norm=0.5)
    train(ours, TinyLoader(), DetectionStep(), config, seed=3)

    decayed = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    plain.train()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for epoch in range(3):
            for step, (images, truths) in enumerate(TinyLoader().epoch(epoch)):
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * lr_factor(5 * epoch + step, 15, config)
                losses = plain(images, truths)
                optimizer.zero_grad()
                (losses["near"] + losses["small"]).backward()
                nn.utils.clip_grad_norm_([*decayed, *others], 0.5)
                optimizer.step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


def test_the_trained_weights_are_their_moving_average(tiny: TinyModel) -> None:
    seen: list[dict[str, Tensor]] = []

    class Watched(DetectionStep):
        def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
            seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
            return super().__call__(model, images, truths)

    plain = copy.deepcopy(tiny)
    run(plain, optimizer="sgd")
    run(tiny, Watched(), optimizer="sgd", ema_decay=0.5)
    after_each_step = [*seen[1:], dict(plain.named_parameters())]
    average = after_each_step[0]
    for weights in after_each_step[1:]:
        average = {name: 0.5 * average[name] + 0.5 * weights[name] for name in average}
    for name, value in tiny.named_parameters():
        torch.testing.assert_close(value, average[name])
    torch.testing.assert_close(tiny.head[1].running_mean, plain.head[1].running_mean)


def test_the_penalty_moves_the_backbones_scales_alone(tiny: TinyModel) -> None:
    class NoLoss:
        def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
            return {"nothing": 0.0 * sum(parameter.sum() for parameter in model.parameters())}

    before = copy.deepcopy(tiny.state_dict())
    run(tiny, NoLoss(), optimizer="sgd", momentum=0.0, weight_decay=0.0, bn_l1=0.1, schedule="constant", warmup_steps=0,
        clip_norm=0.0)  # fmt: skip
    after = tiny.state_dict()
    assert torch.allclose(after["backbone.body.1.weight"], before["backbone.body.1.weight"] - 15 * 0.05 * 0.1)
    unmoved = [name for name, _ in tiny.named_parameters() if name != "backbone.body.1.weight"]
    assert all(torch.equal(before[name], after[name]) for name in unmoved)


def test_scales_and_biases_do_not_decay(tiny: TinyModel) -> None:
    optimizer = loop._build_optimizer(tiny, DetectionStep(), make_config(weight_decay=0.3))
    decayed, others = optimizer.param_groups
    assert decayed["weight_decay"] == 0.3 and {p.ndim for p in decayed["params"]} == {4}
    assert others["weight_decay"] == 0.0 and {p.ndim for p in others["params"]} == {1}
    assert len(decayed["params"]) + len(others["params"]) == len(list(tiny.parameters()))


class SometimesNaN:
    """Loss that is not finite at the steps named."""

    def __init__(self, bad: set[int]) -> None:
        self.bad, self.step = bad, -1

    def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        self.step += 1
        losses = model(images, truths)
        return {**losses, "near": losses["near"] * torch.nan} if self.step in self.bad else losses


def test_a_batch_whose_loss_is_not_finite_is_skipped_and_counted(tiny: TinyModel) -> None:
    result = run(tiny, SometimesNaN({2, 7}))
    assert result.skipped_batches == 2 and result.steps == 15
    assert all(torch.isfinite(value).all() for value in tiny.state_dict().values())


def test_a_gradient_that_is_not_finite_is_skipped_as_well(tiny: TinyModel) -> None:
    class SteepOnce(SometimesNaN):
        def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
            self.step += 1
            losses = model(images, truths)
            nothing = losses["small"] * 0.0  # sqrt has a finite value and no finite slope there
            return {**losses, "root": nothing.sqrt()} if self.step in self.bad else losses

    result = run(tiny, SteepOnce({4}))
    assert result.skipped_batches == 1
    assert all(torch.isfinite(parameter).all() for parameter in tiny.parameters())


def test_it_gives_up_with_a_clear_line_after_a_few_in_a_row(tiny: TinyModel) -> None:
    with pytest.raises(TrainingDiverged, match=r"3 times in a row at step 7 \(near nan.*lower learning rate than 0.05"):
        run(tiny, SometimesNaN({1, 4, 5, 6}), max_bad_losses=3)


def test_a_lone_bad_batch_now_and_then_never_ends_a_training(tiny: TinyModel) -> None:
    assert run(tiny, SometimesNaN(set(range(0, 15, 2))), max_bad_losses=2).skipped_batches == 8


def test_the_curve_is_thinned_and_the_report_sees_every_step(tiny: TinyModel) -> None:
    seen: list[Progress] = []
    result = run(tiny, epochs=100, report=seen.append)
    assert [item.step for item in seen] == list(range(1, 501)) and seen[0].total == 500
    assert len(result.curve) <= 250 and result.curve[-1][0] == 500
    first_two = [item.loss for item in seen[:2]]
    assert result.curve[0] == (2, pytest.approx(sum(first_two) / 2))


def test_the_global_random_numbers_are_left_as_they_were(tiny: TinyModel) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(tiny)
    assert torch.equal(torch.rand(3), expected)


def test_it_ends_in_evaluation_mode(tiny: TinyModel) -> None:
    run(tiny)
    assert not any(module.training for module in tiny.modules())


class WithAdapter(nn.Module):
    """A step with weights of its own, as a distiller has."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        losses = model(images, truths)
        return {"near": losses["near"] * self.gain**2, "small": losses["small"]}


def test_a_steps_own_weights_are_trained_and_resumed(tiny: TinyModel, tmp_path: Path) -> None:
    whole, step = copy.deepcopy(tiny), WithAdapter()
    run(whole, step)
    assert step.gain.item() != 2.0
    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(tiny), WithAdapter(), TinyLoader(9), checkpoint=tmp_path / "c")
    again, resumed = copy.deepcopy(tiny), WithAdapter()
    run(again, resumed, checkpoint=tmp_path / "c")
    assert torch.equal(resumed.gain, step.gain)
