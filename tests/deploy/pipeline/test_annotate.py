"""What is drawn never stops detecting: file names of their own, rates that encoders take, names that fonts lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from deploy import Detections
from deploy.errors import InputError
from deploy.pipeline import draw
from deploy.pipeline.annotate import AnnotatedFolder, choose_rate
from deploy.pipeline.sources import Source, SourceFrame

IMAGE = np.zeros((40, 60, 3), np.uint8)
ONE = Detections(np.array([[5, 15, 50, 35]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))


def frame(name: str) -> SourceFrame:
    return SourceFrame(Source(name, "image", name), 0, None, None, IMAGE)


def test_no_picture_replaces_another_one(tmp_path: Path) -> None:
    names = ["x/a.png", "y/a.jpg", "x/a-2.png", "z/A.png", "z/a-2.bmp", "q/a"]
    with AnnotatedFolder(tmp_path, ("cat",), print) as folder:
        for name in names:
            folder.write(frame(name), ONE)
    written = [path.name.lower() for path in tmp_path.iterdir()]
    assert len(written) == len(set(written)) == len(names)


@pytest.mark.parametrize(
    ("fps", "rate"), [(25, 25), (29.97002997, 29.97002997), (211.222, 211.22), (0.001, 1), (90_000, 240), (60, 60)]
)
def test_a_rate_is_one_that_encoders_take(fps: float, rate: float) -> None:
    assert choose_rate(fps) == rate and choose_rate(fps) * 100 < 65_535


@pytest.mark.parametrize("name", ["安全帽", "cat\n2", "", "\udcb0", "naïve", "€", "𓀀"])
@pytest.mark.parametrize("old", [False, True])
def test_any_name_can_be_drawn(name: str, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old:  # the font that Pillow before 10.1 brings
        monkeypatch.setattr(draw, "_load_font", lambda height_px: ImageFont.load_default_imagefont())
    assert (draw.draw_detections(IMAGE, ONE, (name,)) != IMAGE).any()


def test_what_a_font_lacks_is_drawn_as_the_classs_number() -> None:
    lacking = draw.draw_detections(IMAGE, ONE, ("安全帽",))
    assert (lacking == draw.draw_detections(IMAGE, ONE, ("class 0",))).all()
    assert (lacking != draw.draw_detections(IMAGE, ONE, ("cat",))).any()


def test_no_source_is_written_over(tmp_path: Path) -> None:
    sources = [Source(str(tmp_path / name), "image", str(tmp_path / name)) for name in ("a.jpg", "a.png", "b.PNG")]
    (tmp_path / "a.png").write_bytes(b"a photo")
    (tmp_path / "link").symlink_to(tmp_path)
    with AnnotatedFolder(tmp_path / "link", ("cat",), print, sources=sources) as folder:
        for source in sources:
            folder.write(SourceFrame(source, 0, None, None, IMAGE), ONE)
    assert (tmp_path / "a.png").read_bytes() == b"a photo"
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a-2.png", "a-3.png", "b-2.png", "link"}


def test_a_name_as_long_as_names_may_be_is_shortened(tmp_path: Path) -> None:
    with AnnotatedFolder(tmp_path, ("cat",), print) as folder:
        for place in "xyz":
            folder.write(frame(f"{place}/{'é' * 125}.jpeg"), ONE)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_is_no_folder_to_draw_into(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="out is a file"):
        AnnotatedFolder(tmp_path / "out", ("cat",), print)
