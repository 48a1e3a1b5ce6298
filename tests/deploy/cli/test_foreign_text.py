"""What others wrote is shown without any power over the terminal."""

from __future__ import annotations

import pytest

from deploy.foreign import make_printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("street.jpg", "street.jpg"),
        ("Straße 安全", "Straße 安全"),
        ("a\x1b]0;title\x07\x1b[2Jb", "a]0;title[2Jb"),
        ("one\ntwo\r\tthree\u2028four", "one two  three four"),
        ("left\u202eright\u200b\x9b", "leftright"),
        ("\udc80\ud800", "\\udc80\\ud800"),
        ("[bold]", "[bold]"),
    ],
)
def test_control_characters_have_no_effect(text: str, shown: str) -> None:
    assert make_printable(text) == shown
    shown.encode()


def test_a_long_text_is_cut() -> None:
    assert make_printable("x" * 1000) == "x" * 500 and make_printable("x" * 1000, 3) == "xxx"
