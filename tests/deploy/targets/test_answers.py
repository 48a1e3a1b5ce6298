"""What a board answers is a record of what was asked, with values that can be, or it is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import Bundle, LatencyRecord, MeasurementFailure, TargetSpec, measure_models
from deploy.cli.terminal import print_record
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
        (lambda r: r.update(gpu_ms=float("nan")), "positive and finite"),
        (lambda r: r.update(protocol_version=99), "protocol version"),
        (lambda r: r["windows_ms"][0].__setitem__(0, float("nan")), "positive and finite"),
        (lambda r: r["windows_ms"][0].__setitem__(0, float("inf")), "positive and finite"),
        (lambda r: r["windows_ms"][0].__setitem__(0, -1.0), "positive and finite"),
        (lambda r: r["windows_ms"][0].__setitem__(0, 0.0), "positive and finite"),
        (lambda r: r["windows_ms"][0].__setitem__(0, 1e9), "positive and finite"),
        (lambda r: r["windows_ms"][0].__setitem__(0, None), "not a latency record"),
        (lambda r: r.update(windows_ms=[]), "not a latency record"),
        (lambda r: r["windows_ms"].__setitem__(0, []), "not a latency record"),
        (lambda r: r["windows_ms"].__setitem__(0, [1.0]), "1 samples per window, and quick takes 2"),
        (lambda r: r.pop("windows_ms"), "not a latency record"),
        (lambda r: r.update(canaries=[]), "0 canaries, and quick takes 1"),
        (lambda r: r["canaries"][0].update(before_ms=0), "positive and finite"),
        (lambda r: r.update(canaries=r["canaries"] * 9), "9 canaries, and quick takes 1 at most"),
        (lambda r: r.update(windows_ms=r["windows_ms"] * 100_000), "windows, and quick takes 3 at most"),
        (lambda r: r.update(windows_ms=[[1.0] * 1000]), "1000 samples per window, and quick takes 5 at most"),
        (lambda r: r["windows_ms"].__setitem__(0, [1.0] * 9), "9 samples in the longest window"),
        (lambda r: r.update(warm_up=[]), "0 warm-ups"),
        (lambda r: r.update(pre_ms=-3.0), "positive and finite"),
        (lambda r: r.update(lease=3), "short strings"),
        (lambda r: r.update(feeds="x" * 5000), "short strings"),
        (lambda r: r["device"].update(threads="two"), "must be integers"),
        (lambda r: r["device"].update(extra=1), "not a latency record"),
        (lambda r: r.clear(), "not a latency record"),
    ],
)
def test_an_altered_record_is_refused(
    record: dict[str, Any], tiny_bundle: Bundle, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parse(spoil(change, record), tiny_bundle)


WRONG = (None, True, "text", "a\x1b[2J", -1, 1.5, 1e300, 10**390, float("nan"), [], {}, [[]], [None], {"a": 1})


def list_places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is anything in a record; of lists the first item stands for all."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [way] * bool(way) + [place for key, item in items for place in list_places(item, (*way, key))]


def look_up(value: Any, place: tuple[Any, ...]) -> Any:
    """What a record holds in this place."""
    for key in place:
        value = value[key]
    return value


def test_no_value_of_another_kind_is_taken_for_what_it_should_be(record: dict[str, Any], tiny_bundle: Bundle) -> None:
    """Every place of a record with every wrong value: refused, or a record that can still be printed."""
    taken = set()
    for place in list_places(record):
        for wrong in WRONG:
            spoilt = copy.deepcopy(record)
            owner = spoilt
            for key in place[:-1]:
                owner = owner[key]
            owner[place[-1]] = wrong
            try:
                parsed = parse(spoilt, tiny_bundle)
            except ValueError:
                continue
            if repr(wrong) == repr(look_up(record, place)):
                continue
            print_record("a", parsed)
            taken.add((place, str(wrong)))
    never = {str(wrong) for wrong in ("a\x1b[2J", 1e300, float("nan"), {}, [[]], [None], {"a": 1})}
    assert taken and not never & {wrong for _, wrong in taken}
    figures = {"windows_ms", "median_ms", "mean_ms", "max_ms", "infer_ms", "runs", "model_sha256", "target", "level"}
    assert not figures & {place[0] for place, _ in taken}


@pytest.mark.parametrize("key", ["median_ms", "mean_ms", "max_ms", "infer_ms", "runs"])
def test_a_figure_that_does_not_follow_from_the_samples_is_refused(
    record: dict[str, Any], tiny_bundle: Bundle, key: str
) -> None:
    with pytest.raises(ValueError, match=f"{key} cannot be what it is"):
        parse({**record, key: record[key] + 1}, tiny_bundle)


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
        {"pre_ms": -1.0},
        {"infer_ms": 1e9},
        {"labels": [1.7]},
        {"labels": [True]},
        {"boxes_xyxy": [[1, 0, 0, 1]]},
        {"boxes_xyxy": [[0, 1, 1, 0]]},
        {"boxes_xyxy": [[-1, 0, 1, 1]]},
        {"boxes_xyxy": [0, 0, 1, 1]},
        {"boxes_xyxy": [["0", "0", "1", "1"]]},
        {"boxes_xyxy": [[0, 0, 1, True]]},
        {"boxes_xyxy": [[0, 0, 1, 10**390]]},
        {"boxes_xyxy": [[0, 0, 1]]},
        {"boxes_xyxy": [[0, 0, 1, 1]] * 2},
        {"scores": ["0.5"]},
        {"scores": [True]},
        {"scores": 0.5},
        {"labels": [2**63]},
        {"pre_ms": "1.0"},
        {"pre_ms": True},
        {"image": True},
        {"more": 1},
        {"boxes_xyxy": [[0, 0, 1, 1]] * 2, "scores": [0.5, 0.6], "labels": [1, 1]},
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
