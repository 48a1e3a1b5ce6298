"""The parts of `gpu_day` as far as a CPU takes them: the same code, on the CPU device, at tiny sizes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_parts import agreement, latency, marked_tests, same_model, short_search, training
from gpu_parts.cases import prepare
from gpu_parts.compiled import compile_model
from gpu_parts.day import Day
from gpu_parts.pairs import KINDS, Found, match
from made_trials import make_done

from optimizer.search.base import FailedTrial, PendingTrial, Proposal

CPU = torch.device("cpu")
SIZE = (96, 64)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return Day(None, time.monotonic() + 600, lambda result: None, tmp_path_factory.mktemp("day") / "part")


def found(*rows: tuple[float, float, int]) -> Found:
    """Detections 10 pixels large at x, with a score and a label."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    return Found(boxes, np.array([s for _, s, _ in rows]), np.array([label for _, _, label in rows]))


def test_detections_are_the_same_by_label_place_and_score() -> None:
    expected = found((0, 0.9, 1), (50, 0.8, 1), (90, 0.7, 2))
    assert match(expected, expected, 0.1, 0.01)[:3] == (3, 3, 3)
    near = match(expected, found((0.05, 0.9, 1), (50, 0.795, 1), (90, 0.7, 2)), 0.1, 0.01)
    assert near.matched == 3 and near.box_px == pytest.approx(0.05, rel=1e-3) and near.score == pytest.approx(0.005)
    assert match(expected, found((0, 0.9, 1), (50, 0.8, 0), (91, 0.7, 2)), 0.1, 0.01).matched == 1
    assert match(expected, found((0, 0.8, 1)), 0.1, 0.01).share == 0


def test_one_detection_counts_once_and_the_longer_list_is_what_a_share_is_of() -> None:
    twice = match(found((0, 0.9, 1), (0, 0.9, 1)), found((0, 0.9, 1)), 0.1, 0.01)
    assert twice.matched == 1 and twice.share == 0.5
    assert match(found(), found(), 0.1, 0.01).share == 1
    assert match(found(), found((0, 0.9, 1)), 0.1, 0.01).share == 0


@pytest.mark.parametrize("kind", KINDS)
def test_our_exports_and_torchvisions_model_are_compared_and_timed(kind: str, day: Day) -> None:
    case = prepare(kind, SIZE, day, CPU, 30)
    compared = agreement.compare_case(case, "ort", CPU)
    exports = {"ours matrix", "ours op"} | ({"ours matrix, grid"} if kind == "faster_rcnn" else set())
    assert compared["agrees"] and set(compared["same"]) == {"our eager model", *exports}
    assert all(row["expected"] > 10 for row in compared["same"].values())
    again = prepare(kind, SIZE, day, CPU, 30)  # from what the first one kept
    assert all(torch.equal(a, b) for a, b in zip(case.ours.state_dict().values(), again.ours.state_dict().values()))
    timed = latency.time_case(again, {latency.EAGER: again.theirs}, "ort", CPU, 0.0, window=1)
    assert set(timed["median_ms"]) == {*exports, latency.EAGER} and min(timed["same"].values()) > 0.9
    assert set(timed["over"][latency.EAGER]) == exports and timed["gpu_ms"] is None
    for module, result in ((agreement, compared), (latency, timed)):
        lines = list(module.describe({case.name: json.loads(json.dumps(result))}))
        assert sum(case.name in line for line in lines) == len(exports) + 1


def test_where_the_whole_model_does_not_compile_its_backbone_does(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    case = prepare("retinanet", SIZE, day, CPU, 30)
    compiled: list[torch.nn.Module] = []

    def pretend(model: torch.nn.Module) -> torch.nn.Module:
        compiled.append(model)
        if model is case.theirs:
            raise RuntimeError("no compiler\nand more")
        return model

    monkeypatch.setattr(torch, "compile", pretend)
    model, _, what = compile_model(case.theirs, case.canvas, CPU)
    assert what == "the backbone alone; the whole failed: RuntimeError: no compiler"
    assert compiled == [case.theirs, case.theirs.model.backbone]
    image = torch.from_numpy(case.canvas)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(image), case.theirs(image)))


def test_both_training_loops_are_timed() -> None:
    batches = training.make_batches((96, 64), 1, 2)
    assert all(len(truth.labels) == training.OBJECTS for _, truths in batches for truth in truths)
    rows = {
        "ours, batch 16": [
            training.time_ours(batches, (96, 64), CPU, torch.channels_last, warm_up=1, steps=2, region_proposals=60)
        ],
        "torchvision, batch 16": [
            training.time_theirs(batches, (96, 64), CPU, warm_up=1, steps=2, region_proposals=60)
        ],
    }
    for (row,) in rows.values():
        assert len(row["step_ms"]) == 2 and row["images_per_s"] > 0 and row["peak_mib"] is None
    lines = list(training.describe({"size": (96, 64), "steps": rows, "waiting": {}}))
    assert any(line.strip().startswith("Ours over torchvision, batch 16: ") for line in lines)


def test_how_long_a_training_waits_for_images_is_known() -> None:
    class Slow:
        def __len__(self) -> int:
            return 2

        def epoch(self, number: int, start_step: int = 0):
            for batch in training.make_batches((96, 64), 1, 2):
                time.sleep(0.05)
                yield batch

    watched = training.Watched(Slow())
    assert len(list(watched.epoch(0))) == len(watched) == 2
    assert len(watched.waited_s) == 2 and min(watched.waited_s) >= 0.05


def test_the_short_search_is_a_valid_run(tmp_path: Path, day: Day) -> None:
    config = short_search.make_config(day)
    assert (config.target, config.search.teacher, config.variants.precisions) == ("cuda", "none", ())
    assert not config.needs_pool


def test_what_a_short_search_found_is_told() -> None:
    trials = [make_done(), FailedTrial(1, Proposal(0), "it diverged"), PendingTrial(2, Proposal(0))]
    told = json.loads(json.dumps([short_search.describe_trial(trial) for trial in trials]))
    assert [trial["status"] for trial in told] == ["done", "failed", "pending"]
    assert told[0]["ap"] == 0.4 and told[0]["seconds"] == trials[0].work.seconds and told[1]["error"] == "it diverged"
    lines = list(short_search.describe({"data": "shapes", "trials": told}))
    assert lines[0] == "On shapes: did not end." and lines[2] == "- trial 1: number 1, status failed, error it diverged"


def test_a_report_of_tests_is_read(tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite><testcase name="a" time="1.5"/><testcase name="b"><failure message="m">no\nGPU'
        '</failure></testcase><testcase name="c"><skipped message="two GPUs"/></testcase></testsuite></testsuites>'
    )
    report = marked_tests.read_report(tmp_path / "tests.xml")
    assert report["passed"] == 1 and report["failed"] == {"b": ["no", "GPU"]} and report["skipped"] == {"c": "two GPUs"}
    assert next(iter(marked_tests.describe(report))) == "1 passed, 1 failed, 1 skipped (all done)"


def test_tries_of_one_model_are_told() -> None:
    tries = [
        {"error": "busy"},
        {"ratio": 1.001, "ci95": [0.99, 1.01], "different": False, "median_ms": [3.0, 3.0], "flags": []},
    ]
    lines = list(same_model.describe({"model": "m", "level": "screen", "tries": tries}))
    assert lines[0] == "m, level screen: called different in 0 of 1 tries." and lines[1] == "- busy"
