"""A label file is of one image; where several could have it nobody guesses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.data import check_dataset, read_dataset
from deploy.data.find import Tree
from deploy.data.label_files import LabelFiles

LINE = "0 0.5 0.5 0.5 0.4\n"


def grow(root: Path, *names: str) -> LabelFiles:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return LabelFiles(Tree(root))


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/1.png", "labels/train/1.txt"),
        ("train/images/1.png", "train/labels/1.txt"),
        ("images/images/1.png", "images/labels/1.txt"),
        ("train/1.png", "train/1.TXT"),
        ("train/1.png", "train/labels/1.txt"),
        ("train/1.png", "labels/1.txt"),
        ("train/1.png", "labels/train/1.txt"),
        ("images/train/1.png", "train/1.txt"),
        ("Images/1.png", "Labels/1.txt"),
    ],
)
def test_labels_are_found_where_people_keep_them(tmp_path: Path, image: str, labels: str) -> None:
    files = grow(tmp_path, image, labels, "other/2.png")
    assert files.of(image) == labels and not files.others(image)
    assert files.of("other/2.png") is None


@pytest.mark.parametrize("stranger", ["val/1.png", "1.png", "labels/val/1.png"])
def test_labels_of_one_image_are_not_those_of_another(tmp_path: Path, stranger: str) -> None:
    files = grow(tmp_path, "images/1.png", "labels/1.txt", stranger)
    assert files.of("images/1.png") == "labels/1.txt" and files.of(stranger) is None


def test_an_image_without_labels_beside_another_folder_is_background_and_said(yolo, draw: Callable[..., Path]) -> None:
    folder = yolo([LINE] * 2, description="names: [cat]\ntrain: images/train\nval: images/val\n")
    draw(folder / "images" / "val" / "1.png")
    (folder / "labels" / "train" / "1.txt").rename(folder / "labels" / "1.txt")
    draw(folder / "images" / "1.png")
    (folder / "images" / "train" / "1.png").unlink()
    kinds = {(p.kind, p.file.name) for p in read_dataset(folder, "all").problems}
    assert kinds == {("no labels", "1.png")}


def test_labels_that_two_images_could_have_are_given_to_neither(yolo, draw: Callable[..., Path]) -> None:
    folder = yolo([LINE], description="names: [cat]\ntrain: [images/train, a, b]\n")
    for place in "ab":
        draw(folder / place / "7.png")
    (folder / "labels" / "7.txt").write_text(LINE)
    dataset = read_dataset(folder, "all")
    assert [record.path.name for record in dataset.records] == ["0.png"]
    assert [(p.kind, p.file.parent.name, p.action) for p in dataset.problems] == [
        ("ambiguous labels", "a", "skipped"), ("ambiguous labels", "b", "skipped"),
    ]  # fmt: skip


def test_pictures_of_one_name_are_both_taken_and_said(yolo, draw: Callable[..., Path]) -> None:
    folder = yolo([LINE])
    draw(folder / "images" / "train" / "0.jpg")
    dataset = read_dataset(folder, "all")
    assert [len(record.labels) for record in dataset.records] == [1, 1]
    (problem,) = dataset.problems
    assert problem.kind == "images of one name" and "0.jpg and images/train/0.png" in problem.text


def test_a_picture_of_a_format_that_is_not_read_is_named(yolo) -> None:
    folder = yolo([LINE])
    (folder / "images" / "train" / "1.HEIC").touch()
    (folder / "labels" / "train" / "1.txt").write_text(LINE)
    (problem,) = check_dataset(folder)
    assert problem.kind == "labels without image" and "but '1.HEIC'" in problem.text


def test_a_folder_without_a_picture_that_is_read_is_said(yolo) -> None:
    folder = yolo([LINE], description="names: [cat]\ntrain: [images/train, phone]\n")
    (folder / "phone").mkdir()
    for number in range(3):
        (folder / "phone" / f"{number}.heic").touch()
    (problem,) = read_dataset(folder, "all").problems
    assert problem.kind == "no images" and "3 .heic" in problem.text
