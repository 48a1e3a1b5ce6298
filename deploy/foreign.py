"""Text that others wrote, made fit to be shown: it moves no cursor, sets no colour and ends no line."""

from __future__ import annotations

__all__ = ["LINE_LIMIT", "make_printable"]

LINE_LIMIT = 10_000  # characters of one of our lines that may quote others


def make_printable(text: str, limit: int = 500) -> str:
    """The text on one line: white space becomes blanks, other control characters go, lone surrogates are escaped.

    Args:
        limit: on the characters of the text that are shown.
    """
    return "".join(map(_make_printable, text[:limit]))


def _make_printable(char: str) -> str:
    if char.isprintable():
        return char
    if char.isspace():
        return " "
    return char.encode("ascii", "backslashreplace").decode() if "\ud800" <= char <= "\udfff" else ""
