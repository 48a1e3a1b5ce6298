"""`optimize distill`, whole but for the width of networks, and the same after a kill. The figures mean nothing."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from slim_runs import WIDTH, start_slim
from typer.testing import CliRunner

from deploy import open_bundle
from deploy.cli.parser import main as deploy
from optimizer.cli import app, main
from optimizer.config import parse_config
from optimizer.distill.sets import SETS
from optimizer.recipes import smoke
from optimizer.run.run import resume_run, start_run
from optimizer.run.trained_teacher import follow_teacher
from optimizer.search.base import DoneTrial, PendingTrial, list_done
from optimizer.store import RunStore

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("slim_networks")]  # whole runs, on a busy machine

LEARNS = {"base_train.epochs": 20}  # so that a slim base detects something
KINDS = ["--distillers", "feature,classification=0.5", "--preset", "smoke", "--score", "macs", "--epochs", "1"]


@pytest.fixture(scope="module")
def teacher(slim_networks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which nothing but the base was trained."""
    config = smoke().changed(LEARNS | {"search.trials": 0, "search.teacher": "none", "search.cost": "macs"})
    return start_run(config, tmp_path_factory.mktemp("teacher") / "run")


@pytest.fixture(scope="module")
def finished(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that the command made, on a smaller canvas than the teacher's, and what was printed."""
    run = tmp_path_factory.mktemp("distilled") / "run"
    options = ["--teacher", str(teacher), "--student", "r18", "--size", "80x80", *KINDS, "--out", str(run)]
    result = CliRunner().invoke(app, ["distill", *options])
    assert result.exit_code == 0, result.output
    return run, result.output


def refuse(*options: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["distill", *options])
    assert stopped.value.code == 2


def test_the_teacher_is_trial_0_as_it_is_and_the_student_trial_1(teacher: Path, finished: tuple[Path, str]) -> None:
    run, output = finished
    assert "then 1 student of about" in output and "the teacher, as it is" in output and "search ended" not in output
    with RunStore.open(teacher, writable=False) as store:
        (base,) = list_done(store.history())
    with RunStore.open(run, writable=False) as store:
        taken, student = list_done(store.history())
        assert store.status == "finished" and store.asked_for == [1]
    assert (taken.arch, taken.ap, taken.files.weights) == (base.arch, base.ap, base.files.weights)
    assert taken.work.epochs_total == base.work.epochs_total and not taken.work.curve
    assert student.proposal.arch == student.arch and student.arch.input_size == (80, 80)
    assert student.arch.head.region_proposals == base.arch.head.region_proposals
    assert student.work.epochs_total == 1 and student.cost_ratio > 1


def test_both_are_exported_and_in_front_json_and_on_the_page(finished: tuple[Path, str]) -> None:
    run, _ = finished
    front: dict[str, Any] = json.loads((run / "front.json").read_text())
    assert front["base"]["name"] == "base" and [entry["name"] for entry in front["students"]] == ["student-001"]
    for entry in (front["base"], *front["students"]):
        assert open_bundle(run / entry["bundle"]).manifest.arch_id == entry["arch_id"]
    page = (run / "report.html").read_text()
    assert "r18, taught by the base" in page and "one student, one teacher" in page
    assert "feature 1, classification 0.5" in page


def test_the_students_bundle_is_one_like_any_other(
    finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    with pytest.raises(SystemExit) as ended:
        deploy(["evaluate", str(run / "bundles" / "student-001"), "--data", str(run / "data"), "--json"])
    assert ended.value.code == 0
    [student] = json.loads((run / "front.json").read_text())["students"]
    assert json.loads(capsys.readouterr().out)["ap"] == pytest.approx(student["ap"], abs=1e-9)


def test_a_run_is_analysed(finished: tuple[Path, str]) -> None:
    run, _ = finished
    result = CliRunner().invoke(app, ["analyse", str(run), "--images", "4"])
    assert result.exit_code == 0, result.output
    content = json.loads((run / "analysis" / "analysis.json").read_text())
    assert list(content["models"]) == ["base", "student-001"] and content["images"] == 4
    base, student = content["models"].values()
    assert "distances" not in base and len(base["errors"]["classes"]) == 4
    assert len(student["distances"]["objects"]) == len(student["distances"]["background"]) == WIDTH
    assert min(student["distances"]["background"]) > 0
    for picture in student["gradients"]:
        assert picture["objects_over_background"] > 0
        assert Image.open(run / "analysis" / picture["file"]).size == (80, 80)
    page = (run / "report.html").read_text()
    assert page.count("data:image/png") >= len(student["gradients"]) == 3
    for words in ("Which mistakes cost what", "How near students are to their teacher", "Where the teacher pulls"):
        assert words in page
    for name in content["models"]:
        assert f'href="analysis/errors-{name}.html"' in page and (run / "analysis" / f"errors-{name}.html").is_file()


def test_a_finished_run_is_only_reported_again_and_its_student_can_teach(finished: tuple[Path, str]) -> None:
    run, _ = finished
    before = (run / "front.json").read_bytes()
    resume_run(run)
    assert (run / "front.json").read_bytes() == before
    assert follow_teacher(run / "bundles" / "student-001", None)["input_size"] == (80, 80)


def test_a_pair_that_does_not_fit_is_refused_before_any_work(teacher: Path, tmp_path: Path) -> None:
    given = ["--teacher", str(teacher), "--student", "r18", *KINDS, "--out", str(tmp_path / "run")]
    refuse(*given, "--detector", "retinanet")
    refuse(*given, "--base", "r18")
    refuse(*given[:2], "--student", "r18", "--preset", "smoke", "--distillers", "magic", "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_one_killed_between_teacher_and_student_comes_to_the_same_end(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    with RunStore.open(finished[0], writable=False) as store:
        config = parse_config(store.config)
    run = tmp_path / "killed"
    process = start_slim(tmp_path / "said", start_run, config, run)
    while not is_training_student(run):
        assert process.is_alive()
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with RunStore.open(run) as store:
        done, pending = store.history()
        assert isinstance(done, DoneTrial) and isinstance(pending, PendingTrial) and pending.proposal.arch is not None
    resume_run(run)
    assert list_recorded(run) == list_recorded(finished[0])
    assert (run / "bundles" / "student-001").is_dir()


def is_training_student(run: Path) -> bool:
    if not (run / "run.db").exists():
        return False
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True, timeout=60) as database:
        try:
            return bool(database.execute("select 1 from trials where number = 1").fetchall())
        except sqlite3.OperationalError:  # its tables are yet to be made
            return False


def list_recorded(run: Path) -> list[tuple[object, ...]]:
    """What must be equal: everything in the trials table that is not a time."""
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True) as database:
        return database.execute(
            "select number, status, proposal, arch, ap, ap50, macs, params, cost_ratio, score, weights, model, "
            "epochs_total, curve, error from trials order by number"
        ).fetchall()


def test_a_search_tries_sets_of_distillers_and_names_them(tmp_path: Path) -> None:
    changes = LEARNS | {
        "distill.weights": {}, "search.teacher": "base", "search.cost": "macs", "search.trials": 3,
        "search.method": "random", "pool": None,
    }  # fmt: skip
    run = start_run(smoke().changed(changes), tmp_path / "run")
    with RunStore.open(run, writable=False) as store:
        taught = [trial.proposal.taught for trial in store.history() if not trial.proposal.finetune]
    assert taught == [None, *list(SETS)[:3]], "each set is tried once before any is tried again"
    listed = json.loads((run / "front.json").read_text())["students"]
    assert {student["taught"] for student in listed} <= set(SETS)
    assert "what is taught is a choice of each training" in (run / "report.html").read_text()
