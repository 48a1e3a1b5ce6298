"""Workers of a search: trainings in a pool, and whoever has trained is measured where the run is, in batches."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deploy.files import hash_file
from optimizer.config import RunConfig
from optimizer.errors import RunFailed
from optimizer.search.base import (
    DoneTrial,
    FailedTrial,
    PendingTrial,
    Proposal,
    ScreenedTrial,
    Trial,
    TrialFailed,
    get_done,
)
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation
from optimizer.workers.order import Answer, Order, dump_trial, parse_trial
from optimizer.workers.parcels import Sender
from optimizer.workers.pool import Failure, Pool, find_share, open_ray
from optimizer.workers.task import describe_target, do_order, do_order_apart

__all__ = ["Crew", "assembled_crew"]

PATIENCE_S = 0.2  # between looks at what else has ended


class OrderPool(Protocol):
    """Does orders, several at once (`optimizer.workers.pool.Pool`)."""

    def submit(self, number: int, *order: Any) -> None: ...

    def wait(self, seconds: float) -> Sequence[tuple[int, Any]]: ...


@dataclass
class Crew:
    """Evaluates proposals as `optimizer.search.at_once.Workers`; what comes home is judged in a thread of its own.

    Nothing is measured where trainings run, and one thing at a time where the run is: what has trained meanwhile waits,
    and all of it is measured in the next lease.

    Attributes:
        size: trainings at once.
        sender: packs what workers need that do not see the run's folder; None where they see it.
        waits: seconds that each student waited to be measured, without the measuring itself.
    """

    store: RunStore
    config: RunConfig
    evaluation: Evaluation
    pool: OrderPool
    size: int
    sender: Sender | None = None
    waits: list[float] = field(default_factory=list)
    _training: dict[int, Proposal] = field(default_factory=dict)
    _queue: list[tuple[DoneTrial, float]] = field(default_factory=list)
    _measured: queue.Queue[Any] = field(default_factory=queue.Queue)
    _measuring: threading.Thread | None = None

    @property
    def free(self) -> int:
        return self.size - len(self._training)

    def start(self, number: int, proposal: Proposal) -> None:
        parent = None if proposal.parent is None else get_done(self.store.history(), proposal.parent)
        trainer = self.evaluation.trainer
        order = Order(
            config=self.config.model_dump_json(),
            target=describe_target(self.evaluation.exporter.target),
            folder=self.store.folder.resolve(),
            trial=dump_trial(PendingTrial(number, proposal)),
            parent=None if parent is None else dump_trial(parent),
            pool=trainer.pool.folder.resolve() if trainer.pool is not None else None,
            teacher=trainer.teacher.model_dump(mode="json") if trainer.teacher is not None else None,
        )
        self._training[number] = proposal
        if self.sender is None:
            self.pool.submit(number, order.model_dump_json())
            return
        files = [] if parent is None else [sha for sha in (parent.files.weights, parent.files.state) if sha is not None]
        self.pool.submit(number, order.model_dump_json(), self.sender.pack(order, self.config, number, files))

    def collect(self) -> list[Trial]:
        """As in `Workers`; a training that ends frees its worker before the student is measured.

        Raises:
            RunFailed: a worker says that no other student would fare better, or what came home is damaged.
        """
        ended = self._take_measured()
        for number, answer in self.pool.wait(0.0 if ended else PATIENCE_S if self._training else 0.0):
            trial = self._take(number, answer)
            if isinstance(trial, DoneTrial):
                self._queue.append((trial, time.monotonic()))
            else:
                ended.append(trial)
        self._measure_next()
        if not ended and not self._training and self._measuring is not None:
            self._measuring.join()
            ended = self._take_measured()
            self._measure_next()
        return ended

    def __call__(self, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        """One proposal alone, as `Evaluation` is called."""
        self.start(number, proposal)
        while True:
            for trial in self.collect():
                if isinstance(trial, FailedTrial):
                    raise TrialFailed(trial.error)
                assert isinstance(trial, (DoneTrial, ScreenedTrial)), "it has ended"

                return trial

    def describe_waits(self) -> str:
        """How long students waited to be measured; empty where none was."""
        if not self.waits:
            return ""
        return (
            f"{len(self.waits)} students waited to be measured, {sum(self.waits) / len(self.waits):.1f} s on average, "
            f"{max(self.waits):.1f} s at most"
        )

    def _take(self, number: int, answer: Any) -> Trial:
        """What came home of an order: a student to be measured, one that was looked at, or one that came to nothing."""
        proposal = self._training.pop(number)
        told = Answer(failed=answer.reason) if isinstance(answer, Failure) else Answer(*answer)
        if told.stopped or (told.failed and number == 0):
            raise RunFailed(told.stopped or told.failed)
        if told.failed:
            return FailedTrial(number, proposal, told.failed)
        for sha256, content in told.files.items():
            self._keep(sha256, content)
        return parse_trial(told.trial)

    def _keep(self, sha256: str, content: bytes) -> None:
        path: Path = self.store.folder / "scratch" / f"arrived-{sha256}"
        path.write_bytes(content)
        if hash_file(path) != sha256:
            raise RunFailed(f"a file that a worker sent is damaged: it is not the one with the SHA-256 {sha256[:12]}")
        self.store.artefacts.put_file(path)
        path.unlink()

    def _measure_next(self) -> None:
        """Begin to measure all that waits, unless something is being measured."""
        if self._measuring is not None or not self._queue:
            return
        batch, now = [trial for trial, _ in self._queue], time.monotonic()
        self.waits += [now - since for _, since in self._queue]
        self._queue.clear()
        past = self.store.history()  # read here: the database is this thread's
        evaluation = self.evaluation.with_history(past)
        self._measuring = threading.Thread(target=self._judge, args=(evaluation, batch), daemon=True)
        self._measuring.start()

    def _judge(self, evaluation: Evaluation, batch: list[DoneTrial]) -> None:
        try:
            self._measured.put((batch, evaluation.judge_all(batch)))
        except BaseException as error:  # of a thread: whoever collects raises it
            self._measured.put(error)

    def _take_measured(self) -> list[Trial]:
        if self._measuring is None or self._measuring.is_alive():
            return []
        self._measuring = None
        found = self._measured.get()
        if isinstance(found, BaseException):
            raise found
        batch, judged = found
        return [
            FailedTrial(made.number, made.proposal, str(judged[made.number]))
            if isinstance(judged[made.number], TrialFailed)
            else judged[made.number]
            for made in batch
        ]


@contextmanager
def assembled_crew(store: RunStore, config: RunConfig, evaluation: Evaluation) -> Iterator[Crew | None]:
    """The workers of a run; None where it has none."""
    if config.workers_on is None:
        yield None
        return
    ray = open_ray(config.workers_on)
    share = find_share(ray, config.at_once, config.trial_gpus)
    pool = Pool(ray, share, do_order if config.shared_folder else do_order_apart)
    evaluation.progress.say(f"workers: {share}")
    try:
        yield Crew(store, config, evaluation, pool, share.at_once, None if config.shared_folder else Sender(ray.put))
    finally:
        pool.close()
