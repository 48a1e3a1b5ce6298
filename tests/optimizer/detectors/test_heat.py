"""Gaussians and losses of a heat map of centres, against arithmetic by hand."""

from __future__ import annotations

import math

import pytest
import torch

from optimizer.detectors import Truth
from optimizer.detectors.heat import draw_heat, find_heat_loss, find_radii, place_centres

SHAPE = (24, 32)


def truth(*boxes: tuple[float, float, float, float], labels: tuple[int, ...] = ()) -> Truth:
    return Truth(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels or (0,) * len(boxes), dtype=torch.int64))


def test_a_centre_is_a_cell_an_offset_and_a_size() -> None:
    centres = place_centres([truth(), truth((10, 20, 33, 46), (0, 0, 128, 96), labels=(2, 1))], 4, SHAPE)
    assert centres.images.tolist() == [1, 1] and centres.labels.tolist() == [2, 1]
    assert (centres.columns.tolist(), centres.rows.tolist()) == ([5, 16], [8, 12])
    assert centres.offsets.tolist() == [[21.5 / 4 - 5, 33 / 4 - 8], [0, 0]]
    assert centres.sizes.tolist() == [[23 / 4, 26 / 4], [32, 24]]


def test_a_centre_on_the_far_edge_is_in_the_last_cell() -> None:
    centres = place_centres([truth((128, 96, 128, 96))], 4, SHAPE)
    assert (centres.rows.item(), centres.columns.item()) == (23, 31) and centres.offsets.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("size", "radius"),
    [((10.0, 10.0), 0), ((20.0, 20.0), 1), ((100.0, 100.0), 8), ((99.1, 99.9), 8), ((100.0, 20.0), 2), ((0.0, 0.0), 0)],
)
def test_the_radius_is_the_least_of_three_rounded_down(size: tuple[float, float], radius: int) -> None:
    """Of a square of side s the least solution is (4 - sqrt(16 - 4.8)) / 8 * s = 0.0817 s, both corners inwards."""
    assert find_radii(torch.tensor([size])).tolist() == [radius]


@pytest.mark.parametrize("size", [(100, 100), (300, 40), (64, 128), (7, 200)])
def test_within_the_radius_every_box_still_fits_and_one_further_some_do_not(size: tuple[int, int]) -> None:
    width, height = size
    radius = int(find_radii(torch.tensor([size], dtype=torch.float32)))

    def least_overlap(r: int) -> float:
        inside = max(width - 2 * r, 0) * max(height - 2 * r, 0) / (width * height)
        outside = width * height / ((width + 2 * r) * (height + 2 * r))
        shared = max(width - r, 0) * max(height - r, 0)
        return min(inside, outside, shared / (2 * width * height - shared))

    assert least_overlap(radius) >= 0.7 > least_overlap(radius + 1)


def test_a_gaussian_is_one_at_its_centre_and_ends_at_its_radius() -> None:
    centres = place_centres([truth((24, 8, 104, 88))], 4, SHAPE)  # 20 x 20 cells: radius 1, deviation 1/2
    heat = draw_heat(centres, (1, 2, *SHAPE))
    beside, corner = math.exp(-2), math.exp(-4)
    wanted = torch.tensor([[corner, beside, corner], [beside, 1, beside], [corner, beside, corner]])
    torch.testing.assert_close(heat[0, 0, 11:14, 15:18], wanted)
    assert heat.sum().item() == pytest.approx(wanted.sum().item()) and heat[0, 1].sum() == 0


def test_where_two_meet_the_larger_value_stays_and_classes_are_apart() -> None:
    boxes = ((24.0, 8.0, 104.0, 88.0), (28.0, 8.0, 108.0, 88.0), (24.0, 8.0, 104.0, 88.0))
    heat = draw_heat(place_centres([truth(*boxes, labels=(0, 0, 1))], 4, SHAPE), (1, 2, *SHAPE))
    assert heat[0, 0, 12, 16] == heat[0, 0, 12, 17] == heat[0, 1, 12, 16] == 1
    assert heat[0, 1, 12, 17].item() == pytest.approx(math.exp(-2)) and heat.max() == 1


def test_a_gaussian_is_cut_off_at_the_border() -> None:
    heat = draw_heat(place_centres([truth((0, 0, 2, 2))], 4, (3, 3)), (1, 1, 3, 3))
    assert heat[0, 0, 0, 0] == 1 and heat.sum() == 1


def test_the_loss_is_that_of_the_paper() -> None:
    probabilities = torch.tensor([0.8, 0.3, 0.1, 0.6]).reshape(1, 1, 2, 2)
    heat = torch.tensor([1.0, 0.5, 0.0, 1.0]).reshape(1, 1, 2, 2)
    found = find_heat_loss(probabilities.logit(), heat)
    hit = 0.2**2 * math.log(0.8) + 0.4**2 * math.log(0.6)
    missed = 0.5**4 * 0.3**2 * math.log(0.7) + 0.1**2 * math.log(0.9)
    assert found.item() == pytest.approx(-(hit + missed) / 2, rel=1e-5)


def test_without_objects_it_is_a_plain_sum() -> None:
    logits = torch.zeros(2, 1, 2, 2)
    assert find_heat_loss(logits, torch.zeros_like(logits)).item() == pytest.approx(8 * 0.25 * math.log(2))
