"""Trials in a run's database: they come back as they were recorded, by this release or an earlier one."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_trials import make_done

from optimizer.arch import PruneChannels, Resize
from optimizer.arch.families import base_arch
from optimizer.arch.macs import Cost
from optimizer.arch.pool import ElasticSubnet
from optimizer.search.base import (
    DoneTrial,
    FailedTrial,
    PendingTrial,
    Proposal,
    ScreenedTrial,
    Trial,
    TrialFiles,
    Work,
    get_done,
)
from optimizer.search.latency import FurtherCost
from optimizer.store import RunStore
from optimizer.store.schema import read_elsewhere, trial_from_row

ASSETS = Path(__file__).parent
FULL = DoneTrial(
    number=1,
    proposal=Proposal(0, (PruneChannels(0.1, 8, 32), Resize((128, 96))), "parent ranks 1"),
    arch=base_arch("r18", (128, 96), region_proposals=50),
    ap=0.31,
    ap50=0.62,
    counts=Cost(28 * 10**6, 10**9, 2 * 10**9),
    cost_ratio=1.25,
    score=1.1,
    latency={"median_ms": 20.5, "samples_ms": [20.0, 21.0]},
    files=TrialFiles("a" * 64, "b" * 64),
    work=Work(epochs_total=6.0, seconds=12.5, curve=((10, 1.5), (20, 1.25))),
)
FAILED = FailedTrial(2, Proposal(1, (), "a note"), "the loss was not finite")
SCREENED = ScreenedTrial(
    1, Proposal(0, (PruneChannels(0.1, 8, 32),), epochs=0, aim=0.7), FULL.arch, 0.31, 0.52, FULL.counts, 2.5
)
RAW = make_done(
    6,
    files=TrialFiles(
        "a" * 64,
        "b" * 64,
        "raw",
        {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 100},
        None,
        11 * 10**6,
    ),
    work=Work(6.0, 12.5, ((1, 2.0),), ("depths [2] to [1]",), {"train": 10.0, "export": 2.5}),
)
TEACHER = ElasticSubnet((2, 1, 2, 2), (1.5, 1.25, 1.0, 1.5), (160, 120))
TAUGHT = make_done(3, Proposal(1, (Resize((128, 96)),), "parent ranks 1", teacher=TEACHER), score=1.2)
MEMBER = make_done(4, Proposal(None, (), "drawn from the pool", teacher=TEACHER, subnet=TEACHER), score=0.9)
TUNED = make_done(5, Proposal(3, (), "fine-tuned", teacher=TEACHER, finetune=True), score=1.3)
WHOLE = make_done(1, Proposal(None, (), "r18, taught by the base", arch=base_arch("r18", (96, 96), "retinanet")))
LATENCY = {"target": "board", "median_ms": 20.5, "ci95_ms": [20.0, 21.0], "p90_ms": 22.0, "p99_ms": 23.0, "flags": []}
ELSEWHERE = make_done(1, elsewhere={"board": FurtherCost(1.5, LATENCY), "two": FurtherCost(0.9, LATENCY)})
METERED = make_done(
    1, elsewhere={"energy on board": FurtherCost(1.5, {**LATENCY, "energy": {"gross_mj": 9.5}}, "energy")}
)


def test_trials_come_back_as_they_were(run: Path) -> None:
    with RunStore.open(run) as store:
        store.record(PendingTrial(1, FULL.proposal))
        store.record(FULL)
        store.record(FAILED)
    with RunStore.open(run) as store:
        assert store.history() == [FULL, FAILED]
        assert store.config == {"seed": 1}


@pytest.mark.parametrize(
    "trial",
    [TAUGHT, MEMBER, TUNED, RAW, SCREENED, WHOLE, ELSEWHERE, METERED],
    ids=[
        *("taught", "from the pool", "fine-tuned", "a graph that selects nothing", "screened", "a whole architecture"),
        *("measured on several targets", "metered"),
    ],
)
def test_every_kind_of_trial_comes_back_as_it_was(run: Path, trial: DoneTrial | ScreenedTrial) -> None:
    with RunStore.open(run) as store:
        pending = PendingTrial(trial.number, trial.proposal)
        store.record(pending)
        assert store.history() == [pending], "a killed run repeats this very proposal"
        store.record(trial)
    with RunStore.open(run) as store:
        assert store.history() == [trial]


def test_a_proposal_that_was_recorded_before_there_were_teachers_is_read(run: Path) -> None:
    with RunStore.open(run) as store:
        store.record(TUNED)
    with sqlite3.connect(run / "run.db") as database:
        (text,) = database.execute("select proposal from trials").fetchone()
        proposal = {key: value for key, value in json.loads(text).items() if key in ("parent", "actions", "note")}
        database.execute("update trials set proposal = ?", (json.dumps(proposal),))
    with RunStore.open(run) as store:
        assert store.history() == [replace(TUNED, proposal=Proposal(3, (), "fine-tuned"))]


def test_runs_of_the_first_release_can_be_read(tmp_path: Path) -> None:
    """version-1.sql is a run as the first release wrote it. A change of the tables comes with a new version."""
    with sqlite3.connect(tmp_path / "run.db") as database:
        database.executescript((ASSETS / "version-1.sql").read_text())
    with RunStore.open(tmp_path) as store:
        assert store.history() == [FULL, FAILED]
        assert store.config == {"seed": 1}


def test_a_base_that_detects_nothing_had_no_score_in_the_first_release(run: Path) -> None:
    with RunStore.open(run) as store:
        store.record(make_done(ap=0.0, score=0.0))
    with sqlite3.connect(run / "run.db") as database:
        database.execute("update trials set score = null")
    with RunStore.open(run) as store:
        assert store.history() == [make_done(ap=0.0, score=0.0)]


def test_a_history_is_read_once_and_then_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def parse(row: sqlite3.Row) -> Trial:
        parsed.append(row["number"])
        return trial_from_row(row)

    with RunStore.create(tmp_path / "run", {}) as store:
        store.record(*(make_done(number) for number in range(5)))
        monkeypatch.setattr("optimizer.store.run_store.trial_from_row", parse)
        assert store.history() == [make_done(number) for number in range(5)] == store.history()
        assert parsed == [0, 1, 2, 3, 4]
        store.record(make_done(2, ap=0.1), FailedTrial(5, Proposal(0), "no"))
        assert [trial.status for trial in store.history()] == ["done"] * 5 + ["failed"]
        assert get_done(store.history(), 2).ap == 0.1 and parsed == [0, 1, 2, 3, 4, 2, 5]


def test_a_reader_sees_what_the_run_records_meanwhile(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}) as store, RunStore.open(tmp_path / "run", writable=False) as reader:
        assert reader.history() == []
        store.record(make_done())
        assert reader.history() == [make_done()]
        store.record(make_done(ap=0.2))
        assert reader.history() == [make_done(ap=0.2)]


@pytest.mark.parametrize("damage", [{"kind": "money"}, {"kind": "energy", "latency": LATENCY}])
def test_a_further_cost_that_is_none_is_damage(damage: dict[str, Any]) -> None:
    whole = METERED.elsewhere["energy on board"].to_json()
    assert read_elsewhere({"energy on board": whole}) == METERED.elsewhere
    with pytest.raises(ValueError, match="a further cost is"):
        read_elsewhere({"energy on board": {**whole, **damage}})
