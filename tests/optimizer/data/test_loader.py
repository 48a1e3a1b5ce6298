"""Batches: any epoch, from any step, always the same."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deploy.data import Dataset
from deploy.pipeline.preprocess import Preprocess
from optimizer.data.loader import TrainLoader
from optimizer.data.shapes import write_shapes
from optimizer.detectors.base import Truth
from optimizer.errors import InputError, RunFailed

Batch = tuple[Tensor, list[Truth]]


def loader(dataset: Dataset, **changes: int | str) -> TrainLoader:
    options = {"batch_size": 4, "seed": 1, "augment": "light", "workers": 0, **changes}
    return TrainLoader(dataset, Preprocess.imagenet(48, 40), **options)  # type: ignore[arg-type]


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y)
        and all(torch.equal(p.boxes_xyxy, q.boxes_xyxy) and torch.equal(p.labels, q.labels) for p, q in zip(s, t))
        for (x, s), (y, t) in zip(a, b)
    )


def test_an_epoch_has_the_steps_it_says_of_whole_batches(shapes: Dataset) -> None:
    batches = list(loader(shapes).epoch(0))
    assert len(batches) == len(loader(shapes)) == 2
    for images, truths in batches:
        assert images.shape == (4, 3, 40, 48) and images.dtype == torch.float32 and len(truths) == 4


def test_fewer_images_than_a_batch_are_one_batch(shapes: Dataset) -> None:
    few = loader(shapes.first(3))
    assert len(few) == 1 and next(few.epoch(0))[0].shape[0] == 3


@pytest.mark.parametrize("augment", ["none", "light", "strong"])
def test_a_restart_in_the_middle_gives_what_an_undisturbed_epoch_gives(shapes: Dataset, augment: str) -> None:
    whole = list(loader(shapes, augment=augment, batch_size=2).epoch(3))
    assert same(list(loader(shapes, augment=augment, batch_size=2).epoch(3, start_step=2)), whole[2:])
    assert list(loader(shapes, batch_size=2).epoch(3, start_step=5)) == []


def test_worker_processes_change_nothing(shapes: Dataset) -> None:
    assert same(list(loader(shapes, workers=2).epoch(1)), list(loader(shapes).epoch(1)))


def test_workers_that_run_out_of_shared_memory_say_what_to_do(shapes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system does to a process that writes to a full /dev/shm."""
    monkeypatch.setattr("PIL.Image.open", lambda *arguments, **options: os.kill(os.getpid(), signal.SIGBUS))
    with pytest.raises(RunFailed, match=r"shm-size=2g, or read in this process by --workers 0"):
        list(loader(shapes, workers=1).epoch(0))


FULL = """
import sys
from pathlib import Path
from deploy import Preprocess
from deploy.data import read_dataset
from optimizer.data.loader import TrainLoader
dataset = read_dataset(Path(sys.argv[1]), "train")
loader = TrainLoader(dataset, Preprocess.imagenet(48, 40), batch_size=4, seed=1, workers=1)
for images, truths in loader.epoch(0):
    print(len(images))
"""


@pytest.mark.timeout(300)
def test_a_full_shared_memory_ends_the_training_and_does_not_hold_it_up(tmp_path: Path) -> None:
    """In a container's /dev/shm, which is smaller than one batch of 92 KB."""
    folder = write_shapes(tmp_path / "shapes", train=8, val=2, size=(64, 64), seed=0)
    mount = "mount -t tmpfs -o size=64k none /dev/shm"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("needs a /dev/shm of its own: unshare and mount are refused here")
    words = ["unshare", "-rm", "sh", "-c", f'{mount}; exec "$@"', "sh", sys.executable, "-c", FULL, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "RunFailed: the processes that read images ran out of shared memory" in done.stderr


CANVASES = ((48, 40), (64, 48), (32, 64))


def mixed(dataset: Dataset, **changes: int | str) -> TrainLoader:
    """A loader of several canvases, two images a step."""
    options = {"batch_size": 2, "seed": 1, "augment": "light", **changes}
    return TrainLoader(dataset, [Preprocess.imagenet(*size) for size in CANVASES], **options)  # type: ignore[arg-type]


def sizes(batches: Iterable[Batch]) -> list[tuple[int, int]]:
    return [(images.shape[-1], images.shape[-2]) for images, _ in batches]


def test_every_batch_is_on_one_of_the_canvases_and_so_are_its_objects(shapes: Dataset) -> None:
    batches = [batch for epoch in range(8) for batch in mixed(shapes, augment="none").epoch(epoch)]
    assert len(batches) == 40 and set(sizes(batches)) == set(CANVASES)
    assert {len(images) for images, _ in batches} == {2}
    for (width, height), (_, truths) in zip(sizes(batches), batches):
        boxes = torch.cat([truth.boxes_xyxy for truth in truths])
        assert bool((boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2)).all())
        assert len(boxes) and bool((boxes[:, 2:] > boxes[:, :2]).all())


def test_of_several_canvases_a_batch_is_that_of_the_one_drawn_alone(shapes: Dataset) -> None:
    """The images of a step and what becomes of them do not depend on which canvases there are."""
    batches = list(mixed(shapes).epoch(2))
    alone = {
        size: list(TrainLoader(shapes, Preprocess.imagenet(*size), batch_size=2, seed=1, augment="light").epoch(2))
        for size in CANVASES
    }
    assert len(set(sizes(batches))) > 1
    assert same(batches, [alone[size][step] for step, size in enumerate(sizes(batches))])


def test_the_draw_of_a_canvas_depends_on_seed_epoch_and_step_alone(shapes: Dataset) -> None:
    epochs = [sizes(mixed(shapes).epoch(number)) for number in range(4)]
    torch.manual_seed(8)
    for changes in ({"augment": "strong"}, {"workers": 2}, {"share": (1, 2)}):
        assert [sizes(mixed(shapes, **changes).epoch(number)) for number in range(4)] == epochs  # type: ignore[arg-type]
    assert [sizes(mixed(shapes.first(8)).epoch(number)) for number in range(4)] == [epoch[:4] for epoch in epochs]
    assert len({tuple(epoch) for epoch in epochs}) == 4, "each epoch draws anew"
    assert [sizes(mixed(shapes, seed=2).epoch(number)) for number in range(4)] != epochs


@pytest.mark.parametrize("workers", [0, 2])
def test_with_several_canvases_a_restart_gives_what_would_have_come(shapes: Dataset, workers: int) -> None:
    whole = list(mixed(shapes).epoch(3))
    assert len(set(sizes(whole[2:]))) > 1
    assert same(list(mixed(shapes, workers=workers).epoch(3, start_step=2)), whole[2:])


def test_ranks_draw_the_same_canvases_and_share_their_images(shapes: Dataset) -> None:
    whole = list(mixed(shapes, batch_size=4).epoch(1))
    ranks = [list(mixed(shapes, batch_size=4, share=(rank, 2)).epoch(1)) for rank in range(2)]
    assert sizes(ranks[0]) == sizes(ranks[1]) == sizes(whole)
    for (images, truths), first, second in zip(whole, *ranks):
        assert same([(images[0::2], truths[0::2])], [first]) and same([(images[1::2], truths[1::2])], [second])


def test_epochs_and_seeds_differ(shapes: Dataset) -> None:
    first = list(loader(shapes).epoch(0))
    assert same(first, list(loader(shapes).epoch(0)))
    assert not same(first, list(loader(shapes).epoch(1)))
    assert not same(first, list(loader(shapes, seed=2).epoch(0)))


def test_the_global_generator_is_neither_read_nor_moved(shapes: Dataset) -> None:
    before = torch.get_rng_state()
    first = list(loader(shapes).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same(first, list(loader(shapes).epoch(0)))


def test_every_image_comes_once_an_epoch(shapes: Dataset) -> None:
    batches = loader(shapes, batch_size=1, augment="none").epoch(0)
    seen = sorted(float(images.double().sum()) for images, _ in batches)
    assert len(set(seen)) == 11


def test_images_without_objects_are_trained_on(shapes: Dataset) -> None:
    first = shapes.records[0]
    empty = replace(first, boxes_xyxy=first.boxes_xyxy[:0], labels=first.labels[:0], crowd=first.crowd[:0])
    _, truths = next(loader(replace(shapes, records=(empty,))).epoch(0))
    assert truths[0].boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_replaced_counted_and_warned_about_once(
    shapes: Dataset, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    for record in shapes.records[3:6]:
        record.path.write_bytes(record.path.read_bytes()[:200])
    damaged = loader(shapes, batch_size=1, augment="none", workers=workers)
    with caplog.at_level(logging.WARNING, logger="detopt"):
        batches = list(damaged.epoch(0)) + list(damaged.epoch(1))
    assert len(batches) == 22 and damaged.unreadable == 3
    assert len(caplog.records) == 1 and ".png" in caplog.text
    assert len({float(images.double().sum()) for images, _ in batches}) == 8


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_of_unreadable_images_is_one_clear_line(shapes: Dataset, workers: int) -> None:
    for record in shapes.records:
        record.path.unlink()
    with pytest.raises(InputError, match="not one of 11 images") as raised:
        next(loader(shapes, workers=workers).epoch(0))
    assert "\n" not in str(raised.value)


def test_an_unknown_augmentation_is_refused_with_the_known_ones(shapes: Dataset) -> None:
    with pytest.raises(InputError, match=r"'wild'.*none, light, strong"):
        loader(shapes, augment="wild")


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_in_a_row_are_one_stream_and_the_same_as_each_alone(shapes: Dataset, workers: int) -> None:
    one, expected = loader(shapes, workers=workers), [list(loader(shapes).epoch(number)) for number in range(4)]
    assert same(list(one.epoch(0)), expected[0])
    assert same(list(one.epoch(1)), expected[1]), "goes on in the stream"
    assert same(list(one.epoch(3)), expected[3]), "is opened anew"
    begun = one.epoch(0)
    next(begun)
    assert same(list(one.epoch(1)), expected[1]) and same(list(begun), expected[0][1:])
