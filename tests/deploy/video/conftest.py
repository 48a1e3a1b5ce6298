"""A double of OpenCV's video module: videos are lists of frames in memory, and what is written is kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deploy.pipeline import sources

DAMAGED = None  # stands for a frame that does not decode


@dataclass
class FakeCv2:
    """Videos by address; announced is how many frames they say they have, None as many as there are.

    What was written is a video, too, of which a full disk keeps the first frames alone (disk_takes).
    """

    videos: dict[str, Any] = field(default_factory=dict)
    fps: float = 25.0
    announced: int | None = None
    writes: bool = True
    disk_takes: int | None = None
    written: list[SimpleNamespace] = field(default_factory=list)
    opened: list[Any] = field(default_factory=list)
    CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_POS_MSEC = "fps", "count", "ms"

    def VideoCapture(self, address: str | int) -> _Capture:
        for file in self.written:
            if file.path == address and file.finished:
                frames = file.frames[: self.disk_takes]
                return _Capture(self, frames, len(frames))
        self.opened.append(address)
        return _Capture(self, self.videos.get(str(address)), self.announced)

    def VideoWriter(self, path: str, fourcc: int, fps: float, size: tuple[int, int]) -> _Writer:
        self.written.append(SimpleNamespace(path=path, fps=fps, size=size, frames=[], finished=False))
        return _Writer(self)

    def VideoWriter_fourcc(self, *letters: str) -> int:
        return len(letters)


class _Capture:
    def __init__(self, cv2: FakeCv2, frames: Any, announced: int | None) -> None:
        self.cv2, self.frames, self.announced, self.position = cv2, frames, announced, 0
        self.rest = iter(frames or ())

    def isOpened(self) -> bool:
        return self.frames is not None

    def grab(self) -> bool:
        self.now = next(self.rest, "end")
        self.position += 1
        return not isinstance(self.now, str)

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.now is DAMAGED else (True, self.now[:, :, ::-1])  # OpenCV's order is BGR

    def get(self, what: str) -> float:
        if what == "count":
            return self.announced if self.announced is not None else len(self.frames)
        return self.cv2.fps if what == "fps" else self.position * 1000 / self.cv2.fps

    def release(self) -> None:
        self.frames = self.rest = None


class _Writer:
    def __init__(self, cv2: FakeCv2) -> None:
        self.cv2, self.file = cv2, cv2.written[-1]

    def isOpened(self) -> bool:
        return self.cv2.writes

    def write(self, image: np.ndarray) -> None:
        assert (image.shape[1], image.shape[0]) == self.file.size, "OpenCV drops frames of another size without a word"
        self.file.frames.append(image[:, :, ::-1].copy())

    def release(self) -> None:
        self.file.finished = True


@pytest.fixture
def cv2(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> FakeCv2:
    """OpenCV as the only video library, with one camera, /dev/video0, that exists."""
    fake = FakeCv2()
    monkeypatch.setitem(sys.modules, "cv2", fake)
    monkeypatch.setitem(sys.modules, "av", None)
    devices = tmp_path / "dev"
    devices.mkdir()
    (devices / "video0").touch()
    monkeypatch.setattr(sources, "DEVICES", devices)
    return fake
