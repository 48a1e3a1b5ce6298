"""`deploy run` on videos and cameras: what it prints, what it says of damage, and what it leaves behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy import Bundle
from deploy.cli.parser import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tiny_bundle: Bundle) -> Command:
    """Runs the tiny bundle; gives exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["run", str(tiny_bundle.folder), "--threads", "1", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, out, err

    return command


@pytest.fixture
def video(tmp_path: Path, cv2: Any) -> Path:
    """A video of six grey frames, 128x96."""
    path = tmp_path / "street.mp4"
    path.touch()
    cv2.videos[str(path)] = grey_frames(6)
    return path


def grey_frames(count: int, size: tuple[int, int] = (128, 96)) -> list[np.ndarray | None]:
    return [np.full((size[1], size[0], 3), 20 * number % 256, np.uint8) for number in range(count)]


def frame_numbers(out: str) -> list[int]:
    return [json.loads(line)["frame"] for line in out.splitlines()]


def test_a_json_line_a_frame_with_its_time(run: Command, video: Path) -> None:
    code, out, err = run(video, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "") and frame_numbers(out) == [0, 1, 2, 3, 4, 5]
    assert [line["timestamp_ms"] for line in lines] == [0, 40, 80, 120, 160, 200]
    assert {"source", "frame", "timestamp_ms", "width", "height", "objects", "pre_ms", "infer_ms"} == set(lines[0])
    assert lines[0]["source"] == str(video) and (lines[0]["width"], lines[0]["height"]) == (128, 96)
    assert [item["class"] for item in lines[0]["objects"]] == ["dog", "cat"]


def test_text_says_which_frame(run: Command, video: Path) -> None:
    _, out, _ = run(video, "--score", 0.5)
    assert out.splitlines()[2].startswith(f"{video} frame 1 at 0.04 s: 1 object (")


def test_every_and_max_frames_leave_the_rest_out(run: Command, video: Path, cv2: Any) -> None:
    _, out, _ = run(video, "--json", "--every", 4)
    assert frame_numbers(out) == [0, 4]
    cv2.videos[str(video)] = [*grey_frames(2), "never reached"]
    code, out, err = run(video, "--json", "--max-frames", 2)
    assert (code, err) == (0, "") and frame_numbers(out) == [0, 1]


def test_the_drawn_video_has_the_rate_of_its_source(run: Command, video: Path, cv2: Any, tmp_path: Path) -> None:
    assert run(video, "--out", tmp_path / "drawn")[0] == 0
    assert run(video, "--out", tmp_path / "fewer", "--every", 2)[0] == 0
    all_frames, half = cv2.written
    assert all_frames.path == str(tmp_path / "drawn" / "street.mp4") and all_frames.finished
    assert all_frames.fps == 25 and len(all_frames.frames) == 6
    assert half.fps == 12.5 and len(half.frames) == 3, "it takes as long as its source"
    assert (all_frames.frames[5][40, 30] == 100).all() and all_frames.frames[5].std() > 0, "drawn on the frame itself"


def test_a_video_that_a_full_disk_cut_short_is_said(run: Command, video: Path, cv2: Any, tmp_path: Path) -> None:
    cv2.disk_takes = 2
    code, _, err = run(video, "--out", tmp_path / "drawn")
    assert code == 1 and "could not be written whole: it has 2 of 6 frames; is the disk full?" in err


def test_odd_sides_are_made_even_and_another_size_is_another_file(
    run: Command, video: Path, cv2: Any, tmp_path: Path
) -> None:
    cv2.videos[str(video)] = [*grey_frames(2, (65, 49)), *grey_frames(1, (64, 48))]
    code, _, _ = run(video, "--out", tmp_path / "drawn")
    assert code == 0 and [item.size for item in cv2.written] == [(66, 50), (64, 48)]
    assert [Path(item.path).name for item in cv2.written] == ["street.mp4", "street-2.mp4"]
    assert all(item.finished for item in cv2.written) and len(cv2.written[0].frames) == 2


def test_a_library_that_writes_no_video_is_said(run: Command, video: Path, cv2: Any, tmp_path: Path) -> None:
    cv2.writes = False
    code, out, err = run(video, "--out", tmp_path / "drawn")
    assert (code, out) == (1, "") and "street.mp4" in err and "does not write MP4" in err and err.count("\n") == 1


def test_pictures_and_videos_go_together(
    run: Command, video: Path, write_image: Callable[..., Path], tmp_path: Path, cv2: Any
) -> None:
    code, out, _ = run(write_image("street.png"), video, "--json", "--out", tmp_path / "drawn")
    assert code == 0 and frame_numbers(out) == [0, 0, 1, 2, 3, 4, 5]
    assert (tmp_path / "drawn" / "street.png").is_file() and Path(cv2.written[0].path).name == "street.mp4"


def test_a_damaged_frame_is_left_out_and_said(run: Command, video: Path, cv2: Any) -> None:
    cv2.videos[str(video)][2] = None
    code, out, err = run(video, "--json")
    assert code == 0 and frame_numbers(out) == [0, 1, 3, 4, 5]
    assert "frame 2 is damaged" in err and err.count("\n") == 1


def test_many_damaged_frames_are_two_lines(run: Command, video: Path, cv2: Any) -> None:
    cv2.videos[str(video)][1:5] = [None] * 4
    _, out, err = run(video, "--json")
    assert frame_numbers(out) == [0, 5] and "4 frames in all were damaged" in err and err.count("\n") == 2


def test_a_video_that_breaks_off_is_said(run: Command, video: Path, cv2: Any) -> None:
    cv2.announced = 250
    code, out, err = run(video, "--json")
    assert code == 0 and len(out.splitlines()) == 6
    assert "6 of about 250 frames could be read" in err and err.count("\n") == 1


@pytest.mark.parametrize("frames", [None, [], [None, None]])
def test_a_video_without_frames_is_exit_2(run: Command, video: Path, cv2: Any, frames: list[None] | None) -> None:
    cv2.videos[str(video)] = frames
    code, out, err = run(video)
    assert (code, out) == (2, "") and "street.mp4" in err.splitlines()[-1]


def test_a_bad_video_among_others_is_skipped(run: Command, video: Path, cv2: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").touch()
    code, out, err = run(tmp_path / "bad.mp4", video, "--json")
    assert code == 1 and len(frame_numbers(out)) == 6 and "bad.mp4" in err and "(skipped)" in err


def test_a_camera_that_vanishes_is_exit_1(run: Command, cv2: Any, tmp_path: Path) -> None:
    cv2.videos[str(tmp_path / "dev" / "video0")] = grey_frames(3)
    code, out, err = run(0, "--json", "--out", tmp_path / "drawn")
    assert code == 1 and frame_numbers(out) == [0, 1, 2]
    assert err.count("\n") == 1 and "video0 gave no more frames after 3" in err
    assert cv2.written[0].finished and len(cv2.written[0].frames) == 3


def test_a_camera_that_is_not_there_is_exit_2(run: Command, cv2: Any) -> None:
    code, out, err = run(7)
    assert (code, out) == (2, "") and "video7" in err and "video0" in err and not cv2.opened


def test_a_stream_that_ends_is_said_without_its_password(run: Command, cv2: Any, tmp_path: Path) -> None:
    url = "rtsp://me:secret@camera.local/live"
    cv2.videos[url], cv2.fps = grey_frames(2), 0.0
    code, out, err = run(url, "--json", "--out", tmp_path / "drawn")
    assert code == 0 and json.loads(out.splitlines()[0])["source"] == "rtsp://camera.local/live"
    assert "frame rate is not known" in err and "stream ended after 2 frames" in err
    assert "secret" not in out + err + cv2.written[0].path and cv2.written[0].fps == 25
    assert cv2.opened == [url]


def test_an_interruption_finishes_the_video(run: Command, video: Path, cv2: Any, tmp_path: Path) -> None:
    def interrupted() -> Iterator[np.ndarray | None]:
        yield from grey_frames(2)
        raise KeyboardInterrupt

    cv2.videos[str(video)], cv2.announced = interrupted(), 6
    code, out, err = run(video, "--json", "--out", tmp_path / "drawn")
    assert code == 130 and err == "deploy: interrupted\n" and frame_numbers(out) == [0, 1]
    assert cv2.written[0].finished and len(cv2.written[0].frames) == 2


def test_no_library_is_one_line_that_says_what_to_install(
    run: Command, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, out, err = run(video)
    assert (code, out) == (2, "") and "pip install av" in err and err.count("\n") == 1


def test_images_need_no_video_library(
    run: Command, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("av", "cv2"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run(write_image())[0] == 0
