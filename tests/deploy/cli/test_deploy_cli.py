"""The command line: what it prints, where errors go, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from deploy import Bundle
from deploy.targets import TARGETS

Command = Callable[..., tuple[int, str, str]]


def test_run_lists_objects_above_the_score(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    image = write_image()
    code, out, err = deploy("run", tiny_bundle.folder, image, "--score", 0.5)
    assert (code, err) == (0, "")
    assert out.startswith(f"{image}: 1 object (") and "dog 0.90 at [16, 16, 64, 48]" in out and "cat" not in out


def test_run_writes_a_json_line_an_image(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    folder = write_image("folder/a.png").parent
    write_image("folder/b.png", (64, 48))
    code, out, _ = deploy("run", tiny_bundle.folder, folder, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [Path(line["source"]).name for line in lines] == ["a.png", "b.png"]
    assert [(line["frame"], line["timestamp_ms"]) for line in lines] == [(0, None), (0, None)]
    assert lines[0]["objects"][0] == {"box_xyxy": [16.0, 16.0, 64.0, 48.0], "score": 0.9, "label": 1, "class": "dog"}
    assert (lines[1]["width"], lines[1]["height"]) == (64, 48) and lines[0]["infer_ms"] > 0


def test_run_draws_pictures_and_keeps_namesakes_apart(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    one, two = write_image("one/street.png"), write_image("two/street.jpg")
    code, _, _ = deploy("run", tiny_bundle.folder, one, two, "--out", tmp_path / "drawn")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["street-2.png", "street.png"]
    assert Image.open(tmp_path / "drawn" / "street.png").size == (128, 96)


def test_run_passes_over_a_bad_image_and_says_so(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    folder = write_image("folder/good.png").parent
    (folder / "bad.png").write_bytes(b"no picture")
    code, out, err = deploy("run", tiny_bundle.folder, folder)
    assert code == 1 and "good.png: 2 objects" in out
    first, second = err.splitlines()
    assert "bad.png" in first and first.endswith("(skipped)") and "1 of 2 sources could not be read" in second


def test_a_source_that_is_not_there_does_not_stop_the_others(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    code, out, err = deploy("run", tiny_bundle.folder, tmp_path / "absent.png", write_image("good.png"))
    assert code == 1 and "good.png: 2 objects" in out
    first, second = err.splitlines()
    assert first.endswith("absent.png (skipped)") and "1 of 2 sources could not be read" in second
    code, out, err = deploy("run", tiny_bundle.folder, tmp_path / "absent.png", tmp_path / "gone.png")
    assert (code, out) == (2, "") and "absent.png (and none of the other 1)" in err


def test_drawing_into_the_folder_of_the_images_leaves_them(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    image = write_image("folder/street.png")
    before = image.read_bytes()
    code, _, _ = deploy("run", tiny_bundle.folder, image.parent, "--out", image.parent)
    assert code == 0 and image.read_bytes() == before
    assert sorted(path.name for path in image.parent.iterdir()) == ["street-2.png", "street.png"]


def test_a_name_that_cannot_be_printed_is_escaped(tiny_bundle: Bundle, write_image: Callable[..., Path]) -> None:
    path = write_image("a.png")
    odd = path.with_name(os.fsdecode("安全".encode("gbk")) + ".png")
    path.rename(odd)
    command = [sys.executable, tiny_bundle.folder / "detect.pyz", "run", tiny_bundle.folder, odd]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert result.returncode == 0 and b"\\udcb0\\udcb2" in result.stdout, result.stderr


def test_an_image_that_is_none_is_exit_2(deploy: Command, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    code, out, err = deploy("run", tiny_bundle.folder, tmp_path / "bad.png")
    assert (code, out) == (2, "") and err.startswith("deploy: ") and err.count("\n") == 1 and "bad.png" in err


def test_an_altered_bundle_is_exit_2(deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path]) -> None:
    tiny_bundle.model.write_bytes(b"other")
    code, _, err = deploy("run", tiny_bundle.folder, write_image())
    assert code == 2 and "altered" in err and err.count("\n") == 1


def test_a_bare_model_is_not_run_and_the_way_on_is_shown(
    deploy: Command, tiny_model: Path, write_image: Callable[..., Path]
) -> None:
    code, _, err = deploy("run", tiny_model, write_image())
    assert code == 2 and f"deploy measure {tiny_model}" in err and err.count("\n") == 1
    assert f"deploy adopt {tiny_model}" in err


def test_evaluate_matches_classes_by_name(
    deploy: Command, tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image("data/val2017/a.png", (64, 48))
    (tmp_path / "data" / "annotations").mkdir()
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [8, 8, 24, 16], "area": 384, "iscrowd": 0}],
        "categories": [{"id": 5, "name": "dog"}],
    }
    labels = tmp_path / "data" / "annotations" / "instances_val2017.json"
    labels.write_text(json.dumps(truth))
    code, out, err = deploy("evaluate", tiny_bundle.folder, "--data", tmp_path / "data", "--json")
    assert code == 0, err
    values = json.loads(out)
    assert values["ap"] == pytest.approx(1.0) and values["by_class"] == {"dog": pytest.approx(1.0)}
    assert values["images"] == 1 and values["unread_images"] == 0
    truth["categories"][0]["name"] = "horse"
    labels.write_text(json.dumps(truth))
    code, _, err = deploy("evaluate", tiny_bundle.folder, "--data", tmp_path / "data")
    assert code == 2 and "horse" in err and "cat, dog" in err


def test_measure_gives_records_and_the_ratio_to_a_base(deploy: Command, tiny_bundle: Bundle, tiny_model: Path) -> None:
    code, out, _ = deploy("measure", tiny_bundle.folder, "--base", tiny_model, "--level", "quick", "--json",
                          "--trust")  # fmt: skip
    values = json.loads(out)
    assert code == 0 and values["model"]["lease"] == values["base"]["lease"]
    assert values["ratio_to_base"]["ratio"] > 0 and len(values["model"]["windows_ms"]) > 1


def test_measure_prints_what_a_reader_needs(
    deploy: Command, tiny_model: Path, write_image: Callable[..., Path]
) -> None:
    code, out, _ = deploy("measure", tiny_model, "--images", write_image(), "--level", "quick", "--trust")
    assert code == 0
    for word in ("median", "95 % interval", "p99", "canary drift", "1 image", "note: quick protocol", "onnxruntime"):
        assert word in out


def test_a_bare_model_is_loaded_only_with_trust(deploy: Command, tiny_bundle: Bundle, tiny_model: Path) -> None:
    for arguments in ([tiny_model], [tiny_bundle.folder, "--base", tiny_model]):
        code, out, err = deploy("measure", *arguments, "--level", "quick")
        assert (code, out) == (2, "") and str(tiny_model) in err and "--trust" in err and err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"no model" * 30])
def test_a_model_that_is_none_is_exit_2(deploy: Command, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.onnx").write_bytes(content)
    code, out, err = deploy("measure", tmp_path / "odd.onnx", "--level", "quick", "--trust")
    assert (code, out) == (2, "") and "odd.onnx" in err and err.count("\n") == 1


def test_compare_prints_both_side_by_side(deploy: Command, tiny_bundle: Bundle) -> None:
    code, out, _ = deploy("compare", tiny_bundle.folder, tiny_bundle.folder, "--level", "quick")
    assert code == 0 and "64x48" in out and "latency is" in out
    assert any(line.split() == ["ap", "0.5", "0.5"] for line in out.splitlines())
    code, out, _ = deploy("compare", tiny_bundle.folder, tiny_bundle.folder, "--level", "quick", "--json")
    assert code == 0 and json.loads(out)["first"]["arch_id"] == "0123456789ab"


def test_targets_are_listed(deploy: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code, out, _ = deploy("targets")
    assert code == 0 and "target cpu: works" in out and "not usable: target 'jetson' is a board" in out
    code, out, _ = deploy("targets", "--json")
    assert [json.loads(line)["target"] for line in out.splitlines()] == sorted(TARGETS)


def test_one_target_is_checked(deploy: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code, out, _ = deploy("targets", "check", "cpu")
    assert code == 0 and out.startswith("target cpu: works\n") and "engine ort" in out
    code, out, _ = deploy("targets", "check", "cpu", "--json")
    assert code == 0 and {item["state"] for item in json.loads(out)["conditions"]} <= {"works", "note"}
    code, _, err = deploy("targets", "check", "jetson")
    assert code == 2 and "--host user@board" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "jetson"], "--host user@board"),
        (["--target", "cpu", "--host", "user@board"], "'cpu' is this machine"),
    ],
)
def test_a_board_that_is_not_named_is_said_before_anything_is_timed(
    deploy: Command,
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for command in (["measure", tiny_bundle.folder], ["compare", tiny_bundle.folder, tiny_bundle.folder]):
        code, out, err = deploy(*command, *options)
        assert code == 2 and words in err and not out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["run"], "BUNDLE"),
        (["run", "b", "i", "--score", "2"], "between 0 and 1"),
        (["run", "b", "i", "--threads", "0"], "at least 1"),
        (["run", "no/such/bundle", "i"], "no/such/bundle"),
        (["measure", "absent.onnx"], "absent.onnx"),
        (["measure", "absent.onnx", "--target", "jetson"], "jetson"),
        (["measure", "absent.onnx", "--level", "sloppy"], "sloppy"),
        (["evaluate", "no/such/bundle", "--data", "d"], "no/such/bundle"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(deploy: Command, arguments: list[str], words: str) -> None:
    code, out, err = deploy(*arguments)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1 and err.startswith("deploy: ")


def test_help_teaches_by_examples(deploy: Command) -> None:
    code, out, _ = deploy("--help")
    assert code == 0 and "deploy measure any_model.onnx" in out and "exit codes" in out
