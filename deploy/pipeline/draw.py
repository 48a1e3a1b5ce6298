"""Pictures with what was found drawn on them."""

from __future__ import annotations

import colorsys
from typing import Any, Sequence, Tuple

import numpy as np

from deploy.detections import Detections

__all__ = ["choose_colour", "draw_detections"]

GOLDEN_RATIO = 0.618034  # successive hues stay far apart, however many classes there are
NOBODY_HAS = "\U0010fffe"  # a character that no font has
Colour = Tuple[int, int, int]


def draw_detections(image: np.ndarray, detections: Detections, class_names: Sequence[str]) -> np.ndarray:
    """A copy of an (H, W, 3) uint8 RGB image with a box, a name and a score for each object, the best drawn last."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 200))
    font = _load_font(max(11, round(min(picture.size) / 40)))
    for index in reversed(range(len(detections))):
        label = int(detections.labels[index])
        colour = choose_colour(label)
        x1, y1, x2, y2 = (float(value) for value in detections.boxes_xyxy[index])
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)
        name = class_names[label] if _can_draw(font, class_names[label]) else f"class {label}"
        text = f"{name} {float(detections.scores[index]):.2f}"
        _draw_tag(draw, text, font, colour, (x1, y1), picture.size)
    return np.asarray(picture)


def choose_colour(label: int) -> Colour:
    """A bright colour of its own for each class, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN_RATIO % 1, 0.85 if label % 2 else 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _can_draw(font: Any, name: str) -> bool:
    """Whether a font has every character of a name. What it lacks it draws as one and the same box, or refuses."""
    try:
        lacking = bytes(font.getmask(NOBODY_HAS))
        return name.isprintable() and all(bytes(font.getmask(one)) != lacking for one in set(name))
    except (UnicodeEncodeError, ValueError):  # the font that Pillow before 10.1 brings knows Latin-1 alone
        try:
            return bool(name.encode("latin-1")) and name.isprintable()
        except UnicodeEncodeError:
            return False


def _draw_tag(
    draw: Any, text: str, font: Any, colour: Colour, corner: tuple[float, float], size: tuple[int, int]
) -> None:
    """Text on a plate above the box's corner; moved inside the picture where it would leave it."""
    left, top, right, bottom = _find_extent(draw, text, font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0.0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if luminance > 128 else (255, 255, 255), font=font)


def _find_extent(draw: Any, text: str, font: Any) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a text drawn at the origin."""
    try:
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    except (AttributeError, ValueError):  # Pillow before 8.0 has no such thing, before 9.2 not for the font it brings
        return (0, 0, *font.getmask(text).size)
    return int(left), int(top), int(right), int(bottom)


def _load_font(height_px: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(height_px)
    except TypeError:  # Pillow before 10.1 has one size only
        return ImageFont.load_default()
