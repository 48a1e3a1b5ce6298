"""A run that is tracked: what is there of it, and that kills neither lose nor repeat anything."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest
from tiny_runs import make_configs
from tracked_runs import READERS, SeenRun, run_tiny

from optimizer.config import RunConfig
from optimizer.errors import InputError
from optimizer.run.tracking import Tracked
from optimizer.search.base import DoneTrial, list_screened
from optimizer.store import RunStore
from optimizer.track.catalogue import TRACKERS

pytest.importorskip("tensorboard")
pytest.importorskip("mlflow")
pytestmark = pytest.mark.timeout(900)  # whole runs, on a machine that may be busy

KILLS = (9, 31)  # times that the trackers of a process were told something before it is killed
FORKS = multiprocessing.get_context("forkserver")  # every process of a run starts with the libraries loaded
FORKS.set_forkserver_preload(["optimizer.run.run", "tiny_runs", "mlflow.tracking", "torch.utils.tensorboard"])


def track(name: str = "pareto") -> RunConfig:
    return make_configs()[name].changed({"track": tuple(TRACKERS)})


def launch(run: Path, kill_at: int | None = None) -> int | None:
    process = FORKS.Process(target=run_tiny, args=(run, track(), kill_at))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    assert launch(run) == 0
    return run


@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_for_each_trial_and_one_for_the_search(finished: Path, name: str) -> None:
    found = READERS[name](finished)
    with RunStore.open(finished, writable=False) as store:
        history = store.history()
    done = {trial.number: trial for trial in history if isinstance(trial, DoneTrial)}
    assert len(done) > 2 and list_screened(history)
    assert set(found) == {"search", "base", *(f"trial-{number:03d}" for number in done if number)}
    for number, trial in done.items():
        seen = found[f"trial-{number:03d}" if number else "base"]
        assert seen.series["ap"] == [(0, pytest.approx(trial.ap))]
        assert seen.series["macs"] == [(0, pytest.approx(trial.counts.macs))]
        assert seen.parameters["arch_id"] == trial.arch.arch_id
        assert float(seen.parameters["epochs"]) >= 1 and (number == 0 or int(seen.parameters["parent"]) in done)
        steps = [step for step, _ in seen.series["train/loss"]]
        assert steps == sorted(set(steps)) and steps[-1] > 0
        assert {"train/lr", "train/loss_classifier"} <= set(seen.series)
    assert len(found["base"].series["ap_kept"]) == len(done[0].work.judged) > 1
    search = found["search"]
    assert [step for step, _ in search.series["screened/ap"]] == [trial.number for trial in list_screened(history)]
    volumes = search.series["front/hypervolume"]
    assert [step for step, _ in volumes] == list(done)
    assert [value for _, value in volumes] == sorted(value for _, value in volumes) and volumes[-1][1] > 0
    assert {f"front {number}" for number in (*done, len(history))} <= set(search.texts)
    assert all(text.startswith("| student | AP |") for key, text in search.texts.items() if key.startswith("front"))


def test_mlflow_keeps_what_the_run_leaves(finished: Path) -> None:
    search = READERS["mlflow"](finished)["search"]
    bundles = {path.name for path in (finished / "bundles").iterdir()}
    assert {"report.html", "front.json"} <= search.files and search.status == "FINISHED"
    assert bundles == {file.split("/")[1] for file in search.files if file.startswith("bundles/")} != set()
    assert search.parameters["method"] == "pareto"


def read_all(run: Path) -> dict[str, dict[str, SeenRun]]:
    """All that must be equal: seconds and the paths that bundles hold are a process's own."""
    found = {name: read(run) for name, read in READERS.items()}
    for runs in found.values():
        for seen in runs.values():
            seen.series.pop("seconds", None)
    return found


def test_a_run_that_is_killed_is_tracked_like_one_that_is_not(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for kill_at in KILLS:
        assert launch(run, kill_at) == -signal.SIGKILL
    assert launch(run) == 0
    assert launch(run) == 0  # it is finished: only reported again
    assert read_all(run) == read_all(finished)


@pytest.mark.parametrize(
    "value",
    [{"identity": "x' or '1", "told": {}, "complete": []}, {"told": {}, "complete": []},
     {"identity": "0" * 16, "told": {"mlflow": -1}, "complete": []},
     {"identity": "0" * 16, "told": {}, "complete": [3]}],
)  # fmt: skip
def test_what_others_wrote_is_refused(tmp_path: Path, value: dict[str, object]) -> None:
    with RunStore.create(tmp_path / "run", track("short").model_dump(mode="json")) as store:
        assert Tracked.of(store).identity != Tracked.of(store).identity  # until it is kept
        store.tracked = value
        with pytest.raises(InputError, match="the run is damaged: what it told trackers"):
            Tracked.of(store)
