"""What a board answers is a record of what was asked, with values that can be, or it is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import Bundle, LatencyRecord, MeasurementFailure, TargetSpec, measure_models
from deploy.files import hash_file
from deploy.measuring.request import Setup
from deploy.targets.answers import parse_conditions, parse_detected, parse_measured


@pytest.fixture
def record(tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A true one, as it travels."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    measured = measure_models({"a": tiny_bundle}, protocol="quick", setup=Setup(threads=1))["a"]
    assert isinstance(measured, LatencyRecord)
    return measured.to_json()


def parse(value: Any, bundle: Bundle) -> Any:
    return parse_measured(value, hash_file(bundle.model), "model.onnx", "quick", TargetSpec("board"))


def test_a_true_record_is_taken_and_named_after_the_target(record: dict[str, Any], tiny_bundle: Bundle) -> None:
    parsed = parse(record, tiny_bundle)
    assert isinstance(parsed, LatencyRecord) and parsed.target == "board"
    assert parsed.to_json() == {**record, "target": "board"}


def test_a_failure_is_no_number(tiny_bundle: Bundle) -> None:
    failure = parse({"error": "no memory"}, tiny_bundle)
    assert failure == MeasurementFailure("quick", "model.onnx", "board", "no memory")


def spoil(change: Callable[[dict[str, Any]], object], record: dict[str, Any]) -> dict[str, Any]:
    spoilt = copy.deepcopy(record)
    change(spoilt)
    return spoilt


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(model_sha256="0" * 64), "of another model"),
        (lambda r: r.update(level="final"), "of another model, target, protocol or mode"),
        (lambda r: r.update(target="jetson"), "of another model, target, protocol or mode"),
        (lambda r: r.update(mode="burst"), "protocol or mode"),
        (lambda r: r.update(gpu_ms=float("nan")), "no latencies"),
        (lambda r: r.update(protocol_version=99), "protocol version"),
        (lambda r: r["windows_ms"][0].__setitem__(0, float("nan")), "no latencies"),
        (lambda r: r["windows_ms"][0].__setitem__(0, float("inf")), "no latencies"),
        (lambda r: r["windows_ms"][0].__setitem__(0, -1.0), "no latencies"),
        (lambda r: r["windows_ms"][0].__setitem__(0, 0.0), "no latencies"),
        (lambda r: r["windows_ms"][0].__setitem__(0, 1e9), "no latencies"),
        (lambda r: r["windows_ms"][0].__setitem__(0, None), "not a latency record"),
        (lambda r: r.update(windows_ms=[]), "not a latency record"),
        (lambda r: r["windows_ms"].__setitem__(0, []), "not a latency record"),
        (lambda r: r["windows_ms"].__setitem__(0, [1.0]), "1 samples a window, and quick takes 2"),
        (lambda r: r.pop("windows_ms"), "not a latency record"),
        (lambda r: r.update(canaries=[]), "0 canaries, and quick takes 1"),
        (lambda r: r["canaries"][0].update(before_ms=0), "no latencies"),
        (lambda r: r.update(warm_up=[]), "0 warm-ups"),
        (lambda r: r.update(pre_ms=-3.0), "no latencies"),
        (lambda r: r.update(lease=3), "texts"),
        (lambda r: r.update(feeds="x" * 5000), "texts"),
        (lambda r: r["device"].update(threads="two"), "device"),
        (lambda r: r["device"].update(extra=1), "not a latency record"),
        (lambda r: r.clear(), "not a latency record"),
    ],
)
def test_an_altered_record_is_refused(
    record: dict[str, Any], tiny_bundle: Bundle, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parse(spoil(change, record), tiny_bundle)


@pytest.mark.parametrize("value", [None, 3, "fast", [1.0]])
def test_what_is_no_record_at_all_is_refused(tiny_bundle: Bundle, value: Any) -> None:
    with pytest.raises(ValueError, match="not a latency record"):
        parse(value, tiny_bundle)


FOUND = {"image": 0, "boxes_xyxy": [[0, 0, 1, 1]], "scores": [0.5], "labels": [1], "pre_ms": 1.0, "infer_ms": 2.0}


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [1.5]},
        {"labels": [-1]},
        {"boxes_xyxy": [[0, 0, float("nan"), 1]]},
        {"image": 2},
        {"image": "0"},
        {"pre_ms": None},
    ],
)
def test_detections_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    assert parse_detected([FOUND], 2)[0][0] == 0
    with pytest.raises(ValueError):
        parse_detected([{**FOUND, **change}], 2)
    with pytest.raises(ValueError, match="other images"):
        parse_detected([FOUND, FOUND], 2)


@pytest.mark.parametrize("answer", [None, [], [["works"]], [["grand", "a", "b", "c"]], [["works", "a", 3, ""]]])
def test_conditions_that_are_none_are_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="not a list of"):
        parse_conditions(answer)
    assert parse_conditions([["works", "disk", "1\x1b MiB", ""]])[0].found == "1 MiB"
