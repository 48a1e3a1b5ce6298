"""How a pool is trained: gone on with after a death, by one process at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shapes_data import ShapesData
from small_pool import CONFIG, STEPS, assert_same_weights, train_in, weights_of
from watched import Watched

from deploy import locks
from optimizer.detectors import Detector, build_detector
from optimizer.errors import RunFailed
from optimizer.store.lock import take_lock
from optimizer.supernet import training
from optimizer.supernet.elastic import rank_channels
from optimizer.supernet.manifest import is_trained
from optimizer.supernet.pool import TeacherPool
from optimizer.supernet.step import SubnetStep


@pytest.mark.parametrize("stop", [(0, 2), (1, 1), (1, 3), (2, 2)], ids=lambda stop: f"phase {stop[0]} step {stop[1]}")
def test_a_killed_training_goes_on_to_the_very_same_weights(
    trained: TeacherPool, data: ShapesData, tmp_path: Path, stop: tuple[int, int]
) -> None:
    folder = tmp_path / "pool"
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, data, Watched(stop))
    assert not is_trained(folder) and (folder / "training.json").is_file()
    progress = Watched()
    resumed = train_in(folder, data, progress)
    training = [completed for number, completed in progress.steps if "AP of" not in progress.titles[number]]
    phase, step = stop
    assert len(training) == STEPS * (2 - phase) + STEPS - (step - 1), "what was done is not done again"
    assert_same_weights(weights_of(resumed), weights_of(trained))
    manifests = [json.loads((pool / "pool.json").read_text()) for pool in (folder, trained.folder)]
    assert manifests[0] == manifests[1]
    assert not (folder / "training.json").exists() and not list(folder.glob("*.ckpt"))


def test_a_death_after_the_last_phase_costs_no_training(trained: TeacherPool, copied: Path, data: ShapesData) -> None:
    (copied / "pool.json").unlink()
    progress = Watched()
    again = train_in(copied, data, progress)
    assert all("AP of" in title for title in progress.titles)
    assert_same_weights(weights_of(again), weights_of(trained))


def test_shrinking_starts_from_the_ranked_super_network_which_teaches_as_it_was(
    copied: Path, data: ShapesData, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pool.json", "phase-1.safetensors", "phase-2.safetensors"):
        (copied / name).unlink()
    starts, teachers = [], []

    def add_a_quarter(detector: Detector, loader: object, step: SubnetStep, *rest: object, **more: object) -> None:
        starts.append({name: tensor.clone() for name, tensor in detector.state_dict().items()})
        assert step.distillation is not None
        teachers.append(step.distillation._teacher[0].state_dict())
        with torch.no_grad():
            for parameter in detector.parameters():
                parameter.add_(0.25)

    monkeypatch.setattr(training, "train", add_a_quarter)
    train_in(copied, data)
    alone = load_file(copied / "phase-0.safetensors")
    ranked = build_detector(CONFIG.space().arch(CONFIG.space().largest()), 4)
    ranked.load_state_dict(alone)
    rank_channels(ranked)
    assert_same_weights(starts[0], ranked.state_dict())
    parameters = {name for name, _ in ranked.named_parameters()}
    assert_same_weights(starts[1], {n: v + 0.25 if n in parameters else v for n, v in starts[0].items()})
    for teacher in teachers:
        assert_same_weights(teacher, alone)


class Waiting(Watched):
    """Does something the first time a line is said."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self.then = then

    def say(self, text: str) -> None:
        super().say(text)
        if len(self.lines) == 1:
            self.then()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)


@pytest.mark.usefixtures("impatient")
def test_a_second_process_waits_for_the_first_and_takes_what_it_trained(
    trained: TeacherPool, data: ShapesData, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    held = take_lock(folder)

    def finish() -> None:
        assert [path.name for path in folder.iterdir()] == [".lock"], "nothing is written before it has the lock"
        shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
        held.close()

    progress = Waiting(finish)
    pool = train_in(folder, data, progress)
    assert progress.lines == [f"waiting for another process that is working on {folder}"]
    assert progress.titles == [] and not (folder / "training.json").exists()
    assert_same_weights(weights_of(pool), weights_of(trained))
    assert pool.folder == folder


@pytest.mark.usefixtures("impatient")
def test_a_second_process_goes_on_where_the_first_was_killed(
    trained: TeacherPool, data: ShapesData, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, data, Watched((2, 1)))
    held = take_lock(folder)
    progress = Waiting(held.close)
    pool = train_in(folder, data, progress)
    assert "waiting for another process" in progress.lines[0] and len(progress.lines) == 2
    assert progress.titles[0].startswith("teachers 3/3")
    assert_same_weights(weights_of(pool), weights_of(trained))


def test_a_trained_pool_is_opened_whoever_works_on_it(copied: Path, trained: TeacherPool, data: ShapesData) -> None:
    with take_lock(copied):
        progress = Waiting(lambda: pytest.fail("it waits"))
        assert_same_weights(weights_of(train_in(copied, data, progress)), weights_of(trained))


def test_the_lock_is_given_back_after_a_death(data: ShapesData, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "pool", data, Watched((0, 1)))
    with take_lock(tmp_path / "pool"):
        pass


def test_a_folder_that_cannot_be_made_is_one_clear_line(data: ShapesData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunFailed, match="cannot write in"):
        train_in(tmp_path / "file" / "pool", data)
