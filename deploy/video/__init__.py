"""Video files, cameras and streams, read and written by a library that is loaded when one is opened, not before."""

from __future__ import annotations

from deploy.errors import InputError
from deploy.video.base import VideoFrame, VideoLibrary, VideoReader, VideoWriter
from deploy.video.opencv import OpenCvLibrary
from deploy.video.pyav import PyAvLibrary

__all__ = ["LIBRARIES", "VideoFrame", "VideoLibrary", "VideoReader", "VideoWriter", "find_library"]

# By the module's name; the first one installed is taken. PyAV tells the end of a video from a damage.
LIBRARIES: dict[str, type[VideoLibrary]] = {"av": PyAvLibrary, "cv2": OpenCvLibrary}


def find_library() -> VideoLibrary:
    """The library that reads videos here; an `InputError` says what to install where there is none."""
    problems = []
    for library in LIBRARIES.values():
        try:
            return library()
        except ImportError as error:
            problems.append(str(error))
    raise InputError(
        f"videos and cameras need PyAV or OpenCV ({'; '.join(problems)}): python3 -m pip install av; on a Jetson "
        "OpenCV comes with JetPack, or by apt install python3-opencv"
    )
