"""Published weights: every entry fits what it says, its file is fetched and checked, and rows of known classes stay."""

from __future__ import annotations

import hashlib
import re
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from optimizer.arch.families import FAMILIES, base_arch
from optimizer.arch.heads import HEADS
from optimizer.config import Published
from optimizer.detectors import Detector, build_detector
from optimizer.detectors.pretrained import ENTRIES, Pretrained, choose_pretrained
from optimizer.detectors.weights import load_pretrained
from optimizer.errors import InputError

MODELS: dict[tuple[str, str | None], Callable[[], nn.Module]] = {
    ("r18", None): models.resnet18,
    ("r50", None): models.resnet50,
    ("r101", None): models.resnet101,
    ("r50", "faster_rcnn"): partial(detection.fasterrcnn_resnet50_fpn, weights=None, weights_backbone=None),
    ("r50", "retinanet"): partial(detection.retinanet_resnet50_fpn, weights=None, weights_backbone=None),
}
COCO = next(entry for entry in ENTRIES if entry.detector == "faster_rcnn").outcomes
OUTCOMES = ("__background__", "person", "traffic light", "", "dog")
CLASSES = ("Dog", "raccoon", "TrafficLight", "N/A")
Publish = Callable[..., Pretrained]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts weights where an entry finds them, under a name with their true hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nets"))

    def put(weights: object, base: str = "r18", detector: str | None = None, **facts: object) -> Pretrained:
        torch.save(weights, tmp_path / "made.pth")
        digest = hashlib.sha256((tmp_path / "made.pth").read_bytes()).hexdigest()
        file = (tmp_path / "made.pth").rename(tmp_path / f"made-{digest[:8]}.pth")
        return Pretrained("coco" if detector else "imagenet", base, detector, file.as_uri(), **facts)  # type: ignore[arg-type]

    return put


def make(detector: str = "faster_rcnn", classes: int = len(CLASSES), seed: int = 0) -> Detector:
    return build_detector(base_arch("r18", (64, 64), detector), classes, seed=seed)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: Path(entry.url).stem)
def test_an_entry_has_the_names_and_shapes_of_the_bases_it_fits(
    entry: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        theirs = MODELS[entry.base, entry.detector]().state_dict()
    if entry.detector:
        assert len(entry.outcomes) == 91 and entry.outcomes[:2] == ("__background__", "person")
    monkeypatch.setattr(Pretrained, "fetch", lambda self: Path("meta.pth"))
    monkeypatch.setattr("optimizer.detectors.weights._read_tensors", lambda path: dict(theirs))
    for kind in [entry.detector] if entry.detector else HEADS:
        assert kind is not None
        with torch.device("meta"):
            ours = build_detector(base_arch(entry.base, (640, 480), kind), 2)
        report = load_pretrained(ours, entry, ("Person", "gremlin"))
        taken = {group for group, (done, _) in report.groups.items() if done}
        assert {"stem", "stage 1", "stage 2", "stage 3", "stage 4"} <= taken
        assert (report.fresh == ()) == (report.classes == ("Person",)) == bool(entry.detector)


def test_the_best_entry_that_fits_is_chosen_and_what_is_not_there_is_said() -> None:
    assert {entry.dataset for entry in ENTRIES} | {"auto"} == set(typing.get_args(Published))
    chosen = {(base, head): choose_pretrained("auto", base, head) for base in FAMILIES for head in HEADS}
    assert {key: entry.dataset if entry else None for key, entry in chosen.items()} == {
        (base, head): {
            "r18": "imagenet",
            "r50": "imagenet" if head == "centernet" else "coco",  # torchvision has none of these
            "r101": "imagenet",
        }.get(base)
        for base in FAMILIES
        for head in HEADS
    }
    with pytest.raises(InputError, match=r"no imagenet weights that fit x101 .* r18, r50, r101\. .*--weights none"):
        choose_pretrained("imagenet", "x101", "retinanet")
    with pytest.raises(InputError, match=r"no coco weights that fit r18 .* r50 retinanet\. --weights imagenet fits"):
        choose_pretrained("coco", "r18", "retinanet")


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_every_tensor_belongs_to_a_part_that_is_named(kind: str, publish: Publish) -> None:
    detector = make(kind)
    report = load_pretrained(detector, publish(models.resnet18().state_dict()), CLASSES)
    state = [name for name in detector.state_dict() if not name.endswith("num_batches_tracked")]
    assert sum(done + left for done, left in report.groups.values()) == len(state)
    assert all(0 in counts for counts in report.groups.values()), "a part is taken over whole or not at all"
    text = str(report)
    assert "5 of stem, 20 of stage 1" in text and detector.arch.neck.title in text.partition("freshly initialised")[2]
    assert "head" not in report.groups, "what no part names"


def test_rows_of_the_class_head_stay_where_names_match(publish: Publish) -> None:
    source, ours = make(classes=len(OUTCOMES) - 1), make(seed=1)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    report = load_pretrained(ours, publish(source.state_dict(), detector="faster_rcnn", outcomes=OUTCOMES), CLASSES)
    assert report.classes == ("Dog", "TrafficLight") and "Dog, TrafficLight" in str(report) and report.fresh == ()
    after, theirs = ours.state_dict(), source.state_dict()
    for row, origin in enumerate((0, 4, None, 2, None)):
        for layer, values in (("cls_score", 1), ("bbox_pred", 4)):
            for end in ("weight", "bias"):
                name = f"roi_heads.box_predictor.{layer}.{end}"
                wanted, at = (before, row) if origin is None else (theirs, origin)
                own = after[name][row * values : (row + 1) * values]
                assert torch.equal(own, wanted[name][at * values : (at + 1) * values]), name


def test_rows_of_a_retinanet_stay_for_each_anchor(publish: Publish) -> None:
    source, ours = make("retinanet", len(OUTCOMES)), make("retinanet", seed=1)
    source.head.classification_head.cls_logits.bias.data = torch.arange(9.0 * len(OUTCOMES))  # type: ignore[union-attr]
    load_pretrained(ours, publish(source.state_dict(), detector="retinanet", outcomes=OUTCOMES), CLASSES)
    bias = ours.state_dict()["head.classification_head.cls_logits.bias"].view(9, len(CLASSES))
    assert bias[:, 0].tolist() == [5.0 * anchor + 4 for anchor in range(9)]
    assert bias[:, 2].tolist() == [5.0 * anchor + 2 for anchor in range(9)]
    assert (bias[:, [1, 3]] < 0).all(), "as it was initialised"


def test_batchnorm_of_another_epsilon_computes_the_same(publish: Publish) -> None:
    theirs = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=0.0)
    ).eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in theirs.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(10 ** -torch.empty_like(value).uniform_(0, 5, generator=generator))
    source = make()
    weights = source.state_dict() | {f"backbone.{name}": value for name, value in theirs.state_dict().items()}
    ours, images = make(seed=1), torch.rand(1, 3, 64, 64, generator=generator)
    load_pretrained(
        ours, publish(weights, detector="faster_rcnn", outcomes=("", "a", "b", "c", "d"), norm_eps=0.0), CLASSES
    )
    with torch.no_grad():
        for own, wanted in zip(ours.get_submodule("backbone")(images).values(), theirs(images).values()):
            torch.testing.assert_close(own, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_names_of_the_published_files_are_translated(publish: Publish) -> None:
    """Those were saved before torchvision wrapped the convolutions of necks and heads."""
    source, ours = make(classes=len(OUTCOMES) - 1), make(seed=1)
    old = {
        re.sub(r"(_blocks\.\d|rpn\.head\.conv\.0)\.0", r"\1", name).replace("rpn.head.conv.0", "rpn.head.conv"): value
        for name, value in source.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "rpn.head.conv.weight" in old and "backbone.fpn.inner_blocks.0.weight" in old
    report = load_pretrained(ours, publish(old, detector="faster_rcnn", outcomes=OUTCOMES), CLASSES)
    assert report.fresh == ()
    for name in ("rpn.head.conv.0.0.weight", "backbone.fpn.layer_blocks.3.0.bias"):
        assert torch.equal(ours.state_dict()[name], source.state_dict()[name])


def test_a_file_is_downloaded_once_and_checked_each_time(publish: Publish) -> None:
    entry = publish(models.resnet18().state_dict())
    path = entry.fetch()
    assert path == entry.path and path.parent.parts[-3:] == ("nets", "hub", "checkpoints")
    Path(entry.url.removeprefix("file://")).unlink()
    assert entry.fetch() == path, "what is there is not downloaded again"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{path} is damaged: .* delete it, .*{entry.url}"):
        entry.fetch()
    path.unlink()
    with pytest.raises(
        InputError, match=f"{path.name} cannot .* fetch {entry.url} .* into {path.parent}, .*--weights none"
    ):
        entry.fetch()


def test_a_download_with_another_hash_is_not_kept(publish: Publish) -> None:
    entry = publish(models.resnet18().state_dict())
    Path(entry.url.removeprefix("file://")).write_bytes(b"an error page")
    with pytest.raises(InputError, match="invalid hash value"):
        entry.fetch()
    assert not entry.path.exists()


def test_weights_of_another_architecture_and_no_weights_are_refused(publish: Publish) -> None:
    for weights in (models.resnet34().state_dict(), models.resnet50().state_dict()):
        with pytest.raises(InputError, match="another architecture"):
            load_pretrained(make(), publish(weights), CLASSES)
    with pytest.raises(InputError, match="not a file of weights"):
        load_pretrained(make(), publish(["no", "state", "dict"]), CLASSES)
