"""Operation scores, the ways of pruning, thresholds, and what is drawn of what is left."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from toy_paths import ToyPaths

from optimizer.errors import InputError, RunFailed
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.drawing import EVERYWHERE
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.pruning import PruningConfig, PruningWay, prune, score_operations
from optimizer.path_filter.sampling import PathStream, draw_good, set_thresholds
from optimizer.path_filter.space import Floats, Genes, list_choices

WEAK_SLOT, WEAK_CHOICE = 4, 2  # the first block's largest expansion
CONFIG = PruningConfig(draws=4)


def score(genes: Genes) -> Floats:
    """Paths are worth their first stage's width, unless they have the weak operation."""
    return 0.4 + 0.2 * genes[:, 2] - 0.35 * (genes[:, WEAK_SLOT] == WEAK_CHOICE)


def count_allowed(pruned: PrunedSpace) -> list[int]:
    return [sum(sum(row) for row in rows) for rows in pruned.allowed]


def test_an_operation_s_score_is_the_mean_of_paths_that_have_it(buckets: Buckets) -> None:
    seen: list[Genes] = []

    def remember(genes: Genes) -> Floats:
        seen.append(genes)
        return score(genes)

    rng = np.random.default_rng(0)
    found = score_operations(buckets, remember, list_choices(buckets.space), EVERYWHERE, 40, rng)
    assert found.shape == (11, 3) and len(seen) == 1 and len(seen[0]) == 33 * 40
    by_operation = seen[0].reshape(11, 3, 40, 11)
    tokens = buckets.space.tokens(seen[0]).reshape(11, 3, 40, 7)
    for slot in range(11):
        for choice in range(3):
            assert (by_operation[slot, choice, :, slot] == choice).all()
            assert found[slot, choice] == pytest.approx(score(by_operation[slot, choice]).mean())
            if slot >= 4:
                assert (tokens[slot, choice, :, slot - 4] > 0).all()  # the paths have the block
    assert found[2, 2] - found[2, 0] == pytest.approx(0.4, abs=0.1)


def test_in_a_bucket_paths_have_the_operation_and_the_cost(buckets: Buckets) -> None:
    costs: list[Floats] = []

    def remember(genes: Genes) -> Floats:
        costs.append(buckets.cost(genes))
        return score(genes)

    rng = np.random.default_rng(0)
    found = score_operations(buckets, remember, list_choices(buckets.space), buckets.interval(4), 10, rng)
    assert (buckets.find_of_costs(costs[0]) == 4).all()
    assert np.isnan(found[1, 0]) and np.isfinite(found[1, 2])  # none there has the second stage at its least depth


@pytest.mark.parametrize("way", ["per bucket", "all"])
def test_the_weakest_operations_are_barred_in_every_bucket(buckets: Buckets, way: PruningWay) -> None:
    pruned = prune(buckets, score, replace(CONFIG, way=way), np.random.default_rng(0))
    assert not any(rows[WEAK_SLOT][WEAK_CHOICE] for rows in pruned.allowed[:4])  # the last has few paths
    assert not any(rows[2][0] for rows in pruned.allowed[1:3])


def test_as_many_are_barred_as_was_asked(buckets: Buckets) -> None:
    """Of 33 operations: 10 of each bucket, or 3 of all and then 9 of the other 30, where a bucket has them all."""
    rng = np.random.default_rng(0)
    assert count_allowed(prune(buckets, score, replace(CONFIG, way="none"), rng)) == [33] * 5
    assert count_allowed(prune(buckets, score, replace(CONFIG, way="flops"), rng))[2] == 23
    assert count_allowed(prune(buckets, score, replace(CONFIG, way="per bucket"), rng))[2] == 23
    assert count_allowed(prune(buckets, score, CONFIG, rng))[2] == 21
    nothing = prune(buckets, score, replace(CONFIG, ratio=0.0, overall=0.0), rng)
    assert count_allowed(nothing) == [33] * 5 and nothing == PrunedSpace.whole(buckets)


def test_flops_bars_operations_at_random_whatever_they_score(buckets: Buckets) -> None:
    def refuse(genes: Genes) -> Floats:
        raise AssertionError("no path is to be scored")

    config = replace(CONFIG, way="flops")
    ones = [prune(buckets, refuse, config, np.random.default_rng(seed)) for seed in (0, 1)]
    assert ones[0] != ones[1]


def test_every_slot_keeps_a_choice_and_every_bucket_a_path(buckets: Buckets) -> None:
    pruned = prune(buckets, score, replace(CONFIG, ratio=1.0), np.random.default_rng(0))
    for bucket in range(5):
        assert all(map(any, pruned.allowed[bucket]))
        genes = buckets.draw(bucket, 3, np.random.default_rng(0), pruned.mask(bucket))
        assert (buckets.find(genes) == bucket).all() and pruned.permit(buckets, genes).all()


def test_a_bucket_without_paths_is_noticed_first(space: ToyPaths) -> None:
    gap = Buckets.between_ends(space, lambda genes: 10.0 * (genes[:, 0] > 0) * (genes[:, 1] > 0))
    with pytest.raises(InputError, match=r"bucket 2 of 5 .* seems to be empty"):
        prune(gap, score, CONFIG, np.random.default_rng(0))


def test_json_keeps_a_pruned_space_and_another_space_s_is_refused(space: ToyPaths, buckets: Buckets) -> None:
    masks = np.repeat(list_choices(space)[None], 5, axis=0)
    masks[2, 3:, 1] = False
    pruned = replace(PrunedSpace.of(buckets, masks), thresholds=(0.1,) * 5)
    text = json.dumps(pruned.to_json())
    assert PrunedSpace.from_json(json.loads(text), space) == pruned
    with pytest.raises(InputError, match="is of another space of paths"):
        PrunedSpace.from_json(json.loads(text), ToyPaths((2, 1)))
    for damage in ({"thresholds": [0.1]}, {"allowed": [[[0, 0, 0]] * 11] * 5}, {"allowed": 3}, {"thresholds": ["x"]}):
        with pytest.raises(InputError, match="a pruned space is damaged"):
            PrunedSpace.from_json(json.loads(text) | damage, space)
    with pytest.raises(InputError, match="a pruned space is damaged"):
        PrunedSpace.from_json({}, space)


def worth(genes: Genes) -> Floats:
    """Scores that no two paths share."""
    return 0.5 + genes @ np.linspace(0.001, 0.011, genes.shape[1])


def test_thresholds_reject_a_quarter_of_each_bucket(buckets: Buckets) -> None:
    rng = np.random.default_rng(0)
    pruned = set_thresholds(PrunedSpace.whole(buckets), buckets, worth, rng, count=200)
    for bucket in (1, 2):
        below = worth(buckets.draw(bucket, 200, rng)) < pruned.thresholds[bucket]
        assert 0.12 < below.mean() < 0.38
    assert set_thresholds(pruned, buckets, worth, rng, weak=0.0).thresholds == (0.0,) * 5


def test_what_is_drawn_is_allowed_in_the_bucket_and_good(buckets: Buckets) -> None:
    rng = np.random.default_rng(0)
    pruned = prune(buckets, worth, CONFIG, rng)
    pruned = set_thresholds(pruned, buckets, worth, rng, count=100)
    genes = draw_good(pruned, buckets, worth, 1, 40, rng)
    assert genes.shape == (40, 11) and (buckets.find(genes) == 1).all()
    assert pruned.permit(buckets, genes).all() and (worth(genes) >= pruned.thresholds[1]).all()
    assert not pruned.permit(buckets, buckets.draw(1, 100, rng)).all()


def test_a_threshold_out_of_reach_ends_with_a_sentence(buckets: Buckets) -> None:
    pruned = replace(PrunedSpace.whole(buckets), thresholds=(0.99,) * 5)
    with pytest.raises(RunFailed, match=r"bucket 3: of 1280 random paths 0 score at least 0\.99, wanted 4; the thresh"):
        draw_good(pruned, buckets, worth, 2, 4, np.random.default_rng(0))


def test_the_path_of_a_step_depends_on_nothing_but_its_number(buckets: Buckets) -> None:
    pruned = set_thresholds(PrunedSpace.whole(buckets), buckets, worth, np.random.default_rng(0), count=50)
    stream = PathStream(pruned, buckets, worth, seed=3)
    steps = [0, 5, 255, 256, 300]
    paths = np.stack([stream.at(step) for step in steps])
    resumed = PathStream(pruned, buckets, worth, seed=3)
    np.testing.assert_array_equal(np.stack([resumed.at(step) for step in reversed(steps)])[::-1], paths)
    every = np.stack([stream.at(step) for step in range(256)])
    counts = np.bincount(buckets.find(every), minlength=5)
    assert counts.min() > 30
    assert (worth(every) >= np.array(pruned.thresholds)[buckets.find(every)]).all()
    assert (PathStream(pruned, buckets, worth, seed=4).at(0) != paths[0]).any()
