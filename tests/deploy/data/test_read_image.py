"""Image files of every kind become RGB pixels, or an InputError."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.data.images import image_format, image_size, read_image
from deploy.errors import InputError

TURNED = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10


def save_turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(TURNED).save(path, exif=exif)
    return path


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8 and (image == 255).all()
    assert image_size(path) == (5, 4)


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0x80, 0xFF]


def test_a_photo_is_turned_the_way_it_is_shown(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "a.png", 6)
    np.testing.assert_array_equal(read_image(path), np.rot90(TURNED, -1))
    assert image_size(path) == (2, 3)


def test_labels_for_the_pixels_as_stored_get_them_as_stored(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "a.png", 6)
    np.testing.assert_array_equal(read_image(path, (3, 2)), TURNED)
    np.testing.assert_array_equal(read_image(path, (2, 3)), np.rot90(TURNED, -1))


def test_the_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png", format="JPEG")
    assert read_image(tmp_path / "a.png").shape == (4, 5, 3)
    name, endings = image_format(tmp_path / "a.png")
    assert name == "JPEG" and ".jpg" in endings and ".png" not in endings


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_image_is_an_input_error(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"a.{ending}"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=path.name):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_file_that_is_no_image_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, image_size, image_format):
        with pytest.raises(InputError, match=r"a\.png"):
            read(tmp_path / "a.png")


def test_a_missing_image_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        for read in (read_image, image_size):
            with pytest.raises(InputError):
                read(path)


def test_a_file_that_pillow_would_read_whole_is_refused_by_its_size(tmp_path: Path) -> None:
    """A hole after a WebP's header costs its maker nothing, and whoever reads it all of its size."""
    path = tmp_path / "a.webp"
    Image.new("RGB", (8, 8)).save(path)
    os.truncate(path, (1 << 30) + 1)
    with pytest.raises(InputError, match="too large for an image: it has more than 1024 MiB"):
        image_size(path)


def test_a_tile_of_a_tiff_that_is_larger_than_images_are_is_refused(tmp_path: Path) -> None:
    """A tile is decoded whole: of an image of 100x100 in one of 24000x24000 that is 1.7 GB."""
    path, entry = tmp_path / "a.tif", struct.Struct("<HHII")
    values = {256: 100, 257: 100, 258: 8, 259: 8, 262: 1, 277: 1, 322: 24000, 323: 24000, 324: 200, 325: 9}
    entries = b"".join(entry.pack(tag, 4, 1, value) for tag, value in values.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + bytes(100))
    with pytest.raises(InputError, match="a TIFF with tiles of 576000000 pixels"):
        read_image(path)
