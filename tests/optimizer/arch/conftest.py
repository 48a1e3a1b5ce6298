"""Made-up architectures and importances for the tests of this folder."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import strategies as st

from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec, Importance, ResNetSpec, base_arch
from optimizer.arch.bodies.resnet import lay_out_stages


@pytest.fixture(scope="session")
def draw_importance() -> Callable[[ArchSpec, int], Importance]:
    """A function of (arch, seed): random importance with every name and length the architecture asks for."""

    def draw(arch: ArchSpec, seed: int) -> Importance:
        rng = Random(seed)
        return Importance(
            channels={
                name: tuple(rng.random() for _ in range(group.width))
                for group in arch.body.channel_groups()
                for name in group.names
            },
            blocks={(stage, block): rng.random() for stage, block, _ in arch.body.blocks()},
        )

    return draw


@pytest.fixture(scope="session")
def dense_archs() -> st.SearchStrategy[ArchSpec]:
    """Architectures without grouping, with one to three blocks of any widths in each stage."""

    def lay_out(widths: list[list[tuple[int, ...]]], size: tuple[int, int]) -> ArchSpec:
        body = ResNetSpec(lay_out_stages(widths, [[0] * len(stage) for stage in widths]))
        return ArchSpec(size, body, FpnSpec(), FasterRCNNHead(anchor_scale=4))

    def stages(convolutions: int) -> st.SearchStrategy[list[list[tuple[int, ...]]]]:
        block = st.tuples(*[st.integers(1, 90)] * convolutions)
        return st.lists(st.lists(block, min_size=1, max_size=3), min_size=4, max_size=4)

    sides = st.integers(64, 599)
    return st.builds(lay_out, st.one_of(stages(2), stages(3)), st.tuples(sides, sides))


@pytest.fixture(scope="session")
def base_archs() -> st.SearchStrategy[ArchSpec]:
    """The shallower base detectors and the grouped one, on the papers' smallest canvas."""
    return st.sampled_from([base_arch(name, (512, 512)) for name in ("r18", "r50", "x101")])
