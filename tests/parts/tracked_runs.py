"""Tiny runs that trackers follow, and what is read back of them with the trackers' own libraries."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizer.config import RunConfig
from optimizer.track.mlflow import DATABASE
from optimizer.track.recorder import Recorder

__all__ = ["READERS", "SeenRun", "run_tiny"]


@dataclass
class SeenRun:
    """What a library shows of one run: series of (step, value), parameters, texts by name and step."""

    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    status: str = ""


def run_tiny(run: Path, config: RunConfig, kill_at: int | None = None) -> None:
    """Start or resume a tiny run in this process, which kills itself before it tells its trackers something.

    Args:
        kill_at: how many times they are told something before that; None is never.
    """
    from tiny_runs import make_tiny

    from optimizer.run.run import resume_run, start_run

    make_tiny()
    attempt, told = Recorder._attempt, 0

    def count(recorder: Recorder, tell: Callable[[Any], None]) -> None:
        nonlocal told
        if told == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        told += 1
        attempt(recorder, tell)

    Recorder._attempt = count  # type: ignore[method-assign]
    if (run / "run.db").exists():
        resume_run(run)
    else:
        start_run(config, run)


def read_tensorboard(run: Path) -> dict[str, SeenRun]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = {}
    for folder in sorted((run / "tensorboard").iterdir()):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
        events.Reload()
        seen = found[folder.name] = SeenRun()
        for tag in events.Tags()["scalars"]:
            seen.series[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["tensors"]:
            name = tag.removesuffix("/text_summary")
            for event in events.Tensors(tag):
                assert f"{name} {event.step}" not in seen.texts, f"{folder.name}: a text twice: {name} {event.step}"
                seen.texts[f"{name} {event.step}"] = event.tensor_proto.string_val[0].decode()
        for content in events.summary_metadata.values():
            if content.plugin_data.plugin_name == "hparams":
                data = HParamsPluginData.FromString(content.plugin_data.content)
                values = {name: _read_hparam(value) for name, value in data.session_start_info.hparams.items()}
                seen.parameters |= values
    return found


def _read_hparam(value: Any) -> str:
    return value.string_value if value.HasField("string_value") else f"{value.number_value:g}"


def read_mlflow(run: Path) -> dict[str, SeenRun]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run.parent / DATABASE}")
    experiment = client.get_experiment_by_name("detopt")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    (search,) = (item for item in runs if "mlflow.parentRunId" not in item.data.tags)
    found = {}
    for item in runs:
        of_trial = item is not search
        name = item.data.tags["mlflow.runName"] if of_trial else "search"
        assert not of_trial or item.data.tags["mlflow.parentRunId"] == search.info.run_id
        assert name not in found, f"a run twice: {name}"
        seen = found[name] = SeenRun(parameters=dict(item.data.params), status=item.info.status)
        for key in item.data.metrics:
            history = client.get_metric_history(item.info.run_id, key)
            seen.series[key] = [(point.step, point.value) for point in history]
        seen.files = set(_list_files(client, item.info.run_id))
        folder = Path(item.info.artifact_uri.removeprefix("file://"))
        for file in seen.files:
            if file.endswith(".md"):
                kind, _, step = file.removesuffix(".md").partition("-")
                seen.texts[f"{kind} {int(step or 0)}"] = (folder / file).read_text()
    return found


def _list_files(client: Any, run_id: str, folder: str = "") -> list[str]:
    found: list[str] = []
    for item in client.list_artifacts(run_id, folder):
        found += _list_files(client, run_id, item.path) if item.is_dir else [item.path]
    return found


READERS: Mapping[str, Callable[[Path], dict[str, SeenRun]]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
}
