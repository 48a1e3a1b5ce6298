"""Checkpoints fill a detector, or are refused in one line."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from optimizer.arch.families import base_arch
from optimizer.detectors import Detector, build_detector
from optimizer.detectors.weights import load_weights
from optimizer.errors import InputError


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build_detector(base_arch("r18", (64, 64)), 3, seed=0)


def fresh(classes: int = 3) -> Detector:
    return build_detector(base_arch("r18", (64, 64)), classes, seed=1)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_our_own_checkpoint_comes_back_whole(detector: Detector, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    (save_file if ending == ".safetensors" else torch.save)(detector.state_dict(), path)
    other = fresh()
    report = load_weights(other, path)
    assert report.fresh == ()
    assert all(torch.equal(a, b) for a, b in zip(detector.state_dict().values(), other.state_dict().values()))


def test_a_training_checkpoint_is_unwrapped(detector: Detector, tmp_path: Path) -> None:
    torch.save({"model": detector.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    assert load_weights(fresh(), tmp_path / "w.pth").fresh == ()


def test_class_layers_of_other_classes_stay_fresh_and_are_named(detector: Detector, tmp_path: Path) -> None:
    torch.save(detector.state_dict(), tmp_path / "w.pth")
    other = fresh(classes=5)
    before = other.state_dict()["roi_heads.box_predictor.cls_score.weight"].clone()
    report = load_weights(other, tmp_path / "w.pth")
    assert {name.split(".")[1] for name in report.fresh} == {"box_predictor"} and "box_predictor" in str(report)
    assert torch.equal(other.state_dict()["roi_heads.box_predictor.cls_score.weight"], before)
    assert torch.equal(
        other.state_dict()["backbone.body.conv1.weight"], detector.state_dict()["backbone.body.conv1.weight"]
    )


def test_a_classifier_fills_the_backbone(tmp_path: Path) -> None:
    classifier = resnet18()
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    other = fresh()
    report = load_weights(other, tmp_path / "resnet18.pth")
    assert torch.equal(other.state_dict()["backbone.body.layer4.1.conv2.weight"], classifier.layer4[1].conv2.weight)
    assert report.fresh and all(not name.startswith("backbone.body.") for name in report.fresh)


def test_another_architecture_is_refused(detector: Detector, tmp_path: Path) -> None:
    torch.save(detector.state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="another architecture"):
        load_weights(build_detector(base_arch("r50", (64, 64)), 3), tmp_path / "w.pth")


def test_what_is_no_file_of_weights_is_refused_and_not_executed(tmp_path: Path) -> None:
    for name, content in (("text.pth", b"hello"), ("empty.pth", b""), ("cut.safetensors", b"\x80\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a file of weights"):
            load_weights(fresh(), tmp_path / name)
    torch.save({"weights": Path("x")}, tmp_path / "object.pth")  # an object, which only pickle could restore
    with pytest.raises(InputError, match="not a file of weights"):
        load_weights(fresh(), tmp_path / "object.pth")
    with pytest.raises(InputError, match="there is no weights file"):
        load_weights(fresh(), tmp_path / "absent.pth")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_that_are_damaged_anywhere_are_one_line(tmp_path: Path, kind: str) -> None:
    """Torch has another error for each kind of damage."""
    path = tmp_path / f"w.{kind}"
    tensors = {"a.weight": torch.zeros(3, 2), "b": torch.ones(4)}
    torch.save(tensors, path) if kind == "pth" else save_file(tensors, path)
    whole = path.read_bytes()
    generator, detector = random.Random(1), fresh()
    for _ in range(40):
        content = bytearray(whole)
        for place in generator.sample(range(len(whole)), 6):
            content[place] = generator.randrange(256)
        path.write_bytes(content[: generator.choice((len(whole), generator.randrange(len(whole))))])
        with pytest.raises(InputError):  # either no weights, or those of something else
            load_weights(detector, path)


def compress(path: Path) -> None:
    """The same archive, whose zeros take a thousandth of the space."""
    with zipfile.ZipFile(path) as archive:
        content = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(name, part)


def test_weights_that_unfold_to_a_thousand_times_their_size_are_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a.weight": torch.zeros(1_000_000)}, path)
    compress(path)
    assert path.stat().st_size < 10_000 and torch.load(path, weights_only=True)["a.weight"].shape == (1_000_000,)
    with pytest.raises(InputError, match=r"not a file of weights \(it is damaged, or compressed"):
        load_weights(fresh(), path)
