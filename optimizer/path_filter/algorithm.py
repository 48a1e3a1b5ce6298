"""DetOFA's training of a super-network, from the warm-up to the filter that evolution asks (algorithm 1).

Each step is a function of what the steps before it left, and what it leaves is kept at once under its name. So a run
that is killed goes on where it was, and comes to the same numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.files import make_folder, write_file
from deploy.reading import parse_json, read_plain
from optimizer.errors import InputError
from optimizer.path_filter.agreement import Agreement, measure_agreement
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.files import LIMIT, pack_filter, unpack_filter
from optimizer.path_filter.filter import PathFilter, Scorer
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.pruning import prune
from optimizer.path_filter.ranking import Validated, fit
from optimizer.path_filter.sampling import PathStream, set_thresholds
from optimizer.path_filter.schedule import Schedule
from optimizer.path_filter.space import Score, identify, list_choices
from optimizer.seeds import derive_seed

__all__ = ["TRAINING", "WARM_UP", "DetOfa", "FittedFilter", "Keeper", "KeptInFolder", "Outcome", "Train", "Validate"]

Train = Callable[[str, int, PathStream], None]
Validate = Callable[[NDArray[np.int64]], float]  # of the genes of one path (slots,)

SETTING, DONE = "setting.json", b"done\n"
MANY = 1000  # paths, of which every tenth part is told when it is judged
CLASSIFIED = 25  # paths that are judged by classification between two writes; each takes a moment
WARM_UP, TRAINING = "warm-up", "training"


class Keeper(Protocol):
    """Where states are kept, by name."""

    def read(self, name: str) -> bytes | None:
        """What was written last under a name; None where nothing was."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Keep a content whole or, if this process dies, not at all."""
        ...


@dataclass(frozen=True)
class KeptInFolder:
    """States as files of one folder."""

    folder: Path

    def read(self, name: str) -> bytes | None:
        path = self.folder / name
        return read_plain(path, LIMIT) if path.exists() else None

    def write(self, name: str, content: bytes) -> None:
        make_folder(self.folder)
        write_file(self.folder / name, content)


@dataclass(frozen=True)
class FittedFilter:
    """A filter that was trained on validated paths.

    Attributes:
        losses: on the paths held out, before the first epoch and after each.
        agreement: with the losses of the paths held out.
    """

    filter: PathFilter
    losses: tuple[float, ...]
    agreement: Agreement


@dataclass(frozen=True)
class Outcome:
    """What a training leaves besides the super-network.

    Attributes:
        first: pruned the space. last: is the one to ask in evolution.
        validated: the paths the last filter was trained on.
        classified: the filter that the first one started from; None where that was not pre-trained.
    """

    pruned: PrunedSpace
    first: FittedFilter
    last: FittedFilter
    validated: Validated
    classified: FittedFilter | None = None


@dataclass(frozen=True)
class DetOfa:
    """A training, and all that it asks of its surroundings.

    Attributes:
        start: the new filter that everything begins with.
        train: trains the super-network further, under a name for so many epochs, with the path that a `PathStream` has
            for each of its steps. Called again with the same name, it goes on where it was killed, and does nothing if
            it was done.
        validate: the loss of a path on validation images, by the super-network as it is.
        tell: called with the name of each step that is begun, and how far a long one is.
        classify: what a path that was trained to classify does wrong, by the super-network as it is before the warm-up;
            for a schedule that pre-trains the filter.
    """

    buckets: Buckets
    start: PathFilter
    schedule: Schedule
    train: Train
    validate: Validate
    keeper: Keeper
    seed: int = 0
    tell: Callable[[str], None] = lambda step: None
    classify: Validate | None = None

    def run(self) -> Outcome:
        """Do all that is not done yet.

        Raises:
            InputError: what is kept belongs to another training or is damaged, a bucket is empty, or there are too few
                paths to train a filter. RunFailed: no path reaches a threshold, or a filter's loss is not finite.
        """
        self._claim()
        whole = PrunedSpace.whole(self.buckets)
        classified = self._pretrain(whole)
        start = self.start if classified is None else classified.filter
        self._train(WARM_UP, self.schedule.warm_up)
        first = self._fit("first-filter", start, self._validate_paths("first-paths", whole))
        pruned = self._prune(Scorer(first.filter, self.buckets))
        self._train(TRAINING, self.schedule.train)
        validated = self._validate_paths("last-paths", pruned)
        return Outcome(pruned, first, self._fit("last-filter", first.filter, validated), validated, classified)

    def stream(self, name: str) -> PathStream:
        """The paths of a training, by its name, whose earlier steps are done; the same in every process."""
        pruned = PrunedSpace.whole(self.buckets)
        score: Score = _call_all_good
        if name == TRAINING:
            first = self._read_fit("first-filter")
            if first is None:
                raise InputError("the first filter of this training is missing; restore it, or begin elsewhere")
            score = Scorer(first.filter, self.buckets)
            pruned = self._prune(score)
        return PathStream(pruned, self.buckets, score, derive_seed(self.seed, name))

    def _claim(self) -> None:
        """Make sure that what is kept is of this very training."""
        setting = {
            "space": identify(self.buckets.space), "buckets": self.buckets.to_json(), "seed": self.seed,
            "schedule": self.schedule.to_json(), "filter": asdict(self.start.config),
        }  # fmt: skip
        kept = self._read(SETTING)
        if kept is None:
            self._write(SETTING, setting)
        elif kept != setting:
            other = [name for name, value in setting.items() if not isinstance(kept, dict) or kept.get(name) != value]
            raise InputError(
                f"the training that was begun here has another {' and '.join(other)}; "
                "go on with its options, or begin elsewhere"
            )

    def _pretrain(self, whole: PrunedSpace) -> FittedFilter | None:
        """The filter fitted to paths that classify; None where none are asked for."""
        each = self.schedule.classified // self.buckets.count
        if not each:
            return None
        assert self.classify is not None, "nobody says how well a path classifies"
        paths = self._judge_paths("classified-paths", whole, each, self.classify, CLASSIFIED)
        return self._fit("classified-filter", self.start, paths)

    def _train(self, name: str, epochs: int) -> None:
        if self.keeper.read(name) is None:
            self.tell(name)
            self.train(name, epochs, self.stream(name))
            self.keeper.write(name, DONE)

    def _validate_paths(self, name: str, pruned: PrunedSpace) -> Validated:
        return self._judge_paths(name, pruned, self.schedule.paths, self.validate)

    def _judge_paths(self, name: str, pruned: PrunedSpace, each: int, judge: Validate, every: int = 1) -> Validated:
        """So many paths of each bucket, of allowed operations, whatever they score; kept by the `every`."""
        state = self._read(f"{name}.json")
        if state is None:
            rng = self._make_rng(name)
            drawn = [self.buckets.draw(bucket, each, rng, pruned.mask(bucket)) for bucket in range(self.buckets.count)]
            state = {"genes": np.concatenate(drawn).tolist(), "losses": []}
        with _naming(f"{name}.json"):
            losses: list[float | None] = list(state["losses"])
            genes = np.array(state["genes"], dtype=np.int64)
            genes = genes.reshape(len(genes), len(self.buckets.space.slots))
            if not ((genes >= 0) & (genes < list_choices(self.buckets.space).sum(axis=1))).all():
                raise ValueError("a gene is not a choice of its slot")
        if len(losses) < len(genes):
            self.tell(name)
        for path in genes[len(losses) :]:
            loss = float(judge(path))
            losses.append(loss if math.isfinite(loss) else None)
            if len(losses) % every == 0 or len(losses) == len(genes):
                self._write(f"{name}.json", {"genes": state["genes"], "losses": losses})
            if len(genes) >= MANY and len(losses) % (len(genes) // 10) == 0:
                self.tell(f"{name}, {len(losses)} of {len(genes)}")
        return Validated(genes, np.array([np.nan if loss is None else loss for loss in losses]))

    def _fit(self, name: str, start: PathFilter, paths: Validated) -> FittedFilter:
        if self._read_fit(name) is None:
            self.tell(name)
            found = fit(start, paths, self.buckets, self.schedule.fit, derive_seed(self.seed, name))
            held_out, score = found.held_out, Scorer(found.filter, self.buckets)
            numbers = self.buckets.find(held_out.genes)
            agreement = measure_agreement(score(held_out.genes), held_out.losses, numbers, self.schedule.weak)
            shares = {key: None if math.isnan(share) else share for key, share in asdict(agreement).items()}
            self._write(f"{name}.json", {"losses": [*found.losses], "agreement": shares})
            self.keeper.write(f"{name}.safetensors", pack_filter(found.filter))
        fitted = self._read_fit(name)
        assert fitted is not None
        return fitted

    def _read_fit(self, name: str) -> FittedFilter | None:
        content, described = self.keeper.read(f"{name}.safetensors"), self._read(f"{name}.json")
        if content is None or described is None:
            return None
        path_filter = unpack_filter(content, self.buckets.space, f"{name}.safetensors").to(self.start.places.device)
        with _naming(f"{name}.json"):
            agreed = {key: math.nan if share is None else float(share) for key, share in described["agreement"].items()}
            return FittedFilter(path_filter, tuple(map(float, described["losses"])), Agreement(**agreed))

    def _prune(self, score: Score) -> PrunedSpace:
        kept = self._read("pruned.json")
        if kept is None:
            self.tell("pruning")
            pruned = prune(self.buckets, score, self.schedule.pruning, self._make_rng("pruning"))
            self._write("pruned.json", pruned.to_json())
        else:
            pruned = PrunedSpace.from_json(kept, self.buckets.space)
        thresholds = self._read("thresholds.json")
        if thresholds is None:
            self.tell("thresholds")
            rng = self._make_rng("thresholds")
            thresholds = [*set_thresholds(pruned, self.buckets, score, rng, self.schedule.weak).thresholds]
            self._write("thresholds.json", thresholds)
        with _naming("thresholds.json"):
            return replace(pruned, thresholds=tuple(map(float, thresholds)))

    def _make_rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, name))

    def _read(self, name: str) -> Any:
        content = self.keeper.read(name)
        return None if content is None else parse_json(content, name)

    def _write(self, name: str, value: Any) -> None:
        self.keeper.write(name, json.dumps(value).encode())


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """What does not fit in a state becomes an error that names it."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} of the training is damaged ({reason:.80}); restore it, or begin elsewhere") from error


def _call_all_good(genes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.ones(len(genes))
