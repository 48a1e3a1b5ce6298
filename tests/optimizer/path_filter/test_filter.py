"""The filter's scores, its variants and its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_paths import ToyPaths

from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.files import pack_filter, read_filter, unpack_filter, write_filter
from optimizer.path_filter.filter import FilterConfig, PathFilter, Scorer

SMALL = FilterConfig(width=16, layers=1)
VARIANTS = [
    SMALL,
    replace(SMALL, bucket_as="token"),
    replace(SMALL, bucket_as="none"),
    replace(SMALL, encoding="standard"),
    replace(SMALL, block_encoding=False),
]


@pytest.mark.parametrize("config", VARIANTS)
def test_scores_lie_between_0_and_1_and_do_not_depend_on_the_batch(buckets: Buckets, config: FilterConfig) -> None:
    genes = buckets.draw_each(20, np.random.default_rng(0))
    score = Scorer(PathFilter(buckets.space, config), buckets)
    scores = score(genes)
    assert scores.shape == (100,) and ((scores > 0) & (scores < 1)).all() and len(np.unique(scores)) > 85
    np.testing.assert_allclose(np.concatenate([score(genes[:7]), score(genes[7:])]), scores, atol=1e-6)
    assert score(genes[:0]).shape == (0,)


def test_scoring_equals_the_forward_pass_that_is_trained(space: ToyPaths, buckets: Buckets) -> None:
    """torch computes evaluation on another way than training."""
    genes = buckets.draw_each(4, np.random.default_rng(0))
    path_filter = PathFilter(space, SMALL)
    trained = path_filter(torch.from_numpy(space.tokens(genes)), torch.from_numpy(buckets.find(genes)))
    np.testing.assert_allclose(Scorer(path_filter, buckets)(genes), trained.detach().numpy(), atol=1e-6)
    assert path_filter.training


def test_scores_are_the_same_within_a_training_in_bf16(buckets: Buckets) -> None:
    """A training draws its paths in its steps; thresholds were set outside them."""
    genes = buckets.draw_each(4, np.random.default_rng(0))
    score = Scorer(PathFilter(buckets.space, SMALL), buckets)
    alone = score(genes)
    with torch.autocast("cpu", torch.bfloat16):
        within = score(genes)
    np.testing.assert_array_equal(within, alone)


def test_token_and_bucket_are_concatenated_and_projected(space: ToyPaths, buckets: Buckets) -> None:
    """The forward pass projects both tables instead of every layer of every path."""
    genes = buckets.draw_each(3, np.random.default_rng(0))
    tokens, numbers = torch.from_numpy(space.tokens(genes)), torch.from_numpy(buckets.find(genes))
    path_filter = PathFilter(space, SMALL)
    both = torch.cat([path_filter.token(tokens), path_filter.bucket(numbers)[:, None].expand(-1, 7, -1)], dim=-1)
    features = path_filter.encoder(path_filter.project(both) + path_filter.places)
    scores = path_filter.head(features.mean(dim=1)).squeeze(-1)
    torch.testing.assert_close(path_filter(tokens, numbers), scores)


def test_the_paper_s_filter(space: ToyPaths) -> None:
    path_filter = PathFilter(space)
    layer = path_filter.encoder.layers[0]
    assert len(path_filter.encoder.layers) == 3 and layer.self_attn.num_heads == 4
    assert layer.linear1.out_features == 128 and path_filter.token.weight.shape == (10, 128)
    assert path_filter.bucket.weight.shape == (5, 128) and path_filter.project.weight.shape == (128, 256)
    assert not torch.equal(layer.linear1.weight, path_filter.encoder.layers[1].linear1.weight)
    state = torch.random.get_rng_state()
    again = PathFilter(space)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(again.head[0].weight, path_filter.head[0].weight)
    assert not torch.equal(PathFilter(space, seed=1).head[0].weight, path_filter.head[0].weight)


@pytest.mark.parametrize("config", VARIANTS)
def test_a_file_keeps_the_filter(tmp_path: Path, buckets: Buckets, config: FilterConfig) -> None:
    path_filter = PathFilter(buckets.space, config, seed=3)
    write_filter(tmp_path / "filter.safetensors", path_filter)
    read = read_filter(tmp_path / "filter.safetensors", buckets.space)
    assert read.config == config
    genes = buckets.draw(2, 9, np.random.default_rng(0))
    np.testing.assert_array_equal(Scorer(read, buckets)(genes), Scorer(path_filter, buckets)(genes))


@pytest.mark.parametrize("other", [ToyPaths((2, 1)), ToyPaths(expands=(0.2, 0.25, 0.5))])
def test_a_filter_of_another_space_is_refused(space: ToyPaths, other: ToyPaths) -> None:
    content = pack_filter(PathFilter(space, SMALL))
    with pytest.raises(InputError, match=r"f\.safetensors is of another space of paths .* train a filter for this"):
        unpack_filter(content, other, "f.safetensors")


def test_damaged_files_are_refused_in_one_line(space: ToyPaths, tmp_path: Path) -> None:
    content = pack_filter(PathFilter(space, SMALL))
    of_another_version = content.replace(rb"\"schema\": 1", rb"\"schema\": 7")
    with pytest.raises(InputError, match="schema version 7; this release reads version 1"):
        unpack_filter(of_another_version, space)
    wider = content.replace(rb"\"width\": 16", rb"\"width\": 32")
    assert len({content, wider, of_another_version}) == 3
    nameless = content.replace(rb"\"heads\"", rb"\"hands\"")
    for damaged in (b"", content[:100], content[:-1], wider, nameless, content.replace(b"path_filter", b"rath_filter")):
        with pytest.raises(InputError, match="is damaged or is not a path filter") as caught:
            unpack_filter(damaged, space)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_filter(tmp_path / "none", space)


@pytest.mark.parametrize(
    "change", [{"width": 10**6}, {"layers": 10**6}, {"buckets": 10**6}, {"width": 16}, {"heads": 0}]
)
def test_no_filter_is_built_that_is_larger_than_its_file(space: ToyPaths, change: dict[str, int]) -> None:
    """Of a width of a million it would be terabytes."""
    content = pack_filter(PathFilter(space, FilterConfig(width=8, heads=2, layers=1)))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    described = json.loads(header["__metadata__"]["path_filter"])
    described["config"].update(change)
    header["__metadata__"]["path_filter"] = json.dumps(described)
    changed = json.dumps(header).encode()
    with pytest.raises(InputError, match="is damaged or is not a path filter"):
        unpack_filter(len(changed).to_bytes(8, "little") + changed + content[8 + length :], space)
