"""Videos by PyAV, the binding of FFmpeg's libraries: https://pyav.org."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from deploy.errors import InputError, OutputError, SourceError
from deploy.video.base import BrokenFrameError, VideoLibrary, VideoReader, VideoWriter

__all__ = ["PyAvLibrary"]

ENCODERS = ("libx264", "mpeg4")  # the first that this build has; FFmpeg itself always has the second
PATIENCE_S = 10.0  # with a camera or a server that says nothing
MAX_DENOMINATOR = 1001  # enough for 30000/1001 frames a second and its relatives
MPEG4_QUALITY = "4"  # FFmpeg's scale from 2, the best, to 31


class PyAvLibrary(VideoLibrary):
    """PyAV 12 and newer, but for 14.0, which does not tell how a video is turned."""

    def __init__(self) -> None:
        import av

        self._av: Any = av

    def open_reader(self, address: str, name: str, kind: str) -> VideoReader:
        return _PyAvReader(self._av, address, name, kind)

    def open_writer(self, path: Path, width: int, height: int, fps: float) -> VideoWriter:
        return _PyAvWriter(self._av, path, width, height, fps)


class _PyAvReader(VideoReader):
    def __init__(self, av: Any, address: str, name: str, kind: str) -> None:
        super().__init__(name, kind)
        self._errors: Any = av.error
        options: dict[str, Any] = {} if kind == "video" else {"timeout": PATIENCE_S}
        if kind == "camera":
            options["format"] = "v4l2"
        if address.startswith("rtsp"):
            options["options"] = {"rtsp_transport": "tcp"}  # lost UDP packets are damaged frames
        try:
            self._container: Any = av.open(address, **options)
        except (self._errors.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{name} is not a {kind} that can be opened: {_explain(error)}") from error
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"{name} holds no video")
        self._stream: Any = self._container.streams.video[0]
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else None
        seconds = (self._container.duration or 0) / 1e6
        self.announced = 0 if kind != "video" else self._stream.frames or round(seconds * (self.fps or 0))
        self._packets: Iterator[Any] = self._container.demux(self._stream)
        self._decoded: list[Any] = []
        self._frame: Any = None

    def _advance(self) -> bool:
        while not self._decoded:
            try:
                packet = next(self._packets, None)
            except (self._errors.FFmpegError, OSError) as error:
                raise SourceError(_explain(error)) from error
            if packet is None:
                return False
            try:
                self._decoded = list(packet.decode())
            except self._errors.EOFError:
                return False
            except (self._errors.FFmpegError, OSError, ValueError) as error:
                raise BrokenFrameError(_explain(error)) from error
        self._frame = self._decoded.pop(0)
        if self._frame.is_corrupt:
            raise BrokenFrameError("data is missing")
        return True

    def _image(self) -> np.ndarray:
        turns = round(self._read_rotation() / 90)
        image: np.ndarray = self._frame.to_ndarray(format="rgb24")
        self._frame = None
        return np.ascontiguousarray(np.rot90(image, turns)) if turns % 4 else image

    def _position_ms(self) -> float | None:
        seconds = self._frame.time
        return None if seconds is None else float(seconds) * 1000

    def _read_rotation(self) -> float:
        """Degrees counter-clockwise by which a player turns the frame."""
        if hasattr(self._frame, "rotation"):  # from 14.1 on
            return float(self._frame.rotation)
        if hasattr(self._stream, "side_data"):  # before 14.0
            return float(self._stream.side_data.get("DISPLAYMATRIX", 0))
        raise InputError("this PyAV does not tell how a video is turned: python3 -m pip install 'av>=14.1'")

    def close(self) -> None:
        self._decoded, self._frame = [], None
        self._container.close()


class _PyAvWriter(VideoWriter):
    def __init__(self, av: Any, path: Path, width: int, height: int, fps: float) -> None:
        self._av = av
        self._path = path
        encoder = next((name for name in ENCODERS if _has_encoder(av, name)), None)
        if encoder is None:
            raise OutputError(f"no video can be written: PyAV has none of the encoders {', '.join(ENCODERS)}")
        self._open = False
        try:
            self._container: Any = av.open(str(path), "w", format="mp4")
            rate = Fraction(fps).limit_denominator(MAX_DENOMINATOR)
            self._stream: Any = self._container.add_stream(encoder, rate=rate)
            self._stream.width, self._stream.height = self.even_size(width, height)
            self._stream.pix_fmt = "yuv420p"
            if encoder == "mpeg4":
                self._stream.options = {"qscale": MPEG4_QUALITY}
            self._container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error) from error
        self._open = True

    def _write(self, image: np.ndarray) -> None:
        self._encode(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"))

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._encode(None)
        try:
            self._container.close()
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error) from error

    def _encode(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"the video {self._path} could not be written: {_explain(error)}")


def _has_encoder(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except ValueError:  # PyAV's own error for it is one
        return False
    return True


def _explain(error: Exception) -> str:
    """The reason alone: PyAV's errors repeat the address, which may hold a password."""
    if type(error).__name__ == "ExitError":  # PyAV's, when its own patience ends
        return f"nothing came for {PATIENCE_S:g} s"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
