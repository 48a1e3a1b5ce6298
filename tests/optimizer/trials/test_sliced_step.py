"""A base whose children are trained in its place: what is drawn, what a child's step reaches, how it is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec, PruneFPN, PruneLayer, Space, base_arch
from optimizer.arch.edits import merge_edits
from optimizer.detectors import build_detector, load_detector
from optimizer.detectors.base import Detector, Truth
from optimizer.morph import ask_child, inherit, measure_importance
from optimizer.train.config import Freeze, TrainConfig
from optimizer.train.freeze import frozen
from optimizer.train.loop import train
from optimizer.trials.jobs import Batches, Slices, StudentJob
from optimizer.trials.sliced_step import SlicedStep

SPACE = Space(
    sizes=((96, 64), (64, 64)), region_proposals=(10, 20), max_depths=(2, 2, 2, 2), min_width=16, round_to=8,
    min_neck_width=8, min_box_width=16,
)  # fmt: skip
CLASSES, STEPS = 3, 6


@pytest.fixture
def detector() -> Detector:
    arch = base_arch("r18", (96, 64), region_proposals=20)
    small = replace(arch, neck=FpnSpec(32), head=FasterRCNNHead(32, 64, 20, anchor_scale=4))
    return build_detector(small, CLASSES, seed=1).train()


def make_step(arch: ArchSpec, share: float = 0.5) -> SlicedStep:
    return SlicedStep(arch, SPACE, CLASSES, share, seed=3)


def draw_batch(number: int = 0) -> tuple[Tensor, list[Truth]]:
    random = torch.Generator().manual_seed(number)
    truths = [Truth(torch.tensor([[8.0, 8.0, 50.0, 40.0]]), torch.tensor([1]))] * 2
    return torch.rand(2, 3, 64, 96, generator=random), truths


def test_a_childs_losses_are_those_of_the_network_it_is(detector: Detector) -> None:
    edit = make_step(detector.arch).draw(detector, Random(2))
    assert edit is not None and edit.child != edit.parent == detector.arch
    child = load_detector(edit.child, CLASSES, inherit(detector.state_dict(), edit)).train()
    batch, found = draw_batch(), []
    for ask in (lambda: ask_child(detector, edit, lambda own: own.losses(*batch)), lambda: child.losses(*batch)):
        torch.manual_seed(5)
        found.append({name: loss.item() for name, loss in ask().items()})
    assert found[0] == found[1] and all(loss > 0 for loss in found[0].values())


def test_what_a_child_does_not_have_learns_nothing_and_no_statistics_move(detector: Detector) -> None:
    arch = detector.arch
    edit = PruneFPN(0.5, 8, 8).apply(arch, measure_importance(detector.state_dict(), arch))
    kept = inherit({name: torch.ones_like(value) for name, value in detector.state_dict().items()}, edit)
    before = {name: buffer.clone() for name, buffer in detector.named_buffers()}
    sum(ask_child(detector, edit, lambda child: child.losses(*draw_batch())).values()).backward()
    lateral = detector.get_parameter("backbone.fpn.inner_blocks.0.0.weight")
    reached = lateral.grad.abs().sum((1, 2, 3)) > 0
    assert reached.sum() == edit.child.neck.width == len(kept["backbone.fpn.inner_blocks.0.0.weight"]) < len(reached)
    assert all(torch.equal(buffer, before[name]) for name, buffer in detector.named_buffers())


def test_frozen_statistics_are_used_by_children_too(detector: Detector) -> None:
    arch = detector.arch
    edit = PruneFPN(0.5, 8, 8).apply(arch, measure_importance(detector.state_dict(), arch))

    def list_training(child: Detector) -> set[bool]:
        return {part.training for part in child.modules() if isinstance(part, torch.nn.BatchNorm2d)}

    assert ask_child(detector, edit, list_training) == {True}
    with frozen(detector, Freeze(norm=True)):
        assert ask_child(detector, edit, list_training) == {False}


def test_edits_of_a_chain_are_one_edit(detector: Detector) -> None:
    arch = detector.arch
    first = PruneLayer("mean").apply(arch, measure_importance(detector.state_dict(), arch))
    weights = inherit(detector.state_dict(), first)
    second = PruneFPN(0.5, 8, 8).apply(first.child, measure_importance(weights, first.child))
    merged = merge_edits([first, second])
    one, other = inherit(detector.state_dict(), merged), inherit(weights, second)
    assert merged.child == second.child and merged.parent == arch
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_how_far_a_training_is_decides_what_is_drawn(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def list_drawn(share: float) -> list[ArchSpec]:
        step, drawn = make_step(detector.arch, share), []
        for number in range(STEPS):
            step.set_progress(number / STEPS)
            hook = detector.backbone.register_forward_hook(lambda *of: drawn.append(detector.arch))
            chosen = step.draw

            def note(of: Detector, rng: Random, chosen=chosen) -> object:  # type: ignore[no-untyped-def]
                edit = chosen(of, rng)
                drawn.append(edit.child)
                return edit

            with monkeypatch.context() as patch:
                patch.setattr(step, "draw", note)
                step(detector, *draw_batch())
            hook.remove()
        return drawn

    assert list_drawn(0.0) == [detector.arch] * STEPS
    drawn = list_drawn(0.6)
    assert drawn == list_drawn(0.6) and len(drawn) == STEPS
    children = [arch for arch in drawn if arch != detector.arch]
    assert 1 < len(set(children)) == len(children) < STEPS
    assert {arch.input_size for arch in drawn} == {(96, 64)}, "the canvas is the batch's"


class SomeBatches:
    """`stop_at` ends the process at that step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        for step in range(start_step, STEPS):
            if step == self.stop_at:
                raise KeyboardInterrupt
            yield draw_batch(step)


def test_a_killed_training_draws_the_same_children(detector: Detector, tmp_path: Path) -> None:
    recipe = TrainConfig(epochs=1, lr=0.01, precision="fp32", checkpoint_every_s=0.0)
    arch, start = detector.arch, {name: value.clone() for name, value in detector.state_dict().items()}

    def go(model: Detector, stop_at: int | None, name: str) -> dict[str, Tensor]:
        train(model, SomeBatches(stop_at), make_step(arch), recipe, seed=2, checkpoint=tmp_path / name)
        return model.state_dict()

    whole = go(detector, None, "one")
    with pytest.raises(KeyboardInterrupt):
        go(load_detector(arch, CLASSES, start), 4, "other")
    resumed = go(load_detector(arch, CLASSES, start), None, "other")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_job_with_children_comes_whole_out_of_json(tmp_path: Path) -> None:
    job = StudentJob(
        arch=base_arch("r18", (96, 64)), recipe=TrainConfig(epochs=1, lr=0.1), seed=1, checkpoint=tmp_path / "x",
        batches=Batches(data=tmp_path, size=2, augment="none"), slices=Slices(share=0.25, space=SPACE),
    )  # fmt: skip
    assert StudentJob.model_validate_json(job.model_dump_json()) == job
