"""The ranking loss by hand, and what training on a made-up accuracy gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_paths import ToyPaths, make_up_losses

from optimizer.errors import InputError, RunFailed
from optimizer.path_filter.agreement import measure_agreement
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.filter import FilterConfig, PathFilter, Scorer
from optimizer.path_filter.ranking import Fit, FitConfig, Validated, fit, measure_ranking_loss, split

SMALL = FilterConfig(width=32, layers=1)
QUICK = FitConfig(rate=5e-3, batch=128, epochs=16, patience=8)


def test_the_loss_is_that_of_ordered_pairs_of_one_bucket() -> None:
    scores = torch.tensor([0.9, 0.4, 0.5, 0.1])
    losses = torch.tensor([1.0, 2.0, 3.0, 0.5])
    one = torch.tensor([0, 0, 1, 1])
    # the first is better than the second, 0.5 ahead; the fourth better than the third, 0.4 behind
    assert float(measure_ranking_loss(scores, losses, one)) == pytest.approx((0.5**2 + 1.4**2) / 2)
    # without buckets also: 0 and 2, 1 and 2, 3 and 0, 3 and 1
    every = [0.5, 1.4, 0.6, 1.1, 1.8, 1.3]
    assert float(measure_ranking_loss(scores, losses, None)) == pytest.approx(np.mean(np.square(every)))


def test_equally_good_paths_count_both_ways_and_no_pair_is_no_loss() -> None:
    scores = torch.tensor([0.7, 0.2], requires_grad=True)
    equal = measure_ranking_loss(scores, torch.ones(2), torch.zeros(2, dtype=torch.int64))
    assert equal.item() == pytest.approx((0.5**2 + 1.5**2) / 2)
    none = measure_ranking_loss(scores, torch.ones(2), torch.arange(2))
    none.backward()
    assert none.item() == 0 and scores.grad is not None and not scores.grad.any()


def test_a_fifth_of_each_bucket_is_held_out() -> None:
    buckets = np.repeat(np.arange(5), 20)
    fitted, held_out = split(buckets, 0.2, np.random.default_rng(0))
    assert sorted([*fitted, *held_out]) == [*range(100)]
    assert np.bincount(buckets[held_out]).tolist() == [4] * 5


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_paths_are_refused(buckets: Buckets, count: int) -> None:
    genes = buckets.draw_each(count, np.random.default_rng(0))
    with pytest.raises(InputError, match=f"too few paths to train a filter: {5 * count} in 5 buckets.*more paths"):
        fit(PathFilter(buckets.space, SMALL), Validated(genes, np.arange(5.0 * count)), buckets, QUICK, 0)


@pytest.fixture(scope="module")
def paths(space: ToyPaths, buckets: Buckets) -> Validated:
    genes = buckets.draw_each(40, np.random.default_rng(1))
    return Validated(genes, make_up_losses(space, genes, noise=0.5))


@pytest.fixture(scope="module")
def fresh(space: ToyPaths, buckets: Buckets) -> Validated:
    genes = buckets.draw_each(30, np.random.default_rng(2))
    return Validated(genes, make_up_losses(space, genes))


@pytest.fixture(scope="module")
def trained(buckets: Buckets, paths: Validated) -> Fit:
    return fit(PathFilter(buckets.space, SMALL), paths, buckets, QUICK, 0)


def measure_tau(found: Fit, fresh: Validated, buckets: Buckets) -> float:
    scores = Scorer(found.filter, buckets)(fresh.genes)
    return measure_agreement(scores, fresh.losses, buckets.find(fresh.genes)).tau


def test_a_trained_filter_orders_paths_it_has_not_seen(buckets: Buckets, trained: Fit, fresh: Validated) -> None:
    untrained = Fit(PathFilter(buckets.space, SMALL), (1.0,), fresh)
    assert measure_tau(trained, fresh, buckets) > max(0.4, measure_tau(untrained, fresh, buckets) + 0.2)


def test_the_best_state_is_kept_and_the_training_is_the_same_again(
    buckets: Buckets, trained: Fit, paths: Validated
) -> None:
    held = trained.held_out
    numbers = buckets.find(held.genes)
    assert np.bincount(numbers).tolist() == [8] * 5 and 0 < trained.best_epoch < len(trained.losses)
    scores = torch.from_numpy(Scorer(trained.filter, buckets)(held.genes))
    kept = measure_ranking_loss(scores, torch.from_numpy(held.losses), torch.from_numpy(numbers))
    assert float(kept) == pytest.approx(min(trained.losses), abs=1e-5)
    short = replace(QUICK, epochs=2)
    runs = [fit(PathFilter(buckets.space, replace(SMALL, dropout=0.1)), paths, buckets, short, 4) for _ in range(2)]
    assert runs[0].losses == runs[1].losses and len(runs[0].losses) == 3
    assert fit(PathFilter(buckets.space, SMALL), paths, buckets, short, 5).losses != runs[0].losses


def test_it_stops_once_nothing_gets_better(buckets: Buckets, paths: Validated) -> None:
    still = fit(PathFilter(buckets.space, SMALL), paths, buckets, replace(QUICK, rate=0.0, patience=3), 0)
    assert len(still.losses) == 4 and still.best_epoch == 0


def test_a_pretrained_filter_is_better_than_a_new_one_after_few_epochs(
    space: ToyPaths, buckets: Buckets, trained: Fit, fresh: Validated
) -> None:
    """Buckets of another cost, as a detector's are; few paths of the task at hand."""
    others = Buckets.between_ends(space, lambda genes: 2e9 + 1e9 * space.cost(genes))
    genes = others.draw_each(10, np.random.default_rng(3))
    few = Validated(genes, make_up_losses(space, genes, noise=0.5, seed=3))
    before = trained.filter.head[0].weight.clone()
    tuned = fit(trained.filter, few, others, replace(QUICK, rate=1e-3, epochs=3), 0)
    assert torch.equal(trained.filter.head[0].weight, before)  # what is trained is a copy
    new = fit(PathFilter(space, SMALL), few, others, replace(QUICK, rate=1e-3, epochs=3), 0)
    assert measure_tau(tuned, fresh, others) > measure_tau(new, fresh, others) + 0.1


@pytest.mark.parametrize(
    "config, bounded",
    [
        (SMALL, False),
        (replace(SMALL, bucket_as="none"), True),
        (replace(SMALL, block_encoding=False), True),
        (replace(SMALL, bucket_as="token", encoding="standard"), True),
    ],
)
def test_each_row_of_the_paper_s_table_trains(
    buckets: Buckets, paths: Validated, fresh: Validated, config: FilterConfig, bounded: bool
) -> None:
    row = fit(PathFilter(buckets.space, config), paths, buckets, replace(QUICK, epochs=8, bounded=bounded), 0)
    assert measure_tau(row, fresh, buckets) > 0.2


def test_a_validation_that_failed_is_the_worst_of_losses(buckets: Buckets, paths: Validated) -> None:
    losses = paths.losses.copy()
    losses[::7] = np.nan
    failed = fit(PathFilter(buckets.space, SMALL), Validated(paths.genes, losses), buckets, replace(QUICK, epochs=1), 0)
    assert np.isfinite(failed.losses).all()


def test_a_training_that_blows_up_says_so(buckets: Buckets, paths: Validated) -> None:
    with pytest.raises(RunFailed, match="loss is not finite after 1 epochs; choose a smaller rate"):
        fit(PathFilter(buckets.space, SMALL), paths, buckets, replace(QUICK, rate=float("inf")), 0)
