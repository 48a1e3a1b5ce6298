"""What was found, drawn: a picture for each image, a video for each video, camera or stream."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable, Sequence

from deploy.detections import Detections
from deploy.errors import InputError, OutputError
from deploy.pipeline.draw import draw_detections
from deploy.pipeline.sources import Source, SourceFrame
from deploy.video import VideoWriter, find_library

__all__ = ["AnnotatedFolder"]

USUAL_FPS = 25.0  # where a source does not say
LONGEST = 255  # bytes of a file's name
LEAST_FPS, MOST_FPS = 1.0, 240.0  # what encoders take and players play
RATE_STEP = 0.01


def choose_rate(fps: float) -> float:
    """A rate near this one that encoders take: MPEG-4 counts time in at most 65535 parts of a second."""
    if not LEAST_FPS <= fps <= MOST_FPS:
        return LEAST_FPS if fps < LEAST_FPS else MOST_FPS
    return fps if fps <= 60 else round(fps, 2)


class AnnotatedFolder:
    """Pictures and videos in a folder, named after their sources; to be closed, or used in a `with` statement.

    A video has its source's frame rate divided by ``every``, so that it takes as long. Where frames change in size,
    another file begins. Of sources with one name the later get a number, and no source is written over.

    Raises:
        InputError: the folder is a file.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        report: Callable[[str], None],
        every: int = 1,
        sources: Sequence[Source] = (),
    ) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; what is drawn is written into a folder")
        self._folder, self._class_names, self._report, self._every = folder, class_names, report, every
        place = os.path.realpath(str(folder))
        files = [Path(source.address) for source in sources if source.kind in ("image", "video")]
        self._taken = {file.name.lower() for file in files if os.path.realpath(str(file.parent)) == place}
        self._writer: VideoWriter | None = None
        self._content: tuple[Source, tuple[int, ...]] | None = None  # of the video being written

    def write(self, frame: SourceFrame, found: Detections) -> None:
        """Draw one frame. `OutputError` if the file cannot be written."""
        drawn = draw_detections(frame.image, found, self._class_names)
        content = (frame.source, frame.image.shape)
        if content != self._content:
            self.close()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if frame.source.kind == "image":
                from PIL import Image

                Image.fromarray(drawn).save(str(self._name_file(frame.source, ".png")))
                return
        except OSError as error:
            raise OutputError(f"the picture of {frame.source.name} could not be written: {error}") from error
        if self._writer is None:
            self._writer, self._content = self._open_video(frame), content
        self._writer.write(drawn)

    def close(self) -> None:
        """Finish the video that is being written; closing twice is allowed."""
        writer, self._writer, self._content = self._writer, None, None
        if writer is not None:
            writer.close()

    def __enter__(self) -> AnnotatedFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open_video(self, frame: SourceFrame) -> VideoWriter:
        path = self._name_file(frame.source, ".mp4")
        if frame.fps is None:
            self._report(
                f"{frame.source.name}: its frame rate is not known; {path} has {USUAL_FPS / self._every:g} frames "
                "a second"
            )
        height, width = frame.image.shape[:2]
        fps = (frame.fps or USUAL_FPS) / self._every
        usable = choose_rate(fps)
        if abs(usable - fps) > RATE_STEP:
            self._report(f"{frame.source.name}: {path} has {usable:g} frames per second instead of {fps:g}")
        return find_library().open_writer(path, width, height, usable)

    def _name_file(self, source: Source, suffix: str) -> Path:
        stem = Path(source.name).stem if source.kind in ("image", "video") else source.name.split("://")[-1]
        name = re.sub(r"[^\w.-]+", "-", stem).strip("-") if source.kind in ("camera", "stream") else stem
        while len(os.fsencode(f"{name}-000000{suffix}")) > LONGEST:
            name = name[:-1]
        chosen, number = name, 1
        while (chosen + suffix).lower() in self._taken:  # also on disks that do not tell case apart
            number += 1
            chosen = f"{name}-{number}"
        self._taken.add((chosen + suffix).lower())
        return self._folder / (chosen + suffix)
