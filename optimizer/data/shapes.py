"""The generated data set: circles, squares, triangles and rings on noisy ground, labelled as COCO JSON.

Seeded: equal arguments give equal files, byte for byte. Objects are small and large, overlap, and some images have none.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["CLASS_NAMES", "write_shapes"]

CLASS_NAMES = ("circle", "square", "triangle", "ring")
EMPTY_SHARE = 0.06
MAX_OBJECTS = 6
MAX_OVERLAP = 0.45  # intersection over the smaller box


def write_shapes(folder: Path, *, train: int, val: int, size: tuple[int, int], seed: int) -> Path:
    """Write (or find, whole) the data set in `folder`; returns `folder`."""
    wanted = {"train": train, "val": val, "size": list(size), "seed": seed}
    stamp = folder / "shapes.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == wanted:
        return folder
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "annotations").mkdir(parents=True)
    for number, (split, count) in enumerate((("train", train), ("val", val))):
        (aside / split).mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            rng = np.random.default_rng((seed, number, index))
            picture, objects = draw_image(rng, size)
            name = f"{index:05d}.png"
            picture.save(aside / split / name)
            images.append({"id": index, "file_name": name, "width": size[0], "height": size[1]})
            for label, (x1, y1, x2, y2) in objects:
                box = [x1, y1, x2 - x1, y2 - y1]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": index, "category_id": label + 1, "bbox": box,
                     "area": box[2] * box[3], "iscrowd": 0}
                )  # fmt: skip
        categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (aside / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    (aside / "shapes.json").write_text(json.dumps(wanted))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def draw_image(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[Image.Image, list[tuple[int, tuple[int, int, int, int]]]]:
    """One picture and its objects: (label, (x1, y1, x2, y2)) in pixels."""
    width, height = size
    ground = rng.integers(60, 190, size=3)
    noise = rng.normal(0, 14, size=(height, width, 3)) + rng.normal(0, 18, size=(1, width, 1))
    picture = Image.fromarray(np.clip(ground + noise, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    objects: list[tuple[int, tuple[int, int, int, int]]] = []
    wanted = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, MAX_OBJECTS + 1))
    for _ in range(4 * wanted):
        if len(objects) == wanted:
            break
        side = int(min(width, height) * math.exp(rng.uniform(math.log(0.12), math.log(0.55))))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        box = (x, y, x + side, y + side)
        if any(_overlap(box, other) > MAX_OVERLAP for _, other in objects):
            continue
        label = int(rng.integers(len(CLASS_NAMES)))
        colour = tuple(int(value) for value in np.clip(ground + rng.choice((-1, 1), 3) * rng.integers(50, 110, 3), 0, 255))
        _draw_shape(draw, CLASS_NAMES[label], box, colour)
        objects.append((label, box))
    return picture, objects


def _draw_shape(draw: ImageDraw.ImageDraw, name: str, box: tuple[int, int, int, int], colour: tuple[int, ...]) -> None:
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


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
