"""Images come one at a time; a bad one is passed over, unless it is all there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from deploy.errors import InputError
from deploy.pipeline.sources import iterate_images, list_images, list_sources


def test_folders_are_searched_at_any_depth_in_order(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    b, a = write_image("folder/b.png"), write_image("folder/a/deep.JPG")
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    assert list_images([tmp_path / "folder"]) == [a, b]


def test_a_bad_image_in_a_folder_is_reported_and_passed_over(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    good = write_image("folder/good.png")
    (tmp_path / "folder" / "bad.jpg").write_bytes(b"not a picture")
    lines: list[str] = []
    frames = list(iterate_images([tmp_path / "folder"], lines.append))
    assert [frame.path for frame in frames] == [good]
    assert len(lines) == 1 and "bad.jpg" in lines[0]


def test_a_truncated_image_is_a_bad_image(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    path = write_image("cut.png")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.png"):
        list(iterate_images([path], lambda line: None))


def test_nothing_but_bad_images_is_fatal(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"a\.jpg.*none of the other 1"):
        list(iterate_images([tmp_path], lambda line: None))


def test_nothing_and_nowhere_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image was named"):
        list_images([])
    with pytest.raises(InputError, match="no image or folder"):
        list_images([tmp_path / "absent.jpg"])
    with pytest.raises(InputError, match="holds no image"):
        list_images([tmp_path])


def test_the_next_image_is_read_only_when_asked_for(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    write_image("a.png")
    second = write_image("b.png")
    frames = iterate_images([tmp_path], lambda line: None)
    next(frames)
    second.unlink()
    lines: list[str] = []
    assert list(frames) == [] and lines == []


def test_a_name_stands_for_what_it_looks_like(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    pytest.importorskip("av", reason="videos: av is not installed")
    image, video = write_image("folder/a.png"), tmp_path / "b.MP4"
    video.touch()
    found = list_sources([image.parent, video, "rtsp://me:secret@host/live?a=b@c"])
    assert [(source.kind, source.name) for source in found] == [
        ("image", str(image)),
        ("video", str(video)),
        ("stream", "rtsp://host/live?a=b@c"),
    ]
    assert found[2].address == "rtsp://me:secret@host/live?a=b@c"


def test_what_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no image, video or folder .*absent"):
        list_sources([tmp_path / "absent.mp4"])
    with pytest.raises(InputError, match="no camera /dev/video77"):
        list_sources(["77"])


def test_a_name_that_differs_in_case_or_form_alone_is_found(tmp_path: Path) -> None:
    (tmp_path / "Fotos").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "Fotos" / "IMG é.PNG", format="PNG")
    (source,) = list_sources([tmp_path / "fotos" / "img%20e\u0301.png"])
    assert source.address == str(tmp_path / "Fotos" / "IMG é.PNG")
    with pytest.raises(InputError, match="there is no"):
        list_sources([tmp_path / "fotos" / "other.png"])


def test_a_name_with_the_other_systems_separators_is_found(tmp_path: Path) -> None:
    image = tmp_path / "fotos" / "a.png"
    image.parent.mkdir()
    image.touch()
    (source,) = list_sources([f"{tmp_path}\\Fotos\\a.png"])
    assert source.address == str(image)


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match="empty"):
        list_sources([""])
