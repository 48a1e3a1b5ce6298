"""Videos by OpenCV, which JetPack and most distributions have as a system package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from deploy.errors import InputError, OutputError
from deploy.video.base import BrokenFrameError, VideoLibrary, VideoReader, VideoWriter

__all__ = ["OpenCvLibrary"]

ROUNDED = 1  # frames: where a file does not count them, OpenCV has them from its length and rate
ENCODER = "mp4v"
CAMERA = "/dev/video"


class OpenCvLibrary(VideoLibrary):
    """OpenCV 4 and newer. It does not tell the end of a video from a failure, so the frames are counted."""

    def __init__(self) -> None:
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what is wrong is said here, in one line
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        self._cv2: Any = cv2

    def open_reader(self, address: str, name: str, kind: str) -> VideoReader:
        return _OpenCvReader(self._cv2, address, name, kind)

    def open_writer(self, path: Path, width: int, height: int, fps: float) -> VideoWriter:
        return _OpenCvWriter(self._cv2, path, width, height, fps)


class _OpenCvReader(VideoReader):
    def __init__(self, cv2: Any, address: str, name: str, kind: str) -> None:
        super().__init__(name, kind)
        self._cv2 = cv2
        number = address[len(CAMERA) :] if kind == "camera" and address.startswith(CAMERA) else ""
        where: int | str = int(number) if number.isdigit() else address
        self._capture: Any = cv2.VideoCapture(where)
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(f"{name} is not a {kind} that OpenCV can open")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(rate) if rate and rate > 0 else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) if kind == "video" else 0
        self.announced = max(0, int(count))

    def _advance(self) -> bool:
        return bool(self._capture.grab())

    def _image(self) -> np.ndarray:
        decoded, image = self._capture.retrieve()
        if not decoded or image is None or image.ndim != 3:
            raise BrokenFrameError("OpenCV could not decode it")
        return np.ascontiguousarray(image[:, :, ::-1])  # upright: OpenCV turns it itself

    def _position_ms(self) -> float | None:
        return float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC))

    def close(self) -> None:
        self._capture.release()


class _OpenCvWriter(VideoWriter):
    def __init__(self, cv2: Any, path: Path, width: int, height: int, fps: float) -> None:
        self._writer: Any = cv2.VideoWriter(
            str(path), cv2.VideoWriter_fourcc(*ENCODER), fps, self.even_size(width, height)
        )
        if not self._writer.isOpened():
            self._writer.release()
            raise OutputError(
                f"the video {path} could not be written: this OpenCV does not write MP4 of {width}x{height} at {fps:g} "
                f"frames per second (encoder {ENCODER})"
            )

        self._cv2, self._path, self._frames = cv2, path, 0

    def _write(self, image: np.ndarray) -> None:
        self._writer.write(np.ascontiguousarray(image[:, :, ::-1]))
        self._frames += 1

    def close(self) -> None:
        """OpenCV says nothing of a disk that is full: whether all frames are there is asked of the file."""
        if not self._writer.isOpened():
            return
        self._writer.release()
        written = self._cv2.VideoCapture(str(self._path))
        frames = int(written.get(self._cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if frames + ROUNDED < self._frames:
            raise OutputError(
                f"the video {self._path} could not be written whole: it has {max(frames, 0)} of {self._frames} frames; "
                "is the disk full?"
            )
