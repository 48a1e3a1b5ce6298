"""Two processes that train together do what one process with the double batch does.

They talk over gloo on the CPU; `one_of_many.py` is what each of them runs. Where two are compared with one, BatchNorm
is in evaluation mode: the statistics of two halves of a batch are not those of the whole, and SyncBatchNorm, which
makes them so, exists on GPUs only and is therefore left out here (but for the change of class and back).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deploy import Preprocess
from deploy.data import read_dataset
from optimizer.data.loader import TrainLoader
from optimizer.data.shapes import write_shapes
from optimizer.errors import InputError
from optimizer.train import distributed
from optimizer.train.distributed import World, current_world, joined_world, synchronised_batchnorm, wrap_for_world
from optimizer.train.steps import DetectionStep

WORKER = Path(__file__).with_name("one_of_many.py")
ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 120
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
Found = dict[str, Any]
Run = Callable[..., list[Found]]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_processes(job: str, folder: Path, processes: int) -> tuple[list[int], list[str]]:
    """Exit codes and output of `one_of_many.py`, as torchrun would start it; a process that hangs is a failure."""
    port, running, logs = find_free_port(), [], []
    plain = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    for rank in range(processes):
        torchrun = dict(zip(TORCHRUN, (str(rank), str(processes), str(rank), "127.0.0.1", str(port))))
        environment = {**plain, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(torchrun if processes > 1 else {})}
        logs.append(folder / f"{job}-{rank}.log")
        with logs[-1].open("w") as log:
            running.append(
                subprocess.Popen([sys.executable, WORKER, job, folder], env=environment, stdout=log, stderr=log)
            )
    deadline = time.monotonic() + LIMIT_S
    try:
        codes = [process.wait(max(deadline - time.monotonic(), 0.1)) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    return codes, [log.read_text() for log in logs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    write_shapes(folder / "shapes", train=12, val=4, size=(64, 64), seed=3)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """A function of (job, number of processes): what each process found."""

    def run_job(job: str, processes: int) -> list[Found]:
        codes, logs = run_processes(job, folder, processes)
        assert codes == [0] * processes, "\n".join(logs)
        names = [f"{job}-{rank}-of-{processes}.pt" for rank in range(processes)]
        return [torch.load(folder / name, weights_only=False) for name in names]

    return run_job


@pytest.fixture(scope="module")
def alone(run: Run) -> Found:
    return run("alone", 1)[0]


@pytest.fixture(scope="module")
def together(run: Run) -> list[Found]:
    return run("together", 2)


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


@pytest.mark.slow
def test_their_gradients_are_those_of_the_whole_batch(alone: Found, together: list[Found]) -> None:
    whole, first, second = (dict(found["find_gradients"]) for found in (alone, *together))
    assert (whole.pop("images"), first.pop("images"), second.pop("images")) == (4, 2, 2)
    assert_equal(first, second)
    assert any(value.abs().max() > 1e-3 for value in whole.values())
    for name, value in whole.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_a_training_of_two_is_that_of_one_with_the_double_batch(alone: Found, together: list[Found]) -> None:
    one, first, second = (found["train_detector"] for found in (alone, *together))
    assert_equal(first["weights"], second["weights"])
    for name, value in one["weights"].items():
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert [step for step, _ in first["curve"]] == [step for step, _ in one["curve"]]
    assert [loss for _, loss in first["curve"]] == pytest.approx([loss for _, loss in one["curve"]], rel=1e-5)
    assert one["ap"] > 0.01 and first["ap"] == second["ap"] == pytest.approx(one["ap"], abs=1e-3)


@pytest.mark.slow
def test_rank_0_alone_reports_and_what_it_reports_is_the_mean(alone: Found, together: list[Found]) -> None:
    one, first, second = (found["train_detector"]["reported"] for found in (alone, *together))
    assert len(one) == 120 and first == pytest.approx(one, rel=1e-5) and second == []


@pytest.mark.slow
def test_slices_unused_weights_and_a_steps_own_are_trained_as_in_one(alone: Found, together: list[Found]) -> None:
    one, first, second = (found["train_sliced"]["weights"] for found in (alone, *together))
    assert_equal(first, second)
    assert one["gain"] != 2.0 and one["drawn"] == 15
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_killed_training_ends_on_all_ranks_and_goes_on_bit_for_bit(
    together: list[Found], run: Run, folder: Path
) -> None:
    codes, logs = run_processes("killed", folder, 2)
    assert codes[0] == 9 and codes[1] not in (0, None), logs
    first, second = (found["train_resumed"] for found in run("resumed", 2))
    assert first["seen"] == list(range(8, 16)) and second["seen"] == []
    undisturbed = together[0]["train_whole"]
    assert first["curve"] == undisturbed["curve"]
    assert_equal(first["weights"], undisturbed["weights"])
    assert_equal(second["weights"], undisturbed["weights"])


@pytest.mark.slow
def test_ranks_end_alike_whatever_is_random_and_whatever_has_statistics(together: list[Found]) -> None:
    first, second = (found["train_whole"] for found in together)
    assert_equal(first["weights"], second["weights"])
    assert first["curve"] == second["curve"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_by_all(together: list[Found]) -> None:
    first, second = (found["survive_bad_losses"] for found in together)
    assert first["skipped"] == second["skipped"] == 3
    assert_equal(first["weights"], second["weights"])
    assert all(torch.isfinite(value).all() for value in first["weights"].values())
    assert first["types"] == ["BatchNorm2d", "Conv2d", "Dropout", "Module", "Sequential", "TinyModel"]


@pytest.mark.slow
def test_all_ranks_give_up_together(together: list[Found]) -> None:
    assert all("3 times in a row at step 7" in found["diverge"]["error"] for found in together)


@pytest.mark.slow
def test_rank_0_says_whether_there_is_a_checkpoint(together: list[Found]) -> None:
    first, second = (found["read_two_checkpoints"] for found in together)
    assert len(first["curve"]) == 15
    assert_equal(first["weights"], second["weights"])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_ranks_of_a_loader_divide_the_batches_of_one(folder: Path, world: int) -> None:
    data = read_dataset(folder / "shapes", "train").first(11)
    options = {"batch_size": 6, "seed": 1, "augment": "light"}
    whole = TrainLoader(data, Preprocess.imagenet(48, 40), **options)
    ranks = [TrainLoader(data, Preprocess.imagenet(48, 40), **options, share=(r, world)) for r in range(world)]
    assert {len(rank) for rank in ranks} == {len(whole)}
    assert len(list(ranks[-1].epoch(2, start_step=1))) == len(whole) - 1
    for (images, truths), *shares in zip(whole.epoch(2), *(rank.epoch(2) for rank in ranks)):
        for rank, (share, share_truths) in enumerate(shares):
            assert torch.equal(share, images[rank::world])
            expected = [truth.boxes_xyxy.tolist() for truth in truths[rank::world]]
            assert [truth.boxes_xyxy.tolist() for truth in share_truths] == expected


def test_a_small_data_set_still_gives_each_rank_the_same_number(folder: Path) -> None:
    data = read_dataset(folder / "shapes", "train").first(5)
    ranks = [TrainLoader(data, Preprocess.imagenet(48, 40), batch_size=8, seed=1, share=(r, 2)) for r in (0, 1)]
    assert [len(next(rank.epoch(0))[0]) for rank in ranks] == [2, 2]


@pytest.mark.parametrize(("batch_size", "images"), [(5, 11), (4, 1)])
def test_a_batch_that_cannot_be_divided_is_refused(folder: Path, batch_size: int, images: int) -> None:
    data = read_dataset(folder / "shapes", "train").first(images)
    with pytest.raises(InputError, match=f"batch of {batch_size} of {images} images cannot be shared by 2 processes"):
        TrainLoader(data, Preprocess.imagenet(48, 40), batch_size=batch_size, seed=1, share=(0, 2))


def test_without_torchrun_nothing_is_joined_and_the_step_is_called_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_world() as world:
        assert world == current_world() == World(0, 1) and world.is_first
        assert not isinstance(wrap_for_world(nn.Linear(1, 1), DetectionStep()), nn.Module)


def test_a_world_of_one_is_joined_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(TORCHRUN, ("0", "1", "0", "127.0.0.1", str(find_free_port()))):
        monkeypatch.setenv(name, value)
    with joined_world("cpu") as world:
        assert world == current_world() == World(0, 1) and torch.distributed.is_initialized()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MASTER_PORT": ""}, "not MASTER_PORT: start with torchrun"),
        ({"RANK": "", "MASTER_ADDR": ""}, "not RANK, MASTER_ADDR"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a number"),
        ({"RANK": "2"}, "RANK 2, LOCAL_RANK 0 and WORLD_SIZE 2 contradict each other"),
        ({"LOCAL_RANK": "1"}, "contradict"),
        ({"RANK": "-1"}, "not a number"),
    ],
)
def test_an_environment_that_makes_no_sense_is_one_line(
    changes: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**dict(zip(TORCHRUN, ("0", "2", "0", "127.0.0.1", "1"))), **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message), joined_world("cpu"):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(TORCHRUN, ("3", "4", "3", "127.0.0.1", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = r"LOCAL_RANK is 3, but this machine shows 2 GPUs.*--nproc-per-node=2"
    with pytest.raises(InputError, match=message), joined_world("cuda"):
        pass


def test_synchronised_batchnorms_are_the_same_modules_before_within_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows without a GPU: in evaluation mode they compute the same, and all that others hold stays valid."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    images = torch.randn(2, 3, 4, 4)
    before, norm, names, weight = model(images), model[1], list(model.state_dict()), model[1].weight
    called: list[nn.Module] = []
    norm.register_forward_hook(lambda module, inputs, output: called.append(module))
    monkeypatch.setattr(distributed, "current_world", lambda: World(0, 2))
    with pytest.raises(KeyboardInterrupt), synchronised_batchnorm(model, DetectionStep(), torch.device("cuda")):
        assert model[1] is norm and norm.weight is weight and list(model.state_dict()) == names
        assert isinstance(norm, nn.SyncBatchNorm) and isinstance(norm, nn.BatchNorm2d)
        assert torch.equal(model(images), before) and called == [norm]
        with pytest.raises(ValueError, match="on GPU"):  # it is SyncBatchNorm's forward that runs
            monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
            norm.train()(before)
        raise KeyboardInterrupt
    assert type(norm) is nn.BatchNorm2d and list(model.state_dict()) == names and "process_group" not in vars(norm)
    with synchronised_batchnorm(model, DetectionStep(), torch.device("cpu")):
        assert type(norm) is nn.BatchNorm2d
