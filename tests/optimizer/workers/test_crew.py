"""Whole runs by workers: the same trials as without where there is one, and all of them where there are several."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from optimizer.cli.commands import main
from optimizer.errors import InputError, RunFailed
from optimizer.recipes import smoke
from optimizer.run.checks import check_workers
from optimizer.search.base import Proposal
from optimizer.workers.crew import Crew
from optimizer.workers.pool import Failure

SCRIPT = Path(__file__).resolve().parents[2] / "parts" / "crewed_runs.py"
LIMIT_S = 900


def run(folder: Path, kind: str, workers: int, *, shared: bool = True) -> dict[str, Any]:
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder), kind, str(workers), *([] if shared else ["apart"])]
    subprocess.run(command, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "look.json").read_text())
    return found


def count_students(found: dict[str, Any]) -> int:
    """Trained by the search."""
    return sum(row[1] == "done" and not json.loads(row[2])["finetune"] for row in found["trials"])


@pytest.mark.timeout(3 * LIMIT_S)
@pytest.mark.parametrize("kind", ["joint", pytest.param("pareto", marks=pytest.mark.slow)])
def test_one_worker_makes_the_run_that_there_is_without_any_and_two_make_a_whole_one(tmp_path: Path, kind: str) -> None:
    alone, one, two = (run(tmp_path / str(workers), kind, workers) for workers in (0, 1, 2))
    assert one == alone
    assert [row[0] for row in two["trials"]] == list(range(len(two["trials"])))
    assert {row[1] for row in two["trials"]} <= {"done", "screened"}
    assert count_students(two) == count_students(alone)
    assert len(two["front"]) >= 1 and len(two["bundles"]) >= 1
    for folder in (tmp_path / str(workers) / "run" for workers in (1, 2)):
        assert not list((folder / "scratch").glob("arrived-*"))
        assert "students waited to be measured" in (folder / "log.txt").read_text()


@pytest.mark.timeout(3 * LIMIT_S)
@pytest.mark.parametrize("kind", ["joint", pytest.param("pareto", marks=pytest.mark.slow)])
def test_a_worker_that_is_sent_what_it_needs_makes_the_same_run(tmp_path: Path, kind: str) -> None:
    assert run(tmp_path / "apart", kind, 1, shared=False) == run(tmp_path / "alone", kind, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers_on": "slurm"}, r"workers are on ray, or on ray://HOST:PORT, not on 'slurm'"),
        ({"workers_on": "ray", "trial_gpus": 2.0}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        smoke().changed(changes)


def test_a_label_file_cannot_be_sent(tmp_path: Path) -> None:
    labels = tmp_path / "data.yaml"
    labels.touch()
    config = smoke(labels).changed({"workers_on": "ray", "shared_folder": False})
    with pytest.raises(InputError, match=f"--data {labels} is a file: name the folder of the images instead"):
        check_workers(config, tmp_path)


def test_a_base_that_nobody_could_train_ends_the_run() -> None:
    pool = SimpleNamespace(wait=lambda seconds: [(0, Failure("its worker died"))])
    nothing: Any = None
    crew = Crew(nothing, smoke(), nothing, pool, 1, _training={0: Proposal(None)})
    with pytest.raises(RunFailed, match="its worker died"):
        crew.collect()


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ([], {}),
        (["--no-shared-folder"], {"shared_folder": False}),
        (["--workers-on", "ray", "--shared-folder"], {"workers_on": "ray", "shared_folder": True}),
    ],
)
def test_a_run_goes_on_with_another_kind_of_folder(
    said: list[str], changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("optimizer.run.run.resume_run", lambda *given: asked.append(given))
    with pytest.raises(SystemExit) as end:
        main(["resume", "a-run", *said])
    assert end.value.code == 0 and asked == [(Path("a-run"), None, "", changes)]


def test_shares_of_workers_are_refused_where_there_are_none(tmp_path: Path) -> None:
    for changes in ({"at_once": 2}, {"shared_folder": False}):
        with pytest.raises(InputError, match="and --no-shared-folder are of workers: add --workers-on ray"):
            check_workers(smoke().changed(changes), tmp_path)
