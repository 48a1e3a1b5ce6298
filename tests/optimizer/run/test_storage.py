"""Files that nothing needs any more go, everything else stays, and a search does not notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from failing import CALLS, fail_at_every_call
from made_trials import make_done
from power_cut import cut_at_every_moment
from replay import lay
from typer.testing import CliRunner

from optimizer.arch.actions import uniform_importance
from optimizer.arch.macs import count
from optimizer.arch.pool import ElasticSpace
from optimizer.cli import app
from optimizer.config import RunConfig
from optimizer.errors import InputError, RunFailed
from optimizer.handover.front import find_front
from optimizer.recipes import smoke
from optimizer.run.lost import redo_lost
from optimizer.run.storage import drop_needless, keep_within, list_needed, prune_run, survey
from optimizer.search import Search, StrategySettings, build_strategy, search
from optimizer.search.base import DoneTrial, FailedTrial, PendingTrial, Proposal, ScreenedTrial, TrialFiles, get_done
from optimizer.search.constraints import Constraints
from optimizer.search.teachers import Teachers
from optimizer.store import KeptTeacher, RunStore

CONFIG = smoke().changed({"search.cost": "macs", "search.teacher": "none", "search.top_k": 1})
APS = (0.5, 0.4, 0.45, 0.3, 0.44, 0.2, 0.43, 0.42, 0.41, 0.405, 0.404)  # of ever faster trials; 1, 3 and 5 are beaten


def put(store: RunStore, folder: Path, text: str) -> str:
    (folder / "source").write_text(text)
    return store.artefacts.put_file(folder / "source")


def make_trial(store: RunStore, folder: Path, number: int, ap: float, parent: int = 0) -> DoneTrial:
    weights, model = (put(store, folder, f"{kind} of {number}" * 100) for kind in ("weights", "model"))
    proposal = Proposal(parent if number else None)
    ratio = 1 + 0.1 * number
    return make_done(number, proposal, ap=ap, cost_ratio=ratio, score=ap, files=TrialFiles(weights, model))


def fill(store: RunStore, folder: Path) -> None:
    for number, ap in enumerate(APS):
        store.record(make_trial(store, folder, number, ap))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        fill(store, tmp_path)
        yield store


def list_dropped(store: RunStore) -> list[int]:
    return [trial.number for trial in store.history() if isinstance(trial, DoneTrial) and trial.files.dropped]


def has_its_files(store: RunStore, number: int) -> bool:
    files = get_done(store.history(), number).files
    return store.artefacts.has(files.weights) and store.artefacts.has(files.model)


def test_what_is_beaten_in_everything_goes_and_the_rest_stays(store: RunStore) -> None:
    drop_needless(store, survey(store, CONFIG))
    assert list_dropped(store) == [1, 3, 5]
    for number in range(len(APS)):
        assert has_its_files(store, number) == (number not in (1, 3, 5))
    assert find_front(store).numbers == (10, 9, 8, 7, 6, 4, 2, 0), "it was never on the front"
    holding = survey(store, CONFIG)
    assert holding.needless == () and holding.freed == 0 and holding.total == store.artefacts.count_bytes()


def test_parents_stay_only_until_all_are_trained(store: RunStore) -> None:
    store.record(PendingTrial(11, Proposal(3)))
    store.finetuned = [5]
    needed = list_needed(store, CONFIG)
    assert "parent of a trial that is not done" in needed[3] and "to be trained further" in needed[5]
    store.record(FailedTrial(11, Proposal(3), "the loss was not finite"))
    store.finetuned, store.search_ended = None, "all trials are done"
    assert {3, 5}.isdisjoint(list_needed(store, CONFIG)) and set(list_needed(store, CONFIG)) == {0, 2, 4, *range(6, 11)}


def test_what_was_asked_for_and_what_is_handed_over_stays(store: RunStore) -> None:
    store.asked_for = [1]
    store.handover = {"numbers": [0, 5], "tried": {}, "bundles": {}, "refused": {}}
    needed = list_needed(store, CONFIG)
    assert needed[1] == "asked for" and needed[5] == "handed over" and 3 not in needed


def test_a_student_that_constraints_rule_out_does_not_beat_one_they_leave(store: RunStore) -> None:
    store.config = {**CONFIG.model_dump(mode="json"), "constraints": Constraints(max_bytes=50).model_dump()}
    for number in (2, 4, *range(6, 11)):
        trial = get_done(store.history(), number)
        store.record(replace(trial, files=replace(trial.files, model_bytes=100)))
    needed = list_needed(store, CONFIG)
    assert needed[1] == needed[3] == needed[5] == "on the front" and 4 not in needed


def test_a_file_that_another_trial_or_the_teacher_has_too_stays(store: RunStore, tmp_path: Path) -> None:
    beaten, base = get_done(store.history(), 3), get_done(store.history(), 0)
    store.record(replace(beaten, files=replace(beaten.files, weights=base.files.weights)))
    store.trained_teacher = KeptTeacher(base.arch.to_json(), put(store, tmp_path, "a teacher"))
    drop_needless(store, survey(store, CONFIG))
    assert 3 in list_dropped(store) and has_its_files(store, 0)
    assert store.trained_teacher is not None and store.artefacts.has(store.trained_teacher.weights)


def test_files_that_no_trial_names_go(store: RunStore, tmp_path: Path) -> None:
    stray = put(store, tmp_path, "of a trial that failed")
    (store.folder / "artefacts" / "mine.txt").write_text("not one of ours")
    drop_needless(store, survey(store, CONFIG))
    assert not store.artefacts.has(stray) and (store.folder / "artefacts" / "mine.txt").exists()


def test_nothing_goes_below_the_limit(store: RunStore) -> None:
    said: list[str] = []
    size = store.artefacts.count_bytes()
    assert size == sum(path.stat().st_size for path in (store.folder / "artefacts").iterdir())
    keep_within(store, None, CONFIG, said.append)
    keep_within(store, size, CONFIG, said.append)
    assert not said and not list_dropped(store)
    keep_within(store, size - 1, CONFIG, said.append)
    assert list_dropped(store) == [1, 3, 5] and len(said) == 1
    keep_within(store, 1, CONFIG, said.append)
    assert len(said) == 1, "what is needed stays, and is not spoken of after every trial"


def test_the_size_is_counted_on(store: RunStore, tmp_path: Path) -> None:
    before = store.artefacts.count_bytes()
    for _ in range(2):
        put(store, tmp_path, "12345")
    assert store.artefacts.count_bytes() == before + 5
    drop_needless(store, survey(store, CONFIG))
    assert store.artefacts.count_bytes() == sum(store.artefacts.list_sizes().values()) < before


def test_a_dropped_file_that_is_asked_for_is_said_to_be_so(store: RunStore) -> None:
    drop_needless(store, survey(store, CONFIG))
    with pytest.raises(InputError, match=r"the files of trial 3 of .*run were dropped to save space; take a trial"):
        store.artefacts.find(get_done(store.history(), 3), "weights")


def test_a_dropped_trial_is_not_a_lost_one(store: RunStore) -> None:
    drop_needless(store, survey(store, CONFIG))
    before = store.history()
    redo_lost(store, None)  # type: ignore[arg-type]  # nothing is said
    assert store.history() == before


class Silent:
    def say(self, text: str) -> None: ...


def test_a_lost_trial_whose_parent_was_dropped_counts_no_more(store: RunStore, tmp_path: Path) -> None:
    store.record(make_trial(store, tmp_path, 11, 0.4, parent=3))
    beaten = get_done(store.history(), 3)
    store.record(replace(beaten, files=replace(beaten.files, dropped=True)))
    store.artefacts.remove(get_done(store.history(), 11).files.weights)
    redo_lost(store, Silent())  # type: ignore[arg-type]
    assert 11 in list_dropped(store) and 11 not in find_front(store).numbers


def test_the_command_says_what_goes_and_why_the_rest_stays(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        fill(store, tmp_path)
        said = CliRunner().invoke(app, ["prune", str(tmp_path / "run"), "--dry-run"]).output
        assert not list_dropped(store), "a dry run works beside the run, and changes nothing"
        assert "student-003: 0.0022 MB go, nothing needs them" in said
        assert "base: 0.0022 MB stay: all are compared with it" in said and "student-010: " in said
    again = CliRunner().invoke(app, ["prune", str(tmp_path / "run")])
    assert again.exit_code == 0 and again.output == said
    assert prune_run(tmp_path / "run", dry=True).freed == 0


def check_whole(folder: Path) -> None:
    """Every trial has its files, or is dropped; house-keeping goes on."""
    with RunStore.open(folder) as store:
        for number in range(len(APS)):
            assert has_its_files(store, number) or number in list_dropped(store)
        drop_needless(store, survey(store, CONFIG))
        assert list_dropped(store) == [1, 3, 5] and len(store.artefacts.list_sizes()) == 2 * (len(APS) - 3)


def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with RunStore.create(disk / "run", CONFIG.model_dump(mode="json")) as store:
        fill(store, tmp_path)
    for number, state in enumerate(cut_at_every_moment(disk, lambda: prune_run(disk / "run"))):
        check_whole(lay(tmp_path / f"{number}", state) / "run")


def test_a_disk_that_fails_at_any_call_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CALLS, "unlink", ((Path, "unlink"),))
    (tmp_path / "cases").mkdir()

    def prepare(folder: Path) -> None:
        with RunStore.create(folder, CONFIG.model_dump(mode="json")) as store:
            fill(store, tmp_path)

    assert fail_at_every_call("unlink", 5, tmp_path / "cases", prune_run, (RunFailed, InputError), check_whole, prepare)


# a search does not notice

BASE = make_done(ap=0.9)
POOL = ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.25, 1.5), CONFIG.search.space.sizes, region_proposals=100)


def evaluate(store: RunStore, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
    """A student without training, of made-up precision, in a history that has many fronts."""
    arch = POOL.arch(proposal.subnet) if proposal.subnet is not None else None
    if arch is None:
        assert proposal.parent is not None
        parent = get_done(store.history(), proposal.parent)
        assert not parent.files.dropped
        arch = parent.arch
        for action in proposal.actions:
            arch = action.apply(arch, uniform_importance(arch)).child
    counts, rng = count(arch, 3), Random(number)
    ratio, ap = BASE.counts.macs / counts.macs * rng.uniform(0.97, 1.03), rng.uniform(0.7, 1.0)
    if proposal.screens:
        return ScreenedTrial(number, proposal, arch, ap, ap, counts, seconds=3.0)
    return make_done(number, proposal, arch=arch, ap=ap, counts=counts, cost_ratio=ratio, score=ap * ratio**0.4)


def search_with(folder: Path, method: str, trials: int, drops: bool) -> tuple[list[Proposal], int]:
    config: RunConfig = CONFIG.changed({"search.method": method, "search.top_k": 5, "search.screened": 2})
    settings = StrategySettings(
        config.search.space, trials, pool=POOL, screened=2, num_classes=3, teachers=Teachers(POOL)
    )
    with RunStore.create(folder, config.model_dump(mode="json")) as store:
        store.record(replace(BASE, counts=count(BASE.arch, 3)))

        def record(trial: DoneTrial | FailedTrial | ScreenedTrial | PendingTrial) -> None:
            store.record(trial)
            if drops and isinstance(trial, DoneTrial):
                drop_needless(store, survey(store, config))

        of = Search(build_strategy(method, settings), store.history, record, 3, trials, keep_going=lambda: True)
        search(of, lambda n, p: evaluate(store, n, p))
        return [trial.proposal for trial in store.history()], len(list_dropped(store))


@pytest.mark.parametrize("method", ["joint", "pipeline", "pareto", "etp", "random"])
def test_every_strategy_proposes_what_it_would_have_proposed(tmp_path: Path, method: str) -> None:
    proposals, dropped = search_with(tmp_path / "drops", method, 18, drops=True)
    assert (proposals, 0) == search_with(tmp_path / "keeps", method, 18, drops=False)
    assert dropped > 2
