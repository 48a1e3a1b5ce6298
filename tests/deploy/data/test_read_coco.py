"""COCO JSON: what is read, and what is reported instead of ending the reading."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.data import read_dataset
from deploy.errors import InputError


def box(image: int, bbox: list[float], category: int = 3, **more: object) -> dict[str, object]:
    return {"id": 1, "image_id": image, "bbox": bbox, "category_id": category, **more}


def kinds(folder: Path) -> list[tuple[str, int | None, str]]:
    return [(p.kind, p.object, p.action) for p in read_dataset(folder, "val").problems]


def test_classes_are_ordered_by_category_id_and_boxes_become_corners(coco) -> None:
    dataset = read_dataset(coco([box(1, [1, 2, 10, 20], 7), box(1, [0, 0, 5, 5], 3)], split="val"), "val")
    assert dataset.class_names == ("dog", "cat")
    record = dataset.records[0]
    assert (record.image_id, record.width, record.height) == (1, 40, 30)
    np.testing.assert_array_equal(record.boxes_xyxy, np.array([[1, 2, 11, 22], [0, 0, 5, 5]], np.float32))
    assert record.boxes_xyxy.dtype == np.float32 and record.labels.dtype == np.int64
    assert record.labels.tolist() == [1, 0] and record.crowd.tolist() == [False, False]
    assert dataset.problems == ()


def test_an_image_without_objects_is_kept(coco) -> None:
    record = read_dataset(coco([box(1, [1, 2, 10, 20])], split="val"), "val").records[1]
    assert record.boxes_xyxy.shape == (0, 4) and record.labels.shape == (0,)


def test_a_crowd_is_kept_and_marked(coco) -> None:
    folder = coco([box(1, [1, 2, 10, 20]), box(1, [0, 0, 40, 30], iscrowd=1)], split="val")
    assert read_dataset(folder, "val").records[0].crowd.tolist() == [False, True]
    assert kinds(folder) == [("crowd", 1, "kept for evaluation only")]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (box(1, [5, 5, 0, 4]), "zero-area box"),
        (box(1, [5, 5, -2, 4]), "inverted box"),
        (box(1, [100, 5, 4, 4]), "box outside"),
        (box(1, [40, 5, 4, 4]), "box outside"),
        (box(1, [39.9999999, 5, 4, 4]), "box outside"),
        (box(1, [math.nan, 5, 4, 4]), "not a number"),
        (box(1, [math.inf, 5, 4, 4]), "not a number"),
        (box(1, [5, 5, 4, 4], 99), "unknown class"),
        (box(1, [5, 5, 4]), "broken annotation"),
        (box(1, None), "broken annotation"),  # type: ignore[arg-type]
        (box(77, [5, 5, 4, 4]), "broken annotation"),
        (box([], [5, 5, 4, 4]), "broken annotation"),  # type: ignore[arg-type]
        ({"image_id": 1}, "broken annotation"),
        ("nonsense", "broken annotation"),
        (box(1, [1, 1, 8, 8]), "duplicate box"),
    ],
)
def test_a_bad_object_is_skipped_and_reported_by_its_number(coco, annotation: object, kind: str) -> None:
    folder = coco([box(1, [1, 1, 8, 8]), annotation], split="val")
    assert kinds(folder) == [(kind, 1, "skipped")]
    assert len(read_dataset(folder, "val").records[0].labels) == 1


def test_a_box_over_the_edge_is_clipped(coco) -> None:
    folder = coco([box(1, [-5, -5, 100, 20])], split="val")
    assert kinds(folder) == [("box over the edge", 0, "clipped")]
    np.testing.assert_array_equal(read_dataset(folder, "val").records[0].boxes_xyxy, [[0, 0, 40, 15]])


def test_almost_the_same_box_twice_is_reported_but_kept(coco) -> None:
    folder = coco([box(1, [1, 1, 20, 20]), box(1, [1, 1, 20, 20.5]), box(1, [1, 1, 20, 20.2], 7)], split="val")
    assert kinds(folder) == [("doubled box", 1, "kept")]
    assert len(read_dataset(folder, "val").records[0].labels) == 3


def test_the_image_is_named_in_the_problem_of_an_object(coco) -> None:
    problem = read_dataset(coco([box(2, [1, 1, 8, 8]), box(2, [5, 5, 0, 4])], split="val"), "val").problems[0]
    assert problem.text.startswith("2.png: ") and problem.file.name == "instances_val2017.json"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../x.png", "..", ""])
def test_a_path_that_leads_out_of_the_folder_is_not_followed(coco, name: str) -> None:
    (entry := {"id": 9, "width": 40, "height": 30})["file_name"] = name
    folder = coco([box(1, [1, 1, 8, 8])], images=[entry], split="val")
    assert kinds(folder) == [("path outside", 2, "skipped")]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"id": 9, "file_name": "absent.png", "width": 40, "height": 30}, "missing image"),
        ({"id": 1, "file_name": "2.png", "width": 40, "height": 30}, "duplicate image"),
        ({"file_name": "2.png"}, "broken image entry"),
        ({"id": 9, "file_name": "2.png", "width": math.inf, "height": 30}, "broken image entry"),
        ({"id": 9, "file_name": "2.png", "width": 10**400, "height": 30}, "broken image entry"),
        ("nonsense", "broken image entry"),
    ],
)
def test_a_bad_image_is_skipped_and_the_rest_read(coco, entry: object, kind: str) -> None:
    folder = coco([box(1, [1, 1, 8, 8])], images=[entry], split="val")
    assert [found[0] for found in kinds(folder)] == [kind]
    assert len(read_dataset(folder, "val").records) == 2


def test_a_size_that_is_not_stated_is_read_from_the_image(coco, draw) -> None:
    folder = coco([box(9, [1, 1, 50, 50])], images=[{"id": 9, "file_name": "9.png"}], split="val")
    draw(folder / "val" / "9.png", (64, 48))
    record = read_dataset(folder, "val").records[2]
    assert (record.width, record.height) == (64, 48)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"categories": 1, "images": 2}', "[" * 100_000])
def test_a_file_that_is_no_coco_json_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(text)
    with pytest.raises(InputError, match=r"instances_val\.json"):
        read_dataset(tmp_path, "val")


def test_two_label_files_of_a_split_are_not_guessed_between(coco) -> None:
    folder = coco([box(1, [1, 1, 8, 8])])
    (folder / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(InputError, match="several label files"):
        read_dataset(folder, "train")


def test_roboflow_puts_the_labels_beside_the_images(tmp_path: Path, draw) -> None:
    for split in ("train", "valid"):
        draw(tmp_path / split / "a.png")
        content = {
            "images": [{"id": 0, "file_name": "a.png", "width": 40, "height": 30}],
            "annotations": [box(0, [1, 1, 8, 8], 1)],
            "categories": [{"id": 0, "name": "all"}, {"id": 1, "name": "cat"}],
        }
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    assert len(read_dataset(tmp_path, "train").records) == len(read_dataset(tmp_path, "val").records) == 1
    assert read_dataset(tmp_path, "val").records[0].path == tmp_path / "valid" / "a.png"


@pytest.mark.parametrize("images", ["images", "images/default", "."])
def test_one_label_file_is_found_with_its_images_and_divided(tmp_path: Path, draw, images: str) -> None:
    entries = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(10)]
    for entry in entries:
        draw(tmp_path / images / str(entry["file_name"]))
    (tmp_path / "annotations").mkdir()
    content = {
        "images": entries,
        "annotations": [box(i, [1, 1, 8, 8]) for i in range(10)],
        "categories": [{"id": 3, "name": "dog"}],
    }
    (tmp_path / "annotations" / "instances_default.json").write_text(json.dumps(content))
    train, val = read_dataset(tmp_path, "train"), read_dataset(tmp_path, "val")
    assert (len(train.records), len(val.records)) == (8, 2)
    assert not {r.path for r in train.records} & {r.path for r in val.records}


def test_a_category_id_beyond_any_float_is_an_id_like_any_other(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 10**400, "bbox": [1, 2, 29, 18], "iscrowd": 0}],
        "categories": [{"id": 10**400, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "a.png")
    (tmp_path / "train.json").write_text(json.dumps(content))
    dataset = read_dataset(tmp_path, "all")
    assert dataset.class_names[dataset.records[0].labels[0]] == "cat"


@pytest.mark.parametrize("bbox", [None, []])
def test_an_object_without_a_box_has_that_of_its_outline(coco, bbox: object) -> None:
    outline = [[5, 4, 20, 4, 20, 9], [6, 5, 30, 12, 7, 8]]
    folder = coco([box(1, bbox, segmentation=outline)], split="val")  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_dataset(folder, "val").records[0].boxes_xyxy, [[5, 4, 30, 12]])


@pytest.mark.parametrize("segmentation", [[], [[1, 2]], {"counts": "x", "size": [1, 1]}, [["a"] * 6], 7, [7]])
def test_an_object_without_box_and_outline_is_skipped(coco, segmentation: object) -> None:
    empty = {"image_id": 1, "category_id": 3, "segmentation": segmentation}
    folder = coco([box(1, [1, 1, 8, 8]), empty], split="val")
    assert kinds(folder) == [("broken annotation", 1, "skipped")]


def test_a_url_stands_for_a_name_that_is_not_there(coco) -> None:
    folder = coco([box(1, [1, 1, 8, 8])], split="val")
    place = folder / "annotations" / "instances_val2017.json"
    content = json.loads(place.read_text())
    for entry in content["images"]:
        entry["coco_url"] = "http://host/val2017/" + entry.pop("file_name")
    place.write_text(json.dumps(content))
    assert len(read_dataset(folder, "val").records) == 2
