"""A run finds out whose detector a file of weights is, and its base takes the form that those are for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from optimizer.arch.families import base_arch
from optimizer.errors import InputError
from optimizer.origins import ORIGINS
from optimizer.recipes import distilled, smoke
from optimizer.run.checks import check_run, choose_origin


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    names = ("backbone.layer1.0.conv1.weight", "backbone.bn1.running_mean")
    torch.save({"state_dict": {name: torch.ones(4) for name in names}}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_what_is_recognised_decides_unless_it_is_said(weights: Path) -> None:
    config = smoke().changed({"weights": weights, "base": "r50"})
    plain = config.base_arch()
    found = choose_origin(config, weights)
    assert found.weights_from == "mmdet" and found.base_arch() == ORIGINS["mmdet"].form(plain) != plain
    said = config.changed({"weights_from": "mmdet-caffe"})
    assert choose_origin(said, weights) == said and said.base_arch() == ORIGINS["mmdet-caffe"].form(plain)
    assert len({arch.arch_id for arch in (plain, found.base_arch(), said.base_arch())}) == 3


def test_of_a_teacher_and_its_student_the_student_takes_the_form(weights: Path, tmp_path: Path) -> None:
    config = distilled(smoke(), "r50", tmp_path).changed({"weights": weights, "weights_from": "mmdet"})
    assert config.base_arch().body == base_arch(config.base, (64, 64)).body
    assert not config.base_arch().head.to_json().get("exact_anchors")
    assert config.trained_arch().head.to_json()["exact_anchors"]


def test_an_origin_without_a_file_and_an_unknown_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--from mmdet says whose .* starts from random weights: leave it out, or"):
        check_run(smoke().changed({"weights_from": "mmdet", "search.cost": "macs"}), tmp_path)
    with pytest.raises(InputError, match=r"unknown origin of weights \(--from\) 'caffe'; there are: detectron2, "):
        smoke().changed({"weights_from": "caffe"})
