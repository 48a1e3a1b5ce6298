"""Layouts as people have them: each is recognised, and what was understood is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.data import check_dataset, describe_splits, read_dataset, warn_of_problems
from deploy.errors import InputError

LINE = "0 0.5 0.5 0.5 0.4\n"
BOX = [[10, 9, 30, 21]]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_xml(path: Path, filename: str, name: str = "cat", extra: str = "") -> None:
    box = "<bndbox><xmin>10</xmin><ymin>9</ymin><xmax>30</xmax><ymax>21</ymax></bndbox>"
    write(
        path,
        f"<annotation><filename>{filename}</filename><object><name>{name}</name>{extra}{box}</object></annotation>",
    )


def coco_text(count: int, **more: object) -> str:
    images = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(count)]
    objects = [{"id": i, "image_id": i, "category_id": 1, "bbox": [10, 9, 20, 12]} for i in range(count)]
    return json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cat"}], **more})


def labelimg(root: Path, draw: Callable[..., Path]) -> None:
    for number in range(5):
        draw(root / f"{number}.png")
        write_xml(root / f"{number}.xml", f"{number}.png")


def roboflow_voc(root: Path, draw: Callable[..., Path]) -> None:
    for split, count in (("train", 4), ("valid", 1), ("test", 1)):
        for number in range(count):
            draw(root / split / f"{split}{number}.png")
            write_xml(root / split / f"{split}{number}.xml", f"{split}{number}.png")


def train_and_test(root: Path, draw: Callable[..., Path]) -> None:
    for split, count in (("Train", 5), ("Test", 3)):
        for number in range(count):
            draw(root / split / f"{split}{number}.png")
            write_xml(root / split / f"{split}{number}.xml", f"{split}{number}.png")


def cvat_voc(root: Path, draw: Callable[..., Path]) -> None:
    for number in range(5):
        draw(
            root / "JPEGImages" / f"cam{number % 2}" / "same.png"
            if number < 2
            else root / "JPEGImages" / f"{number}.png"
        )
        stem = f"cam{number % 2}/same" if number < 2 else str(number)
        write_xml(root / "Annotations" / f"{stem}.xml", f"{stem}.png")
    write(root / "ImageSets" / "Main" / "default.txt", "cam0/same\ncam1/same\n2\n3\n4\n")


def label_studio(root: Path, draw: Callable[..., Path]) -> None:
    for number in range(5):
        draw(root / "images" / f"{number}.png")
    write(root / "result.json", coco_text(5))


def fiftyone(root: Path, draw: Callable[..., Path]) -> None:
    for number in range(5):
        draw(root / "data" / f"{number}.png")
    write(root / "labels.json", coco_text(5))


def cvat_coco(root: Path, draw: Callable[..., Path]) -> None:
    for split, count in (("Train", 4), ("Validation", 1)):
        for number in range(count):
            draw(root / "images" / split / f"{number}.png")
        write(root / "annotations" / f"instances_{split}.json", coco_text(count))


def cvat_xml(root: Path, draw: Callable[..., Path]) -> None:
    images = ""
    for number in range(5):
        draw(root / "images" / f"{number}.png")
        images += (
            f'<image id="{number}" name="{number}.png" width="40" height="30">'
            '<box label="cat" xtl="10" ytl="9" xbr="30" ybr="21"/></image>'
        )
    write(root / "annotations.xml", f"<annotations><meta><label><name>cat</name></label></meta>{images}</annotations>")


def yolo_without_yaml(root: Path, draw: Callable[..., Path]) -> None:
    write(root / "classes.txt", "cat\n")
    write(root / "notes.json", json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}))
    for number in range(5):
        draw(root / "images" / f"{number}.png")
        write(root / "labels" / f"{number}.txt", LINE)


def yolo_beside(root: Path, draw: Callable[..., Path]) -> None:
    write(root / "data.yaml", "train: train/images\nval: val/images\nnames: [cat]\n")
    for split, count in (("train", 4), ("val", 1)):
        for number in range(count):
            draw(root / split / "images" / f"{number}.png")
            write(root / split / "images" / f"{number}.TXT", LINE)


def yolo_capitals(root: Path, draw: Callable[..., Path]) -> None:
    write(root / "set.yaml", "train: ../train/images\nval: valid\\Images\nnames: {0: cat}\n")
    for split, count in (("Train", 4), ("Valid", 1)):
        for number in range(count):
            draw(root / split / "Images" / f"{number}.png")
            write(root / split / "Labels" / f"{number}.txt", LINE)


def darknet(root: Path, draw: Callable[..., Path]) -> None:
    write(root / "obj.names", "cat\n")
    write(root / "obj.data", "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n")
    for split, count in (("train", 4), ("valid", 1)):
        for number in range(count):
            draw(root / f"obj_{split}_data" / f"{number}.png")
            write(root / f"obj_{split}_data" / f"{number}.txt", LINE)
        write(root / f"{split}.txt", "".join(f"obj_{split}_data/{number}.png\n" for number in range(count)))


def one_in_another(root: Path, draw: Callable[..., Path]) -> None:
    yolo_beside(root / "my set", draw)
    write(root / "readme.txt", "unpacked\n")


def keypoints_alone(root: Path, draw: Callable[..., Path]) -> None:
    for split, count in (("train", 4), ("val", 1)):
        for number in range(count):
            draw(root / "images" / split / f"{number}.png")
        write(root / "annotations" / f"person_keypoints_{split}.json", coco_text(count))


LAYOUTS: dict[str, tuple[Callable[..., None], str]] = {
    "labelimg": (labelimg, "Pascal VOC, XML beside the images; train 4, val 1 held out of train, 1 class"),
    "roboflow voc": (
        roboflow_voc,
        "Pascal VOC, XML beside the images; its test split is not used; train 4, val 1, 1 class",
    ),
    "train and test": (
        train_and_test,
        "Pascal VOC, XML beside the images; its test split is not used; train 4, val 1 held out of train, 1 class",
    ),
    "cvat voc": (cvat_voc, "Pascal VOC; train 4, val 1 held out of train, 1 class"),
    "label studio": (label_studio, "COCO; train 4, val 1 held out of train, 1 class"),
    "fiftyone": (fiftyone, "COCO; train 4, val 1 held out of train, 1 class"),
    "cvat coco": (cvat_coco, "COCO; train 4, val 1, 1 class"),
    "cvat xml": (cvat_xml, "CVAT; train 4, val 1 held out of train, 1 class"),
    "classes.txt": (yolo_without_yaml, "YOLO, classes of classes.txt; train 4, val 1 held out of train, 1 class"),
    "yolo beside": (yolo_beside, "YOLO; train 4, val 1, 1 class"),
    "yolo capitals": (yolo_capitals, "YOLO; train 4, val 1, 1 class"),
    "darknet": (darknet, "YOLO, classes of obj.names, images of train.txt, valid.txt; train 4, val 1, 1 class"),
    "one in another": (one_in_another, "YOLO; train 4, val 1, 1 class"),
    "keypoints alone": (keypoints_alone, "COCO; train 4, val 1, 1 class"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_is_recognised_and_said(tmp_path: Path, draw: Callable[..., Path], name: str) -> None:
    make, said = LAYOUTS[name]
    make(tmp_path, draw)
    train, val = read_dataset(tmp_path, "train"), read_dataset(tmp_path, "val")
    assert describe_splits(train, val) == said
    assert {problem.kind for problem in check_dataset(tmp_path)} <= {"no validation split"}
    for record in (*train.records, *val.records):
        assert record.boxes_xyxy.round().tolist() == BOX and record.labels.tolist() == [0]


def test_a_test_split_is_read_where_it_is_asked_for(tmp_path: Path, draw: Callable[..., Path]) -> None:
    train_and_test(tmp_path, draw)
    assert len(read_dataset(tmp_path, "test").records) == 3


@pytest.mark.parametrize("name", ["data.yaml", "annotations/instances_Train.json", "train.txt"])
def test_a_file_may_be_named_instead_of_its_folder(tmp_path: Path, draw: Callable[..., Path], name: str) -> None:
    (cvat_coco if name.endswith("json") else yolo_beside)(tmp_path, draw)
    write(tmp_path / "train.txt", "".join(f"train/images/{number}.png\n" for number in range(4)))
    train, val = read_dataset(tmp_path / name, "train"), read_dataset(tmp_path / name, "val")
    assert (len(train.records), len(val.records)) == ((4, 1) if name == "data.yaml" else (3, 1))


def test_a_file_of_another_kind_is_an_input_error(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "")
    with pytest.raises(InputError, match=r"a\.csv is not a data set"):
        read_dataset(tmp_path / "a.csv")


@pytest.mark.parametrize("line", ["photo (1)", '"photo (1)"', "photo (1) 1", "photo (1)  -1", "photo (1).jpg", "IMG 1"])
def test_a_line_of_a_list_is_a_stem_with_its_spaces(tmp_path: Path, draw: Callable[..., Path], line: str) -> None:
    for stem in ("photo (1)", "IMG 1", "IMG", "photo"):
        draw(tmp_path / "JPEGImages" / f"{stem}.png")
        write_xml(tmp_path / "Annotations" / f"{stem}.xml", f"{stem}.png")
    write(tmp_path / "ImageSets/Main/train.txt", line + "\r\n")
    write(tmp_path / "ImageSets/Main/val.txt", "IMG\n")
    (record,) = read_dataset(tmp_path, "train").records
    assert record.path.stem == ("IMG 1" if line == "IMG 1" else "photo (1)")


def test_the_image_of_the_label_files_own_name_is_taken_and_said(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for stem in ("a", "b"):
        draw(tmp_path / "JPEGImages" / f"{stem}.png")
        write_xml(tmp_path / "Annotations" / f"{stem}.xml", "b.png")
    dataset = read_dataset(tmp_path, "all")
    assert [record.path.name for record in dataset.records] == ["a.png", "b.png"]
    assert [(p.kind, p.file.name) for p in dataset.problems] == [("names another image", "a.xml")]


@pytest.mark.parametrize(
    ("shape", "tail"), [("[8, 2]", "0.1 0.9 " * 8), ("[4, 3]", "0.1 0.9 2 " * 4), ("[1, 2]", "0 1")]
)
def test_keypoints_are_no_outline(yolo, shape: str, tail: str) -> None:
    description = f"names: [cat, dog]\ntrain: images/train\nkpt_shape: {shape}\n"
    dataset = read_dataset(yolo([LINE.strip() + " " + tail], description=description), "all")
    assert dataset.records[0].boxes_xyxy.round().tolist() == BOX and not dataset.problems


def test_lines_without_their_keypoints_are_said(yolo) -> None:
    description = "names: [cat, dog]\ntrain: images/train\nkpt_shape: [4, 3]\n"
    dataset = read_dataset(yolo([LINE + "0 .1 .1 .2 .2 .3 .3\n"], description=description), "all")
    assert [(p.kind, p.object) for p in dataset.problems] == [("broken line", 1)]


def test_images_without_labels_and_labels_without_image_are_reported_and_warned_of(yolo) -> None:
    folder = yolo([LINE, LINE, None, ""])
    write(folder / "labels" / "train" / "orphan.txt", LINE)
    dataset = read_dataset(folder, "all")
    assert {(p.kind, p.file.name, p.action) for p in dataset.problems} == {
        ("no labels", "2.png", "taken as background"), ("labels without image", "orphan.txt", "not taken"),
    }  # fmt: skip
    warnings = warn_of_problems(dataset)
    assert any(line.startswith("1 of 4 images: no labels (taken as background)") for line in warnings)


def test_images_of_which_none_has_labels_are_an_input_error(yolo) -> None:
    with pytest.raises(InputError, match=r"no usable object.*3 no labels \(taken as background\)"):
        read_dataset(yolo([None] * 3), "train")


def test_images_that_no_label_file_speaks_of_are_reported(tmp_path: Path, draw: Callable[..., Path]) -> None:
    label_studio(tmp_path, draw)
    draw(tmp_path / "images" / "new.png")
    found = [p for p in check_dataset(tmp_path) if p.kind == "not in the labels"]
    assert [(p.file.name, p.text, p.action) for p in found] == [
        ("images", "1 of 6 images are in no label file, as 'new.png'", "not taken")
    ]


def test_both_parts_of_an_undivided_set_get_an_object(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for number in range(20):
        draw(tmp_path / "images" / f"{number}.png")
        write(tmp_path / "labels" / f"{number}.txt", LINE if number in (3, 4) else "")
    write(tmp_path / "classes.txt", "cat\n")
    train, val = read_dataset(tmp_path, "train"), read_dataset(tmp_path, "val")
    assert train.count_objects() == val.count_objects() == 1
    assert not {record.path for record in train.records} & {record.path for record in val.records}
    assert len(train.records) + len(val.records) == 20


def test_a_path_of_several_that_is_not_there_is_named(yolo) -> None:
    with pytest.raises(InputError, match=r"names 'images/more' for train"):
        read_dataset(yolo([LINE], description="names: [cat]\ntrain: [images/train, images/more]\n"), "train")
