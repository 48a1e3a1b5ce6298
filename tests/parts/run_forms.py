"""What of a run, a pool or a training strangers write: of each form a valid one, and what is done with any other."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import torch
from forms import Form
from made_trials import ARCH, make_done
from safetensors.torch import save
from torch import nn
from toy_paths import ToyPaths

from optimizer.config import parse_config
from optimizer.errors import RunFailed
from optimizer.handover.front import find_front, write_front
from optimizer.path_filter.files import pack_filter, unpack_filter
from optimizer.path_filter.filter import FilterConfig, PathFilter
from optimizer.recipes import smoke
from optimizer.report.analysis import ANALYSIS, FOLDER, draw_distances, draw_losses, has_distances, read_analysis
from optimizer.report.page import ReportData, write_report
from optimizer.search.base import FailedTrial, Proposal, ScreenedTrial, TrialFiles
from optimizer.search.predictor import Probe
from optimizer.store import RunStore
from optimizer.store.run_store import DATABASE
from optimizer.supernet.manifest import find_manifest
from optimizer.supernet.path_latency import MeasuredPaths
from optimizer.train.checkpoint import load_checkpoint, save_checkpoint
from optimizer.train.state import TrainState

__all__ = ["FORMS"]

LATENCY = {"target": "cpu", "median_ms": 20.5, "ci95_ms": [20.1, 20.9], "p90_ms": 22.0, "p99_ms": 24.0, "flags": ["a"]}
GOLDEN = Path(__file__).parents[1] / "golden" / "v0_1_0"
IN_JSON = ("proposal", "arch", "latency", "curve", "details")  # columns of a trial
MADE = {
    "trial": 0, "variant": {"precision": "int8", "region_proposals": None}, "outcome": "kept", "reason": "", "ap": 0.4,
    "ap50": 0.6, "macs": 1, "flops_mmdet": 2, "model": "a" * 64, "ratio": 2.0, "latency": LATENCY, "score": 1.1,
    "bundle": "bundles/base-int8",
}  # fmt: skip
SPACE = ToyPaths()
ANALYSED = {
    "images": 20,
    "teacher": "the base",
    "models": {
        "base": {
            "errors": {"overall": {"areas": {"all": {"losses": {"Loc": 0.1, "BG": 0.2}}}}},
            "distances": {"objects": [0.3, 0.5], "background": [0.1, 0.2]},
            "gradients": [{"image": "a.jpg", "file": "a.png", "objects_over_background": 4.0}],
        }
    },
}


def _make_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        run, weights = Path(folder, "run"), Path(folder, "weights")
        weights.write_bytes(b"weights")
        config = smoke(Path("/nowhere")).changed({"search.cost": "macs", "search.teacher": "none"})
        with RunStore.create(run, config.model_dump(mode="json")) as store:
            kept = store.artefacts.put_file(weights)
            base = make_done(latency=LATENCY, files=TrialFiles(kept, kept))
            store.record(base)
            store.record(ScreenedTrial(1, Proposal(0, epochs=0, aim=0.7), base.arch, 0.3, 0.5, base.counts, 2.5))
            store.record(FailedTrial(2, Proposal(0), "made to fail"))
            store.record(make_done(3, latency=LATENCY, files=TrialFiles(kept, kept), ap=0.3, cost_ratio=2.0))
            store.handover = {
                "numbers": [0, 3], "tried": {"a": MADE}, "bundles": {"0": "bundles/base"}, "refused": {"3": "so"},
                "measured": {"0": {"ratio": 1.0, "latency": LATENCY}},
            }  # fmt: skip
            store.log_event("it began")
        return (run / DATABASE).read_bytes()


def _unpack(database: bytes) -> bytes:
    """All values of a run, as JSON that may be changed anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, DATABASE)
        path.write_bytes(database)
        connection = sqlite3.connect(path)
        connection.row_factory = sqlite3.Row
        meta = {row["key"]: json.loads(row["value"]) for row in connection.execute("select * from meta")}
        rows: list[dict[str, Any]] = [dict(row) for row in connection.execute("select * from trials")]
        connection.close()
    for row in rows:
        row.update({name: json.loads(row[name]) for name in IN_JSON if row[name] is not None})
    return json.dumps({"meta": meta, "trials": rows}).encode()


def _open_run(folder: Path, content: bytes) -> None:
    """What `optimize report` does with a database, less the pictures."""
    (folder / DATABASE).write_bytes(content)
    with RunStore.open(folder, writable=False) as store:
        parse_config(store.config)
        front, history = find_front(store), store.history()
        write_front(folder / "front.json", front)
        json.loads((folder / "front.json").read_text(), parse_constant=_refuse)
        data = ReportData("a", "running", False, {}, {}, history, None, "1 s", front)
        write_report(folder / "report.html", data)
    page = (folder / "report.html").read_text()
    assert "<script>alert" not in page and 'href="javascript:' not in page and "\x1b" not in page


def _fill_run(folder: Path, content: bytes) -> None:
    """A run's database with values that somebody chose, by our tables."""
    (folder / DATABASE).write_bytes(RUN)
    connection = sqlite3.connect(folder / DATABASE)
    try:
        value = json.loads(content)
        with connection:
            connection.execute("pragma ignore_check_constraints = on")
            for key, item in value["meta"].items():
                connection.execute("insert or replace into meta values (?, ?)", (key, json.dumps(item)))
            for row in value["trials"]:
                for name, item in row.items():
                    chosen = json.dumps(item) if name in IN_JSON and item is not None else item
                    connection.execute(f"update trials set {name} = ? where number = ?", (chosen, row["number"]))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, sqlite3.Error) as error:
        raise RunFailed("what SQLite or this form does not take") from error
    finally:
        connection.close()
    _open_run(folder, (folder / DATABASE).read_bytes())


def _refuse(name: str) -> float:
    raise AssertionError(f"{name} in front.json")


def _read_analysis(folder: Path, content: bytes) -> None:
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / ANALYSIS).write_bytes(content)
    analysed = read_analysis(folder)
    if analysed is None:
        raise RunFailed("it is left aside")
    assert isinstance(draw_losses(analysed) + (draw_distances(analysed) if has_distances(analysed) else ""), str)
    assert analysed.pictures == []


def _find_pool(folder: Path, content: bytes) -> None:
    (folder / "pool.json").write_bytes(content)
    manifest = find_manifest(folder)
    assert manifest is not None
    manifest.config.space().count()
    assert manifest.weights.resolve().is_relative_to(folder.resolve())


def _load_weights(folder: Path, content: bytes) -> None:
    from optimizer.detectors.tensors import fit_tensors, load_tensors

    (folder / "a.safetensors").write_bytes(content)
    fit_tensors(nn.Linear(3, 2), load_tensors(folder / "a.safetensors"))


def _load_checkpoint(folder: Path, content: bytes) -> None:
    (folder / "a.ckpt").write_bytes(content)
    if load_checkpoint(folder / "a.ckpt", "fingerprint") is None:
        raise RunFailed("it starts over")


def _load_state(folder: Path, content: bytes) -> None:
    (folder / "a.state").write_bytes(content)
    TrainState.load(folder / "a.state")


def _save_state() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        TrainState(ahead={"model.a": torch.zeros(3)}, moments={"step": {"model.a": torch.ones(())}}).save(
            Path(folder, "a"), {"weight": torch.zeros(2)}, "notes"
        )
        return Path(folder, "a").read_bytes()


def _save_checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder, "a"), "fingerprint", {"step": 3, "weights": {"a": torch.zeros(3)}})
        return Path(folder, "a").read_bytes()


def _write_measured() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        MeasuredPaths("cpu", ARCH, (Probe(ARCH, 0.5),), 3).write(Path(folder, "measured.json"))
        return Path(folder, "measured.json").read_bytes()


def _read_measured(folder: Path, content: bytes) -> None:
    (folder / "measured.json").write_bytes(content)
    MeasuredPaths.read(folder / "measured.json")


def _make_filter() -> bytes:
    config = FilterConfig(width=8, heads=2, layers=1)
    return pack_filter(PathFilter(SPACE, config))


RUN = _make_database()
FORMS: dict[str, Form] = {
    "run": (RUN, _open_run),
    "run's values": (_unpack(RUN), _fill_run),
    "analysis": (json.dumps(ANALYSED).encode(), _read_analysis),
    "pool": ((GOLDEN / "teachers" / "pool.json").read_bytes(), _find_pool),
    "weights": (save(nn.Linear(3, 2).state_dict()), _load_weights),
    "checkpoint": (_save_checkpoint(), _load_checkpoint),
    "training's state": (_save_state(), _load_state),
    "latencies of paths": (_write_measured(), _read_measured),
    "path filter": (_make_filter(), lambda folder, content: unpack_filter(content, SPACE)),
}
