"""What trackers are told of a run: each trial, the front after it, and what the run leaves."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path

from deploy.errors import BoardError
from optimizer.arch.encoding import encoding_from_arch
from optimizer.config import RunConfig
from optimizer.errors import InputError
from optimizer.handover.front import Front, make_front
from optimizer.handover.state import HandOverState
from optimizer.progress import RunProgress
from optimizer.report.edits import describe_edits
from optimizer.report.timeline import trace_growth
from optimizer.search.base import DoneTrial, FailedTrial, History, PendingTrial, ScreenedTrial, get_done, list_done
from optimizer.store.run_store import RunStore
from optimizer.store.values import DAMAGE, read_list, read_mapping, read_text, read_whole
from optimizer.track.base import SEARCH, Outcome, Parameter, name_run
from optimizer.track.catalogue import TRACKERS
from optimizer.track.recorder import Recorder, Recorders

__all__ = ["Tracked", "Tracking", "tracked"]

IDENTITY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Tracked:
    """How far the trackers of a run are, as its database keeps it.

    Attributes:
        identity: of the run, wherever its folder is.
        told: by tracker, how many trials it was told of, the base among them.
        complete: trackers that were told the end, too.
    """

    identity: str
    told: Mapping[str, int]
    complete: tuple[str, ...] = ()

    @staticmethod
    def of(store: RunStore) -> Tracked:
        """What the run keeps, or the beginning of it.

        Raises:
            InputError: it is damaged.
        """
        value = store.tracked
        if value is None:
            return Tracked(secrets.token_hex(8), {})
        try:
            if not IDENTITY.fullmatch(read_text(value["identity"])):
                raise ValueError("its identity is none")
            told = {name: read_whole(count) for name, count in read_mapping(value["told"]).items()}
            return Tracked(value["identity"], told, tuple(read_text(name) for name in read_list(value["complete"])))
        except DAMAGE as error:
            raise InputError(f"the run is damaged: what it told trackers cannot be read ({error!r:.160})") from error


@contextmanager
def tracked(store: RunStore, config: RunConfig, progress: RunProgress) -> Iterator[Tracking]:
    """Yields what tells the trackers of a run, and has the trainings in it tell them too.

    What they were not told, because a process was killed or a tracker failed, they are told first.
    """
    if not config.track:
        yield Tracking(store, config, ())
        return
    state = Tracked.of(store)
    store.tracked = asdict(state)  # before anything is made under this identity
    recorders = tuple(Recorder(name, progress.say) for name in config.track if name not in state.complete)
    for recorder in recorders:
        recorder.open(TRACKERS[recorder.name], store.folder, state.identity, recorder.name in state.told)
    progress.trackers = Recorders(recorders)
    tracking = Tracking(store, config, recorders)
    outcome: Outcome = "failed"
    try:
        tracking.begin()
        yield tracking
        outcome = "finished"
    except (KeyboardInterrupt, BoardError):
        outcome = "stopped"
        raise
    finally:
        for recorder in recorders:
            recorder.close(outcome)


@dataclass(frozen=True)
class Tracking:
    """Tells the trackers of a run what is in its database."""

    store: RunStore
    config: RunConfig
    recorders: tuple[Recorder, ...]

    def begin(self) -> None:
        """What the run is asked for, then what there is."""
        for recorder in self.recorders:
            if recorder.name not in Tracked.of(self.store).told:
                recorder.describe(SEARCH, _list_settings(self.store, self.config), {})
                self._keep_told(recorder, 0)
        self.tell()

    def tell(self) -> None:
        """The trials that a tracker was not told of yet, each with the front as it was after it."""
        if not self.recorders:
            return
        history = self.store.history()
        for recorder in self.recorders:
            for place in range(Tracked.of(self.store).told.get(recorder.name, 0), len(history)):
                if isinstance(history[place], PendingTrial):
                    break
                self._tell_trial(recorder, history[: place + 1])
                if not self._keep_told(recorder, place + 1):
                    break

    def finish(self, front: Front, page: Path) -> None:
        """The front with the figures of the last lease, and what the run leaves."""
        bundles = self.store.folder / "bundles"
        files = {"report.html": page, "front.json": self.store.folder / "front.json", "bundles": bundles}
        for recorder in self.recorders:
            recorder.write(SEARCH, len(self.store.history()), "front", _write_table(front))
            recorder.keep({name: path for name, path in files.items() if path.exists()})
            if recorder.works:
                state = Tracked.of(self.store)
                self.store.tracked = asdict(replace(state, complete=(*state.complete, recorder.name)))

    def _keep_told(self, recorder: Recorder, count: int) -> bool:
        """Remember that it was told of so many trials, if it was."""
        if recorder.works:
            state = Tracked.of(self.store)
            self.store.tracked = asdict(replace(state, told={**state.told, recorder.name: count}))
        return recorder.works

    def _tell_trial(self, recorder: Recorder, past: History) -> None:
        trial = past[-1]
        assert not isinstance(trial, PendingTrial)
        if isinstance(trial, ScreenedTrial):  # a look of seconds, of which there are many for each training
            recorder.log(SEARCH, trial.number, {"screened/ap": trial.ap, "screened/ap50": trial.ap50})
            return
        run = name_run(trial.number)
        if isinstance(trial, FailedTrial):
            recorder.describe(run, _list_parameters(trial, past), {})
            recorder.end(run, "failed")
            return
        recorder.describe(run, _list_parameters(trial, past), _list_results(trial))
        recorder.end(run, "finished")
        front = make_front(list_done(past), HandOverState(), wanted=self.config.constraints)
        recorder.log(SEARCH, trial.number, _summarise(front, past))
        recorder.write(SEARCH, trial.number, "front", _write_table(front))


def _list_settings(store: RunStore, config: RunConfig) -> dict[str, Parameter]:
    search = config.search
    wanted = {"asked_for": str(config.constraints)} if str(config.constraints) else {}
    return {
        "command": store.command, "preset": config.preset, "seed": config.seed, "base": config.base,
        "detector": config.detector, "target": config.target, "method": search.method, "trials": search.trials,
        "score": search.cost, "objective": search.objective, "teacher": str(search.teacher), **wanted,
    }  # fmt: skip


def _list_parameters(trial: DoneTrial | FailedTrial, past: History) -> dict[str, Parameter]:
    proposal = trial.proposal
    values: dict[str, Parameter | None] = {
        "trial": trial.number,
        "parent": proposal.parent,
        "actions": describe_edits(proposal) if trial.number else "",
        "teacher": None if proposal.teacher is None else str(proposal.teacher),
        "taught": proposal.taught,
        "aim": proposal.aim,
        "note": proposal.note,
    }
    if isinstance(trial, FailedTrial):
        values["error"] = trial.error
    else:
        before = 0.0 if proposal.parent is None else get_done(past, proposal.parent).work.epochs_total
        values["epochs"] = trial.work.epochs_total - before
        values["arch"] = encoding_from_arch(trial.arch) or trial.arch.arch_id
        values["arch_id"] = trial.arch.arch_id
        values["canvas"] = "{}x{}".format(*trial.arch.input_size)
    return {name: value for name, value in values.items() if value not in (None, "")}


def _list_results(trial: DoneTrial) -> dict[str, float]:
    figures, work = trial.figures, trial.work
    values: dict[str, float | None] = {
        "ap": trial.ap,
        "ap50": trial.ap50,
        "score": trial.score,
        "cost_vs_base": 1 / trial.cost_ratio,
        "latency_ms": figures.median_ms if figures else None,
        "latency_p90_ms": figures.p90_ms if figures else None,
        "energy_mj": figures.energy_mj if figures else None,
        "memory_mib": figures.memory_mib if figures else None,
        "macs": trial.counts.macs,
        "params": trial.counts.params,
        "model_bytes": trial.files.model_bytes,
        "epochs_total": work.epochs_total,
        "seconds": work.seconds,
    }
    return {name: float(value) for name, value in values.items() if value is not None and isfinite(value)}


def _summarise(front: Front, past: History) -> dict[str, float]:
    """How good the front is: the area it beats, how many students are on it, and its two ends."""
    best = front.best
    return {
        "front/hypervolume": trace_growth(past)[-1].volume,
        "front/students": float(sum(not export.of_base for export in best)),
        **({"front/best_ap": max(e.ap for e in best), "front/least_cost": 1 / best[0].ratio} if best else {}),
    }


def _write_table(front: Front) -> str:
    rows = [f"| student | AP | AP50 | {front.kind.unit} | of the base's cost |", "|---|---|---|---|---|"]
    for export in front.best:
        cost = front.find_cost(export)
        rows.append(f"| {export.name} | {export.ap:.3f} | {export.ap50:.3f} | {cost:.2f} | {1 / export.ratio:.2f} |")
    return "\n".join(rows)
