"""A once-for-all super-network trained by DetOFA's path filter, in a pool's folder: its states lie in `filter/` there.

What is left after the training, the filter and the pruned space, then says which subnets a search looks at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from deploy import Preprocess
from deploy.data import Dataset
from deploy.files import hash_file
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.data.loader import TrainLoader
from optimizer.detectors.base import Detector, Truth
from optimizer.errors import InputError
from optimizer.path_filter.agreement import Agreement
from optimizer.path_filter.algorithm import TRAINING, WARM_UP, DetOfa, FittedFilter, KeptInFolder, Outcome
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.evolution import Breeding as PathBreeding
from optimizer.path_filter.evolution import evolve
from optimizer.path_filter.filter import PathFilter, Scorer
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.sampling import PathStream
from optimizer.path_filter.space import Cost, Score, find_ends
from optimizer.search.evolution import Breeding, Price
from optimizer.seeds import derive_seed
from optimizer.supernet.classified import ClassificationJudge, check_judged
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.manifest import Manifest, phase_path
from optimizer.supernet.path_latency import MeasuredPaths
from optimizer.supernet.pool import extract_calibrated
from optimizer.supernet.weights import load_weights

__all__ = [
    "FilterGuide", "choose_paths", "hash_states", "measure_loss", "open_guide", "require_kept", "train_filtered",
]  # fmt: skip

STATES = "filter"
MEASURED = "latencies.json"  # among the states
PHASES = (WARM_UP, TRAINING)
WHEN = {"classified": "before the warm-up, on classification", "first": "after the warm-up", "last": "at the end"}
BUCKETS_OF = {"flops": "operations of the body", "latency": "latency on the target"}
BATCH_SIZE = 4  # images that a loss is measured on together


@dataclass(frozen=True)
class FilterGuide:
    """What a search among a pool's subnets asks the filter.

    A filter orders paths of one bucket. So of subnets within a limit those of the dearest bucket come first.

    Attributes:
        candidates: subnets to choose one from, for each that is looked at.
        agreement: of the two filters, by when they were fitted. validated: paths that were judged each time.
        by: what the buckets are of, in words.
        classified: paths judged by classification that the filter was pre-trained on; 0 where it was not.
        seed: of what it breeds on its own.
    """

    space: OfaSpace
    buckets: Buckets
    pruned: PrunedSpace
    score: Score
    candidates: int
    agreement: Mapping[str, Agreement]
    validated: int
    by: str
    classified: int = 0
    seed: int = 0

    def sample(self, rng: Random) -> OfaSubnet:
        """A random bucket, one of its paths of allowed operations, and a random canvas."""
        numbers = np.random.default_rng(rng.getrandbits(64))
        bucket = rng.randrange(self.buckets.count)
        (genes,) = self.buckets.draw(bucket, 1, numbers, self.pruned.mask(bucket))
        return self.space.subnet(genes.tolist(), rng.choice(self.space.sizes))

    def permits(self, subnet: OfaSubnet) -> bool:
        """Whether it consists of operations that are not barred."""
        return bool(self.pruned.permit(self.buckets, self._list_genes([subnet])).all())

    def choose(self, subnets: Sequence[OfaSubnet]) -> OfaSubnet:
        """The best of those on the first one's canvas; of equals the first."""
        rivals = [subnet for subnet in subnets if subnet.size == subnets[0].size]
        genes = self._list_genes(rivals)
        keys = list(zip(self.buckets.find(genes).tolist(), self.score(genes).tolist(), strict=True))
        return rivals[max(range(len(rivals)), key=keys.__getitem__)]

    def describe(self) -> dict[str, Any]:
        """What was judged, barred and left, as JSON."""
        shares = {
            when: {name: None if math.isnan(share) else share for name, share in asdict(found).items()}
            for when, found in self.agreement.items()
        }
        return {
            "agreement": shares, "paths": self.validated, "by": self.by, "classified": self.classified,
            "ends": [edge / self.buckets.edges[-1] for edge in self.buckets.edges[1:]],
            "slots": [[slot.name, slot.kind, [*slot.choices]] for slot in self.space.slots],
            "allowed": self.pruned.to_json()["allowed"],
        }  # fmt: skip

    def breed(self, price: Price, limit: float, breeding: Breeding, generations: int) -> OfaSubnet:
        """The best, by the filter, of generations that nothing else judged (DetOFA 3.3).

        A filter was fitted to paths on the super-network's own canvas; so a smaller one is taken only where no subnet
        on the larger ones is within the limit.

        Raises:
            InputError: no subnet is within the limit.
        """
        mutants = breeding.mutants / breeding.population
        made = PathBreeding(breeding.population, generations, breeding.parents, mutants, breeding.rate)
        ends = find_ends(self.space)
        for size in self.space.sizes:
            of_paths = self._price_on(size, price)
            if size == self.space.sizes[-1] or of_paths(ends)[0] <= limit:
                break
        rng = np.random.default_rng(derive_seed(self.seed, "bred", repr(limit)))
        (found,) = evolve(self.buckets, self.score, [limit], rng, made, self.pruned, price=of_paths)
        return self.space.subnet(found.genes[0].tolist(), size)

    def _price_on(self, size: tuple[int, int], price: Price) -> Cost:
        return lambda genes: np.array(
            [price(self.space.arch(self.space.subnet(path, size))) for path in genes.tolist()]
        )

    def _list_genes(self, subnets: Sequence[OfaSubnet]) -> NDArray[np.int64]:
        return np.array([self.space.genes(subnet) for subnet in subnets], dtype=np.int64)


def train_filtered(
    config: SupernetConfig,
    folder: Path,
    kept: Dataset,
    train_phase: Callable[[int], None],
    device: torch.device,
    calibration: Dataset,
    say: Callable[[str], None],
    measured: MeasuredPaths | None = None,
) -> None:
    """The whole of DetOFA's algorithm, from wherever an earlier process left it.

    Args:
        kept: images that the super-network is not trained on, by which paths are judged.
        train_phase: trains a phase of the pool, if that is not done.
        measured: latencies for a filter whose buckets are of latency; what an earlier process left goes before these.

    Raises:
        InputError: there are no latencies, or as of `DetOfa.run`.
    """
    if config.measured_on and not (path := folder / STATES / MEASURED).exists():
        if measured is None:
            raise InputError(
                "buckets of latency need subnets that were measured beside a base: have a run train this super-network"
            )
        measured.write(path)
    judge = _Judge(config, folder, kept, device, calibration)
    classifying = ClassificationJudge(config, folder, calibration, kept, device)
    made = _make(
        config, folder, lambda name, epochs, paths: train_phase(PHASES.index(name)), judge.measure, say,
        classifying.measure,
    )  # fmt: skip
    if not config.classification_paths:
        why = "its body was not pre-trained (--pretrain none)" if config.pretrained_on is None else "none are asked for"
        say(f"path filter: not pre-trained on classification paths, as {why}")
    for when, found in _list_fits(made.run()).items():
        say(f"path filter {when}: Kendall's tau {found.agreement.tau:.2f} on paths held out")


def require_kept(config: SupernetConfig, kept: Dataset | None) -> Dataset:
    """The images that paths are judged on, before anything is trained.

    Raises:
        InputError: no image is kept out, or there is nothing on them to judge by.
    """
    if kept is None or not kept.records:
        raise InputError(
            "a path filter is fitted to losses on images that are kept out of training, and these are too few to keep "
            "any: give more training images (--data), or train without a filter (--shrinking none)"
        )
    check_judged(config, kept)
    return kept


def choose_paths(config: SupernetConfig, folder: Path, phase: int) -> Callable[[int], OfaSubnet]:
    """The subnet of each step of a phase, by what the steps before it left in a pool's folder."""
    stream, space = _make(config, folder).stream(PHASES[phase]), _get_space(config)
    return lambda step: space.subnet(stream.at(step).tolist(), space.sizes[0])


def open_guide(manifest: Manifest) -> FilterGuide | None:
    """That of a trained pool; None where it was trained without a filter.

    Raises:
        InputError: a file is not the one that the pool was made with.
    """
    config = manifest.config
    if config.filtered_by is None:
        return None
    if not manifest.states or hash_states(manifest.folder) != dict(manifest.states):
        raise InputError(
            f"the teacher pool {manifest.folder} is damaged: {STATES} holds other files than it was made with; "
            "restore them, or remove the pool's folder to train it again"
        )
    made = _make(config, manifest.folder)
    outcome = made.run()
    score = Scorer(outcome.last.filter, made.buckets)
    agreement = {when: found.agreement for when, found in _list_fits(outcome).items()}
    return FilterGuide(
        _get_space(config), made.buckets, outcome.pruned, score, config.filtered_by.candidates, agreement,
        len(outcome.validated), BUCKETS_OF[config.filtered_by.bucket], config.classification_paths, config.seed,
    )  # fmt: skip


def hash_states(folder: Path) -> Mapping[str, str]:
    """SHA-256 of what a filter's training left in a pool's folder, by name of the file; empty where there was none."""
    return {path.name: hash_file(path) for path in sorted((folder / STATES).glob("*")) if path.is_file()}


@torch.no_grad()
def measure_loss(detector: Detector, dataset: Dataset, device: torch.device) -> float:
    """The mean loss of a detector in evaluation mode on images of its own canvas, the same whenever it is asked for."""
    preprocess = Preprocess.imagenet(*detector.arch.input_size)
    loader = TrainLoader(dataset, preprocess, batch_size=min(BATCH_SIZE, len(dataset.records)), seed=0)
    detector.to(device).eval()
    losses = []
    with torch.random.fork_rng():  # of regions that a head is shown
        torch.manual_seed(0)
        for images, truths in loader.epoch(0):
            named = detector.losses(
                images.to(device), [Truth(*(part.to(device) for part in truth)) for truth in truths]
            )
            losses.append(float(sum(named.values())))
    return float(np.mean(losses))


def _list_fits(outcome: Outcome) -> dict[str, FittedFilter]:
    """The filters of a training by when they were fitted, in order."""
    fits = {"classified": outcome.classified, "first": outcome.first, "last": outcome.last}
    return {WHEN[name]: found for name, found in fits.items() if found is not None}


class _Judge:
    """The loss of paths by the super-network as its last phase so far left it."""

    def __init__(
        self, config: SupernetConfig, folder: Path, kept: Dataset, device: torch.device, calibration: Dataset
    ) -> None:
        self.config, self.folder, self.kept, self.device, self.calibration = config, folder, kept, device, calibration
        self.supernet, self.loaded = config.build(len(kept.class_names)), -1

    def measure(self, genes: NDArray[np.int64]) -> float:
        space = _get_space(self.config)
        latest = max(phase for phase in range(len(PHASES)) if phase_path(self.folder, phase).exists())
        if latest != self.loaded:
            load_weights(self.supernet.shared, phase_path(self.folder, latest))
            self.loaded = latest
        subnet = space.subnet(genes.tolist(), space.sizes[0])
        detector = extract_calibrated(self.supernet, subnet, self.config, self.calibration, self.device)
        return measure_loss(detector, self.kept, self.device)


def _make(
    config: SupernetConfig,
    folder: Path,
    train: Callable[[str, int, PathStream], None] | None = None,
    validate: Callable[[NDArray[np.int64]], float] | None = None,
    say: Callable[[str], None] = lambda text: None,
    classify: Callable[[NDArray[np.int64]], float] | None = None,
) -> DetOfa:
    """The algorithm over a pool's folder; without `train` one that only reads what is there."""
    filtering = config.filtered_by
    assert filtering is not None

    def refuse(*arguments: Any) -> Any:
        raise InputError(f"the path filter in {folder / STATES} is not trained to the end; train the pool anew")

    space = _get_space(config)
    measured = MeasuredPaths.read(folder / STATES / MEASURED) if config.measured_on else None
    buckets = Buckets.between_ends(space, measured.predict_each(space) if measured is not None else None)
    warm_up, rest = (phase.train.epochs for phase in config.phases)
    schedule = filtering.to_schedule(warm_up, rest, classifies=config.pretrained_on is not None)
    return DetOfa(
        buckets, PathFilter(buckets.space, seed=config.seed), schedule, train or refuse, validate or refuse,
        KeptInFolder(folder / STATES), config.seed, lambda step: say(f"path filter: {step}"), classify or refuse,
    )  # fmt: skip


def _get_space(config: SupernetConfig) -> OfaSpace:
    return cast(OfaSpace, config.space())
