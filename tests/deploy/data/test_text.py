"""Label text in every encoding that tools write, and files that must not be read at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from deploy.data import read_dataset
from deploy.data.stream import find_arrays, has_elements, iterate_json
from deploy.data.text import read_lines, read_text, read_xml, read_yaml
from deploy.data.values import as_number, as_size, as_truth
from deploy.errors import InputError

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_the_same_however_they_were_saved(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "a.txt").write_bytes(f"安全帽{end}é{end}".encode(encoding))
    assert read_lines(tmp_path / "a.txt") == ["安全帽", "é", ""]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-le", "utf-16-be"])
def test_json_yaml_and_xml_are_read_in_each(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "a.json").write_bytes((mark + json.dumps({"x": ["é"]}, ensure_ascii=False)).encode(encoding))
    (tmp_path / "a.yaml").write_bytes((mark + "names: [é, no, 1e3]\n").encode(encoding))
    (tmp_path / "a.xml").write_bytes((mark + "<annotation><filename>é</filename></annotation>").encode(encoding))
    assert list(iterate_json(tmp_path / "a.json", ("x",))) == [("x", "é")]
    assert read_yaml(tmp_path / "a.yaml") == {"names": ["é", "no", "1e3"]}, "names stay as they are written"
    assert read_xml(tmp_path / "a.xml").findtext("filename") == "é"


def test_xml_says_its_own_encoding(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="gbk"?><annotation><filename>安全帽.jpg</filename></annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode("gbk"))
    assert read_xml(tmp_path / "a.xml").findtext("filename") == "安全帽.jpg"


def test_bytes_that_are_no_text_find_the_file_of_their_name(tmp_path: Path) -> None:
    name = "安全".encode("gbk") + b".jpg"
    (tmp_path / "list.txt").write_bytes(name)
    assert read_lines(tmp_path / "list.txt") == [os.fsdecode(name)]


@pytest.mark.parametrize(
    "text",
    ["a: &a [1, 2]\nb: *a\n", "a: &a {x: 1}\nb: *a\n", "a: " + "[" * 5000, "a: [", "- 1\n", "x" * (2**20 + 1)],
)
def test_yaml_that_grows_or_is_no_mapping_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml"):
        read_yaml(tmp_path / "a.yaml")


def test_a_repeated_path_may_be_an_alias(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: &images images/train\nval: *images\n")
    assert read_yaml(tmp_path / "a.yaml")["val"] == "images/train"


def test_xml_that_grows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "bbbbbbbb">]><annotation>&b;</annotation>')
    with pytest.raises(ValueError, match="entities"):
        read_xml(tmp_path / "a.xml")


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    for name in ("pipe.txt", "zero.txt"):
        with pytest.raises(InputError, match=f"{name} is not a plain file"):
            read_text(tmp_path / name)


def test_a_pipe_among_the_labels_is_passed_over(yolo) -> None:
    folder = yolo(["0 0.5 0.5 0.5 0.4\n", None])
    os.mkfifo(folder / "labels" / "train" / "1.txt")
    (problem,) = read_dataset(folder, "all").problems
    assert problem.kind == "no labels" and problem.file.name == "1.png"


def test_arrays_larger_than_a_window_are_read_element_by_element(tmp_path: Path) -> None:
    content = {"skip": {"x": [[]]}, "a": [{"n": i, "pad": "x" * 1000} for i in range(3000)], "b": [], "n": 12}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = list(iterate_json(tmp_path / "a.json", ("a", "b")))
    assert [element["n"] for _, element in found] == list(range(3000))
    assert next(find_arrays(tmp_path / "a.json", "a")) == content["a"]


@pytest.mark.parametrize(
    "element",
    [
        {"text": "}, {"},
        {"inner": [{"x": 1}, {"y": [{}, {}]}]},
        [{"x": 1}, {"x": 2}],
        {"open": "[", "quote": '"}, {"'},
        "}, {",
        {},
        1.5,
    ],
)
def test_what_looks_like_a_border_between_elements_is_none(tmp_path: Path, element: object) -> None:
    content = {"a": [element, {"pad": "x" * 40}, element] * 20_000, "b": [element], "c": {"a": [1]}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = list(iterate_json(tmp_path / "a.json", ("a", "b")))
    assert found == [("a", item) for item in content["a"]] + [("b", element)]


@pytest.mark.parametrize(
    "text", ['{"a": [1 2]}', '{"a": [1,]}', '{"a": [1]', '{"a": [1]} x', '{"a" [1]}', "{1: 2}", '{"a": 3}', "[]", ""]
)
def test_what_is_no_json_object_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        list(iterate_json(tmp_path / "a.json", ("a",)))


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(96, 48, (96, 48)), ("96", " 48.0 ", (96, 48)), (96.0, 48, (96, 48)), (None, 48, None), ("", "", None),
     (0, 0, None), (-1, -1, None), ("-1", 5, None), (float("nan"), 5, None)],
)  # fmt: skip
def test_a_size_is_read_as_exporters_write_it(width: object, height: object, size: tuple[int, int] | None) -> None:
    assert as_size(width, height) == size


def test_truth_is_read_as_exporters_write_it() -> None:
    assert [as_truth(value) for value in (1, "1", True, "true", "Yes", 1.0)] == [True] * 6
    assert [as_truth(value) for value in (0, "0", False, "false", None, "", "Unspecified")] == [False] * 7
    with pytest.raises(ValueError, match="maybe"):
        as_truth("maybe")


def test_numbers_with_underscores_are_none() -> None:
    assert as_number("1,5") == 1.5
    with pytest.raises(ValueError, match="2008_11"):
        as_number("2008_11")


def test_a_missing_library_is_said_with_how_to_get_it(yolo, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = yolo(["0 0.5 0.5 0.5 0.4\n"])
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r"data\.yaml needs PyYAML.*pip install pyyaml"):
        read_dataset(folder, "all")


@pytest.mark.parametrize("bracket", ["[", "{"])
def test_lists_in_lists_without_end_are_refused_at_once(tmp_path: Path, bracket: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(f"names: {bracket * 5000}")
    with pytest.raises(InputError, match="lists in lists, more than 100 deep"):
        read_yaml(path)
    path.write_text(f"names: {'[' * 40}cat{']' * 40}")
    assert "names" in read_yaml(path)


def test_xml_that_calls_itself_utf16_and_is_not_is_read(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><annotation><filename>é.jpg</filename></annotation>'
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    assert read_xml(tmp_path / "a.xml").findtext("filename") == "é.jpg"


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names:\n  0: cat\n  0: dog\n")
    with pytest.raises(InputError, match="the key '0' is there twice"):
        read_yaml(tmp_path / "data.yaml")


def test_the_reason_of_yaml_is_whole(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: x\nnames: [cat, , dog]\n")
    with pytest.raises(InputError, match=r"expected the node content, but found ','.*line 2"):
        read_yaml(tmp_path / "data.yaml")


def test_a_namespace_of_xml_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<annotation xmlns="http://x"><object><name>cat</name></object></annotation>')
    root = read_xml(tmp_path / "a.xml")
    assert root.tag == "annotation" and root.findtext("object/name") == "cat"


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"a": [1]}', True), ('{"a": []}', False), ('{"b": {"a" : [ {}]}}', True), ('{"a": 1}', False), ("", False),
     ('{"a": [], "c": {"a": [1]}}', True), ('{"a": [', False)],
)  # fmt: skip
def test_an_array_with_something_in_it_is_found_by_its_name(tmp_path: Path, text: str, found: bool) -> None:
    (tmp_path / "a.json").write_text(text)
    assert has_elements(tmp_path / "a.json", "a") == found
