"""The one definition of how an image becomes a network's input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deploy.errors import InputError
from deploy.pipeline.preprocess import Placement, Preprocess


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_of_the_canvas_size_is_left_alone() -> None:
    image = noise(40, 30)
    np.testing.assert_array_equal(Preprocess(40, 30).canvas(image), image)


def test_an_image_lies_in_the_top_left_corner_and_the_rest_is_padding() -> None:
    canvas = Preprocess(40, 30, pad=(1, 2, 3)).canvas(np.full((10, 20, 3), 200, np.uint8))
    assert (canvas[:20] == 200).all() and (canvas[20:] == (1, 2, 3)).all()


def test_halving_averages_the_four_pixels_below() -> None:
    image = noise(8, 6)
    blocks = image.astype(np.float64).reshape(3, 2, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(Preprocess(4, 3).canvas(image), np.rint(blocks))


def test_bgr_reverses_channels_but_not_the_padding() -> None:
    image = noise(20, 10)
    rgb = Preprocess(20, 20, pad=(1, 2, 3)).canvas(image)
    bgr = Preprocess(20, 20, "bgr", pad=(1, 2, 3)).canvas(image)
    np.testing.assert_array_equal(bgr[:10], rgb[:10, :, ::-1])
    assert (bgr[10:] == (1, 2, 3)).all()


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    preprocess = Preprocess.imagenet(20, 10)
    canvas = noise(20, 10)
    planes = preprocess.normalise(canvas)
    assert planes.dtype == np.float32 and planes.shape == (3, 10, 20) and planes.flags.c_contiguous
    exact = (canvas.astype(np.float64) - preprocess.mean) / preprocess.std
    np.testing.assert_allclose(planes.transpose(1, 2, 0), exact, atol=1e-6)


def test_the_padding_of_imagenet_is_close_to_zero_after_normalising() -> None:
    planes = Preprocess.imagenet(20, 20).normalise(Preprocess.imagenet(20, 20).canvas(noise(20, 10)))
    assert np.abs(planes[:, 10:]).max() < 0.01


def test_a_call_gives_a_batch_of_one_and_where_the_image_lies() -> None:
    inputs, place = Preprocess(40, 30)(noise(20, 10))
    assert inputs.shape == (1, 3, 30, 40) and inputs.dtype == np.float32
    assert place == Placement(2.0, 20, 10)


def test_the_image_is_not_written_to() -> None:
    image = noise(20, 10)
    image.setflags(write=False)
    before = image.copy()
    Preprocess(33, 17)(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_images_of_one_pixel_and_of_one_line_fit(size: tuple[int, int]) -> None:
    canvas = Preprocess(40, 30).canvas(np.full((size[1], size[0], 3), 77, np.uint8))
    width, height = Preprocess(40, 30).content_size(Preprocess(40, 30).place(*size))
    assert width >= 1 and height >= 1 and (canvas[:height, :width] == 77).all()


@settings(max_examples=80, deadline=None)
@given(*(st.integers(1, 70) for _ in range(4)))
def test_a_resize_invents_no_colours_and_fills_its_part_exactly(w: int, h: int, width: int, height: int) -> None:
    image = np.random.default_rng(w * h).integers(100, 200, (h, w, 3), dtype=np.uint8)
    preprocess = Preprocess(width, height, pad=(0, 0, 0))
    canvas = preprocess.canvas(image)
    across, down = preprocess.content_size(preprocess.place(w, h))
    assert across <= width and down <= height and (across == width or down == height)
    content = canvas[:down, :across]
    assert content.min() >= image.min() and content.max() <= image.max()
    assert not canvas[down:].any() and not canvas[:, across:].any()


@settings(max_examples=80, deadline=None)
@given(*(st.integers(1, 700) for _ in range(4)))
def test_boxes_return_from_the_canvas_to_where_they_were(w: int, h: int, width: int, height: int) -> None:
    preprocess = Preprocess(width, height)
    place = preprocess.place(w, h)
    boxes = np.array([[0, 0, w, h], [w / 4, h / 4, w / 2, h / 2]], np.float32)
    there = preprocess.boxes_to_canvas(boxes, place)
    assert there.dtype == np.float32 and (there <= np.array([width, height, width, height]) * (1 + 1e-6)).all()
    np.testing.assert_allclose(preprocess.boxes_to_image(there, place), boxes, rtol=1e-5, atol=1e-4)


def test_boxes_on_the_padding_are_clipped_to_the_image() -> None:
    preprocess = Preprocess(40, 40)
    boxes = preprocess.boxes_to_image(np.array([[-5, 10, 60, 40]], np.float32), preprocess.place(20, 10))
    np.testing.assert_array_equal(boxes, np.array([[0, 5, 20, 10]], np.float32))


def test_no_boxes_stay_no_boxes() -> None:
    preprocess, none = Preprocess(40, 40), np.zeros((0, 4), np.float32)
    place = preprocess.place(20, 10)
    assert preprocess.boxes_to_image(none, place).shape == preprocess.boxes_to_canvas(none, place).shape == (0, 4)


def test_an_object_is_where_its_box_is_after_a_resize() -> None:
    image = np.zeros((90, 120, 3), np.uint8)
    image[30:60, 40:100] = 255
    preprocess = Preprocess(61, 47)
    x1, y1, x2, y2 = preprocess.boxes_to_canvas(np.array([[40, 30, 100, 60]], np.float32), preprocess.place(120, 90))[0]
    bright = preprocess.canvas(image)[:, :, 0] / 255.0
    bright[47:], bright[:, 61:] = 0, 0
    across, down = bright[:46].max(axis=0)[:60], bright[:, :60].max(axis=1)[:45]
    assert abs(across.sum() - (x2 - x1)) < 0.6 and abs(down.sum() - (y2 - y1)) < 0.6
    assert abs(np.flatnonzero(across > 0.5)[0] - x1) < 1 and abs(np.flatnonzero(down > 0.5)[0] - y1) < 1


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\(H, W, 3\) uint8 RGB"):
        Preprocess(8, 8).canvas(image)


def test_antialiased_shrinking_is_pillows() -> None:
    image = noise(120, 90)
    ours = Preprocess(40, 30, antialias=True).canvas(image).astype(int)
    pillows = np.asarray(Image.fromarray(image).resize((40, 30), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(ours - pillows).max() <= 1  # Pillow rounds between its two passes as well
    assert np.abs(Preprocess(40, 30).canvas(image) - pillows).max() > 50


def test_antialiasing_keeps_one_colour_and_changes_no_enlargement() -> None:
    plain, antialiased = Preprocess(41, 37), Preprocess(41, 37, antialias=True)
    np.testing.assert_array_equal(antialiased.canvas(noise(20, 10)), plain.canvas(noise(20, 10)))
    for size in ((500, 1), (1, 500), (97, 64)):
        flat = np.full((size[1], size[0], 3), 77, np.uint8)
        np.testing.assert_array_equal(antialiased.canvas(flat), plain.canvas(flat))


def test_a_description_without_antialiasing_is_one_from_before_it() -> None:
    first = {key: value for key, value in Preprocess(8, 8).to_json().items() if key != "antialias"}
    assert Preprocess.from_json(first) == Preprocess(8, 8)
    antialiased = Preprocess(8, 8, antialias=True)
    assert Preprocess.from_json(json.loads(json.dumps(antialiased.to_json()))) == antialiased


def test_json_there_and_back_is_the_same_value() -> None:
    preprocess = Preprocess.imagenet(320, 240)
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"height": -3}, {"width": 3.5}, {"width": "320"}, {"order": "hsv"}, {"mean": [1, 2]}, {"mean": 3},
        {"std": [1, 1, 0]}, {"std": [1, 1, float("inf")]}, {"mean": [float("nan"), 0, 0]}, {"pad": [0, 0, 256]},
        {"pad": [0, -1, 0]}, {"pad": [0.5, 0, 0]}, {"antialias": "yes"},
    ],
)  # fmt: skip
def test_a_wrong_description_is_an_input_error(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="preprocessing"):
        Preprocess.from_json({**Preprocess(8, 8).to_json(), **change})


def test_a_description_that_lacks_something_is_an_input_error() -> None:
    with pytest.raises(InputError, match="std"):
        Preprocess.from_json({key: value for key, value in Preprocess(8, 8).to_json().items() if key != "std"})
