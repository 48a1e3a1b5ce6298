"""A video of any length takes the memory of one frame."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy import Bundle
from deploy.cli.parser import main
from deploy.pipeline.sources import iterate_frames, list_sources

FRAMES, HEIGHT, WIDTH = 120, 240, 320
FRAME_BYTES = HEIGHT * WIDTH * 3


class Generated:
    """Frames made when they are read, as a decoder does."""

    def __len__(self) -> int:
        return FRAMES

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in range(FRAMES):
            yield np.full((HEIGHT, WIDTH, 3), number % 256, np.uint8)


@pytest.fixture
def video(tmp_path: Path, cv2: Any) -> Path:
    path = tmp_path / "long.mp4"
    path.touch()
    cv2.videos[str(path)] = Generated()
    return path


def test_no_frame_outlives_its_turn(video: Path) -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    frames = iterate_frames(list_sources([video]), lambda line: None)
    for frame in frames:
        seen.append(weakref.ref(frame.image))
        del frame
        assert not [image for image in seen[:-1] if image() is not None]
    assert len(seen) == FRAMES


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_running_takes_no_more_memory_with_more_frames(
    video: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    command = ["run", str(tiny_bundle.folder), str(video), "--threads", "1", *arguments]
    peaks = []
    for limit in (10, FRAMES):
        tracemalloc.start()
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--max-frames", str(limit)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert stopped.value.code == 0 and capsys.readouterr().out.count("long.mp4") == limit
    assert peaks[1] < peaks[0] + FRAME_BYTES, "one frame's worth at most, where 110 would be kept otherwise"
