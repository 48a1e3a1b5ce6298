"""A file that is replaced is the old one or the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.store.files import replace_file


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    replace_file(path, lambda aside: aside.write_text("one"))
    assert path.read_text() == "one"
    replace_file(path, lambda aside: aside.write_text("two"))
    assert path.read_text() == "two" and [item.name for item in tmp_path.iterdir()] == ["note.json"]


def test_until_it_is_written_the_old_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_text("old")

    def write(aside: Path) -> None:
        assert aside != path and aside.parent == path.parent, "a rename must not cross file systems"
        aside.write_text("new")
        assert path.read_text() == "old"

    replace_file(path, write)
    assert path.read_text() == "new"


@pytest.mark.parametrize("old", ["old", None])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "note.json"
    if old is not None:
        path.write_text(old)

    def write(aside: Path) -> None:
        aside.write_text("half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_file(path, write)
    assert path.read_text() == old if old is not None else not path.exists()
    replace_file(path, lambda aside: aside.write_text("new"))
    assert path.read_text() == "new", "what the failure left is no hindrance"


def test_a_write_that_writes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_file(path, lambda aside: None)
    assert path.read_text() == "old"
