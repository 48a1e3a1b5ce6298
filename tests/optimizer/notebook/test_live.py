"""A run's progress in a notebook: one place that is drawn anew, and the front to whoever asked for it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from optimizer import Front
from optimizer.notebook import NotebookProgress, choose_progress, is_notebook
from optimizer.progress import RunProgress

STUDENT = {
    "name": "base", "ap": 0.4, "ap50": 0.8, "macs": 3_000_000_000, "params": 12_345_678, "precision": "fp32",
    "latency_ms": {"cpu": {"median": 90.0}, "board": {"median": 40.0}}, "latency_of_base_over_own": 1.0, "bundle": None,
}  # fmt: skip
FRONT = {"base": STUDENT, "students": [{**STUDENT, "name": "student-001", "latency_of_base_over_own": 3.0}]}
CELL = """
from pathlib import Path
from optimizer.notebook import choose_progress, is_notebook
progress = choose_progress(Path({folder!r}), lambda front: print(len(front["students"]), "student"))
progress.say("the plan <1>")
progress.front_written()
print(is_notebook(), type(progress).__name__)
"""


def test_it_shows_bars_last_lines_and_the_front_in_one_place(tmp_path: Path) -> None:
    drawn: list[str] = []
    progress = NotebookProgress(tmp_path, drawn.append)
    with progress.shown():
        for line in range(9):
            progress.say(f"line <{line}>")
        progress.start_search(1, 4)
        progress.start_step("train <base>", 20)
        progress.advance_step(20, "loss 1.25")
        assert '<progress value="1" max="4">' in drawn[-1] and "train &lt;base&gt;: 0 of 20" in drawn[-1]
        (tmp_path / "front.json").write_text(json.dumps(FRONT))
        progress.front_written()
    HTMLParser().feed(drawn[-1])
    assert "train &lt;base&gt;: 20 of 20" in drawn[-1] and "loss 1.25" in drawn[-1]
    assert "line &lt;8&gt;" in drawn[-1] and "line &lt;2&gt;" not in drawn[-1] and "<svg" in drawn[-1]
    assert "student-001" in drawn[-1] and "30" in drawn[-1], "milliseconds of the target that decides"


def test_it_is_not_drawn_at_every_step(tmp_path: Path) -> None:
    drawn: list[str] = []
    progress = NotebookProgress(tmp_path, drawn.append)
    progress.start_step("train", 5000)
    for step in range(5000):
        progress.advance_step(step)
    assert len(drawn) < 100


def test_outside_a_notebook_it_is_the_terminals_and_the_front_is_handed_on(tmp_path: Path) -> None:
    seen: list[Front] = []
    assert not is_notebook()
    progress = choose_progress(tmp_path, seen.append)
    assert type(progress) is RunProgress
    (tmp_path / "front.json").write_text(json.dumps(FRONT))
    progress.front_written()
    assert seen == [FRONT] and seen[0].find_cost(seen[0]["students"][0]) == 30.0
    choose_progress(tmp_path, None).front_written()
    assert len(seen) == 1


def test_a_real_notebook_shows_it(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="ipykernel, nbclient and nbformat are not installed")
    nbclient = pytest.importorskip("nbclient", reason="ipykernel, nbclient and nbformat are not installed")
    pytest.importorskip("ipykernel", reason="ipykernel, nbclient and nbformat are not installed")
    (tmp_path / "front.json").write_text(json.dumps(FRONT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(folder=str(tmp_path)))])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    (shown,) = (output["data"]["text/html"] for output in outputs if output["output_type"] == "display_data")
    assert printed == "1 student\nTrue NotebookProgress\n"
    assert "the plan &lt;1&gt;" in shown and "<svg" in shown
