"""The generated data set: circles, squares, triangles and rings on textured ground, labelled as COCO JSON.

Objects are small and large and overlap; some images have none. Each class prefers a colour, but one object in four has
any colour, so that the form decides. Equal arguments give equal files, byte for byte.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from deploy.files import replace_folder
from optimizer.errors import InputError

__all__ = ["CLASS_NAMES", "write_shapes"]

Box = tuple[int, int, int, int]

VERSION = 2  # of what is drawn; a folder of another version is written anew
STAMP = "shapes.json"
CLASS_NAMES = ("circle", "square", "triangle", "ring")
COLOURS = ((205, 60, 50), (50, 90, 205), (60, 170, 70), (215, 190, 50))  # by class
MIN_SIDE = 32
EMPTY_SHARE = 0.06
ANY_COLOUR_SHARE = 0.25
MAX_OBJECTS = 6
OBJECT_SIDES = (0.12, 0.55)  # smallest and largest, in shorter sides of the image
MAX_OVERLAP = 0.45  # intersection over the smaller box


def write_shapes(folder: Path, *, train: int, val: int, size: tuple[int, int], seed: int) -> Path:
    """Write (or find, whole) the data set in `folder`; returns `folder`.

    It is drawn aside and renamed, so that what is there is never half a data set.

    Raises:
        InputError: the size is too small, or the folder holds something that was not generated.
    """
    if min(size) < MIN_SIDE:
        raise InputError(f"generated images need sides of at least {MIN_SIDE} pixels; got {size[0]}x{size[1]}")
    wanted = json.dumps({"version": VERSION, "train": train, "val": val, "size": size, "seed": seed})
    if (folder / STAMP).is_file() and (folder / STAMP).read_text() == wanted:
        return folder
    if folder.exists() and not (folder / STAMP).is_file() and any(folder.iterdir()):
        raise InputError(f"{folder} is to hold generated images but holds something else; remove it or name another")
    with replace_folder(folder) as aside:
        (aside / "annotations").mkdir()
        for number, (split, count) in enumerate((("train", train), ("val", val))):
            (aside / split).mkdir()
            content = _write_split(aside / split, count, size, (seed, number))
            (aside / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        (aside / STAMP).write_text(wanted)
    return folder


def draw_image(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, list[tuple[int, Box]]]:
    """One picture and its objects: (label, (x1, y1, x2, y2)) in pixels, the later ones in front."""
    width, height = size
    picture = Image.fromarray(_draw_ground(rng, width, height))
    draw = ImageDraw.Draw(picture)
    objects: list[tuple[int, Box]] = []
    wanted = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, MAX_OBJECTS + 1))
    smallest, largest = (math.log(share * min(size)) for share in OBJECT_SIDES)
    for _ in range(4 * wanted):
        if len(objects) == wanted:
            break
        side = round(math.exp(rng.uniform(smallest, largest)))
        x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        box = (x, y, x + side, y + side)
        if any(_overlap(box, other) > MAX_OVERLAP for _, other in objects):
            continue
        label = int(rng.integers(len(CLASS_NAMES)))
        draw_shape(draw, CLASS_NAMES[label], box, _choose_colour(rng, label))
        objects.append((label, box))
    return picture, objects


def _write_split(folder: Path, count: int, size: tuple[int, int], seed: tuple[int, int]) -> dict[str, Any]:
    """Draw the images of a split; returns its COCO labels."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        picture, objects = draw_image(np.random.default_rng((*seed, index)), size)
        name = f"{index:05d}.png"
        picture.save(folder / name)
        images.append({"id": index, "file_name": name, "width": size[0], "height": size[1]})
        for label, (x1, y1, x2, y2) in objects:
            side_x, side_y = x2 - x1, y2 - y1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": label + 1,
                    "bbox": [x1, y1, side_x, side_y],
                    "area": side_x * side_y,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _draw_ground(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: a muted colour, a coarse texture and fine noise."""
    knots = rng.normal(0, 30, size=(height // 12 + 2, width // 12 + 2)).astype(np.float32)
    texture = np.asarray(Image.fromarray(knots).resize((width, height), Image.Resampling.BILINEAR))
    noise = rng.normal(0, 12, size=(height, width, 3))
    return np.clip(rng.integers(90, 166, size=3) + texture[:, :, None] + noise, 0, 255).astype(np.uint8)


def _choose_colour(rng: np.random.Generator, label: int) -> tuple[int, ...]:
    free = rng.random() < ANY_COLOUR_SHARE
    colour = rng.integers(0, 256, size=3) if free else COLOURS[label] + rng.integers(-35, 36, size=3)
    return tuple(int(value) for value in np.clip(colour, 0, 255))


def draw_shape(draw: ImageDraw.ImageDraw, name: str, box: Box, colour: tuple[int, ...]) -> None:
    x1, y1, x2, y2 = box[0], box[1], box[2] - 1, box[3] - 1
    edge = tuple(max(0, value - 45) for value in colour)
    if name == "circle":
        draw.ellipse((x1, y1, x2, y2), fill=colour, outline=edge)
    elif name == "square":
        draw.rectangle((x1, y1, x2, y2), fill=colour, outline=edge)
    elif name == "triangle":
        draw.polygon(((x1, y2), (x2, y2), ((x1 + x2) // 2, y1)), fill=colour, outline=edge)
    else:
        draw.ellipse((x1, y1, x2, y2), outline=colour, width=max(2, (x2 - x1) // 5))


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
