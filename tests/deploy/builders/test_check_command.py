"""`deploy check`: what it prints, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from deploy import BundleManifest, Preprocess, write_bundle

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def counting(make_model: Callable[..., onnx.ModelProto], tmp_path: Path) -> Path:
    """A model with nodes of very long names that count what is there, and one that 8.6 alone does not take."""
    nodes = [
        helper.make_node("NonZero", ["x"], [f"y{index}"], f"a/long/{'path/' * 15}name_{index}") for index in range(3)
    ]
    nodes.append(helper.make_node("Equal", ["x", "x"], ["z"], "same"))
    outputs = {f"y{index}": (TensorProto.INT64, [1, None]) for index in range(3)} | {"z": (TensorProto.BOOL, [4])}
    path = tmp_path / "counting.onnx"
    onnx.save(make_model(nodes, {"x": (TensorProto.FLOAT, [4])}, outputs, opset=18), path)
    return path


def test_a_model_that_fits_is_exit_0_with_a_row_a_release(deploy: Command, exported: Path) -> None:
    code, out, err = deploy("check", exported)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.endswith(("yes", "no"))]
    assert [(row[0], row[-1]) for row in rows] == [("8.6", "yes"), ("10.3", "yes"), ("10.16", "yes"), ("11.4", "yes")]
    assert "no TensorRT was run" in out


def test_a_model_that_does_not_fit_is_exit_1_and_says_where_and_what_to_do(deploy: Command, counting: Path) -> None:
    code, out, err = deploy("check", counting)
    assert code == 1
    assert err == f"deploy: {counting} does not fit TensorRT 8.6, 10.3, 10.16, 11.4\n"
    assert "dynamic  NonZero (3 nodes), on 8.6, 10.3, 10.16, 11.4" in out and "opset 18" in out
    assert "use Where with a mask, or TopK of a fixed count" in out


def test_one_release_can_be_asked_for(deploy: Command, counting: Path) -> None:
    code, out, err = deploy("check", counting, "--tensorrt", "10.16")
    assert code == 1 and err.endswith("does not fit TensorRT 10.16\n")
    assert "JetPack 7.2" in out and "JetPack 6.0" not in out and "parser reads" not in out


def test_the_report_keeps_to_80_columns(deploy: Command, counting: Path, exported: Path) -> None:
    for path in (counting, exported):
        _, out, _ = deploy("check", path)
        report = out.split("\n", 1)[1]  # the first line is the path, which is as long as it is
        assert max(map(len, report.splitlines())) <= 80


def test_json_holds_every_finding_whole(deploy: Command, counting: Path) -> None:
    code, out, _ = deploy("check", counting, "--json")
    found = json.loads(out)
    assert code == 1 and found["model"] == str(counting) and (found["opset"], found["nodes"]) == (18, 4)
    assert {version: entry["fits"] for version, entry in found["tensorrt"].items()} == {
        "8.6": False, "10.3": False, "10.16": False, "11.4": False
    }  # fmt: skip
    first, *others = (entry for entry in found["tensorrt"]["8.6"]["findings"] if entry["level"] != "note")
    assert first["op"] == "model" and first["level"] == "refused" and "opset 18" in first["reason"]
    assert [entry["node"][-6:] for entry in others] == ["name_0", "name_1", "name_2"]
    assert set(first) == {"node", "op", "version", "reason", "advice", "level"}


def test_a_bundle_is_checked_by_its_model(deploy: Command, exported: Path, tmp_path: Path) -> None:
    manifest = BundleManifest("b", "0123456789ab", {}, ("cat",), Preprocess(130, 98))
    bundle = write_bundle(tmp_path / "bundle", exported, manifest)
    for path in (bundle.folder, bundle.folder / "bundle.json"):
        code, out, _ = deploy("check", path, "--tensorrt", "10.3", "--json")
        assert code == 0 and json.loads(out)["tensorrt"]["10.3"]["fits"]


def test_bad_input_is_exit_2_and_one_line(deploy: Command, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model, but words enough for one\n" * 9)
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:5000])
    (tmp_path / "empty.onnx").touch()
    for path, words in (
        ("nowhere.onnx", "there is no ONNX model nowhere.onnx"),
        (tmp_path / "text.onnx", "is not an ONNX model"),
        (tmp_path / "cut.onnx", "cut short"),
        (tmp_path / "empty.onnx", "is empty"),
        (tmp_path, "is not a bundle"),
    ):
        code, out, err = deploy("check", path)
        assert (code, out) == (2, "") and words in err and err.startswith("deploy: ") and err.count("\n") == 1


def test_an_unknown_release_is_exit_2_with_those_there_are(deploy: Command, exported: Path) -> None:
    code, out, err = deploy("check", exported, "--tensorrt", "9.0")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert all(version in err for version in ("'9.0'", "8.6", "10.3", "10.16", "11.4"))


def test_help_teaches_the_releases_the_levels_and_the_exit_codes(
    deploy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = deploy("check", "--help")
    assert code == 0
    for words in ("JetPack 6.1 to 6.2", "refused", "dynamic", "unknown", "note", "not a promise", "exit codes: 0"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80
