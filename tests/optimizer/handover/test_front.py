"""The front of students that are what was asked for; the others stay visible, with the reason."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_trials import make_done
from rich.console import Console

from optimizer.cost.base import RelativeCost
from optimizer.errors import InputError
from optimizer.handover.front import Front, find_front, make_front
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import KEPT, Variant, VariantResult
from optimizer.recipes import quick
from optimizer.report.console import front_table
from optimizer.search.base import DoneTrial, TrialFiles
from optimizer.search.constraints import Constraints
from optimizer.search.costs import COSTS
from optimizer.search.latency import FurtherCost
from optimizer.store import RunStore

NOT_BEGUN = HandOverState()


def make(number: int, ap: float, ratio: float, megabytes: int = 40) -> DoneTrial:
    """A trial of a base that takes 80 ms."""
    record: dict[str, Any] = {"target": "cpu", "flags": [], "ci95_ms": [1.0, 99.0], "p90_ms": 90.0, "p99_ms": 99.0}
    files = TrialFiles("a" * 64, "b" * 64, model_bytes=megabytes * 10**6)
    latency = {**record, "median_ms": 80 / ratio, "memory_mib": 10.0 * megabytes}
    return make_done(number, ap=ap, cost_ratio=ratio, score=ratio, latency=latency, files=files)


TRIALS = [make(0, 0.6, 1.0, 100), make(1, 0.55, 1.6), make(2, 0.5, 2.0, 30), make(3, 0.3, 4.0, 10)]


def front_of(**asked: Any) -> Front:
    return make_front(TRIALS, NOT_BEGUN, wanted=Constraints(**asked))


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({}, (3, 2, 1, 0)),
        ({"max_latency_ms": 45}, (3, 2)),
        ({"max_bytes": 30_000_000}, (3, 2)),
        ({"max_memory_bytes": 300 << 20}, (3, 2)),
        ({"min_ap": 0.5}, (2, 1, 0)),
        ({"max_latency_ms": 45, "min_ap": 0.45}, (2,)),
        ({"max_latency_ms": 45, "min_ap": 0.7}, ()),
    ],
)
def test_only_what_was_asked_for_is_on_the_front_and_the_base_stays(
    asked: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    front = front_of(**asked)
    assert front.numbers == numbers
    assert front.base is not None and front.to_json()["base"]["name"] == "base"
    assert {export.trial.number for export in front.infeasible} == {1, 2, 3} - set(numbers)


def test_an_infeasible_base_beats_no_student() -> None:
    large, small = make(0, 0.6, 1.0, 100), make(1, 0.55, 1.0, 20)
    assert make_front([large, small], NOT_BEGUN).numbers == (0,)
    assert make_front([large, small], NOT_BEGUN, wanted=Constraints(max_bytes=30_000_000)).numbers == (1,)


def test_the_file_says_what_was_asked_for_and_why_the_others_are_no_candidates() -> None:
    value = front_of(max_latency_ms=30).to_json()
    assert value["asked_for"] == "at most 30 ms" and [entry["name"] for entry in value["students"]] == ["student-003"]
    reasons = {entry["name"]: entry["infeasible"] for entry in value["infeasible"]}
    assert list(reasons.items()) == [
        ("student-002", "40 ms, above 30 ms"),
        ("student-001", "50 ms, above 30 ms"),
    ]
    assert value["base"]["infeasible"] == "80 ms, above 30 ms"
    assert [entry["memory_mib"] for entry in value["infeasible"]] == [300.0, 400.0]
    plain = front_of().to_json()
    assert "asked_for" not in plain and "infeasible" not in plain and "infeasible" not in plain["base"]


def test_the_nearest_is_named_where_no_student_is_what_was_asked_for() -> None:
    assert front_of().shortfall == front_of(max_latency_ms=30).shortfall == ""
    assert front_of(max_latency_ms=10, min_ap=0.4).shortfall == (
        "no student is what was asked for (at most 10 ms, AP at least 0.4); the nearest is student-003, AP 0.300: "
        "20 ms, above 10 ms; AP 0.3000, below 0.4"
    )
    alone = make_front(TRIALS[:1], NOT_BEGUN, wanted=Constraints(max_latency_ms=10))
    assert alone.shortfall.endswith("(at most 10 ms); none that detects anything was trained")


def test_a_base_that_is_infeasible_is_marked_in_the_table() -> None:
    console = Console(width=100, record=True)
    console.print(front_table(front_of(max_latency_ms=45)))
    text = console.export_text()
    assert "base (infeasible)" in text and "student-002" in text and "student-001" not in text


def test_the_final_lease_decides() -> None:
    slower = {n: RelativeCost(TRIALS[n].cost_ratio * (0.9 if n else 1), TRIALS[n].latency) for n in (0, 2, 3)}
    front = make_front(TRIALS, HandOverState((0, 2, 3), measured=slower), wanted=Constraints(max_latency_ms=42))
    assert front.numbers == (3,) and front.plain[2].breach is not None


def test_a_student_that_was_asked_for_is_handed_over_all_the_same() -> None:
    front = make_front(TRIALS[:2], NOT_BEGUN, [1], Constraints(max_latency_ms=10))
    assert [export.name for export in front.beaten] == ["student-001"] and front.beaten[0].breach is not None


def make_store(folder: Path, values: dict[str, Any]) -> RunStore:
    store = RunStore.create(folder, values)
    for trial in TRIALS:
        store.record(replace(trial, work=replace(trial.work, curve=())))
    return store


def add_board(trial: DoneTrial, ratio: float) -> DoneTrial:
    """The trial, measured on a board too, where the base takes 200 ms."""
    assert trial.latency is not None
    record = {**trial.latency, "target": "board", "median_ms": 200 / ratio}
    return replace(trial, elsewhere={"board": FurtherCost(ratio, record)})


ON_BOTH = [add_board(trial, ratio) for trial, ratio in zip(TRIALS, (1.0, 3.0, 2.5, 2.0))]


def test_a_student_stays_on_the_front_for_what_it_costs_on_another_target() -> None:
    worse_here = replace(make(4, 0.5, 1.9), elsewhere=add_board(TRIALS[2], 4.0).elsewhere)
    assert make_front([*TRIALS, make(4, 0.5, 1.9)], NOT_BEGUN).numbers == (3, 2, 1, 0)
    front = make_front([*ON_BOTH, worse_here], NOT_BEGUN)
    assert front.numbers == (3, 2, 4, 1, 0) and front.further_targets == ("board",)
    worse_on_both = replace(worse_here, elsewhere=add_board(TRIALS[2], 2.4).elsewhere)
    assert make_front([*ON_BOTH, worse_on_both], NOT_BEGUN).numbers == (3, 2, 1, 0)


def test_the_file_and_the_table_have_every_target() -> None:
    front = make_front(ON_BOTH, NOT_BEGUN)
    found = {student["name"]: student["latency_ms"] for student in front.to_json()["students"]}
    assert found["student-001"]["cpu"]["median"] == 50 and "base_over_own" not in found["student-001"]["cpu"]
    assert found["student-001"]["board"] == {
        "median": 200 / 3, "p90": 90.0, "p99": 99.0, "ci95": [1.0, 99.0], "base_over_own": 3.0,
    }  # fmt: skip
    console = Console(width=120, record=True)
    console.print(front_table(front))
    text = console.export_text()
    assert "ms on board" in text and "66.7 (1.0-99.0)" in text and front.find_cost(front.plain[1], "board") == 200 / 3


def test_the_final_leases_count_on_every_target() -> None:
    final = {t.number: RelativeCost(t.cost_ratio, t.latency, add_board(t, 1.0).elsewhere) for t in ON_BOTH}
    state = HandOverState.from_json(json.loads(json.dumps(HandOverState((0, 1, 2, 3), measured=final).to_json())))
    assert state.measured == final
    assert {e.elsewhere["board"].ratio for e in make_front(ON_BOTH, state).plain.values()} == {1.0}


def test_a_run_whose_trials_know_different_targets_is_damaged(tmp_path: Path) -> None:
    with make_store(tmp_path / "run", quick().model_dump(mode="json")) as store:
        store.record(ON_BOTH[2])
        with pytest.raises(InputError, match="trial 2 has latencies on other targets than trial 0"):
            find_front(store)


def test_a_run_keeps_what_was_asked_for(tmp_path: Path) -> None:
    config = quick().changed({"constraints.max_latency_ms": 45.0, "constraints.min_ap": 0.45})
    with make_store(tmp_path / "run", config.model_dump(mode="json")) as store:
        assert find_front(store).numbers == (2,)
        assert find_front(store, before_training=True).numbers == (3, 2), "training may yet raise its AP"


def test_a_run_that_began_before_there_were_constraints_has_none(tmp_path: Path) -> None:
    values = quick().model_dump(mode="json")
    del values["constraints"]
    with make_store(tmp_path / "run", values) as store:
        assert find_front(store).numbers == (3, 2, 1, 0)


def test_constraints_that_make_no_sense_are_damage(tmp_path: Path) -> None:
    values = {**quick().model_dump(mode="json"), "constraints": {"min_ap": 7}}
    with (
        make_store(tmp_path / "run", values) as store,
        pytest.raises(InputError, match="its constraints cannot be read"),
    ):
        find_front(store)


def by_energy(number: int, ap: float, mj: float, ms: float) -> DoneTrial:
    trial = make(number, ap, 200 / mj)
    assert trial.latency is not None
    return replace(trial, latency={**trial.latency, "median_ms": ms, "energy": {"gross_mj": mj}})


def add_energy(trial: DoneTrial, ratio: float) -> DoneTrial:
    """The trial, whose energy was metered in the same lease; the base's is 300 mJ."""
    assert trial.latency is not None
    record = {**trial.latency, "energy": {"gross_mj": 300 / ratio}}
    return replace(trial, latency=record, elsewhere={"energy on cpu": FurtherCost(ratio, record, "energy")})


METERED = [add_energy(trial, ratio) for trial, ratio in zip(TRIALS, (1.0, 1.5, 2.5, 2.0))]


def test_energy_beside_latency_is_a_third_axis_of_the_front() -> None:
    slow = add_energy(make(4, 0.5, 1.9), 4.0)
    assert make_front([*TRIALS, make(4, 0.5, 1.9)], NOT_BEGUN).numbers == (3, 2, 1, 0)
    front = make_front([*METERED, slow], NOT_BEGUN, kind=COSTS["latency+energy"])
    assert front.numbers == (3, 2, 4, 1, 0), "slower and no more precise than another, and the most frugal"
    wasteful = add_energy(make(4, 0.5, 1.9), 2.4)
    assert make_front([*METERED, wasteful], NOT_BEGUN, kind=COSTS["latency+energy"]).numbers == (3, 2, 1, 0)
    assert front.find_cost(front.plain[4], "energy on cpu") == 75 and front.find_target("energy on cpu") == "cpu"
    found = next(student for student in front.to_json()["students"] if student["name"] == "student-004")
    assert (found["energy_of_base_over_own"], found["energy_mj"]) == (4.0, 75) and list(found["latency_ms"]) == ["cpu"]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(front_table(front))
    text = console.export_text()
    assert "mJ on cpu" in text and re.search(r"student-004 .* 75\.0", text)


def test_the_volume_of_a_front_over_energy_too_is_that_of_three_dimensions() -> None:
    pytest.importorskip("moocore", reason="moocore is not installed: pip install 'detopt[targets]'")
    trials = [add_energy(make(0, 0.6, 1.0), 1.0), add_energy(make(1, 0.5, 2.0), 4.0)]
    front = make_front(trials, NOT_BEGUN, kind=COSTS["latency+energy"])
    assert front.hypervolume == pytest.approx(0.5 * (1 - 1 / 2) * (1 - 1 / 4))


def test_another_export_has_its_own_energy() -> None:
    [plain] = [trial for trial in METERED if trial.number == 1]
    assert plain.latency is not None
    record = {**plain.latency, "energy": {"gross_mj": 50.0}}
    further = {"energy on cpu": FurtherCost(6.0, record, "energy")}
    tried = VariantResult(1, Variant("int8"), KEPT, "", 0.5, 0.6, 1, 2, "m", 3.0, record, 1.0, elsewhere=further)
    state = HandOverState.from_json(json.loads(json.dumps(HandOverState(tried={tried.name: tried}).to_json())))
    assert state.tried[tried.name].elsewhere == further
    (other,) = make_front(METERED, state, kind=COSTS["latency+energy"]).others
    assert other.costs == (1 / 3, 1 / 6) and other.to_json()["energy_of_base_over_own"] == 6.0


def test_a_front_by_energy_has_each_ones_own_latency() -> None:
    trials = [by_energy(0, 0.6, 200, 80), by_energy(1, 0.5, 100, 70), by_energy(2, 0.4, 120, 20)]
    front = make_front(trials, NOT_BEGUN, wanted=Constraints(max_latency_ms=75), kind=COSTS["energy"])
    assert front.numbers == (1,), "the third costs more energy, however fast it is, and the base is too slow"
    assert front.find_cost(front.plain[2]) == pytest.approx(120) and front.infeasible == ()
    value = front.to_json()
    assert value["cost"] == "energy" and value["students"][0]["energy_mj"] == 100
    assert value["base"]["infeasible"] == "80 ms, above 75 ms"
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(front_table(front))
    assert re.search(r"student-001 .* 100\.0 +-50%", console.export_text())
    with pytest.raises(InputError, match="student-003 was measured without its energy"):
        make_front([*trials, make(3, 0.3, 4.0)], NOT_BEGUN, kind=COSTS["energy"])
