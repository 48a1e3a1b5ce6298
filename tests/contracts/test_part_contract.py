"""What every body, neck and head of the catalogues must do, in every combination that fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deploy.export import OnnxGraphOps
from optimizer.arch import (
    Action,
    ArchSpec,
    IllegalAction,
    PruneChannels,
    Space,
    count,
    count_parts,
    legal_actions,
    uniform_importance,
)
from optimizer.arch.bodies import BODIES, AnyBody
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.families import FAMILIES, OFA_SHAPES
from optimizer.arch.heads import BOX_HEADS, HEADS, FasterRCNNHead, make_head
from optimizer.arch.necks import NECKS
from optimizer.arch.necks.fpn import COARSER
from optimizer.arch.parts import Form
from optimizer.detectors import DETECTORS, build_detector
from optimizer.detectors import bodies as body_modules
from optimizer.detectors import necks as neck_modules
from optimizer.detectors.base import Truth
from optimizer.errors import InputError
from optimizer.morph import measure_importance, measure_moments, measure_saliency, morph
from optimizer.morph.layers import BODY, name_block
from optimizer.morph.neck import list_channel_sets

SIZE = (130, 97)  # no map but the last divides it
CLASSES = 3
HEAD_NAMES = (*HEADS, *(f"{FasterRCNNHead.kind} {box_head}" for box_head in BOX_HEADS if box_head != "fc2"))
SPACE = Space(sizes=(SIZE, (128, 96)), region_proposals=(30, 20), min_width=8, min_neck_width=8, min_box_width=8)


def smallest_body(kind: str) -> AnyBody:
    """The body of this kind with the fewest parameters, of the bases and the ends of spaces."""
    ends = [shape.make((0,) * 4, (0.2,) * len(shape.places), (0.65,) * 4) for shape in OFA_SHAPES.values()]
    fitting = [body for body in (*FAMILIES.values(), *ends) if body.kind == kind]
    return min(fitting, key=lambda body: body.count(SIZE).params)


def make_archs() -> Mapping[str, ArchSpec]:
    """One narrow detector of each combination; for the other box heads one body is enough."""
    archs = {}
    for body, neck, head in product(BODIES, NECKS, HEAD_NAMES):
        if head not in HEADS and body != "resnet":
            continue
        try:
            arch = ArchSpec(SIZE, smallest_body(body), NECKS[neck](), make_head(head, SIZE).propose(30))
        except InputError:  # this neck does not join them
            continue
        for name in arch.neck.widths:
            arch = replace(arch, neck=arch.neck.with_width(name, 16))
        for name in arch.head.widths:
            arch = replace(arch, head=arch.head.with_width(name, 16))
        if arch.body.channel_groups():
            arch = PruneChannels(0.9, 8, 16).apply(arch, uniform_importance(arch)).child
        archs[f"{body}-{neck}-{head}"] = arch
    return archs | make_other_forms(archs["resnet-fpn-faster_rcnn"], archs["resnet-fpn-retinanet"])


def make_other_forms(faster_rcnn: ArchSpec, retinanet: ArchSpec) -> Mapping[str, ArchSpec]:
    """Forms that other projects' weights want: strides on the first convolution, exact anchors, P6 from the body."""
    narrow = make_resnet((1, 2, 1, 2), [(8, 8, 32), (8, 8, 40), (16, 16, 48), (16, 16, 56)])
    narrow = narrow.take_form(Form(early_stride=True, coarser="pyramid", anchor_scale=8))
    archs = {"caffe-fpn-faster_rcnn": replace(faster_rcnn, body=narrow)}
    for name in COARSER:
        archs[f"caffe-fpn {name}-retinanet"] = replace(
            retinanet, body=narrow, neck=replace(retinanet.neck, coarser=name)
        )
    return {name: replace(arch, head=replace(arch.head, exact_anchors=True)) for name, arch in archs.items()}


ARCHS = make_archs()
MOST = 7  # actions of one kind that are tried on an architecture, spread over all that are legal


def list_actions(arch: ArchSpec) -> list[Action]:
    by_kind: dict[str, list[Action]] = {}
    for action in legal_actions(arch, SPACE):
        by_kind.setdefault(action.kind, []).append(action)
    return [action for actions in by_kind.values() for action in actions[:: -(-len(actions) // MOST)]]


@pytest.fixture(params=ARCHS)
def arch(request: pytest.FixtureRequest) -> ArchSpec:
    return ARCHS[request.param]


def weights_of(arch: ArchSpec) -> dict[str, Tensor]:
    """Weights that look trained: no two channels matter alike."""
    weights = build_detector(arch, CLASSES, seed=1).state_dict()
    generator = torch.Generator().manual_seed(2)
    for name, tensor in weights.items():
        if f"{name.rpartition('.')[0]}.running_var" in weights and name.endswith(".weight"):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return weights


def test_every_kind_has_a_module_and_is_in_a_detector() -> None:
    assert {*BODIES} == {*body_modules.BODIES} and {*NECKS} == {*neck_modules.NECKS} and {*HEADS} == {*DETECTORS}
    kinds = [(arch.body.kind, arch.neck.kind, arch.head.kind) for arch in ARCHS.values()]
    assert [{*column} for column in zip(*kinds)] == [{*BODIES}, {*NECKS}, {*HEADS}]
    for catalogue in (BODIES, NECKS, HEADS):
        assert all(part.kind == kind for kind, part in catalogue.items())


def test_a_part_survives_json(arch: ArchSpec) -> None:
    assert ArchSpec.from_json(json.loads(arch.to_text())) == arch
    for part, catalogue in ((arch.body, BODIES), (arch.neck, NECKS), (arch.head, HEADS)):
        value = json.loads(json.dumps(part.to_json()))
        assert catalogue[value.pop("kind")].from_json(value) == part


@pytest.mark.parametrize("size", [SIZE, (96, 64), (127, 65)])
def test_maps_are_as_announced(arch: ArchSpec, size: tuple[int, int]) -> None:
    arch = arch.with_size(*size)
    detector = build_detector(arch, CLASSES)
    with torch.no_grad():
        body_maps = detector.backbone.body(torch.zeros(1, 3, size[1], size[0]))
        maps = detector.backbone(torch.zeros(1, 3, size[1], size[0]))
    for found, announced in ((body_maps, arch.body_maps), (maps, arch.maps)):
        assert [tuple(value.shape[1:]) for value in found.values()] == [
            (item.width, item.rows, item.columns) for item in announced
        ]
    assert tuple(item.stride for item in arch.maps) == arch.head.levels.strides


def test_cost_is_what_torch_counts(arch: ArchSpec) -> None:
    detector = build_detector(arch, CLASSES)
    image = torch.zeros(1, 3, SIZE[1], SIZE[0])
    with torch.no_grad(), FlopCounterMode(display=False) as backbone:
        detector.backbone(image)
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        detector.raw(image, OnnxGraphOps())
    parts = count_parts(arch, CLASSES)
    assert backbone.get_total_flops() // 2 == parts["backbone"].macs + parts["neck"].macs
    assert whole.get_total_flops() // 2 == count(arch, CLASSES).macs
    assert sum(item.numel() for item in detector.parameters()) == count(arch, CLASSES).params
    assert sum(item.numel() for item in detector.backbone.body.parameters()) == parts["backbone"].params


def test_every_block_says_which_tensors_it_has(arch: ArchSpec) -> None:
    weights = build_detector(arch, CLASSES).state_dict()
    width, named = arch.body.stem_width, set()
    for stage, index, block in arch.body.blocks():
        name = name_block(arch.body, (stage, index))
        for layer in block.list_layers(width):
            assert weights[f"{name}.{layer.conv}.weight"].shape == layer.shape
            assert layer.shape[0] == block.widths[layer.writes] or not arch.body.channel_groups()
            vectors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            named |= {f"{name}.{layer.conv}.weight", *(f"{name}.{layer.norm}.{vector}" for vector in vectors)}
        width = block.out_width
        assert {key for key in weights if key.startswith(f"{name}.")} <= named


def test_a_channel_is_in_one_group_and_its_norm_is_as_wide(arch: ArchSpec) -> None:
    weights = build_detector(arch, CLASSES).state_dict()
    groups = arch.body.channel_groups()
    sites = [site for group in groups for site in group.sites]
    assert len(sites) == len(set(sites))
    for group in groups:
        assert {arch.body.stages[s].blocks[b].widths[conv] for s, b, conv in group.sites} == {group.width}
        for name in group.names:
            assert weights[f"{BODY}.{arch.body.name_norm(name)}.weight"].shape == (group.width,)


def test_the_layers_of_a_channel_set_are_there(arch: ArchSpec) -> None:
    weights = build_detector(arch, CLASSES).state_dict()
    for channels in list_channel_sets(arch):
        for writer in channels.writers:
            assert weights[f"{writer.name}.weight"].shape[writer.writes] == channels.width
            assert len(weights[f"{writer.norm or writer.name}.bias"]) == channels.width
            assert f"{writer.name}.bias" in weights or writer.norm
        for reader in channels.readers:
            assert weights[f"{reader.name}.weight"].shape[reader.reads] % channels.width == 0
    for index, readers in arch.neck.name_readers(arch.body_maps, arch.head.levels).items():
        for reader in readers:
            assert weights[f"{reader.name}.weight"].shape[reader.reads] == arch.body_maps[index].width


def test_the_readers_of_the_neck_read_its_width(arch: ArchSpec) -> None:
    weights = build_detector(arch, CLASSES).state_dict()
    for reader in arch.head.name_readers():
        assert weights[f"{reader.name}.weight"].shape[reader.reads] % arch.maps[0].width == 0


def test_every_legal_action_leads_to_a_detector_that_runs(arch: ArchSpec) -> None:
    weights = weights_of(arch)
    actions = list_actions(arch)
    assert "resize" in {action.kind for action in actions}
    for action in actions:
        student = morph(weights, arch, [action])
        detector = build_detector(student.arch, CLASSES)
        detector.load_state_dict(student.weights)
        width, height = student.arch.input_size
        assert len(detector.eval().detect(torch.zeros(1, 3, height, width))) == 1, action


def test_saliency_and_moments_go_through_every_legal_action(arch: ArchSpec) -> None:
    """What the loss says of channels is read, cut and handed on like the weights, and readers make up for the rest."""
    weights = weights_of(arch)
    detector = build_detector(arch, CLASSES)
    detector.load_state_dict(weights)
    images = torch.randn(2, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(3))
    truth = Truth(torch.tensor([[10.0, 10.0, 90.0, 80.0]]), torch.tensor([1]))
    saliency = measure_saliency(detector, [(images, [truth, truth])])
    assert saliency.keys() == weights.keys()
    assert all(saliency[name].shape == tensor.shape for name, tensor in weights.items())
    importance = measure_importance(saliency, arch)
    assert {*importance.channels} == {name for group in arch.body.channel_groups() for name in group.names}
    assert all(max(scores) > 0 for scores in importance.channels.values())
    moments = measure_moments(detector, [images])
    for action in list_actions(arch):
        student = morph(weights, arch, [action, *legal_actions(arch, SPACE)[:1]], saliency, moments)
        assert all(tensor.isfinite().all() for tensor in student.weights.values()), action
        build_detector(student.arch, CLASSES).load_state_dict(student.weights)


def test_a_prunable_width_is_a_width_of_the_module(arch: ArchSpec) -> None:
    """What a part offers to prune makes the detector smaller; what it does not offer, nobody prunes."""
    for part in ("neck", "head"):
        for name, width in getattr(arch, part).widths.items():
            smaller = replace(arch, **{part: getattr(arch, part).with_width(name, width // 2)})
            assert count(smaller).params < count(arch).params
            assert smaller.outer_widths == {**arch.outer_widths, name: width // 2}


def test_region_proposals_are_a_head_of_two_stages_alone(arch: ArchSpec) -> None:
    changed = arch.head.propose(7)
    assert changed.region_proposals == (None if arch.head.region_proposals is None else 7)
    assert changed.kind == arch.head.kind and (arch.head.region_proposals is not None or changed == arch.head)


def test_importance_has_what_the_body_asks_for(arch: ArchSpec) -> None:
    importance = measure_importance(weights_of(arch), arch)
    assert {*importance.channels} == {name for group in arch.body.channel_groups() for name in group.names}
    assert {*importance.blocks} == {(stage, index) for stage, index, _ in arch.body.blocks()}


def test_a_block_grows_and_moves_or_says_that_it_cannot(arch: ArchSpec) -> None:
    for _, _, block in arch.body.blocks():
        try:
            grown = block.grow()
        except IllegalAction:
            pass
        else:
            assert grown.stride == 1 and grown.out_width == block.out_width and not grown.starts_stream
        try:
            moved = block.move(2)
        except IllegalAction:
            pass
        else:
            assert moved.stride == 2 and moved.widths == block.widths


def test_weights_start_from_a_module(arch: ArchSpec) -> None:
    module = body_modules.BODIES[arch.body.kind](arch.body)
    assert isinstance(module, nn.Module)
    assert [*module(torch.zeros(1, 3, SIZE[1], SIZE[0]))] == [str(index) for index in range(len(arch.body_maps))]
