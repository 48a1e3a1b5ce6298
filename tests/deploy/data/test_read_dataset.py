"""Layouts, splits, and properties that hold for any label file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deploy.data import Dataset, check_dataset, read_dataset, summarise_problems
from deploy.errors import InputError

ONE = [{"image_id": 1, "bbox": [1, 1, 8, 8], "category_id": 3}]


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set folder"):
        read_dataset(tmp_path / "absent", "train")


def test_a_folder_of_anything_else_says_what_is_understood_and_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(InputError, match=r"instances_.*Annotations.*data\.yaml.*holiday\.mp4"):
        read_dataset(tmp_path, "train")


def test_an_empty_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing"):
        read_dataset(tmp_path, "all")


def test_a_data_set_with_nothing_usable_is_an_input_error_that_says_why(coco) -> None:
    folder = coco([{"image_id": 1, "bbox": [5, 5, 0, 4], "category_id": 3}])
    with pytest.raises(InputError, match=r"no usable object.*1 zero-area box"):
        read_dataset(folder, "train")


def test_crowds_alone_are_nothing_usable(coco) -> None:
    with pytest.raises(InputError, match="no usable object"):
        read_dataset(coco([{**ONE[0], "iscrowd": 1}]), "train")


def test_without_a_validation_split_one_image_in_five_is_held_out_and_said(coco) -> None:
    annotations = [{"image_id": i, "bbox": [1, 1, 8, 8], "category_id": 3} for i in range(1, 21)]
    folder = coco(annotations, count=20)
    train, val = read_dataset(folder, "train"), read_dataset(folder, "val")
    assert (len(train.records), len(val.records)) == (16, 4)
    assert {r.image_id for r in train.records} | {r.image_id for r in val.records} == set(range(1, 21))
    assert [p.kind for p in train.problems] == [p.kind for p in val.problems] == ["no validation split"]
    assert [r.image_id for r in val.records] == [r.image_id for r in read_dataset(folder, "val").records]


def test_a_single_image_is_trained_and_validated_on(coco) -> None:
    folder = coco(ONE, count=1)
    assert len(read_dataset(folder, "train").records) == len(read_dataset(folder, "val").records) == 1


def test_a_validation_split_alone_is_validated_on_whole_and_never_trained_on(coco) -> None:
    folder = coco(ONE, split="val", count=10)
    assert len(read_dataset(folder, "val").records) == 10
    with pytest.raises(InputError, match="no train split; found val"):
        read_dataset(folder, "train")


def test_all_splits_together_have_image_ids_of_their_own(coco) -> None:
    coco(ONE)
    dataset = read_dataset(coco(ONE, split="val"), "all")
    assert [record.image_id for record in dataset.records] == [0, 1, 2, 3]


def test_splits_with_other_classes_are_an_input_error(coco) -> None:
    coco(ONE)
    with pytest.raises(InputError, match="same classes"):
        read_dataset(coco(ONE, split="val", categories=[{"id": 3, "name": "bird"}]), "all")


def test_the_check_decodes_every_image(coco, draw) -> None:
    folder = coco(ONE, count=5)
    content = (folder / "train" / "2.png").read_bytes()
    (folder / "train" / "2.png").write_bytes(content[: len(content) // 2])
    draw(folder / "train" / "3.png", (8, 8))
    draw(folder / "train" / "4.png", image_format="JPEG")
    assert read_dataset(folder, "all").problems == ()
    found = {(p.kind, p.file.name, p.action) for p in check_dataset(folder)}
    assert found == {
        ("unreadable image", "2.png", "skipped"),
        ("wrong size", "3.png", "skipped"),
        ("wrong extension", "4.png", "read by its content"),
    }


def test_problems_are_counted_by_kind(coco) -> None:
    zero = {"image_id": 1, "bbox": [5, 5, 0, 4], "category_id": 3}
    dataset = read_dataset(coco([*ONE, zero, zero, {**ONE[0], "bbox": [30, 20, 20, 5]}], split="val"), "val")
    assert summarise_problems(dataset.problems) == "2 zero-area box (skipped), 1 box over the edge (clipped)"
    assert summarise_problems([]) == "none"


def test_a_reader_never_looks_at_pixels(coco) -> None:
    folder = coco(ONE, count=3)
    for path in (folder / "train").iterdir():
        path.write_bytes(b"")
    assert len(read_dataset(folder, "all").records) == 3


def test_first_keeps_the_rest_of_the_data_set(coco) -> None:
    dataset = read_dataset(coco(ONE, split="val"), "val")
    assert dataset.first(1) == Dataset(dataset.class_names, dataset.records[:1], dataset.problems)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text(max_size=5),
            st.lists(st.one_of(st.floats(), st.integers(-60, 60), st.text(max_size=2)), min_size=3, max_size=5),
        ),
        max_size=8,
    )
)
def test_any_box_at_all_is_either_usable_or_reported(tmp_path_factory: pytest.TempPathFactory, boxes: list) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "annotations").mkdir()
    (folder / "images").mkdir()
    Image.new("RGB", (40, 30)).save(folder / "images" / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"image_id": 1, "bbox": box, "category_id": 1} for box in [[0, 0, 3, 3], *boxes]],
        "categories": [{"id": 1, "name": "x"}],
    }
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    dataset = read_dataset(folder, "val")
    corners = dataset.records[0].boxes_xyxy
    assert np.isfinite(corners).all() and (corners[:, 2:] > corners[:, :2]).all()
    assert (corners >= 0).all() and (corners <= [40, 30, 40, 30]).all()
    dropped = [p for p in dataset.problems if p.action == "skipped"]
    assert len(corners) + len(dropped) == len(boxes) + 1


@pytest.mark.real
def test_the_blood_cells_have_two_boxes_without_area_and_seven_doubled_ones(real_data: Path) -> None:
    assert summarise_problems(check_dataset(real_data / "bccd")) == "7 doubled box (kept), 2 zero-area box (skipped)"
    train, val = read_dataset(real_data / "bccd", "train"), read_dataset(real_data / "bccd", "val")
    assert (len(train.records), train.count_objects(), len(val.records), val.count_objects()) == (205, 2804, 87, 1137)
    assert train.class_names == val.class_names == ("Platelets", "RBC", "WBC")


@pytest.mark.real
def test_the_excerpt_of_coco_has_eleven_crowds_and_three_empty_images(real_data: Path) -> None:
    dataset = read_dataset(real_data / "coco_excerpt", "all")
    assert len(dataset.records) == 99 and len(dataset.class_names) == 80
    assert sum(int(record.crowd.sum()) for record in dataset.records) == 11
    assert sum(len(record.labels) == 0 for record in dataset.records) == 3
    assert summarise_problems(check_dataset(real_data / "coco_excerpt")) == "11 crowd (kept for evaluation only)"
