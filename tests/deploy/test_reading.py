"""What others wrote is read if it is a plain file of bounded size, and JSON if its numbers are numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.errors import InputError
from deploy.reading import parse_json, read_json_object, read_plain

pytestmark = pytest.mark.timeout(30)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_plain(tmp_path / "a", 5) == b"12345"
    with pytest.raises(InputError, match="more than 4 bytes"):
        read_plain(tmp_path / "a", 4)


def test_what_might_never_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros", "."):
        with pytest.raises(InputError, match="is not a plain file"):
            read_plain(tmp_path / name, 5)
    for name in ("absent", "null\0byte"):
        with pytest.raises(InputError, match="cannot be read"):
            read_plain(tmp_path / name, 5)


def test_a_link_is_followed_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_plain(tmp_path / "link", 5) == b"1"
    with pytest.raises(InputError, match="is a link"):
        read_plain(tmp_path / "link", 5, follow_link=False)


def test_json_is_what_it_was_written_as() -> None:
    assert parse_json(b'{"a": [1, -2.5, 1e-3, null, true, "\xc3\xa4"]}', "x") == {"a": [1, -2.5, 1e-3, None, True, "ä"]}


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"[-1e999]", b"9" * 401, b"[" * 10**6, b'{"a":' * 10**6,
     b"[" * 101 + b"]" * 101, b"\xff", b"\xef\xbb\xbf1", '"ä"'.encode("utf-16")],
)  # fmt: skip
def test_what_is_no_json_is_one_line(text: bytes) -> None:
    with pytest.raises(InputError, match=r"^it is damaged: ") as caught:
        parse_json(text, "it")
    assert "\n" not in str(caught.value)


def test_an_object_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        read_json_object(tmp_path / "a", 5)


def test_more_values_than_memory_is_for_are_refused_before_they_are_made() -> None:
    with pytest.raises(InputError, match="more than 4000000 values"):
        parse_json(b"[" + b"[]," * 2_000_001 + b"[]]", "it")
