"""What every video library does; those that are not installed are skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.errors import DeployError, InputError
from deploy.video import LIBRARIES, VideoFrame, VideoLibrary, VideoReader

FPS = 30000 / 1001
HEIGHT, WIDTH = 96, 128


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> VideoLibrary:
    pytest.importorskip(request.param, reason=f"videos: {request.param} is not installed")
    return LIBRARIES[request.param]()


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Red on the left, blue on the right, and a noise that every frame has of its own."""
    image = np.random.default_rng(number).integers(0, 60, (height, width, 3), np.uint8)
    image[:, : width // 2, 0] += 180
    image[:, width // 2 :, 2] += 180
    return image


def write(library: VideoLibrary, path: Path, count: int = 10, width: int = WIDTH, height: int = HEIGHT) -> Path:
    writer = library.open_writer(path, width, height, FPS)
    for number in range(count):
        writer.write(picture(number, width, height))
    writer.close()
    writer.close()
    return path


def open_file(library: VideoLibrary, path: Path) -> VideoReader:
    return library.open_reader(str(path), path.name, "video")


def read(library: VideoLibrary, path: Path, every: int = 1) -> tuple[list[VideoFrame], list[str]]:
    lines: list[str] = []
    with open_file(library, path) as reader:
        return list(reader.frames(lines.append, every)), lines


def test_what_is_written_is_read_in_order(library: VideoLibrary, tmp_path: Path) -> None:
    path = write(library, tmp_path / "a.mp4")
    frames, lines = read(library, path)
    assert lines == [] and [frame.number for frame in frames] == list(range(10))
    times = [frame.timestamp_ms for frame in frames]
    assert times == pytest.approx([1000 / FPS * number for number in range(10)], abs=0.1)
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH, 3) and frame.image.dtype == np.uint8
        left, right = frame.image[:, 4 : WIDTH // 2 - 4].mean((0, 1)), frame.image[:, WIDTH // 2 + 4 :].mean((0, 1))
        assert left[0] > left[2] + 100 and right[2] > right[0] + 100, "red is the first channel"


def test_the_frame_rate_is_kept(library: VideoLibrary, tmp_path: Path) -> None:
    with open_file(library, write(library, tmp_path / "a.mp4")) as reader:
        assert reader.fps == pytest.approx(FPS, rel=1e-4) and reader.announced == 10


def test_every_so_many_th_frame_is_the_same_frame(library: VideoLibrary, tmp_path: Path) -> None:
    path = write(library, tmp_path / "a.mp4")
    every, some = read(library, path)[0], read(library, path, 4)[0]
    assert [frame.number for frame in some] == [0, 4, 8]
    for frame in some:
        np.testing.assert_array_equal(frame.image, every[frame.number].image)
        assert frame.timestamp_ms == every[frame.number].timestamp_ms


def test_images_are_the_callers(library: VideoLibrary, tmp_path: Path) -> None:
    path = write(library, tmp_path / "a.mp4")
    kept = [frame.image.copy() for frame in read(library, path)[0]]
    with open_file(library, path) as reader:
        for frame, before in zip(reader.frames(lambda line: None), kept):
            np.testing.assert_array_equal(frame.image, before)
            frame.image[:] = 0


def test_odd_sides_are_made_even(library: VideoLibrary, tmp_path: Path) -> None:
    frames, _ = read(library, write(library, tmp_path / "odd.mp4", 3, 129, 97))
    assert len(frames) == 3 and frames[0].image.shape == (98, 130, 3)


def test_one_frame_is_a_video_and_none_is_no_error(library: VideoLibrary, tmp_path: Path) -> None:
    assert len(read(library, write(library, tmp_path / "one.mp4", 1))[0]) == 1
    library.open_writer(tmp_path / "none.mp4", WIDTH, HEIGHT, FPS).close()


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_a_file_that_is_no_video_is_refused_in_one_line(library: VideoLibrary, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"no\.mp4") as caught:
        open_file(library, tmp_path / "no.mp4")
    assert "\n" not in str(caught.value)


def test_a_video_that_was_cut_short_is_said(library: VideoLibrary, tmp_path: Path) -> None:
    whole = write(library, tmp_path / "whole.mp4", 40).read_bytes()
    # an index at the end is lost by a cut, so it is the middle that goes: the boxes stay, their frames are nothing
    start = whole.index(b"mdat") + 4
    middle = start + (len(whole) - start) // 2
    broken = whole[:middle] + bytes(len(whole[middle:]) - 4000) + whole[-4000:]
    (tmp_path / "cut.mp4").write_bytes(broken)
    try:
        frames, lines = read(library, tmp_path / "cut.mp4")
    except InputError as error:
        frames, lines = [], [str(error)]
    assert len(frames) < 40 and lines and "cut.mp4" in lines[0]


def test_a_server_that_is_not_there_is_refused_without_the_password(library: VideoLibrary) -> None:
    with pytest.raises(InputError, match="the stream") as caught:
        library.open_reader("rtsp://me:secret@127.0.0.1:1/live", "the stream", "stream")
    assert "secret" not in str(caught.value)


def test_a_camera_that_is_not_there_is_refused(library: VideoLibrary) -> None:
    with pytest.raises(InputError, match="/dev/video99"):
        library.open_reader("/dev/video99", "/dev/video99", "camera")


def test_a_folder_that_is_not_there_is_an_error_of_ours(library: VideoLibrary, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"absent/a\.mp4"):
        writer = library.open_writer(tmp_path / "absent" / "a.mp4", WIDTH, HEIGHT, FPS)
        writer.write(picture(0))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_filmed_sideways_stands_upright(library: VideoLibrary, tmp_path: Path, degrees: int) -> None:
    av = pytest.importorskip("av", reason="only PyAV writes how a video is turned")
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV does not write how a video is turned")
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_rotation(degrees)
        upright = np.rot90(picture(0), degrees // 90)
        for frame in (av.VideoFrame.from_ndarray(picture(0), format="rgb24"), None):
            for packet in stream.encode(frame):
                container.mux(packet)
    image = read(library, path)[0][0].image
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 25, "another turn differs by 60 and more"
