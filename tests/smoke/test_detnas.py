"""`optimize --method detnas`, whole: super-network, evolution, retraining, bundles.

Networks are slim, and the figures mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from deploy import open_bundle
from optimizer.arch.paths import PathSubnet
from optimizer.cli import app
from optimizer.errors import Interrupted
from optimizer.progress import RunProgress
from optimizer.run import run as run_module
from optimizer.run.run import resume_run
from optimizer.search.base import DoneTrial, FailedTrial, ScreenedTrial, list_done, list_screened
from optimizer.store import RunStore

pytestmark = pytest.mark.timeout(900)  # a whole run, on a machine that may be busy

OPTIONS = ["--base", "shufflenetv2_20", "--method", "detnas", "--teacher", "none"]
OPTIONS += ["--preset", "smoke", "--score", "macs"]
SMALL = ["--limit", "1.2,0.9", "--population", "4", "--generations", "2"]


@pytest.fixture(scope="module")
def finished(slim_networks: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    run = tmp_path_factory.mktemp("detnas") / "run"
    result = CliRunner().invoke(app, [*OPTIONS, *SMALL, "--out", str(run)])
    assert result.exit_code == 0, result.output
    return run, result.output


def test_paths_are_looked_at_and_the_best_of_each_limit_is_trained(finished: tuple[Path, str]) -> None:
    run, output = finished
    with RunStore.open(run, writable=False) as store:
        history = store.history()
    base, *students = list_done(history)
    screened = list_screened(history)
    assert [trial.proposal.aim for trial in screened] == [1.2] * 8 + [0.9] * 8
    assert len({trial.proposal.subnet for trial in screened}) == 16
    assert all(trial.counts.macs <= trial.proposal.aim * base.counts.macs for trial in screened)
    assert [trial.proposal.aim for trial in students] == [1.2, 0.9]
    assert all(isinstance(trial.proposal.subnet, PathSubnet) for trial in students)
    assert "all 2 trials are done" in output


def test_the_students_are_bundles_and_the_super_network_is_found_again(finished: tuple[Path, str]) -> None:
    run, _ = finished
    front = json.loads((run / "front.json").read_text())
    for entry in front["students"]:
        assert open_bundle(run / entry["bundle"]).manifest.arch_id == entry["arch_id"]
    (pool,) = (run.parent / "teachers").iterdir()
    assert pool.name.startswith("shufflenetv2_20-") and (pool / "pretrained.safetensors").exists()
    listed = CliRunner().invoke(app, ["supernets", "list", str(pool.parent)]).output
    assert f"{4**20} sub-networks, pre-trained on crops of the objects" in listed and "AP 0." in listed
    page = (run / "report.html").read_text()
    assert "How sub-networks were bred" in page and "best within 0.9" in page and "xception 3x3" in page
    before = (run / "front.json").read_bytes()
    resume_run(run)
    assert (run / "front.json").read_bytes() == before


class Killing(RunProgress):
    """Interrupts once in every phase it is told: at the first step with such a title, or after such a trial."""

    phases: ClassVar[list[str | int]] = []
    title = ""

    def start_step(self, text: str, total: int) -> None:
        self.title = text
        super().start_step(text, total)

    def advance_step(self, completed: int, note: str = "") -> None:
        super().advance_step(completed, note)
        self._die_in(self.title)

    def trial_done(self, trial: DoneTrial | FailedTrial | ScreenedTrial, total: int | None) -> None:
        super().trial_done(trial, total)
        self._die_in(trial.number)

    def _die_in(self, place: str | int) -> None:
        if self.phases and (place == self.phases[0] or str(place).startswith(f"{self.phases[0]}:")):
            self.phases.pop(0)
            raise KeyboardInterrupt


def test_a_run_killed_among_generations_and_in_retraining_ends_as_one_that_was_not(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/optimizer/supernet/test_pretraining.py` kills in the phases before."""
    first = finished[0]
    few = ["--limit", "1.2", "--population", "2", "--generations", "2", "--base-run", str(first)]
    few += ["--teacher-pool", str(first.parent / "teachers")]

    def read(run: Path) -> list[tuple[object, ...]]:
        with RunStore.open(run, writable=False) as store:
            return [(trial.number, trial.proposal, trial.ap) for trial in store.history()[1:]]  # type: ignore[union-attr]

    result = CliRunner().invoke(app, [*OPTIONS, *few, "--out", str(tmp_path / "whole")])
    assert result.exit_code == 0, result.output
    monkeypatch.setattr(run_module, "RunProgress", Killing)
    monkeypatch.setattr(Killing, "phases", [1, 3, "trial 5"])
    assert CliRunner().invoke(app, [*OPTIONS, *few, "--out", str(tmp_path / "killed")]).exit_code != 0
    for left in (1, 0):
        with pytest.raises(Interrupted):
            resume_run(tmp_path / "killed")
        assert len(Killing.phases) == left
    resume_run(tmp_path / "killed")
    assert read(tmp_path / "killed") == read(tmp_path / "whole") and len(read(tmp_path / "whole")) == 5
