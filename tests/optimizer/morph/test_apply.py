"""Chains of actions on weights."""

from random import Random

import pytest
import torch

from optimizer.arch import (
    AddLayer,
    IllegalAction,
    PruneChannels,
    PruneLayer,
    Rearrange,
    Resize,
    Space,
    count,
    legal_actions,
)
from optimizer.morph import inherit, measure_importance, morph

SPACE = Space(
    sizes=((64, 64), (96, 64)),
    region_proposals=(10, 20),
    max_depths=(3, 3, 4, 3),
    min_width=8,
    round_to=4,
    min_neck_width=8,
    min_box_width=16,
)


def run(detector, arch):
    width, height = arch.input_size
    with torch.no_grad():
        return detector.detect(torch.zeros(1, 3, height, width))


def test_no_action_leaves_everything_as_it_was(arch, draw_weights):
    weights = draw_weights(arch, 0)
    morphed = morph(weights, arch, [])
    assert morphed.arch == arch
    assert morphed.edits == ()
    assert all(torch.equal(morphed.weights[name], tensor) for name, tensor in weights.items())
    assert all(morphed.weights[name].data_ptr() != tensor.data_ptr() for name, tensor in weights.items())


def test_actions_are_applied_in_order_with_importance_measured_anew(arch, draw_weights):
    weights = draw_weights(arch, 0)
    actions = [PruneChannels(0.2, 4, 4), AddLayer(1), PruneChannels(0.2, 4, 4), PruneLayer("mean")]
    present, present_arch = weights, arch
    for action in actions:
        edit = action.apply(present_arch, measure_importance(present, present_arch))
        present, present_arch = inherit(present, edit), edit.child
    morphed = morph(weights, arch, actions)
    assert morphed.arch == present_arch
    assert [edit.child for edit in morphed.edits][-1] == present_arch
    assert all(torch.equal(morphed.weights[name], tensor) for name, tensor in present.items())


@pytest.mark.parametrize("action", [PruneChannels(0.1, 1, 4), PruneChannels(0.3, 8, 8), PruneLayer()])
def test_pruning_makes_the_detector_cheaper_in_params_and_macs(arch, draw_weights, load, action):
    morphed = morph(draw_weights(arch, 0), arch, [action])
    before, after = count(arch), count(morphed.arch)
    assert after.params < before.params
    assert after.macs < before.macs
    run(load(morphed.weights, morphed.arch), morphed.arch)


def test_an_action_the_architecture_does_not_admit_raises(arch, draw_weights):
    with pytest.raises(IllegalAction):
        morph(draw_weights(arch, 0), arch, [Rearrange(0, "first")])


def test_weights_that_need_gradients_are_no_hindrance(archs, draw_weights, load):
    arch = archs["bottleneck"]
    parameters = dict(load(draw_weights(arch, 0), arch).named_parameters())
    weights = {**draw_weights(arch, 0), **parameters}
    morphed = morph(weights, arch, [PruneChannels(0.2, 4, 4), AddLayer(0), Resize((64, 64))])
    assert not any(tensor.requires_grad for tensor in morphed.weights.values())


def test_every_legal_action_gives_a_detector_that_loads_and_runs(arch, draw_weights, load):
    weights = draw_weights(arch, 0)
    actions = legal_actions(arch, SPACE)
    everywhere = {"prune_channels", "prune_layer", "add_layer", "rearrange", "resize"}
    others = {
        "faster_rcnn": {"prune_fpn", "set_region_proposals", "prune_rpn", "prune_box_head"},
        "retinanet": {"prune_fpn"},
        "centernet": {"prune_deconv", "prune_branches"},
    }
    assert {action.kind for action in actions} == everywhere | others[arch.head.kind]
    for action in actions:
        student = morph(weights, arch, [action])
        assert len(run(load(student.weights, student.arch), student.arch)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_chains_of_random_legal_actions_always_load_and_run(arch, draw_weights, load, seed):
    rng = Random(seed)
    weights = draw_weights(arch, seed)
    original = {name: tensor.clone() for name, tensor in weights.items()}
    student = morph(weights, arch, [])
    for _ in range(10):
        student = morph(student.weights, student.arch, [rng.choice(legal_actions(student.arch, SPACE))])
    predictions = run(load(student.weights, student.arch), student.arch)
    assert len(predictions) == 1
    assert all(tensor.isfinite().all() for tensor in predictions[0])
    assert all(torch.equal(weights[name], tensor) for name, tensor in original.items())
