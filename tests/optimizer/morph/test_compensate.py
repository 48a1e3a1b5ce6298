"""Readers that make up for the channels they lose."""

from __future__ import annotations

import pytest
import torch

from optimizer.arch import PruneBoxHead, PruneChannels, PruneFPN, PruneLayer, Resize, uniform_importance
from optimizer.morph import compensate, inherit, measure_moments, morph

FC6, FC7 = "roi_heads.box_head.fc6", "roi_heads.box_head.fc7"


def test_a_channel_that_doubles_another_is_dropped_without_a_trace(archs, draw_weights, load, images):
    """Channel 31 of the box head is twice channel 0: what it said to its reader, channel 0 now says too."""
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    for kind in ("weight", "bias"):
        weights[f"{FC6}.{kind}"][31] = 2 * weights[f"{FC6}.{kind}"][0]
    falling = torch.arange(32.0, 0.0, -1.0)[:, None]
    ranks = weights | {f"{fc}.weight": falling.expand_as(weights[f"{fc}.weight"]) for fc in (FC6, FC7)}
    edit = PruneBoxHead(0.03, 1, 1).apply(arch, uniform_importance(arch))
    before = weights[f"{FC7}.weight"].clone()
    folded, _ = compensate(weights, edit, measure_moments(load(weights, arch), [images]), ranks)
    assert torch.equal(weights[f"{FC7}.weight"], before), "the parent is left alone"
    child = inherit(folded, edit, ranks)
    wanted = weights[f"{FC7}.weight"][:31, :31].clone()
    wanted[:, 0] += 2 * weights[f"{FC7}.weight"][:31, 31]
    assert torch.allclose(child[f"{FC7}.weight"], wanted, atol=0.02)


@pytest.mark.parametrize("action", [PruneFPN(0.5, 4, 4), PruneBoxHead(0.5, 4, 4), PruneChannels(0.3, 4, 4)])
def test_what_readers_put_out_is_nearer_to_the_parents(archs, draw_weights, load, images, action):
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    parent = load(weights, arch)
    moments = measure_moments(parent, [images])

    def error_of(student) -> float:
        with torch.no_grad():
            detector = load(student.weights, student.arch)
            regions = [torch.tensor([[8.0, 8.0, 60.0, 50.0], [40.0, 4.0, 90.0, 60.0]])] * len(images)
            views = [network.view(images, regions, (96, 64)) for network in (parent, detector)]
            return float((views[0].log_probs - views[1].log_probs).square().sum())

    plain, fitted = (error_of(morph(weights, arch, [action], moments=given)) for given in (None, moments))
    assert fitted < plain


def test_moments_are_those_of_what_a_layer_reads(archs, draw_weights, load, images):
    arch = archs["bottleneck"]
    detector = load(draw_weights(arch, 0), arch)
    lateral = "backbone.fpn.inner_blocks.2.0"
    moment = measure_moments(detector, [images[:1], images[1:]])[lateral]
    with torch.no_grad():
        read = detector.backbone.body(images)["2"].transpose(0, 1).flatten(1).double()
    assert torch.allclose(moment.mean, read.mean(1), atol=1e-5)
    assert torch.allclose(moment.covariance, torch.cov(read, correction=0), rtol=1e-4, atol=1e-2)


def test_edits_that_drop_no_channel_change_no_weight(archs, draw_weights, load, images):
    arch = archs["resnext"]
    weights = draw_weights(arch, 0)
    moments = measure_moments(load(weights, arch), [images])
    for action in (Resize((64, 64)), PruneLayer()):
        edit = action.apply(arch, uniform_importance(arch))
        folded, left = compensate(weights, edit, moments, weights)
        assert all(torch.equal(folded[name], tensor) for name, tensor in weights.items())
        assert {*left} == {*moments} if isinstance(action, Resize) else not any("body" in name for name in left)
