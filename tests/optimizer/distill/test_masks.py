"""Masks of objects on every level, against cases drawn by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from optimizer.detectors import Truth
from optimizer.distill.masks import choose_levels, draw_anchors, draw_boxes, draw_gaussians, draw_levels, gather

STRIDES = (4, 8, 16, 32, 64)
NOTHING = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def put(*boxes: tuple[float, float, float, float]) -> Truth:
    return Truth(torch.tensor(boxes, dtype=torch.float32), torch.zeros(len(boxes), dtype=torch.int64))


def draw(text: str) -> Tensor:
    """A mask from rows of dots and hashes."""
    return torch.tensor([[float(cell == "#") for cell in row] for row in text.split()])


@pytest.mark.parametrize(
    ("side", "level"),
    [(0.0, 0), (10.0, 0), (110.0, 0), (111.0, 1), (222.0, 1), (223.0, 2), (447.0, 3), (894.0, 3), (895.0, 4), (5e3, 4)],
)  # fmt: skip
def test_the_level_of_a_box_is_that_of_its_size(side: float, level: int) -> None:
    """floor(log2(sqrt(w h) / 56)) with a pixel more on each side, from 0 to 4 (FACTS 5.1)."""
    box = torch.tensor([[3.0, 5.0, 3.0 + side, 5.0 + side]])
    assert choose_levels(box, STRIDES).tolist() == [level]
    expected = min(max(math.floor(math.log2((side + 1) / 56 + 1e-6)), 0), 4)
    assert expected == level


def test_a_head_that_starts_coarser_draws_as_many_cells() -> None:
    box = torch.tensor([[0.0, 0, 230, 230]])
    assert (choose_levels(box, STRIDES).item(), choose_levels(box, STRIDES[1:]).item()) == (2, 1)


def test_masks_by_hand_on_every_level() -> None:
    """One box a level of 8 x 6 cells; corners are cut to whole cells, the lower right one is outside."""
    first = put(
        (5.0, 9.9, 16.1, 23.9),  # cells of 4: columns 1..3, rows 2..4
        (8.0, 8.0, 130.0, 120.0),  # of 8, side 117: columns 1..7 (of 8), rows 1..5 (of 6)
        (0.0, 0.0, 250.0, 250.0),  # of 16, side 251: all 8 columns, all 6 rows
    )
    second = put(
        (100.0, 100.0, 560.0, 560.0),  # of 32, side 461: columns 3..7, rows 3..5
        (0.0, 0.0, 1000.0, 900.0),  # of 64: all 8 columns, all 6 rows
    )
    shapes = [(6, 8)] * 5
    finest, next_, middle, coarse, coarsest = draw_levels([first, second], shapes, STRIDES)
    nothing = torch.zeros(6, 8)
    assert torch.equal(finest[0], draw("........ ........ .###.... .###.... .###.... ........"))
    assert torch.equal(next_[0], draw("........ .####### .####### .####### .####### .#######"))
    assert torch.equal(middle[0], torch.ones(6, 8))
    assert torch.equal(coarse[1], draw("........ ........ ........ ...##### ...##### ...#####"))
    assert torch.equal(coarsest[1], torch.ones(6, 8))
    for level, image in ((finest, 1), (next_, 1), (middle, 1), (coarse, 0), (coarsest, 0)):
        assert torch.equal(level[image], nothing)


def test_a_union_counts_a_cell_once_and_a_box_that_vanishes_has_one_cell() -> None:
    boxes, images = gather([put((0, 0, 12, 8), (8, 4, 16, 12), (17, 17, 17.5, 17.5), (30, 22, 90, 90))])
    mask = draw_boxes(boxes, images, 1, (6, 8), 4)[0]
    assert torch.equal(mask, draw("###..... ####.... ..##.... ........ ....#... .......#"))


def test_images_without_objects_have_empty_masks() -> None:
    for truths in ([NOTHING, NOTHING], [NOTHING, put((0, 0, 20, 20))]):
        for drawn in (draw_levels, draw_gaussians):
            masks = drawn(truths, [(6, 8)] * 5, STRIDES)
            assert all(mask.shape == (2, 6, 8) and not mask[0].any() for mask in masks)


def test_the_union_is_that_of_a_loop_over_boxes() -> None:
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(200, 2, generator=generator) * torch.tensor([220.0, 150])
    boxes = torch.cat((corner, corner + torch.rand(200, 2, generator=generator) * 60), 1)
    images = torch.randint(3, (200,), generator=generator)
    slowly = torch.zeros(3, 40, 56)
    for box, image in zip(boxes.tolist(), images.tolist()):
        left, top, right, bottom = (int(value / 4) for value in box)
        slowly[image, min(top, 39) : max(bottom, min(top, 39) + 1), min(left, 55) : max(right, min(left, 55) + 1)] = 1
    assert torch.equal(draw_boxes(boxes, images, 3, (40, 56), 4), slowly)


def test_a_gaussian_has_its_peak_in_the_middle_and_ends_with_its_box() -> None:
    """A box of 4 x 2 cells of 4 pixels: half sides 2 and 1, centres of cells 0.5 and 1.5, and 0.5, away."""
    (map_, *_) = draw_gaussians([put((8, 8, 24, 16))], [(6, 8)] * 5, STRIDES)
    columns = [math.exp(-0.5 * (away / 2) ** 2) for away in (1.5, 0.5, 0.5, 1.5)]
    row = math.exp(-0.5 * 0.5**2)
    expected = torch.zeros(6, 8)
    expected[2:4, 2:6] = row * torch.tensor(columns)
    torch.testing.assert_close(map_[0], expected)


def test_where_gaussians_meet_the_larger_counts() -> None:
    one, other = put((0, 0, 16, 16)), put((8, 0, 24, 16))
    both = put((0, 0, 16, 16), (8, 0, 24, 16))
    shapes = [(6, 8)] * 5
    maps = [draw_gaussians([truth], shapes, STRIDES)[0] for truth in (one, other, both)]
    assert torch.equal(torch.maximum(maps[0], maps[1]), maps[2])


def test_cells_with_an_anchor_near_an_object_by_hand() -> None:
    """Anchors of one cell are a square and one twice as wide; the object is the wide one of cell (1, 1)."""
    centres = torch.tensor([[(x + 0.5) * 8, (y + 0.5) * 8] for y in range(3) for x in range(4)])
    square, wide = torch.tensor([4.0, 4.0]), torch.tensor([8.0, 4.0])
    anchors = torch.stack([torch.cat((centres - half, centres + half), 1) for half in (square, wide)], 1).reshape(-1, 4)
    truth = put((4.0, 8.0, 20.0, 16.0))  # IoU: 1 with its own; square of the cell 1/2; wide ones beside it 1/3
    (half,) = draw_anchors([truth, NOTHING], [anchors], [(3, 4)], 0.5)
    (third,) = draw_anchors([truth, NOTHING], [anchors], [(3, 4)], 0.3)
    assert torch.equal(half[0], draw(".... .#.. ...."))
    assert torch.equal(third[0], draw(".... ###. ...."))
    assert not half[1].any() and not third[1].any()
