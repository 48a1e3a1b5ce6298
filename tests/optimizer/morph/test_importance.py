"""What channel and layer pruning rank by."""

import pytest
import torch

from optimizer.morph import measure_importance


def test_every_prunable_group_has_a_score_for_each_of_its_channels(arch, draw_weights):
    channels = measure_importance(draw_weights(arch, 0), arch).channels
    wanted = {name: group.width for group in arch.body.channel_groups() for name in group.names}
    assert {name: len(scores) for name, scores in channels.items()} == wanted


def test_a_score_is_the_magnitude_of_the_batch_norm_scale(archs, draw_weights):
    arch = archs["bottleneck"]
    weights = draw_weights(arch, 0)
    weights["backbone.body.layer3.1.bn2.weight"] = -torch.arange(16.0)
    channels = measure_importance(weights, arch).channels
    assert channels["inner:2.1.1"] == tuple(float(number) for number in range(16))


def test_the_projection_decides_over_a_residual_stream(archs, draw_weights):
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    weights["backbone.body.layer2.0.downsample.1.weight"] = torch.arange(24.0)
    channels = measure_importance(weights, arch).channels
    assert channels["stream:1.0"] == tuple(float(number) for number in range(24))


@pytest.mark.parametrize(
    ("kind", "streams"),
    [("basic", {"1.0", "2.0", "3.0"}), ("bottleneck", {"0.0", "1.0", "2.0", "3.0"}), ("resnext", set())],
)
def test_streams_from_the_stem_and_of_a_resnext_have_no_score(archs, draw_weights, kind, streams):
    channels = measure_importance(draw_weights(archs[kind], 0), archs[kind]).channels
    assert {name.removeprefix("stream:") for name in channels if name.startswith("stream:")} == streams


def test_a_blocks_norm_is_the_sum_of_all_its_parameters_magnitudes(arch, draw_weights, load):
    weights = draw_weights(arch, 0)
    norms = measure_importance(weights, arch).blocks
    body = load(weights, arch).backbone.body
    for stage, index, _ in arch.body.blocks():
        block = getattr(body, f"layer{stage + 1}")[index]
        total = sum(parameter.abs().sum().item() for parameter in block.parameters())
        assert norms[stage, index] == pytest.approx(total, rel=1e-5)
    assert len(norms) == sum(arch.body.depths)
