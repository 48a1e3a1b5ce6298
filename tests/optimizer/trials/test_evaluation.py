"""Builder, trainer, exporter and judge, each alone, and the evaluation that they make up."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from narrow import narrow_arch
from torchvision.models import resnet18

from deploy import Detector, Preprocess, get_target
from deploy.data import read_image
from deploy.errors import MeasurementError
from optimizer.arch.actions import AddLayer, PruneLayer, Resize
from optimizer.arch.families import base_arch
from optimizer.arch.macs import count
from optimizer.cost.base import Candidate, RelativeCost
from optimizer.cost.macs import MacsCost
from optimizer.data.splits import Splits
from optimizer.detectors import build_detector, pretrained
from optimizer.errors import InputError, RunFailed
from optimizer.recipes import distilled
from optimizer.search.base import Proposal, TrialFailed, get_done
from optimizer.search.latency import FurtherCost
from optimizer.search.objective import harmonic
from optimizer.store.schema import COLUMNS, row_from_trial, trial_from_row
from optimizer.trials.builder import Student
from optimizer.trials.jobs import TrainedTeacher
from optimizer.trials.judge import choose_engine

if TYPE_CHECKING:
    from conftest import SmallRun

RESIZE = Proposal(0, (Resize((80, 80)),))
WHOLE = Proposal(None, (), "narrow, taught by the base", arch=narrow_arch((80, 80), 20, width=16, neck=24))


def test_a_child_inherits_and_says_what_changed(small_run: SmallRun) -> None:
    builder, base = small_run.build_evaluation().builder, get_done(small_run.store.history(), 0)
    child = builder.build(1, RESIZE, base)
    assert child.arch.input_size == (80, 80) and child.changes == ("canvas 96x96 to 80x80",)
    assert child.epochs_before == base.work.epochs_total
    inherited = builder.load(base).state_dict()
    assert all(torch.equal(value, inherited[name]) for name, value in child.detector.state_dict().items())


def test_a_network_is_studied_for_an_edit_and_not_to_be_trained_further(small_run: SmallRun) -> None:
    config = small_run.config.changed({"search.importance": "taylor", "search.compensate": True})
    builder, base = small_run.build_evaluation(config).builder, get_done(small_run.store.history(), 0)
    plain = builder.studies(base, edited=False)
    assert plain.ranked_by is None and plain.moments is None
    further = builder.build(1, Proposal(0, finetune=True), base)
    assert all(torch.equal(value, plain.weights[name]) for name, value in further.detector.state_dict().items())
    whole = builder.studies(base)
    assert whole.ranked_by is not None and whole.moments is not None
    assert builder.studies(base, edited=False) is whole, "what is known of it is remembered"
    (gates,) = builder.studies.scratch.iterdir()
    gates.unlink()


def test_without_inheritance_a_child_is_drawn_anew_unless_it_is_only_trained_further(small_run: SmallRun) -> None:
    config = small_run.config.changed({"search.inherit": False})
    builder, base = small_run.build_evaluation(config).builder, get_done(small_run.store.history(), 0)
    anew = builder.build(1, RESIZE, base)
    assert anew.epochs_before == 0 and anew.changes[-1] == "weights not inherited"
    assert not torch.equal(next(anew.detector.parameters()), next(builder.load(base).parameters()))
    further = builder.build(1, Proposal(0), base)
    assert further.epochs_before == base.work.epochs_total and further.changes == ()


def test_the_base_is_the_same_for_the_same_seed(small_run: SmallRun) -> None:
    builder = small_run.build_evaluation().builder
    one, other = (builder.build(0, Proposal(None), None).detector.state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_kind_of_proposal_has_its_recipe(small_run: SmallRun) -> None:
    config, trainer = small_run.config, small_run.build_evaluation().trainer
    assert trainer.choose_recipe(Proposal(None)) == config.base_train
    assert trainer.choose_recipe(RESIZE) == config.trial_train
    assert trainer.choose_recipe(replace(RESIZE, epochs=7)) == config.trial_train.model_copy(update={"epochs": 7})
    assert trainer.choose_recipe(Proposal(2, finetune=True)) == config.finetune


def test_a_whole_architecture_starts_anew_and_is_trained_as_a_base_is(small_run: SmallRun) -> None:
    evaluation = small_run.build_evaluation()
    one, same, other = (evaluation.builder.build(number, WHOLE, None) for number in (1, 1, 2))
    assert one.arch == one.detector.arch == WHOLE.arch and (one.changes, one.epochs_before) == ((), 0)
    weights, again, others = (dict(student.detector.named_parameters()) for student in (one, same, other))
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert not all(torch.equal(value, others[name]) for name, value in weights.items()), "each trial draws its own"
    assert evaluation.trainer.choose_recipe(WHOLE) == small_run.config.base_train
    assert evaluation.trainer.choose_recipe(replace(WHOLE, epochs=2)).epochs == 2


def test_a_whole_architecture_is_taught_and_trained_out_like_a_base(small_run: SmallRun, tmp_path: Path) -> None:
    """Its widths and its canvas are not the teacher's."""
    config = small_run.config.changed({"base_epochs": "auto", "base_train.epochs": 3})
    keeping = replace(small_run, splits=Splits.divide(small_run.splits.train, small_run.splits.val, keeps=True))
    base = get_done(small_run.store.history(), 0)
    teacher = TrainedTeacher(arch=base.arch, weights=small_run.store.artefacts.path(base.files.weights))
    evaluation = keeping.build_evaluation(config).with_teacher(teacher)
    trial = replace(evaluation, trainer=replace(evaluation.trainer, scratch=tmp_path))(1, WHOLE)
    assert trial.arch == WHOLE.arch and trial.work.epochs_total == 3
    assert [epochs for epochs, _ in trial.work.judged] == [2, 3]
    assert "trial 1: AP 0." in small_run.said.getvalue()


def test_a_training_changes_the_detector_and_its_checkpoint_is_forgotten_afterwards(small_run: SmallRun) -> None:
    evaluation, base = small_run.build_evaluation(), get_done(small_run.store.history(), 0)
    student = evaluation.builder.build(1, RESIZE, base)
    before = {name: value.clone() for name, value in student.detector.state_dict().items()}
    trained = evaluation.trainer.train(1, RESIZE, student)
    assert trained.epochs == small_run.config.trial_train.epochs and trained.curve
    assert any(not torch.equal(value.cpu(), before[name]) for name, value in student.detector.state_dict().items())
    assert (evaluation.trainer.scratch / "trial-1.ckpt").exists()
    evaluation.trainer.forget(1)
    evaluation.trainer.forget(1)
    assert not list(evaluation.trainer.scratch.iterdir())


def test_what_is_exported_is_found_again_and_detects(small_run: SmallRun) -> None:
    exporter, base = small_run.build_evaluation().exporter, get_done(small_run.store.history(), 0)
    found = exporter.find(base)
    assert found.counts == count(base.arch, len(exporter.class_names))
    assert found.source.preprocess == Preprocess.imagenet(96, 96) and found.source.head == base.files.head
    assert not list(exporter.scratch.iterdir()), "nothing is left beside the store"
    with Detector(found.source) as detector:
        detector(read_image(small_run.splits.val.records[0].path))
    manifest = exporter.describe("base", base.arch, found.source, {"ap": 0.4})
    assert manifest.arch_id == base.arch.arch_id and manifest.class_names == small_run.splits.train.class_names


def test_precision_is_the_targets_where_latency_counts_and_this_machines_otherwise(small_run: SmallRun) -> None:
    target = get_target("cpu")
    assert choose_engine(small_run.config.changed({"search.cost": "latency"}), target) is target
    assert choose_engine(small_run.config, SimpleNamespace(spec=None)).spec.name == "cpu"  # type: ignore[arg-type]


def test_a_score_is_the_objective_of_both_ratios(small_run: SmallRun) -> None:
    judge = small_run.build_evaluation().judge
    assert judge.score(0.2, 0.4, 2.0) == harmonic(0.5, 2.0, small_run.config.alpha, small_run.config.search.beta)
    assert judge.score(0.4, 0.4, 1.0) == 1.0
    assert judge.score(0.0, 0.0, 1.0) == 0.0, "a base that detects nothing"


def test_an_evaluation_is_built_trained_exported_and_judged(small_run: SmallRun) -> None:
    evaluation, base = small_run.build_evaluation(), get_done(small_run.store.history(), 0)
    trial = evaluation(1, RESIZE)
    assert (trial.number, trial.proposal, trial.arch.input_size) == (1, RESIZE, (80, 80))
    assert trial.cost_ratio == evaluation.exporter.find(base).counts.macs / trial.counts.macs > 1
    assert trial.work.epochs_total == base.work.epochs_total + small_run.config.trial_train.epochs
    assert trial.latency is None and set(trial.work.seconds_by_part) == {
        "build", "train", "export", "evaluate", "measure",
    }  # fmt: skip
    assert trial.ap == evaluation.judge.find_precision(evaluation.exporter.find(trial).source).ap


def test_a_student_of_its_parents_architecture_is_not_measured_again(small_run: SmallRun) -> None:
    class Meter(MacsCost):
        def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
            raise MeasurementError("it was measured")

    evaluation, base = small_run.build_evaluation(), get_done(small_run.store.history(), 0)
    there = {"board": FurtherCost(1.0, {"median_ms": 2.0})}
    evaluation = replace(
        evaluation,
        judge=replace(evaluation.judge, meter=Meter()),
        history=lambda: [replace(base, elsewhere=there)],
    )
    further = evaluation(1, Proposal(0))
    assert further.elsewhere == there and further.arch == base.arch and further.files.model != base.files.model
    assert (further.cost_ratio, further.latency) == (base.cost_ratio, base.latency)
    with pytest.raises(TrialFailed, match="it was measured"):
        evaluation(1, RESIZE)


def test_a_detector_that_was_trained_elsewhere_is_judged_as_it_is(small_run: SmallRun) -> None:
    evaluation, base = small_run.build_evaluation(), get_done(small_run.store.history(), 0)
    student = Student(evaluation.builder.load(base), base.arch, ("taken over from elsewhere",), 7.0)
    trial = evaluation.adopt(Proposal(None, (), "the teacher, as it is"), student)
    assert (trial.number, trial.arch, trial.files, trial.cost_ratio) == (0, base.arch, base.files, 1.0)
    assert trial.work.epochs_total == 7 and trial.work.curve == () and trial.work.changes == student.changes
    assert set(trial.work.seconds_by_part) == {"export", "evaluate", "measure"}


def test_a_run_with_one_student_cannot_go_on_without_it(small_run: SmallRun, tmp_path: Path) -> None:
    evaluation = small_run.build_evaluation(distilled(small_run.config, "r18", tmp_path))
    with pytest.raises(RunFailed):
        evaluation(1, Proposal(0, (PruneLayer(),) * 30))


def test_a_student_that_cannot_be_made_fails_alone_and_a_full_disk_ends_the_run(
    small_run: SmallRun, tmp_path: Path
) -> None:
    evaluation = small_run.build_evaluation()
    with pytest.raises(TrialFailed):
        evaluation(1, Proposal(0, (PruneLayer(),) * 30))
    (tmp_path / "file").write_text("in the way of a folder")
    gone = replace(evaluation.exporter, scratch=tmp_path / "file")
    with pytest.raises(RunFailed, match=r"cannot write in .*file: File exists; see to the disk, then resume the run"):
        replace(evaluation, exporter=gone)(1, RESIZE)
    evaluation.trainer.forget(1)


def test_a_base_says_which_published_weights_it_starts_from(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(resnet18().state_dict(), tmp_path / "made.pth")
    digits = hashlib.sha256((tmp_path / "made.pth").read_bytes()).hexdigest()[:8]
    address = (tmp_path / "made.pth").rename(tmp_path / f"made-{digits}.pth").as_uri()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nets"))
    monkeypatch.setattr(pretrained, "ENTRIES", (pretrained.Pretrained("imagenet", "r18", None, address),))
    for weights in ("imagenet", "auto"):
        base = small_run.build_evaluation(small_run.config.changed({"weights": weights})).builder.build(
            0, Proposal(None), None
        )
        (start,) = base.changes
        assert start.startswith(f"weights of imagenet from made-{digits}.pth: ") and "freshly initialised: FPN" in start
        assert start in small_run.said.getvalue()
    other = small_run.config.changed({"weights": "imagenet", "base": "r50"})
    whole = Proposal(None, arch=base_arch("r18", (96, 96)))
    assert small_run.build_evaluation(other).builder.build(1, whole, None).changes[0].startswith("weights of imagenet")
    monkeypatch.setattr(pretrained, "ENTRIES", ())
    base = small_run.build_evaluation(small_run.config.changed({"weights": "auto"})).builder.build(
        0, Proposal(None), None
    )
    assert base.changes == ("random weights: torchvision has none that fit r18",)


def test_a_base_says_whose_detector_it_starts_from(small_run: SmallRun, tmp_path: Path) -> None:
    config = small_run.config.changed({"weights": tmp_path / "w.pth", "weights_from": "mmdet"})
    ours = build_detector(config.base_arch(), len(small_run.splits.train.class_names), seed=9).state_dict()
    body = {name.replace("backbone.body.", "backbone."): value for name, value in ours.items() if ".body." in name}
    torch.save({"state_dict": body}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth is of another architecture"):
        small_run.build_evaluation(config).builder.build(0, Proposal(None), None)
    names = {
        "backbone.body.": "backbone.",
        "rpn.head.conv.0.0": "rpn_head.rpn_conv", "rpn.head.cls_logits": "rpn_head.rpn_cls",
        "rpn.head.bbox_pred": "rpn_head.rpn_reg", "roi_heads.box_head.fc6": "roi_head.bbox_head.shared_fcs.0",
        "roi_heads.box_head.fc7": "roi_head.bbox_head.shared_fcs.1",
    }  # fmt: skip
    names |= {f"backbone.fpn.inner_blocks.{at}.0": f"neck.lateral_convs.{at}.conv" for at in range(4)}
    names |= {f"backbone.fpn.layer_blocks.{at}.0": f"neck.fpn_convs.{at}.conv" for at in range(4)}
    theirs = {}
    for name, value in ours.items():
        start = next((start for start in names if name.startswith(start)), None)
        if start is not None:
            theirs[names[start] + name.removeprefix(start)] = value
    torch.save({"state_dict": theirs}, tmp_path / "w.pth")
    base = small_run.build_evaluation(config).builder.build(0, Proposal(None), None)
    (start,) = base.changes
    assert start.startswith(
        "weights from w.pth, of mmdetection with torchvision's ResNet (style pytorch): tensors taken"
    )
    assert "freshly initialised: class head" in start and start in small_run.said.getvalue()
    assert torch.equal(base.detector.state_dict()["rpn.head.bbox_pred.weight"], ours["rpn.head.bbox_pred.weight"])


def test_a_base_that_is_trained_out_is_judged_on_images_it_never_saw(small_run: SmallRun, tmp_path: Path) -> None:
    config = small_run.config.changed({"base_epochs": "auto", "base_train.epochs": 3})
    assert config.keeps_images and not small_run.config.keeps_images
    keeping = replace(small_run, splits=Splits.divide(small_run.splits.train, small_run.splits.val, keeps=True))
    evaluation = keeping.build_evaluation(config)
    trainer = replace(evaluation.trainer, scratch=tmp_path)
    assert len(trainer.choose_images(Proposal(None)).records) == 3, "a third of four is kept"
    assert len(trainer.choose_images(Proposal(1, finetune=True)).records) == 4
    base = replace(evaluation, trainer=trainer)(0, Proposal(None))
    assert [epochs for epochs, _ in base.work.judged] == [2, 3] and base.work.epochs_total == 3
    assert base.work.still_gaining and len(base.work.curve) == 2
    assert trial_from_row(dict(zip(COLUMNS, row_from_trial(base)))) == base  # type: ignore[arg-type]
    trainer.forget(0)
    assert not list(tmp_path.glob("trial-0.*"))


def test_a_child_goes_on_where_its_parents_training_stopped(small_run: SmallRun, tmp_path: Path) -> None:
    config, base = (
        small_run.config.changed({"search.continuity": True, "trial_train.ema_decay": 0.9}),
        get_done(small_run.store.history(), 0),
    )
    evaluation = small_run.build_evaluation(config)
    evaluation = replace(evaluation, trainer=replace(evaluation.trainer, scratch=tmp_path))
    assert evaluation.builder.build(1, RESIZE, base).state is None, "this base left nothing"
    first = evaluation(1, RESIZE)
    assert first.files.state is not None
    assert trial_from_row(dict(zip(COLUMNS, row_from_trial(first)))) == first  # type: ignore[arg-type]
    child = evaluation.builder.build(2, Proposal(1, (AddLayer(0),)), first)
    assert child.state is not None and child.state.ahead.keys() == dict(child.detector.named_parameters()).keys()
    look = evaluation.builder.build(2, Proposal(1, (AddLayer(0),), epochs=0), first)
    assert look.state is None, "a training's state is of no use to a student that is only looked at"
    second = replace(evaluation, history=lambda: [base, first])(2, Proposal(1, (AddLayer(0),)))
    assert (tmp_path / "trial-2.start").exists() and second.work.epochs_total == first.work.epochs_total + 1
    assert evaluation.trainer.choose_recipe(RESIZE).schedule == "constant"
    assert evaluation.trainer.choose_recipe(Proposal(1, finetune=True)).schedule == "cosine"
    assert small_run.build_evaluation().builder.build(2, Proposal(1), first).state is None, "not unless it is wanted"
