"""Pictures as cameras and tools write them: damaged EXIF, two in one file, more than 8 bits, too many pixels."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.data.exif import parse_orientation
from deploy.data.images import image_endings, image_format, image_size, read_described, read_image
from deploy.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def exif(orientation: int = 6) -> bytes:
    block = Image.Exif()
    block[0x010F] = "Maker"
    block[ORIENTATION] = orientation
    return block.tobytes()


def write_jpeg(path: Path, block: bytes) -> Path:
    """A JPEG whose EXIF block is just these bytes."""
    buffer = BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", quality=95)
    data = buffer.getvalue()
    cut = 4 + int.from_bytes(data[4:6], "big")
    path.write_bytes(data[:cut] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[cut:])
    return path


@pytest.mark.parametrize(
    "block",
    [b"Exif\0\0", b"Exif\0\0\x00\x08\x00\x02", b"Exif\0\0" + exif()[6:20], b"Exif\0\0b'Exif'", exif()[:-30],
     b"Exif\0\0MM\0*", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"],
)  # fmt: skip
def test_a_damaged_block_costs_the_orientation_alone(tmp_path: Path, block: bytes) -> None:
    path = write_jpeg(tmp_path / "a.jpg", block)
    assert read_image(path).shape == (6, 8, 3) and image_size(path) == (8, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_every_orientation_is_undone_as_pillow_would(tmp_path: Path, orientation: int, ending: str) -> None:
    from PIL import ImageOps

    path = tmp_path / f"a.{ending}"
    Image.fromarray(PIXELS).save(path, exif=exif(orientation))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[1::-1]


@pytest.mark.parametrize("orientation", [2, 5, 6, 7, 8])
def test_a_tiff_can_be_had_as_it_is_stored(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(PIXELS).save(path, exif=exif(orientation))
    if orientation >= 5:
        np.testing.assert_array_equal(read_image(path, (8, 6)), PIXELS)


def test_a_block_whose_header_is_there_twice_is_read() -> None:
    assert parse_orientation(exif(6)) == parse_orientation(b"Exif\0\0" + exif(6)) == 6
    assert parse_orientation(exif(9)) == parse_orientation(b"") == 1


def test_a_phones_second_picture_is_no_matter(tmp_path: Path) -> None:
    first, second = Image.fromarray(PIXELS), Image.new("RGB", (2, 2))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.jpg").shape == (6, 8, 3)
    assert ".jpg" in image_format(tmp_path / "a.jpg")[1]


@pytest.mark.parametrize(
    ("levels", "expected", "said"),
    [
        (np.array([[0, 2048, 4095]], np.uint16), [0, 128, 255], "12 bits"),
        (np.array([[0, 512, 1023]], np.uint16), [0, 128, 255], "10 bits"),
        (np.array([[0, 128, 255]], np.uint16), [0, 128, 255], "8 bits"),
        (np.array([[0, 0x8000, 0xFFFF]], np.uint16), [0, 128, 255], ""),
        (np.array([[0, 2**23, 2**24 - 1]], np.int32), [0, 128, 255], "24 bits"),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255], "0 to 1"),
        (np.array([[0, 128, 255]], np.float32), [0, 128, 255], ""),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255], "-1 to 1"),
        (np.array([[0, np.nan, np.inf]], np.float32), [0, 0, 0], ""),
        (np.array([[0, 2048, 4095]], np.float32), [0, 128, 255], "12 bits"),
    ],
)
def test_levels_are_scaled_by_their_range_and_that_is_said(
    tmp_path: Path, levels: np.ndarray, expected: list[int], said: str
) -> None:
    Image.fromarray(levels).save(tmp_path / "a.tif")
    pixels, note = read_described(tmp_path / "a.tif")
    assert pixels[0, :, 0].tolist() == expected and (said in note if said else "bits" not in note)


def test_dark_sixteen_bit_colours_are_said(tmp_path: Path) -> None:
    """Pillow reads the upper 8 bits alone: 12 bits in 16 leave 15 levels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + np.full((3, 3), 4095, ">u2").tobytes() for _ in range(3))
    header = struct.pack(">IIBBBBB", 3, 3, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    pixels, note = read_described(tmp_path / "a.png")
    assert pixels.max() == 15 and "upper 8 bits" in note


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"bomb\.png.*12000x12000.*120 million"):
            read(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0\0\1\0\1\0\x10\x10", b"8BPS\0\1"]
)
def test_formats_that_are_not_known_are_not_tried(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content + bytes(100))
    with pytest.raises(InputError, match=r"a\.jpg is not an image"):
        read_image(tmp_path / "a.jpg")


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="not a plain file"):
        read_image(tmp_path / "a.png")


def test_endings_are_the_decoders_own() -> None:
    assert {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".bmp",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".gif",
        ".mpo",
    } <= image_endings()
    assert not {".eps", ".pdf", ".psd", ".ico"} & image_endings()


def test_levels_below_zero_are_scaled_by_their_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-100, 4], [50, 100]], np.int32)).save(tmp_path / "a.tif")
    pixels, note = read_described(tmp_path / "a.tif")
    assert (
        pixels[..., 0].tolist() == [[0, 133], [191, 255]] and note == "levels from -100 to 100 are scaled to 0 to 255"
    )


def test_an_image_without_a_number_is_said_to_be_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "a.tif")
    pixels, note = read_described(tmp_path / "a.tif")
    assert not pixels.any() and "black" in note


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which is not read: convert it to JPEG"),
        (b"<html>", "none of AVIF, BMP, GIF, JPEG"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_image(tmp_path / "a.jpg")
    assert "BufferedReader" not in str(caught.value)
