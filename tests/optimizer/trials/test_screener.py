"""Students that are only looked at: judged on images kept out, and the same network when they are trained later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import torch
from narrow import narrow_arch

from deploy import Preprocess
from deploy.data import Record
from deploy.evaluate import evaluate_detections
from optimizer.arch import ArchSpec
from optimizer.arch.actions import PruneBoxHead, PruneChannels, PruneFPN, PruneLayer, Resize
from optimizer.data.splits import Splits
from optimizer.detectors import build_detector, load_detector
from optimizer.search import Search, search
from optimizer.search.base import History, Proposal, ScreenedTrial, SpaceExhausted, TrialFailed, get_done, list_screened
from optimizer.store import RunStore
from optimizer.supernet.calibrate import recalibrate
from optimizer.train.predict import predict
from optimizer.trials.canvases import Canvases
from optimizer.trials.evaluation import Evaluation

if TYPE_CHECKING:
    from conftest import SmallRun

CPU = torch.device("cpu")
SCREENED = Proposal(0, (PruneChannels(0.2, 8, 32), PruneFPN(0.25), Resize((80, 80))), epochs=0)


@pytest.fixture(scope="module")
def small_arch() -> ArchSpec:
    """Wide enough to be pruned."""
    return narrow_arch((96, 96), region_proposals=30, width=64, neck=256, rpn=64, box_head=256)


@pytest.fixture(scope="module")
def screening(small_run: SmallRun) -> SmallRun:
    """The same run as one whose method screens: half of its images are kept out."""
    config = small_run.config.changed({"search.method": "pareto"})
    assert (config.importance, config.compensates) == ("taylor", True)
    splits = small_run.splits
    kept = replace(splits.train, records=splits.train.records[2:])
    return replace(small_run, config=config, splits=Splits(splits.train, splits.train.first(2), kept, splits.val))


@pytest.fixture(autouse=True)
def no_file_is_left(small_run: SmallRun):
    yield
    for path in (small_run.store.folder / "scratch").glob("gates-*"):
        path.unlink()


def test_a_screened_student_is_a_trial_with_the_ap_of_the_images_kept_out(screening: SmallRun) -> None:
    evaluation = screening.build_evaluation()
    trial = evaluation(1, SCREENED)
    assert isinstance(trial, ScreenedTrial) and (trial.number, trial.proposal) == (1, SCREENED)
    assert trial.arch.input_size == (80, 80) and trial.arch.outer_widths["FPN"] == 192 and trial.seconds > 0
    student = evaluation.builder.build(1, SCREENED, get_done(screening.store.history(), 0))
    assert (
        student.arch == trial.arch
        and trial.counts
        == evaluation.exporter.make_candidate(student.arch, get_done(screening.store.history(), 0).files).counts
    )
    canvases = Canvases(screening.splits.fit.records).on((80, 80))
    recalibrate(student.detector, [batch.images for batch in canvases], CPU)
    kept = screening.splits.kept
    found = predict(student.detector, kept.records, Preprocess.imagenet(80, 80), CPU)
    assert evaluate_detections(kept, found).ap == pytest.approx(trial.ap, abs=1e-3)


def test_the_student_that_is_trained_later_is_the_one_that_was_screened(screening: SmallRun) -> None:
    """Also in a run that was resumed; and what its parent's channels matter is not asked of the images again."""
    base = get_done(screening.store.history(), 0)
    students = [screening.build_evaluation().builder.build(1, SCREENED, base) for _ in range(2)]
    states = [student.detector.state_dict() for student in students]
    assert students[0].arch == students[1].arch
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    (file,) = (screening.store.folder / "scratch").glob("gates-*")
    before = file.stat().st_mtime_ns
    screening.build_evaluation()(1, SCREENED)
    assert file.stat().st_mtime_ns == before


def test_taylor_and_compensation_are_options_that_change_the_student(screening: SmallRun) -> None:
    base = get_done(screening.store.history(), 0)
    action = Proposal(0, (PruneBoxHead(0.5),))
    weights = []
    for changes in ({}, {"search.importance": "bn_scale"}, {"search.compensate": False}):
        config = screening.config.changed(changes)
        weights.append(screening.build_evaluation(config).builder.build(1, action, base).detector.state_dict())
    fc7 = "roi_heads.box_head.fc7.weight"
    assert not torch.equal(weights[0][fc7], weights[1][fc7]) and not torch.equal(weights[0][fc7], weights[2][fc7])


def test_other_methods_rank_and_inherit_as_before(small_run: SmallRun) -> None:
    evaluation, base = small_run.build_evaluation(), get_done(small_run.store.history(), 0)
    study = evaluation.builder.studies(base)
    assert study.ranked_by is None and study.moments is None
    assert not list(evaluation.exporter.scratch.iterdir())


def test_the_last_few_networks_are_remembered(screening: SmallRun) -> None:
    base = get_done(screening.store.history(), 0)
    studies = screening.build_evaluation(screening.config.changed({"search.compensate": False})).builder.studies
    assert studies(base) is studies(base)


def test_an_action_that_is_not_possible_fails_alone(screening: SmallRun) -> None:
    with pytest.raises(TrialFailed):
        screening.build_evaluation()(1, Proposal(0, (PruneLayer(),) * 30, epochs=0))


class Screens:
    """Two students that are screened, then a third that has more of what the better one has."""

    def ask(self, history: History, rng: Random) -> Proposal:
        screened = list_screened(history)
        if len(screened) < 2:
            ratio = rng.choice((0.25, 0.5))
            return Proposal(0, (PruneBoxHead(ratio + 0.1 * len(screened)),), epochs=0)
        if len(screened) > 2:
            raise SpaceExhausted("three are screened")
        best = max(screened, key=lambda trial: trial.ap).proposal
        return replace(best, actions=(*best.actions, PruneFPN(0.25)))


def test_a_run_killed_while_it_screens_ends_with_the_same_trials(screening: SmallRun, tmp_path: Path) -> None:
    histories = []
    for folder, dies_at in (("whole", None), ("killed", 2)):
        with RunStore.create(tmp_path / folder, screening.config.model_dump(mode="json")) as store:
            base = get_done(screening.store.history(), 0)
            for sha256 in (base.files.weights, base.files.model):
                store.artefacts.put_file(screening.store.artefacts.path(sha256))
            store.record(base)
            for attempt in (dies_at, None):
                evaluation = replace(screening, store=store).build_evaluation()

                def evaluate(number: int, proposal: Proposal, evaluation: Evaluation = evaluation, end=attempt):
                    trial = evaluation(number, proposal)
                    if number == end:
                        raise KeyboardInterrupt  # the work is done, and was not recorded
                    return trial

                try:
                    why = search(Search(Screens(), store.history, store.record, 3, 1, lambda: True), evaluate)
                    assert why == "three are screened (after 0 of 1 trials)"
                    break
                except KeyboardInterrupt:
                    assert store.history()[-1].status == "pending" and attempt == dies_at
            histories.append(store.history())
    assert [trial.status for trial in histories[0]] == ["done", "screened", "screened", "screened"]
    assert len(histories[0]) == len(histories[1])
    for one, other in zip(*histories):
        assert (one.proposal, one.arch, one.ap, one.ap50) == (other.proposal, other.arch, other.ap, other.ap50)


def test_canvases_are_remembered_within_a_limit(screening: SmallRun) -> None:
    records, per_canvas = screening.splits.train.records, 4 * 3 * 96 * 96 * 4
    canvases = Canvases(records, limit_bytes=2 * per_canvas)
    first = canvases.on((96, 96))
    assert canvases.on((96, 96)) is first and [len(batch.places) for batch in first] == [4]
    canvases.on((80, 80))
    assert canvases.on((96, 96)) is first
    canvases.on((96, 88))
    canvases.on((88, 96))
    assert canvases.on((96, 96)) is not first
    small = Canvases(records, limit_bytes=per_canvas - 1)
    assert small.on((96, 96)) is not small.on((96, 96))
    assert torch.equal(next(iter(small.on((96, 96)))).images, next(iter(first)).images)


def test_an_image_that_cannot_be_read_is_left_out(screening: SmallRun, tmp_path: Path) -> None:
    records: Sequence[Record] = screening.splits.train.records
    (tmp_path / "damaged.jpg").write_bytes(b"no picture")
    damaged = replace(records[0], path=tmp_path / "damaged.jpg")
    (batch,) = Canvases([damaged, *records[1:]]).on((96, 96))
    assert [image_id for image_id, _ in batch.places] == [record.image_id for record in records[1:]]
    assert list(Canvases([damaged]).on((96, 96))) == []


def test_a_loaded_detector_has_the_weights_alone_and_draws_nothing(screening: SmallRun) -> None:
    arch = screening.config.base_arch()
    wanted = build_detector(arch, 3, seed=5)
    state = torch.get_rng_state()
    loaded = load_detector(arch, 3, wanted.state_dict())
    assert torch.equal(state, torch.get_rng_state()) and not loaded.training
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in wanted.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    for one, other in zip(wanted.detect(images)[0], loaded.detect(images)[0]):
        assert torch.equal(one, other)
