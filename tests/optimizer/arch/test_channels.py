import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arch import ArchSpec, BlockSpec, ChannelGroup, Rearrange, ResNetSpec, base_arch, kept_channels
from optimizer.arch import uniform_importance as uniform
from optimizer.arch.channels import removable_units, shrunk_widths


def dense(width: int, name: str = "inner:0.0.0") -> ChannelGroup:
    return ChannelGroup((name,), width, ((0, 0, 0),))


def grouped(width: int, group_width: int) -> ChannelGroup:
    return ChannelGroup(("inner:0.0.0", "inner:0.0.1"), width, ((0, 0, 0), (0, 0, 1)), group_width)


def total(arch: ArchSpec) -> int:
    return sum(group.width * len(group.names) for group in arch.body.channel_groups())


def test_r50_has_the_prunable_channels_of_the_paper():
    assert total(base_arch("r50", (512, 512))) == 11392


def test_r101_has_the_prunable_channels_of_the_paper():
    assert total(base_arch("r101", (512, 512))) == 20096


def test_a_resnext_keeps_its_streams_whole():
    arch = base_arch("x101", (512, 512))

    assert total(arch) == 36352 - (256 + 512 + 1024 + 2048)
    assert all(group.group_width and len(group.names) == 2 for group in arch.body.channel_groups())


def test_the_stream_from_the_stem_of_r18_is_not_prunable():
    names = [group.names[0] for group in base_arch("r18", (512, 512)).body.channel_groups()]

    assert [name for name in names if name.startswith("stream")] == ["stream:1.0", "stream:2.0", "stream:3.0"]
    assert [name for name in names if name.startswith("inner:0")] == ["inner:0.0.0", "inner:0.1.0"]


def test_a_stream_passes_through_the_last_convolution_of_every_block_of_its_stage():
    streams = {group.names[0]: group.sites for group in base_arch("r50", (512, 512)).body.channel_groups()}

    assert streams["stream:0.0"] == ((0, 0, 2), (0, 1, 2), (0, 2, 2))


def test_a_moved_block_starts_a_stream_of_its_own():
    base = base_arch("r50", (512, 512))
    arch = Rearrange(2, "last").apply(base, uniform(base)).child
    streams = {group.names[0]: group for group in arch.body.channel_groups() if group.names[0].startswith("stream:3")}

    assert (streams["stream:3.0"].width, streams["stream:3.0"].sites) == (1024, ((3, 0, 2),))
    assert (streams["stream:3.1"].width, streams["stream:3.1"].sites) == (2048, ((3, 1, 2), (3, 2, 2), (3, 3, 2)))


def test_no_convolution_is_in_two_groups():
    for name in ("r18", "r101", "x101"):
        sites = [site for group in base_arch(name, (512, 512)).body.channel_groups() for site in group.sites]
        assert len(sites) == len(set(sites))


def test_the_score_of_a_grouped_block_is_the_mean_of_its_two_convolutions():
    assert grouped(2, 2).score_channels({"inner:0.0.0": (1.0, 3.0), "inner:0.0.1": (3.0, 9.0)}) == (2.0, 6.0)


def test_an_importance_of_another_network_is_noticed():
    with pytest.raises(AssertionError, match="another network"):
        dense(3).score_channels({"inner:0.0.0": (1.0, 2.0)})


@pytest.mark.parametrize(
    ("scores", "width", "group_width", "kept"),
    [
        ((0.1, 0.9, 0.5), 2, 0, (1, 2)),
        ((0.1, 0.9, 0.5), 3, 0, (0, 1, 2)),
        ((0.1, 0.9, 0.5), 0, 0, ()),
        ((0.5, 0.5, 0.5, 0.5), 2, 0, (0, 1)),
        ((0.9, 0.0, 0.5, 0.6), 2, 2, (2, 3)),
        ((0.5, 0.5, 0.5, 0.5, 0.7, 0.7), 4, 2, (0, 1, 4, 5)),
    ],
)
def test_the_most_important_channels_stay_and_of_equals_the_first(scores, width, group_width, kept):
    assert kept_channels(scores, width, group_width) == kept


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.data())
def test_nothing_dropped_is_more_important_than_anything_kept(scores, data):
    kept = kept_channels(scores, data.draw(st.integers(1, len(scores))))
    dropped = set(range(len(scores))) - set(kept)

    assert list(kept) == sorted(set(kept))
    assert all(scores[gone] <= min(scores[stay] for stay in kept) for gone in dropped)


@pytest.mark.parametrize(
    ("group", "round_to", "min_width", "sizes"),
    [
        (dense(58), 8, 32, (2, 8, 8, 8)),
        (dense(64), 8, 32, (8, 8, 8, 8)),
        (dense(64), 8, 60, ()),
        (dense(32), 8, 32, ()),
        (dense(20), 8, 32, ()),
        (dense(35), 1, 32, (1, 1, 1)),
        (dense(1), 1, 1, ()),
        (dense(8), 8, 1, ()),
        (grouped(128, 32), 8, 32, (32, 32, 32)),
        (grouped(128, 32), 8, 40, (32, 32)),
    ],
)
def test_a_group_shrinks_to_multiples_and_never_below_its_floor(group, round_to, min_width, sizes):
    assert removable_units(group, round_to, min_width) == sizes


def test_the_least_important_channels_go_wherever_they_are():
    groups = [dense(4, "a"), dense(4, "b")]
    channels = {"a": (0.9, 0.8, 0.1, 0.2), "b": (0.7, 0.6, 0.5, 0.3)}

    assert shrunk_widths(groups, channels, ratio=3 / 8, round_to=1, min_width=1) == (2, 3)


def test_pruning_stops_as_soon_as_the_ratio_is_gone():
    assert shrunk_widths([dense(64)], {"inner:0.0.0": (0.5,) * 64}, ratio=0.1, round_to=8, min_width=8) == (56,)


def test_rounding_of_equal_scores_leaves_multiples():
    assert shrunk_widths([dense(59)], {"inner:0.0.0": (0.1,) * 59}, ratio=0.01, round_to=8, min_width=8) == (56,)


def test_a_grouped_convolution_loses_its_least_important_groups():
    channels = {"inner:0.0.0": (0.0, 9.0, 1.0, 1.0, 3.0, 3.0), "inner:0.0.1": (0.0, 9.0, 1.0, 1.0, 3.0, 3.0)}

    assert shrunk_widths([grouped(6, 2)], channels, ratio=0.3, round_to=8, min_width=2) == (4,)


def test_nothing_to_shrink_leaves_the_widths():
    assert shrunk_widths([dense(16)], {"inner:0.0.0": (0.0,) * 16}, ratio=0.5, round_to=8, min_width=32) == (16,)
    assert shrunk_widths([], {}, ratio=0.5, round_to=8, min_width=32) == ()


def test_a_block_inside_a_grouped_stream_may_be_dense_but_the_stream_stays_whole():
    stages = list(base_arch("x101", (512, 512)).body.stages)
    blocks = stages[0].blocks
    stages[0] = type(stages[0])((*blocks, BlockSpec((64, 48, 256))))

    names = [group.names for group in ResNetSpec(tuple(stages)).channel_groups()]

    assert ("inner:0.3.0",) in names
    assert not any(name.startswith("stream") for group in names for name in group)
