"""What a trained detector's loss says of its channels and blocks."""

from __future__ import annotations

import pytest
import torch

from optimizer.arch import PruneBoxHead, PruneChannels, PruneDeconv, PruneFPN, PruneLayer
from optimizer.detectors.base import Truth
from optimizer.morph import inherit, measure_gates, measure_importance, measure_saliency, morph, spread_gates
from optimizer.morph.neck import list_channel_sets

BLOCK = "backbone.body.layer4.0"


@pytest.fixture(scope="module")
def batches(images):
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [50.0, 10.0, 90.0, 60.0]])
    return [(images, [Truth(boxes, torch.tensor([0, 2])), Truth(boxes[:0], torch.zeros(0, dtype=torch.int64))])]


def test_a_channel_that_nothing_reads_goes_first_though_its_scale_is_the_greatest(
    archs, draw_weights, load, batches, edit_widths
):
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    weights[f"{BLOCK}.bn1.weight"][47] = 9.0
    weights[f"{BLOCK}.conv2.weight"][:, 47] = 0.0
    saliency = measure_saliency(load(weights, arch), batches)
    by_scale, by_loss = (measure_importance(ranks, arch).channels["inner:3.0.0"] for ranks in (weights, saliency))
    assert max(by_scale) == by_scale[47] and by_loss[47] == 0.0
    edit = edit_widths(arch, {(3, 0, 0): 47})
    assert (inherit(weights, edit)[f"{BLOCK}.bn1.weight"] == 9.0).any()
    assert not (inherit(weights, edit, saliency)[f"{BLOCK}.bn1.weight"] == 9.0).any()


def test_outside_the_body_too(archs, draw_weights, load, batches):
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    fc6, fc7 = "roi_heads.box_head.fc6", "roi_heads.box_head.fc7"
    weights[f"{fc6}.weight"][31] *= 100
    weights[f"{fc7}.weight"][:, 31] = 0.0
    saliency = measure_saliency(load(weights, arch), batches)
    action = PruneBoxHead(0.1, 1, 1)
    kept = weights[f"{fc6}.weight"][31]
    assert (morph(weights, arch, [action]).weights[f"{fc6}.weight"] == kept).all(1).any()
    assert not (morph(weights, arch, [action], saliency).weights[f"{fc6}.weight"] == kept).all(1).any()


def test_a_gate_is_the_derivative_of_the_loss_by_a_factor_behind_the_layer(archs, draw_weights, load, batches):
    """By finite differences, in double precision."""
    arch = archs["retinanet"]
    weights = draw_weights(arch, 0)
    doubled = [
        (images.double(), [Truth(boxes.double(), labels) for boxes, labels in truths]) for images, truths in batches
    ]

    def loss_with(factor: float, channel: int) -> float:
        detector = load(weights, arch).double()
        norm = detector.get_submodule(f"{BLOCK}.bn2")
        with torch.no_grad():
            norm.weight[channel] *= factor
            norm.bias[channel] *= factor
            return float(sum(detector.losses(*doubled[0]).values()))

    gates = measure_gates(load(weights, arch).double(), doubled)
    slopes = [abs(loss_with(1 + 1e-5, c) - loss_with(1 - 1e-5, c)) / 2e-5 for c in range(4)]
    found = gates[f"{BLOCK}.bn2"][:4]
    assert (found / found.sum()).tolist() == pytest.approx([slope / sum(slopes) for slope in slopes], rel=1e-3)


def test_layers_that_write_one_channel_have_one_gate_and_it_adds_up_over_a_filter(arch, draw_weights, load, batches):
    weights = draw_weights(arch, 0)
    gates = measure_gates(load(weights, arch), batches)
    saliency = spread_gates(gates, weights)
    for channels in list_channel_sets(arch):
        for writer in channels.writers:
            decider, first = (each.norm or each.name for each in (writer, channels.writers[0]))
            assert torch.equal(gates[decider], gates[first])
            filters = saliency[f"{decider}.weight"].abs().reshape(channels.width, -1).sum(1)
            assert torch.allclose(filters, gates[decider], rtol=1e-4)
    importance = measure_importance(saliency, arch)
    assert all(sum(scores) > 0 for scores in importance.channels.values())
    assert all(score > 0 for score in importance.blocks.values())


def test_measuring_leaves_the_detector_as_it_was_and_is_repeatable(arch, draw_weights, load, batches):
    weights = draw_weights(arch, 0)
    detector = load(weights, arch)
    detector.backbone.body.requires_grad_(False)
    state = torch.get_rng_state()
    gates, again = (measure_gates(detector, batches) for _ in range(2))
    assert all(torch.equal(gates[name], again[name]) for name in gates)
    assert torch.equal(state, torch.get_rng_state()) and not detector.training
    assert all(torch.equal(value, weights[name]) for name, value in detector.state_dict().items())
    assert not any(parameter.requires_grad for parameter in detector.backbone.body.parameters())
    assert all(parameter.requires_grad for parameter in detector.backbone.get_submodule(arch.neck.kind).parameters())
    assert all(parameter.grad is None for parameter in detector.parameters())


def test_a_block_that_adds_nothing_goes_first(archs, draw_weights, load, batches):
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    for vector in ("weight", "bias"):
        weights[f"backbone.body.layer3.1.bn2.{vector}"].zero_()
    weights["backbone.body.layer3.1.conv1.weight"] *= 100  # the greatest by its norm
    saliency = measure_saliency(load(weights, arch), batches)
    for norm in ("sum", "mean"):
        assert morph(weights, arch, [PruneLayer(norm)], saliency).arch.body.depths == (2, 2, 1, 2)
        assert morph(weights, arch, [PruneLayer(norm)]).arch.body.depths[2] == 2


def test_a_chain_of_edits_takes_the_saliency_along(arch, draw_weights, load, batches):
    weights = draw_weights(arch, 0)
    saliency = measure_saliency(load(weights, arch), batches)
    narrow = {"fpn": PruneFPN, "deconv": PruneDeconv}[arch.neck.kind]
    actions = [PruneChannels(0.2, 4, 4), narrow(0.25, 4, 4), PruneLayer("mean"), PruneChannels(0.2, 4, 4)]
    child = morph(weights, arch, actions, saliency)
    load(child.weights, child.arch)
