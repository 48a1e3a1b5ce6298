"""Where images come from: files, folders, videos, cameras and streams, one image in memory at a time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Generator, Iterator, NamedTuple, Sequence

import numpy as np

from deploy.data.find import Tree, find_alike
from deploy.data.images import image_endings, read_image
from deploy.errors import InputError
from deploy.video import find_library

__all__ = ["Frame", "Source", "SourceFrame", "iterate_frames", "iterate_images", "list_images", "list_sources"]

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp",
    ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg",
))
# fmt: on
DEVICES = Path("/dev")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
LOGIN = re.compile(r"//[^/@]*@")
Report = Callable[[str], None]


class Frame(NamedTuple):
    """One image: (H, W, 3) uint8 RGB, and the file it is from."""

    path: Path
    image: np.ndarray


class Source(NamedTuple):
    """Something that images come from.

    Attributes:
        name: what it is called in messages and results; a stream's user and password are left out of it.
        kind: "image", "video", "camera" or "stream".
        address: a path, a camera's device, or a URL.
    """

    name: str
    kind: str
    address: str


class SourceFrame(NamedTuple):
    """One image of a source: (H, W, 3) uint8 RGB, its number there, and milliseconds since the first where known.

    fps is the frames a second of the source, None for an image file and where nobody knows.
    """

    source: Source
    number: int
    timestamp_ms: float | None
    fps: float | None
    image: np.ndarray


def list_sources(names: Sequence[str | Path]) -> list[Source]:
    """What each name stands for: an image or video file, a folder of images, a camera, or a stream's URL.

    A whole number N is the camera /dev/videoN. A file's ending decides whether it is a video.

    Raises:
        InputError: nothing is named, or something that is not there; or videos are, and no library that reads them is.
    """
    if not names:
        raise InputError("no image was named")
    found: list[Source] = []
    for stated in map(str, names):
        if not stated:
            raise InputError("the name of an image is empty")
        name = stated if URL.match(stated) or stated.isdigit() else str(find_alike(Path(stated)))
        if URL.match(name):
            found.append(Source(LOGIN.sub("//", name), "stream", name))
        elif name.isdigit() or Path(name).parent == DEVICES:
            found.append(_find_camera(DEVICES / ("video" + name) if name.isdigit() else Path(name)))
        elif not Path(name).exists():
            raise InputError(f"there is no image, video or folder {name}")
        elif Path(name).is_file() and Path(name).suffix.lower() in VIDEO_SUFFIXES:
            found.append(Source(name, "video", name))
        else:
            found += [Source(str(path), "image", str(path)) for path in list_images([Path(name)])]
    if any(source.kind != "image" for source in found):
        find_library()
    return found


def iterate_frames(sources: Sequence[Source], report: Report, every: int = 1) -> Generator[SourceFrame, None, None]:
    """Every image that can be read, each when it is asked for; of videos, cameras, streams every so many-th frame.

    A source that cannot be read is handed to ``report`` as a line of text, and passed over.

    Raises:
        InputError: not one image could be read.
        SourceError: a camera or a stream gave no more frames.
    """
    readable, first_problem = 0, ""
    for source in sources:
        try:
            for frame in _read_image_file(source) if source.kind == "image" else _read_video(source, report, every):
                readable += 1
                yield frame
                del frame  # before the next one is decoded
        except InputError as error:
            first_problem = first_problem or str(error)
            if len(sources) > 1:
                report(f"{error} (skipped)")
    if not readable:
        rest = "" if len(sources) == 1 else f" (and none of the other {len(sources) - 1})"
        raise InputError(first_problem + rest)


def list_images(paths: Sequence[Path]) -> list[Path]:
    """The image files named, and those inside the folders named (at any depth, by name).

    Raises:
        InputError: nothing is named, a path does not exist, or a folder holds no image.
    """
    if not paths:
        raise InputError("no image was named")
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [path / name for name in Tree(path).images]
            if not inside:
                raise InputError(f"the folder {path} holds no image ({' '.join(sorted(image_endings()))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"there is no image or folder {path}")
    return found


def iterate_images(paths: Sequence[Path], report: Report) -> Iterator[Frame]:
    """As `iterate_frames`, of image files and folders of them alone. Raises `InputError`, as `list_images` too."""
    sources = [Source(str(path), "image", str(path)) for path in list_images(paths)]
    for frame in iterate_frames(sources, report):
        yield Frame(Path(frame.source.address), frame.image)


def _find_camera(device: Path) -> Source:
    if not device.exists():
        there = ", ".join(sorted(str(path) for path in DEVICES.glob("video*")))
        raise InputError(f"there is no camera {device}; there is {there or 'none'}")
    return Source(str(device), "camera", str(device))


def _read_image_file(source: Source) -> Iterator[SourceFrame]:
    yield SourceFrame(source, 0, None, None, read_image(Path(source.address)))


def _read_video(source: Source, report: Report, every: int) -> Iterator[SourceFrame]:
    with find_library().open_reader(source.address, source.name, source.kind) as reader:
        for number, timestamp_ms, image in reader.frames(report, every):
            yield SourceFrame(source, number, timestamp_ms, reader.fps, image)
            del image
