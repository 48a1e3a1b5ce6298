"""What was found, drawn: a picture for each image, a video for each video, camera or stream."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Sequence

from deploy.detections import Detections
from deploy.errors import DeployError
from deploy.pipeline.draw import draw_detections
from deploy.pipeline.sources import Source, SourceFrame
from deploy.video import VideoWriter, find_library

__all__ = ["AnnotatedFolder"]

USUAL_FPS = 25.0  # where a source does not say


class AnnotatedFolder:
    """Pictures and videos in a folder, named after their sources; to be closed, or used in a `with` statement.

    A video has its source's frame rate divided by ``every``, so that it takes as long. Where frames change in size,
    another file begins. Of sources with one name the later get a number.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], report: Callable[[str], None], every: int = 1) -> None:
        self._folder, self._class_names, self._report, self._every = folder, class_names, report, every
        self._taken: dict[str, int] = {}
        self._writer: VideoWriter | None = None
        self._content: tuple[Source, tuple[int, ...]] | None = None  # of the video being written

    def write(self, frame: SourceFrame, found: Detections) -> None:
        """Draw one frame. `DeployError` if the file cannot be written."""
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
            raise DeployError(f"the picture of {frame.source.name} could not be written: {error}") from error
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
        return find_library().open_writer(path, width, height, (frame.fps or USUAL_FPS) / self._every)

    def _name_file(self, source: Source, suffix: str) -> Path:
        stem = Path(source.name).stem if source.kind in ("image", "video") else source.name.split("://")[-1]
        name = re.sub(r"[^\w.-]+", "-", stem).strip("-") if source.kind in ("camera", "stream") else stem
        number = self._taken[name + suffix] = self._taken.get(name + suffix, 0) + 1
        return self._folder / (name + suffix if number == 1 else f"{name}-{number}{suffix}")
