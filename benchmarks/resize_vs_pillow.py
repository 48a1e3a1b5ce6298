"""Does Pillow's `resize(box=...)` give the pixels of our antialiased resize, and in what time?

    python benchmarks/resize_vs_pillow.py [--image some.jpg ...] [--repeats 50] [--no-time]

Both shrink an image by the exact scale of its placement into the corner of a canvas. Pillow is told the part of the
image that the whole canvas pixels cover. Where a side was rounded up that part would reach past the image, which Pillow
refuses, so its scale is off there (up to 45 levels on noise). Elsewhere 74 to 99.99 % of the values are equal, and the
others differ by one level. Without images, noise and a gradient of odd sizes are resized. Times are medians, in turns;
the machine has to be quiet.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from deploy import Preprocess
from deploy.data.images import read_image

CANVASES = ((320, 240), (640, 480), (1333, 800))
SIZES = ((1920, 1080), (1280, 853), (641, 479), (1000, 333))  # of images, width and height
Resize = Callable[[np.ndarray], np.ndarray]


def make_images() -> dict[str, np.ndarray]:
    """Noise, which has every frequency, and a gradient, which has none, in each size."""
    rng = np.random.default_rng(0)
    images: dict[str, np.ndarray] = {}
    for width, height in SIZES:
        images[f"noise {width}x{height}"] = rng.integers(0, 256, (height, width, 3), np.uint8)
        slope = np.add.outer(np.linspace(0, 127, height), np.linspace(0, 128, width))
        images[f"gradient {width}x{height}"] = np.repeat(slope.astype(np.uint8)[:, :, None], 3, axis=2)
    return images


def resize_by_pillow(preprocess: Preprocess, image: np.ndarray) -> np.ndarray:
    """The content of the canvas by Pillow: the box is what the whole canvas pixels cover, kept inside the image."""
    place = preprocess.place(image.shape[1], image.shape[0])
    width, height = preprocess.content_size(place)
    box = (0.0, 0.0, min(width / place.scale, place.width), min(height / place.scale, place.height))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box))


def resize_by_us(preprocess: Preprocess, image: np.ndarray) -> np.ndarray:
    width, height = preprocess.content_size(preprocess.place(image.shape[1], image.shape[0]))
    return preprocess.canvas(image)[:height, :width]


def time_both(ways: dict[str, Resize], image: np.ndarray, repeats: int) -> dict[str, float]:
    """Median milliseconds of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, resize in ways.items():
            started = time.perf_counter()
            resize(image)
            times[name].append((time.perf_counter() - started) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, nargs="+", default=[], metavar="PATH")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--no-time", action="store_true", help="equality alone, for a machine that is not quiet")
    options = parser.parse_args()
    images = {path.name: read_image(path) for path in options.image} or make_images()
    print("| image | canvas | equal pixels | largest difference | ours, ms | Pillow, ms |")
    print("|---|---|---|---|---|---|")
    for name, image in images.items():
        for width, height in CANVASES:
            preprocess = Preprocess(width, height, antialias=True)
            if preprocess.place(image.shape[1], image.shape[0]).scale >= 1:
                continue  # nothing is antialiased where an image grows
            ours, theirs = resize_by_us(preprocess, image), resize_by_pillow(preprocess, image)
            difference = np.abs(ours.astype(int) - theirs)
            found = f"{(difference == 0).mean():.2%} | {difference.max()}"
            ways: dict[str, Resize] = {
                "ours": lambda pixels, how=preprocess: resize_by_us(how, pixels),  # type: ignore[misc]
                "Pillow": lambda pixels, how=preprocess: resize_by_pillow(how, pixels),  # type: ignore[misc]
            }
            spent = {} if options.no_time else time_both(ways, image, options.repeats)
            shown = " | ".join(f"{spent[way]:.2f}" if way in spent else "-" for way in ways)
            print(f"| {name} | {width}x{height} | {found} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
