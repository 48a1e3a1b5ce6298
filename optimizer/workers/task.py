"""What a worker does: it builds, trains and exports one student, or looks at one, and sends home what came of it."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from deploy import EngineSpec, TargetSpec, get_target
from deploy.data import keep_fitting, read_dataset
from deploy.errors import DeployError
from optimizer.config import RunConfig, parse_config
from optimizer.cost.macs import MacsCost
from optimizer.data.splits import Splits
from optimizer.errors import DetoptError
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, PendingTrial, Trial, TrialFailed
from optimizer.store.artefacts import ArtefactStore
from optimizer.supernet.pool import TeacherPool, open_pool
from optimizer.trials.builder import Builder
from optimizer.trials.evaluation import Evaluation
from optimizer.trials.exporter import Exporter
from optimizer.trials.jobs import TrainedTeacher, choose_device
from optimizer.trials.judge import Judge
from optimizer.trials.screener import Screener
from optimizer.trials.study import Studies
from optimizer.trials.trainer import Trainer
from optimizer.workers.order import Answer, Order, ParcelLost, dump_trial, parse_trial
from optimizer.workers.parcels import Parcel, make_own_folder, move_order, name_folder, unpack

__all__ = ["describe_target", "do_order", "do_order_apart"]


def do_order(order: str) -> Answer:
    """The answer to an `Order` in JSON."""
    asked = Order.model_validate_json(order)
    bench = _open_bench(asked.config, json.dumps(asked.target), asked.folder)
    pending, parent = parse_trial(asked.trial), None if asked.parent is None else parse_trial(asked.parent)
    teacher = None if asked.teacher is None else TrainedTeacher.model_validate(asked.teacher)
    assert isinstance(pending, PendingTrial)
    try:
        evaluation = bench.prepare(parent, asked.pool, teacher)
        made = evaluation.prepare(pending.number, pending.proposal)
        files = bench.take_files(made) if isinstance(made, DoneTrial) else {}
    except TrialFailed as error:
        return Answer(failed=str(error))
    except (DetoptError, DeployError, OSError) as error:
        return Answer(stopped=str(error))
    finally:
        bench.trainer.forget(pending.number)
    return Answer(dump_trial(made), files)


def do_order_apart(order: str, parcels: Sequence[Parcel]) -> Answer:
    """The same where the run's folder is not seen: what is needed of it comes along.

    Raises:
        ParcelLost: it does not arrive.
    """
    asked = Order.model_validate_json(order)
    try:
        own = make_own_folder() / name_folder(asked, parcels)
        unpack(parcels, own, _fetch)
    except (DetoptError, DeployError, OSError) as error:
        return Answer(stopped=str(error))
    return do_order(move_order(asked, parse_config(json.loads(asked.config)), own).model_dump_json())


def _fetch(content: Any) -> bytes:
    """What Ray's object store has under a name."""
    import ray

    try:
        found = ray.get(content)
    except ray.exceptions.RayError as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise ParcelLost(f"{type(error).__name__}: {first}") from None  # Ray's own may not travel
    assert isinstance(found, bytes)
    return found


def describe_target(target: TargetSpec) -> dict[str, Any]:
    """What of a target exports depend on; its file and its board are none of a worker's business."""
    return {"name_of_target": target.name, **asdict(target.engine)}


def _read_target(value: dict[str, Any]) -> TargetSpec:
    engine = {**value, "precisions": tuple(value["precisions"])}
    return TargetSpec(engine.pop("name_of_target"), engine=EngineSpec(**engine))


class _Bench:
    """What one process keeps from order to order of a run: the images, and what was learned of parents."""

    def __init__(self, config: RunConfig, target: TargetSpec, folder: Path) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="worker-")
        scratch, data = Path(self._place.name), config.data or folder / "data"
        train, val = read_dataset(data, "train"), keep_fitting(read_dataset(data, "val"))
        splits = Splits.divide(train, val, config.keeps_images)
        names, device, progress = train.class_names, choose_device(), _be_quiet()
        theirs = ArtefactStore(folder / "artefacts", writable=False)
        self.splits, self.own = splits, ArtefactStore(scratch / "artefacts")
        self.trainer = Trainer(config, splits, data, scratch, device, progress)
        self._evaluation = Evaluation(
            Builder(config, names, theirs, device, progress, Studies(config, splits.fit, theirs, scratch, device)),
            self.trainer,
            Exporter(self.own, scratch, target, names, config.max_detections),
            Judge(config, splits.val, get_target("cpu"), MacsCost(), progress),  # which nothing asks here
            Screener.of(splits.fit, splits.kept, device),
            lambda: [],
            progress,
        )

    def prepare(self, parent: Trial | None, pool: Path | None, teacher: TrainedTeacher | None) -> Evaluation:
        """What makes a trial, of this parent and with these teachers."""
        evaluation = self._evaluation.with_teacher(teacher).with_history(() if parent is None else (parent,))
        return evaluation if pool is None else evaluation.with_pool(_open_pool(pool, self))

    def take_files(self, made: DoneTrial) -> dict[str, bytes]:
        """The contents of what was stored of a trial, which is then here no more."""
        found = {}
        for sha256 in filter(None, (made.files.weights, made.files.model, made.files.state)):
            found[sha256] = self.own.path(sha256).read_bytes()
            self.own.remove(sha256)
        return found


@lru_cache(maxsize=1)
def _open_bench(config: str, target: str, folder: Path) -> _Bench:
    return _Bench(parse_config(json.loads(config)), _read_target(json.loads(target)), folder)


@lru_cache(maxsize=1)
def _open_pool(folder: Path, bench: _Bench) -> TeacherPool:
    return open_pool(folder, bench.splits.train)


def _be_quiet() -> RunProgress:
    from rich.console import Console

    return RunProgress(Console(file=io.StringIO()))
