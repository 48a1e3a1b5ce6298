"""CenterNet's own rules; what it has in common with other detectors is in `tests/contracts`."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from optimizer.arch import ArchSpec, base_arch
from optimizer.detectors import Truth, build_detector
from optimizer.detectors.base import Seen
from optimizer.detectors.centernet import CenterNet

SIZE = (128, 96)  # a map of 32 x 24 cells
CLASSES = 2
IMAGE = torch.zeros(1, 3, SIZE[1], SIZE[0])


def narrow() -> ArchSpec:
    arch = base_arch("r18", SIZE, "centernet")
    for name in arch.neck.widths:
        arch = replace(arch, neck=arch.neck.with_width(name, 8))
    return replace(arch, head=arch.head.with_width("branches", 8))


class _Says(nn.Module):
    """A branch whose answer is known."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(features), -1, -1, -1)


@pytest.fixture
def silent() -> CenterNet:
    """A detector that says -9 everywhere, sizes of 4 by 2 cells and offsets of a quarter and a half."""
    detector = build_detector(narrow(), CLASSES, seed=0)
    assert isinstance(detector, CenterNet)
    shape = (1, 2, 24, 32)
    answers = {
        "heatmap": torch.full(shape, -9.0),
        "size": torch.tensor([4.0, 2.0]).reshape(1, 2, 1, 1).repeat(1, 1, 24, 32),
        "offset": torch.tensor([0.25, 0.5]).reshape(1, 2, 1, 1).repeat(1, 1, 24, 32),
    }
    detector.head = nn.ModuleDict({name: _Says(answer) for name, answer in answers.items()})
    return detector


def test_a_peak_is_a_box_around_the_centre_of_its_cell_and_offset(silent: CenterNet) -> None:
    heat = silent.head["heatmap"].answer.data
    heat[0, 1, 10, 20], heat[0, 1, 10, 21] = 1.0, 0.9  # the second is no peak
    heat[0, 0, 10, 21] = 0.5  # of another class it is one
    heat[0, 0, 0, 0] = -1.0
    (found,) = silent.detect(IMAGE)
    assert found.labels.tolist() == [1, 0, 0]
    torch.testing.assert_close(found.scores, torch.tensor([1.0, 0.5, -1.0]).sigmoid())
    x, y = 4 * 20.25, 4 * 10.5
    wanted = [[x - 8, y - 4, x + 8, y + 4], [x - 4, y - 4, x + 12, y + 4], [0, 0, 9, 6]]  # the last is cut off
    torch.testing.assert_close(found.boxes_xyxy, torch.tensor(wanted))


def test_equal_neighbours_are_both_peaks_and_boxes_that_overlap_stay(silent: CenterNet) -> None:
    silent.head["heatmap"].answer.data[0, 0, 5, 5:7] = 2.0
    (found,) = silent.detect(IMAGE)
    assert len(found.scores) == 2


def test_at_most_a_hundred_are_found(silent: CenterNet) -> None:
    silent.head["heatmap"].answer.data[:, :, ::2, ::2] = torch.rand(2, 12, 16, generator=torch.manual_seed(0))
    (found,) = silent.detect(IMAGE)
    assert len(found.scores) == 100 and (found.scores[:-1] >= found.scores[1:]).all()


def test_box_losses_are_mean_errors_at_the_centres_alone(silent: CenterNet) -> None:
    truth = Truth(torch.tensor([[8.0, 8, 40, 24], [60, 40, 70, 58]]), torch.tensor([0, 1]))
    losses = silent.train().losses(IMAGE, [truth])
    # 8 x 4 cells and 2.5 x 4.5 for sizes of 4 x 2; centres at (6, 4) and (16.25, 12.25)
    sizes = (4 + 2 + 1.5 + 2.5) / 4
    offsets = (0.25 + 0.5 + 0 + 0.25) / 4
    assert losses["box_size"].item() == pytest.approx(0.1 * sizes, rel=1e-4)
    assert losses["box_offset"].item() == pytest.approx(offsets, rel=1e-4)


def test_it_begins_with_a_tenth_everywhere_and_boxes_of_nothing() -> None:
    detector = build_detector(narrow(), CLASSES, seed=0)
    head = detector.get_submodule("head")
    assert head.get_parameter("heatmap.2.bias").tolist() == pytest.approx([-2.19] * CLASSES)
    assert 1 / (1 + math.exp(2.19)) == pytest.approx(0.1, abs=1e-3)
    for branch in ("size", "offset"):
        assert not head.get_parameter(f"{branch}.2.bias").any()
        assert head.get_parameter(f"{branch}.2.weight").std().item() == pytest.approx(0.001, rel=0.5)
    deconv = detector.get_submodule("backbone.deconv")
    assert deconv.get_parameter("0.conv.weight").std().item() == pytest.approx(0.001, rel=0.1)


def test_it_takes_maps_that_were_looked_at_before() -> None:
    detector = build_detector(narrow(), CLASSES, seed=0).train()
    seen = detector.see(IMAGE)
    assert [*seen.neck] == ["0"] and seen.neck["0"].shape == (1, 8, 24, 32) and len(seen.body) == 4
    other = Seen(seen.body, {"0": seen.neck["0"] + 1})
    first, second = (detector.losses_and_regions(IMAGE, [Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))],
                                                 seen=each)[0]["heatmap"] for each in (seen, other))  # fmt: skip
    assert first != second
