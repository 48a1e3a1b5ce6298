"""A corpus of run folders that neither `report` nor `resume` takes: each is one line and exit code 2, at once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_trials import make_done

from optimizer.cli import main
from optimizer.data.shapes import write_shapes
from optimizer.recipes import smoke
from optimizer.search.base import FailedTrial, Proposal, ScreenedTrial, TrialFiles
from optimizer.store import RunStore

pytestmark = pytest.mark.timeout(60)  # nothing is waited for, and nothing is trained

Damage = Callable[[Path, Path], object]  # what is done to a run; the second folder is outside of it
LATENCY = {"target": "cpu", "median_ms": 20.5, "ci95_ms": [20.1, 20.9], "p90_ms": 22.0, "p99_ms": 24.0, "flags": []}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a base, a student that was looked at and one that failed; nobody trained any of them."""
    folder = tmp_path_factory.mktemp("made")
    data = write_shapes(folder / "shapes", train=4, val=2, size=(64, 64), seed=0)
    config = smoke(data).changed({"search.cost": "macs", "search.teacher": "none"})
    (folder / "file").write_bytes(b"weights")
    with RunStore.create(folder / "run", config.model_dump(mode="json")) as store:
        kept = store.artefacts.put_file(folder / "file")
        base = make_done(latency=LATENCY, files=TrialFiles(kept, kept))
        store.record(base)
        store.record(ScreenedTrial(1, Proposal(0, epochs=0, aim=0.7), base.arch, 0.3, 0.5, base.counts, 2.5))
        store.record(FailedTrial(2, Proposal(0), "made to fail"))
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, out, err


def execute(folder: Path, statement: str, values: tuple[Any, ...] = ()) -> None:
    with sqlite3.connect(folder / "run.db") as database:
        database.execute("pragma ignore_check_constraints = on")
        database.execute(statement, values)
    database.close()


def entry(key: str, value: Any) -> Damage:
    """Another value of what is kept besides the trials; text is taken as it is, anything else is written as JSON."""
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    return lambda run, outside: execute(run, "insert or replace into meta values (?, ?)", (key, text))


def column(name: str, value: Any, number: int = 0) -> Damage:
    return lambda run, outside: execute(run, f"update trials set {name} = ? where number = ?", (value, number))


def detail(**changes: Any) -> Damage:
    return changing("details", 0, **changes)


def changing(name: str, number: int, **changes: Any) -> Damage:
    """A column that holds JSON, changed in parts."""

    def damage(run: Path, outside: Path) -> None:
        with sqlite3.connect(run / "run.db") as database:
            ((text,),) = database.execute(f"select {name} from trials where number = ?", (number,)).fetchall()
        database.close()
        column(name, json.dumps({**json.loads(text), **changes}), number)(run, outside)

    return damage


def handing_over(**state: Any) -> Damage:
    return entry("handover", {"numbers": [0], "tried": {}, "bundles": {}, "refused": {}, **state})


def configured(**changes: Any) -> Damage:
    def damage(run: Path, outside: Path) -> None:
        with sqlite3.connect(run / "run.db") as database:
            ((text,),) = database.execute("select value from meta where key = 'config'").fetchall()
        database.close()
        entry("config", {**json.loads(text), **changes})(run, outside)

    return damage


def statement(*statements: str) -> Damage:
    def damage(run: Path, outside: Path) -> None:
        for text in statements:
            execute(run, text)

    return damage


def content(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda run, outside: (run / name).write_bytes(change((run / name).read_bytes()))


def instead(name: str, make: Callable[[Path, Path], object]) -> Damage:
    def damage(run: Path, outside: Path) -> None:
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path, outside)

    return damage


def make_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def make_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path, outside: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the length of a socket's address is limited
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def make_file(path: Path, outside: Path) -> None:
    path.write_text("a file")


def make_folder(path: Path, outside: Path) -> None:
    path.mkdir()


DEEP = "[" * 100_000
MADE = {"trial": 0, "variant": {"precision": "int8", "region_proposals": None}, "outcome": "kept", "reason": "",
        "ap": 0.4, "ap50": 0.6, "macs": 1, "flops_mmdet": 2, "model": "a" * 64, "ratio": 2.0, "latency": LATENCY,
        "score": 1.1, "bundle": "bundles/base-int8"}  # fmt: skip

CORPUS: dict[str, Damage] = {
    "no database": lambda run, outside: (run / "run.db").unlink(),
    "a database that is none": content("run.db", lambda old: b"rubbish" * 1000),
    "an empty database": content("run.db", lambda old: b""),
    "half a database": content("run.db", lambda old: old[: len(old) // 2]),
    "a database with a hole": content("run.db", lambda old: old[:4096] + b"\xff" * 4096 + old[8192:]),
    "a later version": statement("pragma user_version = 99"),
    "a view": statement("create view front as select 1"),
    "a trigger": statement("create trigger t after insert on events begin delete from trials; end"),
    "no events": statement("drop table events"),
    **{f"a {what} for {name}": instead(name, make)
       for name in ("run.db", "report.html", "log.txt", ".lock", "artefacts")
       for what, make in (("link", make_link), ("pipe", make_pipe), ("socket", make_socket))},
    "a link among the bundles": instead("bundles/base", make_link),
    "a pipe among the bundles": instead("bundles/base", make_pipe),
    "a link in place of a checkpoint": instead("scratch/trial-1.ckpt", make_link),
    "a pipe in place of a checkpoint": instead("scratch/trial-1.ckpt", make_pipe),
    "a link among the images": instead("data/train/annotations.json", make_link),
    "a link among the pages of an analysis": instead("analysis/errors-base.html", make_link),
    "a pipe for an analysis": instead("analysis/analysis.json", make_pipe),
    "a file for analysis": instead("analysis", make_file),
    "a link for what is not ours": instead("notes", make_link),
    "a folder for run.db": instead("run.db", make_folder),
    **{f"a file for {name}": instead(name, make_file) for name in ("artefacts", "bundles", "data", "scratch")},
    # what it was started with
    **{f"a configuration that is {what}": entry("config", text) for what, text in (
        ("empty", ""), ("cut short", "{"), ("a list", "[]"), ("null", "null"), ("NaN", "NaN"), ("deep", DEEP),
        ("nothing", "{}"), ("bytes", b"\xff\xfe"),
    )},
    "a data folder that is a number": configured(data=3),
    "a base of no kind": configured(base="r19"),
    "a method of no kind": configured(search={"method": "luck"}),
    "a key of no kind": configured(extra=1),
    "no seed": configured(seed="none"),
    "data that is not there": configured(data="/nowhere/at/all"),
    # what is kept besides the trials
    "a command of no Unicode": statement("insert or replace into meta values ('command', cast(x'22ff22' as text))"),
    **{f"{key} {value!r:.20}": entry(key, value) for key, value in (
        ("command", 3), ("status", []), ("status", DEEP), ("data", "x"), ("data", [["a"], "1", 1]),
        ("data", [[1], 1, 1]), ("data", [[], 1]), ("elapsed_seconds", "x"), ("elapsed_seconds", -1),
        ("elapsed_seconds", "1e999"), ("elapsed_seconds", "NaN"), ("teachers", 3), ("pool", []), ("probes", {}),
        ("probes", [3]),
        ("trained_teacher", [1]), ("trained_teacher", [{}, 3]), ("search_ended", 3), ("finetuned", {"a": 1}),
        ("finetuned", ["1"]), ("finetune_epochs", "x"), ("finetune_epochs", 1.5), ("handover", []),
    )},
    "a hand-over of trials in words": handing_over(numbers=["one"]),
    "a bundle outside": handing_over(bundles={"0": "../outside"}),
    "a bundle of no trial": handing_over(bundles={"x": "bundles/base"}),
    "a refusal without words": handing_over(refused={"0": 3}),
    "a cost of nothing": handing_over(measured={"0": {"ratio": 0, "latency": None}}),
    "a cost without a ratio": handing_over(measured={"0": {"latency": None}}),
    "a latency that is none": handing_over(measured={"0": {"ratio": 1, "latency": {"median_ms": 1}}}),
    "an export of a trial that is not there": handing_over(tried={"a": {**MADE, "trial": 7}}),
    "an export without figures": handing_over(tried={"a": {**MADE, "ap": None}}),
    "an export whose AP is a text": handing_over(tried={"a": {**MADE, "ap": "0.4"}}),
    "an export in no precision": handing_over(tried={"a": {**MADE, "variant": {"precision": 3}}}),
    "an export with more to it": handing_over(tried={"a": {**MADE, "more": 1}}),
    "an export outside": handing_over(tried={"a": {**MADE, "bundle": "/etc"}}),
    # trials
    "a trial before the first": statement("update trials set number = -1 where number = 2"),
    "a status of no kind": column("status", "odd"),
    **{f"{name} {value!r:.20}": column(name, value) for name, value in (
        ("proposal", ""), ("proposal", "[]"), ("proposal", DEEP), ("proposal", "{}"), ("arch", None), ("arch", "{}"),
        ("arch", DEEP), ("arch", b"\xff"), ("ap", "x"), ("ap", 2.0), ("ap", -1.0), ("ap", None), ("ap50", "x"),
        ("macs", "x"), ("macs", -1), ("macs", None), ("params", 1.5), ("cost_ratio", 0.0), ("cost_ratio", float("inf")),
        ("cost_ratio", "x"), ("cost_ratio", None), ("score", "x"), ("score", float("inf")), ("seconds", -1.0),
        ("seconds", "x"), ("epochs_total", "x"), ("curve", "{"), ("curve", "[[1]]"), ("curve", '[["a",1]]'),
        ("curve", "[[1,NaN]]"), ("curve", "[[1,1e999]]"), ("curve", "3"), ("details", "[]"), ("details", DEEP),
        ("latency", "[]"), ("latency", "{}"), ("latency", "3"), ("weights", "../../outside/precious"),
        ("weights", "/etc/passwd"), ("weights", None), ("model", "x"), ("model", 3),
    )},
    "no parent": changing("proposal", 1, parent="0"),
    "a parent that comes later": changing("proposal", 1, parent=1),
    "actions that are none": changing("proposal", 1, actions=[{"kind": "fly"}]),
    "actions in one": changing("proposal", 1, actions={}),
    "a note of no words": changing("proposal", 1, note=3),
    "a teacher of no kind": changing("proposal", 1, teacher={"kind": "aunt"}),
    "half an epoch": changing("proposal", 1, epochs=0.5),
    "an aim in words": changing("proposal", 1, aim="fast"),
    "an AP that is none of a look": column("ap", "x", number=1),
    "a failure without words": column("error", None, number=2),
    "a later architecture": changing("arch", 0, schema=99),
    "a canvas of no size": changing("arch", 0, input_size=[1, 1]),
    "a latency in words": changing("latency", 0, median_ms="20"),
    "an infinite latency": column("latency", json.dumps(LATENCY).replace("20.5", "1e999")),
    "a latency before it began": changing("latency", 0, p90_ms=-1),
    "a latency without an interval": changing("latency", 0, ci95_ms=[1]),
    "flags that are numbers": changing("latency", 0, flags=[1]),
    "a head in no words": detail(head=3),
    "a selection of nothing": detail(selection={"score_threshold": 9}),
    "a state that is elsewhere": detail(state="../outside/precious"),
    "changes in no words": detail(changes=[1]),
    "times in words": detail(seconds={"train": "long"}),
    "judged in words": detail(judged=[["a", "b"]]),
}  # fmt: skip


def take_stock(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    found = {str(path): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items()}


@pytest.mark.parametrize("damage", CORPUS.values(), ids=CORPUS)
def test_a_bad_run_is_neither_reported_nor_resumed(
    run: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    damage(run, outside)
    before = take_stock(outside) | take_stock(made)
    for command in ("report", "resume"):
        code, out, err = call(capsys, command, run)
        assert (code, out) == (2, ""), (command, code, out, err)
        assert err.startswith("optimize: ") and err.count("\n") == 1 and len(err) < 1000, (command, err)
    assert take_stock(outside) | take_stock(made) == before
    assert not (run / "front.json").exists()


def test_the_same_run_undamaged_is_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "report", run)
    assert (code, err) == (0, "") and out.strip() == str(run / "report.html")
    assert json.loads((run / "front.json").read_text())["base"]["ap"] == 0.4
