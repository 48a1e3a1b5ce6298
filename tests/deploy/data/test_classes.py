"""Ids are keys, and class names are there once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.data import describe_splits, read_dataset
from deploy.data.coco_names import COCO_CLASSES, COCO_SUPERCATEGORIES
from deploy.data.records import Dataset, Record
from deploy.detections import Detections
from deploy.errors import InputError
from deploy.evaluate import evaluate_detections

LINE = "0 0.5 0.5 0.5 0.4\n"


@pytest.fixture
def write(tmp_path: Path, draw):
    """Writes one COCO split of images with these ids, an object each, of category `used`."""

    def write(split: str, ids: list[Any], categories: list[dict[str, Any]], used: Any) -> Path:
        images = []
        for position, key in enumerate(ids):
            draw(tmp_path / split / f"{position}.png")
            images.append({"id": key, "file_name": f"{position}.png", "width": 40, "height": 30})
        objects = [{"id": n, "image_id": key, "category_id": used, "bbox": [n, 1, 8, 8]} for n, key in enumerate(ids)]
        path = tmp_path / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "ids",
    [["2008_11", "200_811", "20_0811"], [2**53, 2**53 + 1, 2**53 + 2], [-5, 0, 10**40], ["a", "b", "1"], [1, "x", 2.5]],
)
def test_every_image_keeps_its_own_object_whatever_its_id(write, ids: list[Any]) -> None:
    dataset = read_dataset(write("val", ids, [{"id": 1, "name": "cat"}], 1), "val")
    assert [record.boxes_xyxy[:, 0].tolist() for record in dataset.records] == [[0], [1], [2]]
    assert len({record.image_id for record in dataset.records}) == 3


def test_an_id_that_one_list_has_as_text_and_the_other_as_a_number_is_one(write) -> None:
    folder = write("val", ["1", "2"], [{"id": "1", "name": "cat"}], 1)
    text = (folder / "annotations" / "instances_val.json").read_text().replace('"image_id": "1"', '"image_id": 1')
    (folder / "annotations" / "instances_val.json").write_text(text)
    assert read_dataset(folder, "val").count_objects() == 2


def test_text_ids_of_categories_are_ordered_as_text_and_numbers_as_numbers(write) -> None:
    categories = [{"id": "b", "name": "two"}, {"id": "a", "name": "one"}]
    assert read_dataset(write("val", [1], categories, "a"), "val").class_names == ("one", "two")
    categories = [{"id": "10", "name": "ten"}, {"id": "9", "name": "nine"}]
    assert read_dataset(write("val", [1], categories, "9"), "val").class_names == ("nine", "ten")


@pytest.mark.parametrize("name", ["things", "cat"])
def test_a_root_category_without_an_object_is_dropped_and_said(write, name: str) -> None:
    categories = [{"id": 0, "name": name, "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": name}]
    write("train", [1], categories, 1)
    dataset = read_dataset(write("val", [1], categories, 1), "val")
    assert dataset.class_names == ("cat",) and dataset.records[0].labels.tolist() == [0]
    assert [(p.kind, p.action) for p in dataset.problems] == [("unused root category", "dropped")]


def test_a_root_category_that_another_split_uses_stays(write) -> None:
    categories = [{"id": 0, "name": "all", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "all"}]
    write("train", [1], categories, 0)
    folder = write("val", [1], categories, 1)
    assert read_dataset(folder, "val").class_names == read_dataset(folder, "train").class_names == ("all", "cat")


def test_super_categories_are_kept_and_a_class_without_one_is_its_own(write) -> None:
    named = [
        {"id": 1, "name": "cat", "supercategory": "animal"},
        {"id": 2, "name": "dog", "supercategory": "animal"},
        {"id": 3, "name": "car", "supercategory": "none"},
    ]
    write("train", [1], named[1:], 2)
    folder = write("val", [1], named, 1)
    for split in ("train", "val", "all"):
        assert read_dataset(folder, split).supercategories == ("animal", "animal", "car")
    write("train", [1], [{"id": 1, "name": "cat"}], 1)
    assert read_dataset(write("val", [1], [{"id": 1, "name": "cat"}], 1), "val").supercategories == ()


@pytest.mark.real
def test_coco_s_classes_and_super_categories_are_those_of_its_own_files(real_data: Path) -> None:
    dataset = read_dataset(real_data / "coco_excerpt", "val")
    assert dataset.class_names == COCO_CLASSES
    stated = dict(zip(dataset.class_names, dataset.supercategories))
    assert stated == {name: parent for parent, names in COCO_SUPERCATEGORIES.items() for name in names}


def test_two_used_categories_of_one_name_are_refused_with_both_places(write) -> None:
    categories = [{"id": 3, "name": "cat"}, {"id": 5, "name": "cat"}]
    write("train", [1], categories, 3)
    with pytest.raises(InputError, match=r"names twice: cat \(id 3 and id 5\)"):
        read_dataset(write("val", [1], categories, 5), "val")


def test_the_fuller_list_of_classes_counts_and_others_follow_it_by_name(write) -> None:
    write("train", [1], [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "cow"}], 3)
    folder = write("val", [1], [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}], 8)
    train, val = read_dataset(folder, "train"), read_dataset(folder, "val")
    assert train.class_names == val.class_names == ("dog", "cat", "cow") and val.records[0].labels.tolist() == [0]
    assert describe_splits(train, val).endswith("3 classes; without an object: cat; only in validation: dog")


def test_yolo_names_twice_are_refused_with_both_numbers(yolo) -> None:
    with pytest.raises(InputError, match=r"names twice: cat \(number 0 and number 2\)"):
        read_dataset(yolo([LINE], description="names: [cat, dog, cat]\ntrain: images/train\n"), "all")


def test_names_that_yaml_would_turn_into_something_else_stay(yolo) -> None:
    dataset = read_dataset(yolo([LINE], description="names: [no, 1e3, null, 007]\ntrain: images/train\n"), "all")
    assert dataset.class_names == ("no", "1e3", "null", "007")


def test_a_name_that_is_no_text_is_refused_with_its_place(yolo) -> None:
    folder = yolo([LINE])
    (folder / "data.yaml").write_bytes(b"names: [cat, '\xb0\xb2']\ntrain: images/train\n")
    with pytest.raises(InputError, match=r"data\.yaml cannot be read"):
        read_dataset(folder, "all")


@pytest.mark.parametrize("ids", [[2**53, 2**53 + 1], ["a", "b"], [-1, 10**30]])
def test_a_perfect_model_has_precision_1_whatever_the_ids(ids: list[Any]) -> None:
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    records = tuple(
        Record(key, Path(f"{key}.png"), 100, 100, boxes + 20 * n, np.zeros(1, np.int64), np.zeros(1, bool))
        for n, key in enumerate(ids)
    )
    found = [(r.image_id, Detections(r.boxes_xyxy, np.ones(1, np.float32), r.labels)) for r in records]
    assert evaluate_detections(Dataset(("cat",), records, ()), found).ap == pytest.approx(1)


def test_an_id_of_two_categories_is_refused_with_both_names(write) -> None:
    folder = write("val", [1], [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], 1)
    with pytest.raises(InputError, match="category id 1 twice: 'cat' and 'dog'"):
        read_dataset(folder, "val")


def test_a_category_that_is_listed_twice_is_one(write) -> None:
    folder = write("val", [1], [{"id": 1, "name": "cat"}, {"id": 1, "name": "cat "}], 1)
    assert read_dataset(folder, "val").class_names == ("cat",)


@pytest.mark.parametrize("names", [("cat", "Cat"), ("red car", "red  car")])
def test_names_that_differ_little_are_said(write, names: tuple[str, str]) -> None:
    folder = write("val", [1], [{"id": n, "name": name} for n, name in enumerate(names)], 1)
    (problem,) = read_dataset(folder, "val").problems
    assert problem.kind == "names alike" and all(repr(name) in problem.text for name in names)


def test_images_of_one_id_lose_their_objects_instead_of_getting_each_others(write) -> None:
    folder = write("val", [1, 2, 3], [{"id": 1, "name": "cat"}], 1)
    place = folder / "annotations" / "instances_val.json"
    content = json.loads(place.read_text())
    content["images"][1]["id"] = 1
    place.write_text(json.dumps(content))
    dataset = read_dataset(folder, "val")
    assert [record.path.name for record in dataset.records] == ["2.png"]
    assert [p.kind for p in dataset.problems] == ["duplicate image", "duplicate image", "broken annotation"]
    content["images"][1] = content["images"][0]
    place.write_text(json.dumps(content))
    assert [record.path.name for record in read_dataset(folder, "val").records] == ["0.png", "2.png"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[cat, '']", "class without a name"),
        ("[[cat], dog]", "no class names"),
        ("gone.txt", "which is not there"),
        ("\"['cat', 'dog']\"", "no class names"),
        ("cat, dog", "no class names"),
    ],
)
def test_names_that_are_none_are_refused(yolo, names: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_dataset(yolo([LINE], description=f"names: {names}\ntrain: images/train\n"), "all")


def test_names_may_be_in_a_file_that_the_description_names(yolo) -> None:
    folder = yolo([LINE], description="names: ../lists/obj.names\ntrain: images/train\n")
    (folder / "lists").mkdir()
    (folder / "lists" / "obj.names").write_text("cat\r\ndog\r\n")
    assert read_dataset(folder, "all").class_names == ("cat", "dog")
