"""`optimize --method detofa`, whole: a once-for-all network that shrinks, evolution, retraining, bundles.

Networks are slim, and the figures mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import open_bundle
from optimizer.arch.ofa_space import OfaSubnet
from optimizer.cli import app
from optimizer.run.run import resume_run
from optimizer.search.base import list_done, list_screened
from optimizer.store import RunStore

pytestmark = pytest.mark.timeout(900)  # a whole run, on a machine that may be busy

OPTIONS = ["--base", "ofa_resnet50", "--method", "detofa", "--teacher", "none", "--preset", "smoke", "--score", "macs"]
LIMIT = 0.85
SMALL = ["--limit", str(LIMIT), "--population", "4", "--generations", "2", "--epochs", "15"]
SMALL += ["--detector", "centernet", "--shrinking", "dwe"]


@pytest.fixture(scope="module")
def finished(slim_networks: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    run = tmp_path_factory.mktemp("detofa") / "run"
    result = CliRunner().invoke(app, [*OPTIONS, *SMALL, "--out", str(run)])
    assert result.exit_code == 0, result.output
    return run, result.output


def test_subnets_are_looked_at_and_the_best_is_trained(finished: tuple[Path, str]) -> None:
    run, output = finished
    with RunStore.open(run, writable=False) as store:
        history = store.history()
    base, *students = list_done(history)
    screened = list_screened(history)
    assert len({trial.proposal.subnet for trial in screened}) == len(screened) == 8
    assert all(trial.counts.macs <= LIMIT * base.counts.macs for trial in screened)
    assert [trial.proposal.aim for trial in students] == [LIMIT]
    assert all(isinstance(trial.proposal.subnet, OfaSubnet) for trial in students)
    assert "all 1 trials are done" in output


def test_the_student_is_a_bundle_and_the_super_network_is_found_again(finished: tuple[Path, str]) -> None:
    run, _ = finished
    for entry in json.loads((run / "front.json").read_text())["students"]:
        assert open_bundle(run / entry["bundle"]).manifest.arch_id == entry["arch_id"]
    (pool,) = (run.parent / "teachers").iterdir()
    assert pool.name.startswith("ofa_resnet50-")
    assert {path.name for path in pool.glob("phase-*")} == {f"phase-{number}.safetensors" for number in range(5)}
    before = (run / "front.json").read_bytes()
    resume_run(run)
    assert (run / "front.json").read_bytes() == before


def test_a_filter_chooses_what_is_trained_and_alone_what_is_found(slim_networks: None, tmp_path: Path) -> None:
    """The paper's chain: warm-up, filter, pruned space, training, filter again, evolution by it, a student trained."""
    run = tmp_path / "run"
    options = [*OPTIONS, "--limit", "0.9,0.8", "--detector", "centernet", "--shrinking", "filter", "--ranker", "filter"]
    options += ["--population", "12", "--generations", "4", "--epochs", "15"]
    result = CliRunner().invoke(app, [*options, "--out", str(run)])
    assert result.exit_code == 0, result.output
    with RunStore.open(run, writable=False) as store:
        history = store.history()
    base, *students = list_done(history)
    assert not list_screened(history) and [trial.proposal.aim for trial in students] == [0.9, 0.8]
    for trial in students:
        assert isinstance(trial.proposal.subnet, OfaSubnet) and trial.proposal.aim is not None
        assert trial.counts.macs <= trial.proposal.aim * base.counts.macs
    assert "4 of 12 for each of the limits 0.9" in (run / "report.html").read_text()
    page = (run / "report.html").read_text()
    assert "ranked by the path filter alone" in page and "What the path filter left to train" in page
    assert "The filter was not pre-trained" in page and "as its body was not pre-trained" in result.output
    assert "<td>after the warm-up</td>" in page and "in bucket 5: trained" in page


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet"])
def test_detectors_with_anchors_end_with_bundles_too(slim_networks: None, detector: str, tmp_path: Path) -> None:
    """A feature pyramid on a once-for-all body: the best subnet of a limit is trained and exported."""
    options = ["--detector", detector, "--limit", str(LIMIT), "--population", "2", "--generations", "1"]
    options += ["--epochs", "20", "--finetune-epochs", "10"]
    run = tmp_path / "run"
    result = CliRunner().invoke(app, [*OPTIONS, *options, "--out", str(run)])
    assert result.exit_code == 0, result.output
    with RunStore.open(run, writable=False) as store:
        base, student = list_done(store.history())
    assert base.arch.head.kind == student.arch.head.kind == detector
    assert student.counts.macs <= LIMIT * base.counts.macs
    front = json.loads((run / "front.json").read_text())
    assert len(front["students"]) == (student.ap > 0), "what is cheaper than the base and detects anything"
    for entry in (front["base"], *front["students"]):
        assert open_bundle(run / entry["bundle"]).manifest.arch_id == entry["arch_id"]


def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    for options, words in (
        (["--base", "r50"], "ofa_resnet50"), (["--shrinking", "all"], "dwe"),
        (["--shrinking", "dwe", "--coupled"], "cannot shrink"), (["--ranker", "filter"], "add --shrinking filter"),
    ):  # fmt: skip
        result = CliRunner().invoke(app, [*OPTIONS, *options, "--out", str(tmp_path / "run")])
        assert result.exit_code != 0 and words in f"{result.output} {result.exception}"
    assert not (tmp_path / "run").exists()
