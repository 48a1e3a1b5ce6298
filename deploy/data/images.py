"""Image files to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploy.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFile", "image_format", "image_size", "read_image"]

ORIENTATION = 0x0112  # EXIF tag: how the camera was held
QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange width and height


class ImageFile(NamedTuple):
    """An image and, where its labels state one, their (width, height); `read_image` says what that decides."""

    path: Path
    labelled_size: tuple[int, int] | None = None


def read_image(path: Path, labelled_size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file. Its content decides the format, not its name; transparency is dropped.

    A photo that its EXIF tag says to rotate is rotated, as every viewer and labelling tool shows it, unless
    `labelled_size`, the (width, height) that its labels state, is only that of the pixels as they are stored:
    COCO's own labels refer to those.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if labelled_size is None or labelled_size != image.size or labelled_size == _upright_size(image):
                return _rgb(ImageOps.exif_transpose(image))
            return _rgb(image)
    except FileNotFoundError as error:
        raise InputError(f"there is no image {path}") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise InputError(f"{path} is not an image that can be read ({error})") from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of `read_image`, from the file's header alone."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return _upright_size(image)
    except FileNotFoundError as error:
        raise InputError(f"there is no image {path}") from error
    except Exception as error:
        raise InputError(f"{path} is not an image that can be read ({error})") from error


def image_format(path: Path) -> tuple[str, tuple[str, ...]]:
    """Name of the format an image has by its content, and the file name endings that go with it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            name = image.format or "unknown"
    except Exception as error:
        raise InputError(f"{path} is not an image that can be read ({error})") from error
    return name, tuple(sorted(ending for ending, format in Image.registered_extensions().items() if format == name))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    # Asking a PNG without the tag in its header for it would decode the whole image.
    known = image.format != "PNG" or "exif" in image.info
    turned = known and image.getexif().get(ORIENTATION) in QUARTER_TURNS
    return (image.height, image.width) if turned else image.size


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey; PIL's own conversion would clip it to white
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))
