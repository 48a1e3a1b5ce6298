"""What every video library offers: frames one at a time, and a file that frames are written to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from time import monotonic
from typing import Callable, Iterator, NamedTuple

import numpy as np

from deploy.errors import InputError, SourceError

__all__ = ["BrokenFrameError", "VideoFrame", "VideoLibrary", "VideoReader", "VideoWriter"]

Report = Callable[[str], None]
COMPLETE = 0.98  # of the frames that a file announces: some containers state their number only roughly


class BrokenFrameError(Exception):
    """One frame cannot be had; those after it may be."""


class VideoFrame(NamedTuple):
    """An upright (H, W, 3) uint8 RGB image, its number in the video from 0, and milliseconds since the first frame."""

    number: int
    timestamp_ms: float | None
    image: np.ndarray


class VideoReader(ABC):
    """An opened video, camera or stream; closed by `close` or by leaving a with block.

    A subclass supplies `_advance`, `_image`, `_position_ms` and `close`, and sets the attributes. What is said of
    damage and of the end is here, so that it is the same of every library.

    Args:
        name: what it is called in messages. kind: "video" (a file), "camera" or "stream".

    Attributes:
        fps: frames per second; None where nobody knows.
        announced: how many frames the file says it has, 0 where it does not say.
    """

    fps: float | None = None
    announced: int = 0

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    @abstractmethod
    def _advance(self) -> bool:
        """Go on to the next frame; False at the end.

        Raises:
            BrokenFrameError: this one cannot be had.
            SourceError: nothing more can be read.
        """

    @abstractmethod
    def _image(self) -> np.ndarray:
        """The present frame, upright, in memory of its own. Raises `BrokenFrameError`."""

    @abstractmethod
    def _position_ms(self) -> float | None:
        """The time of the present frame on the file's own clock."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or device; closing twice is allowed."""

    def frames(self, report: Report, every: int = 1) -> Iterator[VideoFrame]:
        """Every so many-th frame, decoded when it is asked for; none is kept.

        A camera's and a stream's time is when a frame arrived. A frame that is damaged is left out, and the first one
        is reported; so is a file that ends early, and a stream that ends.

        Raises:
            InputError: a file holds not one frame that can be decoded.
            SourceError: a camera gave no more frames, or a stream broke off.
        """
        number = damaged = 0
        first_ms: float | None = None
        reason = ""
        while True:
            try:
                if not self._advance():
                    break
                now_ms = self._position_ms() if self.kind == "video" else monotonic() * 1000
                first_ms = now_ms if first_ms is None else first_ms
                if number % every == 0:
                    elapsed_ms = None if now_ms is None or first_ms is None else now_ms - first_ms
                    yield VideoFrame(number, elapsed_ms, self._image())
            except BrokenFrameError as problem:
                damaged += 1
                if damaged == 1:
                    report(f"{self.name}: frame {number} is damaged: {problem} (left out)")
            except SourceError as error:
                reason = str(error)
                break
            number += 1
        self._report_end(report, number - damaged, damaged, reason)

    def _report_end(self, report: Report, good: int, damaged: int, reason: str) -> None:
        if damaged > 1:
            report(f"{self.name}: {damaged} frames in all were damaged and left out")
        because = ": " + reason if reason else ""
        if self.kind == "camera" or (self.kind == "stream" and (reason or not good)):
            raise SourceError(f"the {self.kind} {self.name} gave no more frames after {good}{because}")
        if not good:
            raise InputError(f"{self.name} holds no frame that can be decoded{because}")
        if self.kind == "stream":
            report(f"{self.name}: the stream ended after {good} frames")
        elif reason:
            report(f"{self.name}: the video breaks off after {good} frames{because}")
        elif good + damaged < COMPLETE * self.announced:
            report(f"{self.name}: {good} of about {self.announced} frames could be read")

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class VideoWriter(ABC):
    """A video file of one frame size. `close` makes it whole; until then it may not be playable."""

    @abstractmethod
    def _write(self, image: np.ndarray) -> None:
        """Append an (H, W, 3) uint8 RGB image of even sides."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file; closing twice is allowed."""

    def write(self, image: np.ndarray) -> None:
        """Append an (H, W, 3) uint8 RGB image. Encoders want even sides: an odd one repeats its last row or column."""
        odd = [(0, side % 2) for side in image.shape[:2]]
        self._write(np.pad(image, [*odd, (0, 0)], mode="edge") if any(map(any, odd)) else image)

    @staticmethod
    def even_size(width: int, height: int) -> tuple[int, int]:
        """What a video of such images measures."""
        return width + width % 2, height + height % 2


class VideoLibrary(ABC):
    """A library that opens videos, loaded by making one of these: an `ImportError` where it is not installed."""

    @abstractmethod
    def open_reader(self, address: str, name: str, kind: str) -> VideoReader:
        """An opened video; address is a path, a device's path, or a URL.

        Raises:
            InputError: it cannot be opened, or holds no video.
        """

    @abstractmethod
    def open_writer(self, path: Path, width: int, height: int, fps: float) -> VideoWriter:
        """An MP4 file for images of this size; its folder exists. `OutputError` where this build writes none."""
