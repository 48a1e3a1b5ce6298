"""Runs of MLflow: one for the search, and one nested in it for each trial."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from optimizer.track.base import SEARCH, Outcome, Parameter

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["Mlflow"]

PLACE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "detopt"
DATABASE, ARTEFACTS = "mlflow.db", "mlflow-artefacts"  # where nobody chose another place
OURS = "detopt.run"  # a tag: the identity of a search, and which of its runs it is
STATUS: Mapping[Outcome, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
LONGEST = 6000  # characters of a parameter
AT_ONCE = 100  # parameters of a call
# For calls of ours alone where nobody chose otherwise: its own are seven tries of two minutes, in which a search waits,
# messages of its database's set-up on the terminal, and figures of our users sent to its makers.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Mlflow:
    """Runs where MLFLOW_TRACKING_URI says, else in a database beside the run's folder.

    Their experiment is MLFLOW_EXPERIMENT_NAME, else "detopt".
    """

    package: ClassVar[str] = "mlflow"

    def __init__(self, client: MlflowClient, experiment: str, identity: str, hint: str) -> None:
        self.hint = hint
        self._client, self._experiment, self._identity = client, experiment, identity
        self._ids: dict[str, str] = {}

    @classmethod
    def load(cls) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        import mlflow.tracking  # noqa: F401

        if not os.environ.get(PLACE):  # what a database of our own takes, and a server does not
            import alembic  # noqa: F401
            import sqlalchemy  # noqa: F401

    @classmethod
    def open(cls, folder: Path, identity: str, begun: bool) -> Mlflow:
        cls.load()
        from mlflow.tracking import MlflowClient

        chosen, beside = os.environ.get(PLACE), folder.resolve().parent
        place = chosen or f"sqlite:///{beside / DATABASE}"
        client, name = MlflowClient(tracking_uri=place), os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        known = client.get_experiment_by_name(name)
        files = None if chosen else (beside / ARTEFACTS).as_uri()
        experiment = known.experiment_id if known is not None else client.create_experiment(name, files)
        tracker = cls(client, experiment, identity, f"MLflow at {place}, experiment {name}, run {folder.name}")
        run = tracker._find(SEARCH)
        if run is None and begun:
            raise LookupError(f"no run of this search is at {place}, {name}: set {PLACE} as it was")
        run = run or tracker._create(SEARCH, {"mlflow.runName": folder.name})
        tracker._ids[SEARCH] = run
        client.update_run(run, status="RUNNING")
        return tracker

    def find_steps(self, run: str) -> Mapping[str, int]:
        found = self._ids.get(run) or self._find(run)
        if found is None:
            return {}
        names = self._client.get_run(found).data.metrics
        return {name: max(item.step for item in self._client.get_metric_history(found, name)) for name in names}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._open(run), [Metric(name, value, now, step) for name, value in values.items()])

    def describe(self, run: str, parameters: Mapping[str, Parameter], results: Mapping[str, float]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(self._open(run)).data.params
        new = (Param(name, str(value)[:LONGEST]) for name, value in parameters.items() if name not in known)
        for part in _cut(new, AT_ONCE):
            self._client.log_batch(self._open(run), params=part)
        if results:
            self.log(run, 0, results)

    def write(self, run: str, step: int, name: str, text: str) -> None:
        self._client.log_text(self._open(run), text, f"{name}-{step:05d}.md" if step else f"{name}.md")

    def keep(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            if path.is_dir():
                self._client.log_artifacts(self._open(SEARCH), str(path), name)
            else:
                self._client.log_artifact(self._open(SEARCH), str(path))

    def end(self, run: str, outcome: Outcome) -> None:
        self._client.set_terminated(self._open(run), STATUS[outcome])
        del self._ids[run]

    def _open(self, run: str) -> str:
        """The library's name of a run, which is made if it is not there."""
        if run not in self._ids:
            found = self._find(run)
            if found is not None:  # begun by an earlier process
                self._client.update_run(found, status="RUNNING")
            parent = {"mlflow.parentRunId": self._ids[SEARCH], "mlflow.runName": run}
            self._ids[run] = found or self._create(run, parent)
        return self._ids[run]

    def _find(self, run: str) -> str | None:
        found = self._client.search_runs([self._experiment], f"tags.`{OURS}` = '{self._tag(run)}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create(self, run: str, tags: dict[str, str]) -> str:
        return str(self._client.create_run(self._experiment, tags={**tags, OURS: self._tag(run)}).info.run_id)

    def _tag(self, run: str) -> str:
        return f"{self._identity}/{run}"


def _cut(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while part := list(islice(items, size)):
        yield part
