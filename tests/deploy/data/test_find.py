"""Names that were written on another machine mean the file that is here, or none, never another one."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from deploy.data import check_dataset, read_dataset
from deploy.data.find import Tree

ONE = {"bbox": [1, 1, 8, 8], "category_id": 1}


def grow(root: Path, *names: str) -> Tree:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return Tree(root)


@pytest.mark.parametrize(
    ("there", "stated"),
    [
        ("images/a.png", "images\\a.png"),
        ("images/a.png", "./images//a.png"),
        ("images/a.png", "..\\..\\label-studio\\media\\images\\a.png"),
        ("images/a.png", "C:\\Users\\someone\\images\\a.png"),
        ("images/a.png", "/content/drive/set/images/a.png"),
        ("images/a.png", "Images/A.PNG"),
        ("images/Foto é 1.png", "images/Foto%20%C3%A9%201.png"),
        ("images/50%25.png", "images/50%.png"),
        (unicodedata.normalize("NFD", "images/é.png"), unicodedata.normalize("NFC", "images/é.png")),
        (unicodedata.normalize("NFC", "images/ぽ.png"), unicodedata.normalize("NFD", "images/ぽ.png")),
        ("a\\b.png", "a\\b.png"),
    ],
)
def test_a_name_from_elsewhere_is_found(tmp_path: Path, there: str, stated: str) -> None:
    (found,) = grow(tmp_path, there, "images/other.png").resolve([stated])
    assert found.path == there


@pytest.mark.parametrize("stated", ["../../etc/passwd", "/etc/passwd", "C:\\a.png", "a/../../x.png", "..", "", "a\0b"])
def test_nothing_outside_is_found(tmp_path: Path, stated: str) -> None:
    (found,) = grow(tmp_path / "set", "b.png").resolve([stated])
    assert found.path is None and found.problem == "path outside"


def test_the_longest_shared_end_decides(tmp_path: Path) -> None:
    tree = grow(tmp_path, "train/1.png", "val/1.png")
    assert [found.path for found in tree.resolve(["/x/val/1.png", "/x/train/1.png"])] == ["val/1.png", "train/1.png"]


def test_what_two_files_could_be_is_not_guessed(tmp_path: Path) -> None:
    tree = grow(tmp_path, "a/1.png", "b/1.png")
    assert tree.resolve(["/x/1.png"])[0] == (None, "path outside")
    assert tree.resolve(["/x/1.png"], ("b",))[0].path == "b/1.png"


def test_a_missing_image_does_not_become_one_that_another_name_has(tmp_path: Path) -> None:
    tree = grow(tmp_path, "cam2/1.png")
    assert [found.path for found in tree.resolve(["cam1/1.png", "cam2/1.png"])] == [None, "cam2/1.png"]
    assert [found.path for found in tree.resolve(["x/1.png", "y/1.png"])] == [None, None], "two names, one file"


def test_a_missing_image_of_one_split_does_not_become_one_of_another(tmp_path: Path, draw) -> None:
    for split, there in (("train", (1, 2)), ("val", (1,))):
        entries = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in (1, 2)]
        for number in there:
            draw(tmp_path / split / f"{number}.png")
        content = {"images": entries, "annotations": [{**ONE, "image_id": i} for i in (1, 2)],
                   "categories": [{"id": 1, "name": "cat"}]}  # fmt: skip
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    dataset = read_dataset(tmp_path, "val")
    assert [record.path for record in dataset.records] == [tmp_path / "val" / "1.png"]
    assert [problem.kind for problem in dataset.problems] == ["missing image"]


def test_names_found_by_their_ends_are_said_once(coco) -> None:
    folder = coco([{**ONE, "image_id": 1, "category_id": 3}], split="val")
    place = folder / "annotations" / "instances_val2017.json"
    content = json.loads(place.read_text())
    for entry in content["images"]:
        entry["file_name"] = "D:\\set\\" + entry["file_name"]
    place.write_text(json.dumps(content))
    dataset = read_dataset(folder, "val")
    (problem,) = dataset.problems
    assert len(dataset.records) == 2 and problem.kind == "path of another machine" and "2 of 2 images" in problem.text


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "broken.png").symlink_to(tmp_path / "nothing")
    assert Tree(tmp_path / "set").images == ["images/a.png"]


def test_what_unpacking_leaves_behind_is_no_image(tmp_path: Path) -> None:
    tree = grow(tmp_path, "a.png", "._a.png", "__MACOSX/a.png", ".git/a.png", "b.JFIF", "c.txt", "d.webp")
    assert tree.images == ["a.png", "b.JFIF", "d.webp"]


def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    name = os.fsdecode("安全".encode("gbk")) + ".png"
    assert grow(tmp_path, name).resolve([name])[0].path == name


def test_ten_thousand_names_from_elsewhere_take_no_time(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.images = [f"images/{number}.png" for number in range(10_000)]
    found = tree.resolve([f"C:\\x\\{number}.png" for number in range(10_000)])
    assert np.all([item.path == f"images/{number}.png" for number, item in enumerate(found)])


@pytest.mark.parametrize(
    "stated", ["/data/local-files/?d=set/a.png", "/data/local-files/?d=a.png", "https://host/x/a.png?token=b/c"]
)
def test_the_query_of_an_address_does_not_matter(tmp_path: Path, stated: str) -> None:
    assert grow(tmp_path, "images/a.png", "images/b.png").resolve([stated], ("images",))[0].path == "images/a.png"


def test_a_name_with_a_question_mark_is_a_name(tmp_path: Path) -> None:
    tree = grow(tmp_path, "a.png?d=b.png", "b.png", "what?.png")
    assert tree.resolve(["what?.png"])[0].path == "what?.png"


def test_a_query_does_not_lead_out(tmp_path: Path) -> None:
    (found,) = grow(tmp_path / "set", "b.png").resolve(["/x/?d=../../etc/passwd"])
    assert found.path is None


def test_what_may_be_one_of_several_files_is_said_to_be(coco, draw) -> None:
    folder = coco([{**ONE, "image_id": 1, "category_id": 3}], images=[{"id": 9, "file_name": "x.png"}], split="val")
    draw(folder / "val" / "a" / "x.png")
    draw(folder / "val" / "b" / "x.png")
    (problem,) = read_dataset(folder, "val").problems
    assert problem.kind == "ambiguous image" and "one of several files" in problem.text


def test_links_out_of_the_folder_are_followed_and_said(coco, tmp_path: Path) -> None:
    folder = coco([{**ONE, "image_id": 1, "category_id": 3}], split="val")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-disk"
    (folder / "val").rename(elsewhere)
    (folder / "val").symlink_to(elsewhere)
    (folder / "inner").symlink_to(folder / "annotations")
    assert len(read_dataset(folder, "val").records) == 2
    (problem,) = [problem for problem in check_dataset(folder) if problem.kind == "link out of the folder"]
    assert f"1, as 'val' to {elsewhere}" in problem.text and problem.action == "followed"
