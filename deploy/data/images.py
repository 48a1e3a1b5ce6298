"""Image files to pixels, the same by every release of Pillow from 7 on.

Pillow opens 43 formats, of which some start other programs: files of the formats below are opened, and no others. How
large an image is, is known and judged before it is decoded.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Iterator, NamedTuple

import numpy as np

from deploy.data.exif import QUARTER_TURNS, parse_orientation
from deploy.errors import InputError
from deploy.reading import open_plain

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFile", "image_endings", "image_format", "image_size", "read_described", "read_image"]

LFS_POINTER = b"version https://git-lfs"
APPLE = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc")  # what phones write into .heic
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
JPEGS = ("JPEG", "MPO")  # phones write both into .jpg
MAX_PIXELS = 120_000_000  # a phone's largest photo is 108; one of these takes 1.2 GB while it is decoded
MAX_BYTES = 1 << 30  # of a file; Pillow reads some formats whole before it knows their size
MAX_TILE = 1 << 24  # pixels of a tile of TIFF, which is decoded whole, however small the image is
ORIENTATION, WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT = 274, 256, 257, 322, 323  # tags of TIFF
OPPOSITE = {6: 8, 8: 6}  # orientations that another one undoes


class ImageFile(NamedTuple):
    """An image and, where its labels state one, their (width, height); `read_image` says what that decides."""

    path: Path
    labelled_size: tuple[int, int] | None = None


def read_image(path: Path, labelled_size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file. Its content decides the format, not its name; transparency is dropped.

    A photo that its EXIF tag says to rotate is rotated, as every viewer and labelling tool shows it, unless
    `labelled_size`, the (width, height) that its labels state, is only that of the pixels as they are stored:
    COCO's own labels refer to those. Grey levels of more than 8 bits are scaled by the bits that the image uses,
    numbers with a fraction by their range.

    Raises:
        InputError: the file is missing, truncated, too large, or no image.
    """
    return read_described(path, labelled_size)[0]


def read_described(path: Path, labelled_size: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
    """The same, and what was done to its levels; empty where nothing was."""
    with _opened(path) as image:
        orientation, stored = _read_orientation(image), _stored_size(image)
        upright = _turn_size(stored, orientation)
        wanted = 1 if labelled_size == stored != upright else orientation
        pixels, note = _rgb(image)
        if _is_turned_by_pillow(image, orientation):
            pixels = pixels if wanted == orientation else _turn(pixels, OPPOSITE.get(orientation, orientation))
        else:
            pixels = _turn(pixels, wanted)
        return np.ascontiguousarray(pixels), note


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of `read_image`, from the file's header alone."""
    with _opened(path) as image:
        return _turn_size(_stored_size(image), _read_orientation(image))


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) as the photo is shown, and as its pixels are stored: labels may be for either."""
    with _opened(path) as image:
        stored = _stored_size(image)
        return _turn_size(stored, _read_orientation(image)), stored


def image_format(path: Path) -> tuple[str, tuple[str, ...]]:
    """Name of the format an image has by its content, and the file name endings that go with it."""
    with _opened(path) as image:
        name = image.format or "unknown"
    return name, _endings_of(JPEGS if name in JPEGS else (name,))


@lru_cache(maxsize=1)
def image_endings() -> frozenset[str]:
    """The endings, in lower case with their dot, of files that `read_image` may read."""
    return frozenset(_endings_of(FORMATS))


def _endings_of(formats: tuple[str, ...]) -> tuple[str, ...]:
    from PIL import Image

    return tuple(sorted(ending for ending, format in Image.registered_extensions().items() if format in formats))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header has been read. Whatever goes wrong, here or with what is done to it, is an `InputError`."""
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise InputError(f"{path} is too large for an image: it has more than {MAX_BYTES >> 20} MiB")
            with _open_known(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(
                        f"{path} has {image.width}x{image.height} pixels; an image has at most 120 million"
                    )
                if _tile_size(image) > MAX_TILE:
                    raise InputError(f"{path} is a TIFF with tiles of {_tile_size(image)} pixels, which are not read")
                yield image
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise InputError(f"{path} is not an image that can be read ({_say(error)})") from error


def _open_known(file: IO[bytes]) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    known = _known_formats()
    try:
        return Image.open(file, formats=known)
    except UnidentifiedImageError:
        file.seek(0)
        raise ValueError(_explain(file.read(32))) from None
    except TypeError:  # Pillow before 8 tries all formats: ask the known ones whether they would take it
        start = file.read(16)
        file.seek(0)
        tests = [Image.OPEN[name][1] for name in known]
        if not any(test is not None and test(start) for test in tests):
            raise ValueError(_explain(start)) from None
        return Image.open(file)


@lru_cache(maxsize=1)
def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow opens; MPO is opened as JPEG."""
    from PIL import Image

    Image.init()
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the bound here is lower
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _read_orientation(image: Image.Image) -> int:
    """1 to 8, by what the header holds: looking further would decode a PNG."""
    if image.format == "TIFF":
        value = image.tag_v2.get(ORIENTATION, 1)  # type: ignore[attr-defined]
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    block = image.info.get("exif", b"")
    return parse_orientation(block) if isinstance(block, bytes) else 1


def _stored_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":  # newer releases of Pillow give it as it is shown
        return int(image.tag_v2[WIDTH]), int(image.tag_v2[HEIGHT])  # type: ignore[attr-defined]
    return image.size


def _tile_size(image: Image.Image) -> int:
    """Pixels of a tile of TIFF; 0 where it has none."""
    if image.format != "TIFF":
        return 0
    width, height = (image.tag_v2.get(tag, 0) for tag in (TILE_WIDTH, TILE_HEIGHT))  # type: ignore[attr-defined]
    return int(width) * int(height)


def _is_turned_by_pillow(image: Image.Image, orientation: int) -> bool:
    """Whether decoding turned it, as newer releases do to TIFF: they then take the tag away."""
    return image.format == "TIFF" and orientation != 1 and ORIENTATION not in image.tag_v2  # type: ignore[attr-defined]


def _turn_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in QUARTER_TURNS else size


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as an orientation says to show them."""
    if orientation in (2, 3, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7):
        pixels = pixels[::-1]
    if orientation in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (6, 8):
        pixels = np.rot90(pixels, -1 if orientation == 6 else 1)
    return pixels


def _rgb(image: Image.Image) -> tuple[np.ndarray, str]:
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion would clip to white, or to black
        grey, note = _scale_levels(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2), note
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))  # how Pillow is about to decode it
    pixels = np.asarray(image.convert("RGB"))
    if deep and pixels.size and pixels.max() < 64:  # 12 bits in 16 leave 15 of Pillow's upper 8
        return pixels, f"16-bit colours of which only the upper 8 bits are read, the brightest of them {pixels.max()}"
    return pixels, ""


def _scale_levels(levels: np.ndarray) -> tuple[np.ndarray, str]:
    """uint8 of grey levels of any type, and what was done where it is not a matter of course."""
    if levels.dtype.kind == "f":
        values = np.nan_to_num(levels.astype(np.float64), nan=0, posinf=0, neginf=0)
        if not np.isfinite(levels).any():
            return values.astype(np.uint8), "not one level is a number: the image is black"
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 65535:
            shown = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
            return np.rint(shown).astype(np.uint8), f"levels from {low:g} to {high:g} are scaled to 0 to 255"
        if high <= 1:
            return np.rint(values * 255).astype(np.uint8), "levels from 0 to 1 are scaled to 0 to 255"
        if high <= 255:
            return np.rint(values).astype(np.uint8), ""
        levels = values
    whole = levels.astype(np.int64)
    if whole.min() < 0:
        return _scale_levels(levels.astype(np.float64))
    used = int(whole.max()).bit_length()
    bits = next(size for size in (8, 10, 12, 14, 16, 24, 32, 64) if used <= size)
    note = "" if bits == 16 else f"levels use {bits} bits, up to {int(whole.max())}, and are scaled to 8"
    return (whole >> (bits - 8)).astype(np.uint8), note


def _explain(start: bytes) -> str:
    """Why no format took a file that begins so."""
    if not start:
        return "it is empty"
    if start.startswith(LFS_POINTER):
        return "it only points to a file in Git LFS: git lfs pull"
    if start[4:12] in APPLE:
        return "it is HEIC, which is not read: convert it to JPEG"
    return f"its content is none of {', '.join(FORMATS)}"


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__
