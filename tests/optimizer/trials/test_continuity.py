"""What a child takes over of its parent's training besides the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from optimizer.arch import Action, AddLayer, PruneChannels, PruneFPN, PruneLayer, base_arch
from optimizer.detectors import build_detector
from optimizer.morph import morph
from optimizer.train.state import MODEL, TrainState
from optimizer.trials.continuity import carry_over, without_adapters

ARCH = base_arch("r18", (64, 64), region_proposals=20)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    detector = build_detector(ARCH, 2, seed=0)
    random = torch.Generator().manual_seed(1)
    for parameter in detector.parameters():  # no two channels alike, so that a ranking is one
        parameter.data += 0.1 * torch.rand(parameter.shape, generator=random)
    return detector.state_dict()


@pytest.fixture(scope="module")
def state(weights: dict[str, Tensor]) -> TrainState:
    """Moments and lead are the weights themselves, so that what becomes of these is what should become of those."""
    own = {name: value for name, value in weights.items() if not name.endswith(BUFFERS)}
    moments: dict[str, dict[str, Tensor]] = {
        "exp_avg": {MODEL + name: value.clone() for name, value in own.items()} | {"step.gain": torch.ones(1)},
        "step": {MODEL + name: torch.tensor(7.0) for name in own} | {"step.gain": torch.tensor(7.0)},
    }
    return TrainState(own, moments, {"gain": torch.ones(1)}, averaged=7)


@pytest.mark.parametrize(
    "actions",
    [
        (PruneChannels(0.3, 8, 8),),
        (PruneLayer(),),
        (PruneFPN(0.25),),
        (PruneChannels(0.2, 8, 8), PruneFPN(0.25), PruneLayer()),
        (),
    ],
    ids=["channels", "layer", "neck", "all", "nothing"],
)
def test_moments_are_cut_like_the_weights(
    actions: tuple[Action, ...], weights: dict[str, Tensor], state: TrainState
) -> None:
    child = morph(weights, ARCH, actions)
    carried = carry_over(state, weights, child.edits)
    own = {name: value for name, value in child.weights.items() if not name.endswith(BUFFERS)}
    assert carried.ahead.keys() == own.keys()
    for name, value in own.items():
        torch.testing.assert_close(carried.ahead[name], value)
        torch.testing.assert_close(carried.moments["exp_avg"][MODEL + name], value)
        assert carried.moments["step"][MODEL + name].item() == 7.0
    assert carried.step == state.step and carried.averaged == 7 and "step.gain" in carried.moments["exp_avg"]


def test_other_tensors_than_the_weights_may_say_which_channels_stay(
    weights: dict[str, Tensor], state: TrainState
) -> None:
    ranks = {name: -value for name, value in weights.items()}
    child = morph(weights, ARCH, (PruneChannels(0.3, 8, 8),), ranks)
    carried = carry_over(state, weights, child.edits, ranks)
    assert all(torch.equal(value, child.weights[name]) for name, value in carried.ahead.items())


def test_what_is_new_begins_as_in_a_new_training(weights: dict[str, Tensor], state: TrainState) -> None:
    child = morph(weights, ARCH, (AddLayer(2),))
    carried = carry_over(state, weights, child.edits)
    new = {name for name in carried.ahead if carried.moments["step"][MODEL + name] == 0}
    assert {name.rsplit(".", 2)[0] for name in new} == {"backbone.body.layer3.2"}
    assert not any(carried.ahead[name].any() or carried.moments["exp_avg"][MODEL + name].any() for name in new)
    assert all(carried.ahead[name].shape == child.weights[name].shape for name in carried.ahead)


def test_another_teacher_gets_new_adapters(state: TrainState) -> None:
    cut = without_adapters(state)
    assert not cut.step and set(cut.moments["exp_avg"]) == {
        name for name in state.moments["exp_avg"] if "gain" not in name
    }


def test_a_state_survives_its_file(state: TrainState, tmp_path: Path) -> None:
    state.save(tmp_path / "state")
    read = TrainState.load(tmp_path / "state").state
    assert read.averaged == state.averaged and read.moments["step"] == state.moments["step"]
    assert all(torch.equal(value, state.ahead[name]) for name, value in read.ahead.items())
