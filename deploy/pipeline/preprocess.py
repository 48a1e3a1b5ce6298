"""From an image to a network's input: the only definition, used by training, calibration, measuring and the runtime."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, Mapping, NamedTuple

import numpy as np

from deploy.errors import InputError

__all__ = ["Placement", "Preprocess"]

MAX_PIXELS = 1 << 26  # of a canvas; one takes up to 15 bytes for each


class Placement(NamedTuple):
    """Where an image lies on the canvas: canvas pixels an image pixel, and the image's size in pixels."""

    scale: float
    width: int
    height: int


@dataclass(frozen=True)
class Preprocess:
    """Aspect-preserving resize into the top-left corner of a canvas, padding, normalisation.

    Attributes:
        width, height: the canvas, in pixels.
        order: "rgb" or "bgr", the channel order the network wants.
        mean, std: of each channel in that order, in 0..255 units: the input is (value - mean) / std.
        pad: grey levels of the rest of the canvas, in that order.
        antialias: shrink by weighing every pixel, as Pillow does; otherwise by the nearest four, as OpenCV does.
    """

    width: int
    height: int
    order: str = "rgb"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    pad: tuple[int, ...] = (114, 114, 114)
    antialias: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.order not in ("rgb", "bgr"):
            raise InputError(
                f"preprocessing needs a positive canvas and the order rgb or bgr; got {self.width}x{self.height}, "
                f"{self.order!r}"
            )
        if self.width * self.height > MAX_PIXELS:
            raise InputError(
                f"preprocessing on a canvas of {self.width}x{self.height} is refused: at most {MAX_PIXELS} pixels"
            )
        if not len(self.mean) == len(self.std) == len(self.pad) == 3:
            raise InputError("preprocessing needs three means, three deviations and three pad values")
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise InputError(f"preprocessing needs finite means and positive deviations; got {self.mean}, {self.std}")
        if min(self.pad) < 0 or max(self.pad) > 255:
            raise InputError(f"preprocessing needs pad values in 0..255; got {self.pad}")

    @staticmethod
    def imagenet(width: int, height: int) -> Preprocess:
        """What torchvision's models are trained with; the padding is the mean colour."""
        mean = (0.485 * 255, 0.456 * 255, 0.406 * 255)
        std = (0.229 * 255, 0.224 * 255, 0.225 * 255)
        return Preprocess(width, height, "rgb", mean, std, tuple(round(value) for value in mean))

    def place(self, width: int, height: int) -> Placement:
        """Where an image of this size will lie."""
        return Placement(min(self.width / width, self.height / height), width, height)

    def content_size(self, place: Placement) -> tuple[int, int]:
        """(width, height) in whole canvas pixels of the part that the image covers; the rest is padding.

        Rounding moves its right and lower edge only: pixels are sampled, and boxes are scaled, by the exact scale.
        """
        width = min(self.width, max(1, round(place.width * place.scale)))
        height = min(self.height, max(1, round(place.height * place.scale)))
        return width, height

    def canvas(self, image: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 canvas, in the network's channel order, of an (H, W, 3) uint8 RGB image."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(f"an image is (H, W, 3) uint8 RGB; got {image.shape} {image.dtype}")
        place = self.place(image.shape[1], image.shape[0])
        width, height = self.content_size(place)
        resize = _resize_antialiased if self.antialias and place.scale < 1 else _resize
        content = image if place.scale == 1 else resize(image, width, height, place.scale)
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        canvas[height:] = np.array(self.pad, np.uint8)
        canvas[:height, width:] = np.array(self.pad, np.uint8)
        canvas[:height, :width] = content if self.order == "rgb" else content[:, :, ::-1]
        return canvas

    def normalise(self, canvas: np.ndarray) -> np.ndarray:
        """(3, height, width) float32 of a uint8 canvas."""
        scale = (1 / np.array(self.std)).astype(np.float32)
        shift = (-np.array(self.mean) / np.array(self.std)).astype(np.float32)
        planes = np.ascontiguousarray(canvas.transpose(2, 0, 1)).astype(np.float32)
        planes *= scale[:, None, None]
        planes += shift[:, None, None]
        return planes

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Placement]:
        """(1, 3, height, width) float32 network input of an (H, W, 3) uint8 RGB image, and where the image lies."""
        return self.normalise(self.canvas(image))[None], self.place(image.shape[1], image.shape[0])

    def boxes_to_canvas(self, boxes_xyxy: np.ndarray, place: Placement) -> np.ndarray:
        """Image pixels to canvas pixels."""
        return boxes_xyxy * np.float32(place.scale)

    def boxes_to_image(self, boxes_xyxy: np.ndarray, place: Placement) -> np.ndarray:
        """Canvas pixels to image pixels, clipped to the image."""
        limit = np.array((place.width, place.height, place.width, place.height), np.float32)
        return np.clip(boxes_xyxy / np.float32(place.scale), 0, limit).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "height": self.height,
            "order": self.order,
            "mean": list(self.mean),
            "std": list(self.std),
            "pad": list(self.pad),
            "antialias": self.antialias,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Preprocess:
        """The inverse of `to_json`; an `InputError` says what is wrong."""
        try:
            return Preprocess(
                operator.index(value["width"]),
                operator.index(value["height"]),
                str(value["order"]),
                tuple(float(item) for item in _read_list(value["mean"])),
                tuple(float(item) for item in _read_list(value["std"])),
                tuple(operator.index(item) for item in _read_list(value["pad"])),
                bool(operator.index(value.get("antialias", False))),  # absent in the first bundles
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"not a preprocessing description: {error!r}") from error


def _read_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _resize(image: np.ndarray, width: int, height: int, scale: float) -> np.ndarray:
    """Bilinear, half-pixel centres, no antialiasing, rounded to uint8: rows first, then columns, as flat gathers."""
    top, bottom, down = _list_samples(height, image.shape[0], scale)
    left, right, across = _list_samples(width, image.shape[1], scale)
    flat = image.reshape(image.shape[0], -1)  # (H, W * 3)
    rows = _blend(
        flat.take(top, axis=0).astype(np.float32), flat.take(bottom, axis=0).astype(np.float32), down[:, None]
    )
    channels = np.arange(3)
    left, right = ((3 * column[:, None] + channels).ravel() for column in (left, right))
    out = _blend(rows.take(left, axis=1), rows.take(right, axis=1), np.repeat(across, 3))
    np.rint(out, out=out)
    return out.astype(np.uint8).reshape(height, width, 3)


def _resize_antialiased(image: np.ndarray, width: int, height: int, scale: float) -> np.ndarray:
    """Bilinear as `_resize`, with the two pixels' triangle widened to all pixels that an output pixel covers."""
    down = _weigh_samples(height, image.shape[0], scale)
    across = _weigh_samples(width, image.shape[1], scale)
    rows = (down @ image.reshape(image.shape[0], -1).astype(np.float32)).reshape(height, image.shape[1], 3)
    out = np.matmul(across, rows)  # (width, W) with each row's (W, 3)
    content: np.ndarray = np.rint(out).clip(0, 255).astype(np.uint8)
    return content


def _weigh_samples(count: int, limit: int, scale: float) -> np.ndarray:
    """(count, limit) float32: what each input pixel adds to each output pixel; rows sum to 1."""
    centre = (np.arange(count)[:, None] + 0.5) / scale
    distance = np.abs(np.arange(limit) + 0.5 - centre) * scale
    weights: np.ndarray = np.maximum(0, 1 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """first + (second - first) * weight, computed in the memory of these two temporaries."""
    second -= first
    second *= weight
    first += second
    return first


def _list_samples(count: int, limit: int, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `count` output pixels the two input pixels around it and the weight of the second."""
    position = np.clip((np.arange(count) + 0.5) / scale - 0.5, 0, limit - 1)
    first = np.floor(position).astype(np.int64)
    second = np.minimum(first + 1, limit - 1)
    return first, second, (position - first).astype(np.float32)
