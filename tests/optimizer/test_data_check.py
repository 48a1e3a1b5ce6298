"""What `optimize data check` prints has no power over the terminal and is no traceback, whatever files are called."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from optimizer.cli import main

NAMES = (b"\x1b]0;title\x07\x1b[2J.png", b"one\ntwo.png", b"\xb0\xb2.png", b"[bold]x[nonsense].png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images, one of them whole, under names that others chose; each has a label that is clipped."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for index, name in enumerate(NAMES):
        path = tmp_path / "images" / os.fsdecode(name)
        if index:
            path.write_bytes(b"no picture")
        else:
            Image.new("RGB", (64, 64)).save(path)
        (tmp_path / "labels" / path.with_suffix(".txt").name).write_text("0 0.5 0.5 1.5 0.4\n")
    (tmp_path / "data.yaml").write_text('train: images\nval: images\nnames: ["\\x1b[31mcat"]\n')
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_names_of_others_are_text(data: Path, capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", "check", str(data), *options])
    out, err = capfd.readouterr()
    assert stopped.value.code == 0, err
    assert "\x1b" not in out and "Traceback" not in err and out.count("\n") == len(out.splitlines()) > len(NAMES) - 1
    if options:
        assert all(json.loads(line)["action"] for line in out.splitlines())
    else:
        assert "classes [31mcat" in out
