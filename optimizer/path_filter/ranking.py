"""Training a filter to rank: squared hinge over pairs of paths of one bucket (FACTS 4.8, items 1, 5 and 17)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optimizer.errors import InputError, RunFailed
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.filter import PathFilter
from optimizer.path_filter.space import Floats, Genes

__all__ = ["Fit", "FitConfig", "Validated", "fit", "measure_ranking_loss", "split"]


@dataclass(frozen=True)
class Validated:
    """Paths and the loss of each on validation images; lower is better, and NaN is worst."""

    genes: Genes
    losses: Floats

    def __post_init__(self) -> None:
        assert self.genes.ndim == 2 and self.losses.shape == self.genes.shape[:1]

    def __len__(self) -> int:
        return len(self.losses)

    def select(self, rows: NDArray[np.int64]) -> Validated:
        return Validated(self.genes[rows], self.losses[rows])


@dataclass(frozen=True)
class FitConfig:
    """How a filter is trained. The paper names the split; the rest is a reconstruction.

    Attributes:
        rate: of Adam.
        batch: paths whose pairs make up a step.
        patience: epochs without a better loss on the paths held out before the training stops.
        held_out: share of each bucket's paths.
        bounded: whether only paths of one bucket are compared (the paper's FLOPs-bounded loss).
    """

    rate: float = 1e-3
    batch: int = 256
    epochs: int = 200
    patience: int = 20
    held_out: float = 0.2
    bounded: bool = True


@dataclass(frozen=True)
class Fit:
    """A trained filter.

    Attributes:
        losses: on the paths held out, before the first epoch and after each.
        held_out: those paths, for `agreement.measure`.
    """

    filter: PathFilter
    losses: tuple[float, ...]
    held_out: Validated = field(repr=False)

    @property
    def best_epoch(self) -> int:
        """That after which the filter was kept; 0 where training made nothing better."""
        return int(np.argmin(self.losses))


def measure_ranking_loss(scores: Tensor, losses: Tensor, buckets: Tensor | None) -> Tensor:
    """Mean of max(0, 1 - (score of a - score of b))^2 over ordered pairs of which a is at least as good as b.

    A sigmoid's scores differ by less than 1, so the loss of equally good paths, or of any others, does not come to 0.

    Args:
        scores, losses: (paths,). buckets: only pairs of one bucket count; None for all pairs.
    """
    pairs = losses[:, None] <= losses[None, :]
    pairs = pairs & ~torch.eye(len(losses), dtype=torch.bool, device=losses.device)
    if buckets is not None:
        pairs = pairs & (buckets[:, None] == buckets[None, :])
    gaps = (scores[:, None] - scores[None, :])[pairs]
    return (1 - gaps).clamp(min=0).square().sum() / max(1, len(gaps))


def split(
    buckets: NDArray[np.int64], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to hold out, the same share of each bucket.

    Raises:
        InputError: no bucket has two paths on both sides, so nothing can be compared.
    """
    fitted, held_out = [], []
    for bucket in np.unique(buckets):
        rows = rng.permutation(np.flatnonzero(buckets == bucket))
        count = round(share * len(rows))
        held_out.append(rows[:count])
        fitted.append(rows[count:])
    if not any(len(out) > 1 and len(rows) > 1 for out, rows in zip(held_out, fitted, strict=True)):
        raise InputError(
            f"too few paths to train a filter: {len(buckets)} in {len(held_out)} buckets, of which {share:g} are held "
            "out, leave no bucket with two on both sides; validate more paths per bucket"
        )
    return np.concatenate(fitted), np.concatenate(held_out)


def fit(path_filter: PathFilter, paths: Validated, buckets: Buckets, config: FitConfig, seed: int) -> Fit:
    """A copy of a filter, trained further on these paths; the state with the best loss on those held out is kept.

    The same arguments give the same filter. For pre-training, start from a new filter and the paths of another task:
    what it learns there is kept, since buckets are numbers, whatever they cost.

    Raises:
        InputError: there are too few paths. RunFailed: the loss is not finite.
    """
    rng = np.random.default_rng(seed)
    numbers = buckets.find(paths.genes)
    rows, out = split(numbers, config.held_out, rng)
    device = path_filter.places.device
    tokens = torch.from_numpy(buckets.space.tokens(paths.genes)).to(device)
    places = torch.from_numpy(numbers).to(device)
    losses = torch.from_numpy(np.nan_to_num(paths.losses, nan=np.inf, posinf=np.inf)).to(device)

    def measure(chosen: NDArray[np.int64]) -> Tensor:
        index = torch.from_numpy(chosen).to(device)
        compared = places[index] if config.bounded else None
        return measure_ranking_loss(trained(tokens[index], places[index]), losses[index], compared)

    trained = copy.deepcopy(path_filter)
    optimizer = torch.optim.Adam(trained.parameters(), lr=config.rate)
    history: list[float] = []
    best = copy.deepcopy(trained.state_dict())
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        for epoch in range(config.epochs + 1):
            if epoch:
                trained.train()
                for batch in _divide(rng.permutation(rows), config.batch):
                    optimizer.zero_grad()
                    measure(batch).backward()
                    optimizer.step()
            trained.eval()
            with torch.no_grad():
                history.append(float(measure(out)))
            if not np.isfinite(history[-1]):
                raise RunFailed(f"the path filter's loss is not finite after {epoch} epochs; choose a smaller rate")
            if int(np.argmin(history)) == epoch:
                best = copy.deepcopy(trained.state_dict())
            if epoch - int(np.argmin(history)) >= config.patience:
                break
    trained.load_state_dict(best)
    return Fit(trained, tuple(history), paths.select(out))


def _divide(rows: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Parts of nearly equal length, none longer than `most`."""
    return np.array_split(rows, -(-len(rows) // most))
