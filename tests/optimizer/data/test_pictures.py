"""What a body is pre-trained on: folders of classes, crops of labelled images, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deploy.data import Dataset, Record
from optimizer.data.batches import SampleLoader
from optimizer.data.class_folder import JUDGED_OF, ClassFolder, fingerprint_folder
from optimizer.data.crops import BACKGROUND, ObjectCrops, frame_object, list_free_cells
from optimizer.data.pictures import PictureView, count_unreadable
from optimizer.errors import InputError

VIEW = PictureView((32, 24))
WHOLE = PictureView((32, 24), least_area=1.0, jitter=0.0)


def write_classes(folder: Path, classes: dict[str, int]) -> Path:
    """Images of one colour for each class."""
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (40, 30), (60 * number, 0, 20 * index)).save(folder / name / f"{index}.png")
    return folder


def make_record(boxes: list[list[float]], size: tuple[int, int] = (80, 60), crowd: bool = False) -> Record:
    count = len(boxes)
    return Record(
        1, Path("image.png"), *size, np.array(boxes, np.float32).reshape(-1, 4), np.zeros(count, np.int64),
        np.full(count, crowd),
    )  # fmt: skip


def test_a_folder_of_classes_gives_its_images_with_their_class(tmp_path: Path) -> None:
    pictures = ClassFolder(write_classes(tmp_path, {"ant": 2, "bee": 3}), VIEW)
    assert (len(pictures), pictures.class_names) == (5, ("ant", "bee"))
    labels = []
    for index in range(5):
        image, truth = pictures.read(index, 0, 7)
        assert image.shape == (3, 24, 32) and image.dtype == torch.float32 and len(truth.boxes_xyxy) == 1
        labels.append(int(truth.labels))
    assert labels == [0, 0, 1, 1, 1]
    assert pictures.name(4).endswith("bee/2.png")


def test_a_view_is_decided_by_its_seed_and_leaves_torchs_numbers_as_they_were(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    before, kept = torch.get_rng_state(), pixels.copy()
    one, same, other = (VIEW.show(pixels, 0, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(pixels, kept)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({}, "holds no folders of classes"),
        ({"ant": 0, "bee": 0}, "hold no images"),
        ({"ant": 2, "bee": 0}, r"one class alone \(ant\); a classifier needs two"),
        ({"train": 2, "val": 2}, r"holds splits \(train, val\), not classes: name one, as .*train"),
    ],
)
def test_a_folder_that_is_none_of_classes_is_refused(tmp_path: Path, classes: dict[str, int], words: str) -> None:
    write_classes(tmp_path, classes)
    for use in (lambda: ClassFolder(tmp_path, VIEW), lambda: fingerprint_folder(tmp_path)):
        with pytest.raises(InputError, match=words):
            use()
    with pytest.raises(InputError, match="there is no folder"):
        ClassFolder(tmp_path / "absent", VIEW)


def test_a_folder_is_known_by_its_images_and_not_by_its_place(tmp_path: Path) -> None:
    one, same = (write_classes(tmp_path / name, {"ant": 2, "bee": 3}) for name in ("one", "same"))
    assert fingerprint_folder(one) == fingerprint_folder(same)
    (same / "bee" / "2.png").unlink()
    assert fingerprint_folder(one) != fingerprint_folder(same)


def test_unreadable_images_are_named_and_counted_and_when_all_are_refused(tmp_path: Path) -> None:
    folder = write_classes(tmp_path, {"ant": 2, "bee": 3})
    (folder / "bee" / "1.png").write_bytes(b"no image")
    pictures = ClassFolder(folder, VIEW)
    assert count_unreadable(pictures) == ([str(folder / "bee" / "1.png")], 5)
    loader = SampleLoader(pictures, batch_size=5, seed=0)
    (images, truths), *_ = loader.epoch(0)
    assert images.shape == (5, 3, 24, 32) and len(truths) == 5 and loader.unreadable == 1
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"not one of 5 images tried, of 5 for pre-training, can be read"):
        count_unreadable(pictures)


def test_crops_are_the_objects_and_places_without_any(shapes: Dataset) -> None:
    crops = ObjectCrops(shapes, WHOLE)
    objects = sum(len(record.labels) for record in shapes.records)
    places = sum(len(list_free_cells(record)) > 0 for record in shapes.records)
    assert len(crops) == objects + places and places
    assert crops.class_names == (*shapes.class_names, BACKGROUND)
    found = [int(crops.read(index, 0, 0)[1].labels) for index in range(len(crops))]
    assert found.count(len(shapes.class_names)) == places
    expected = sorted(label for record in shapes.records for label in record.labels.tolist())
    assert sorted(label for label in found if label < len(shapes.class_names)) == expected


def test_a_crop_shows_the_whole_object_in_a_square() -> None:
    assert frame_object(np.array([40.0, 40, 60, 80]), (200, 200)).tolist() == [25, 35, 75, 85]
    assert frame_object(np.array([0.0, 0, 60, 20]), (70, 30)).tolist() == [0, 0, 68, 30]


def test_places_without_an_object_meet_none() -> None:
    assert len(list_free_cells(make_record([]))) == 16
    assert len(list_free_cells(make_record([[0, 0, 80, 60]]))) == 0
    assert len(list_free_cells(make_record([[0, 0, 80, 60]], crowd=True))) == 0
    assert list_free_cells(make_record([[0, 0, 60, 60], [60, 0, 80, 30]])).tolist() == [
        [60, 30, 80, 45],
        [60, 45, 80, 60],
    ]
    assert len(list_free_cells(make_record([], size=(12, 12)))) == 0, "cells of three pixels"


def test_one_class_is_told_from_places_without_it_and_nothing_from_nothing_is_refused(shapes: Dataset) -> None:
    single = replace(
        shapes, class_names=("thing",), records=tuple(replace(r, labels=0 * r.labels) for r in shapes.records)
    )
    crops = ObjectCrops(single, VIEW)
    assert {int(crops.read(index, 0, 0)[1].labels) for index in range(len(crops))} == {0, 1}
    full = replace(single, records=(replace(make_record([[0, 0, 80, 60]]), path=shapes.records[0].path),))
    with pytest.raises(InputError, match=r"crops of thing alone .* \(--pretrain none\)"):
        ObjectCrops(full, VIEW)
    with pytest.raises(InputError, match=r"crops of nothing alone"):
        ObjectCrops(shapes.first(0), VIEW)


def test_objects_of_few_pixels_and_crowds_are_no_crops(shapes: Dataset) -> None:
    record = make_record([[0, 0, 3, 30], [10, 10, 14, 14]])
    crops = ObjectCrops(replace(shapes, records=(record,)), VIEW)
    assert len(crops) == 2, "one object, and a place without any"
    crowd = make_record([[10, 10, 30, 30]], crowd=True)
    assert len(ObjectCrops(replace(shapes, records=(record, crowd)), VIEW)) == 3


def test_a_crop_of_an_image_of_another_size_than_its_labels_cannot_be_read(shapes: Dataset) -> None:
    wrong = replace(shapes.records[0], width=999)
    crops = ObjectCrops(replace(shapes, records=(wrong, *shapes.records[1:])), VIEW)
    with pytest.raises(InputError, match="its labels are for 999x"):
        crops.read(0, 0, 0)


@pytest.mark.parametrize("counts", [{"ant": 2, "bee": 1, "cow": 41}, {"ant": 20, "bee": 59, "cow": 7, "dog": 3}])
def test_the_images_kept_to_judge_by_are_spread_over_each_class(tmp_path: Path, counts: dict[str, int]) -> None:
    folder = write_classes(tmp_path, counts)
    whole = ClassFolder(folder, VIEW)
    names = [whole.name(index) for index in range(len(whole))]
    expected = []
    for name, count in counts.items():
        rows, wanted = [path for path in names if Path(path).parent.name == name], max(1, count // JUDGED_OF)
        expected += rows[:: count // wanted][:wanted] if count > 1 else []
    judged = ClassFolder(folder, VIEW, "judged")
    assert [judged.name(index) for index in range(len(judged))] == expected
