"""Text that others wrote, made fit to be shown: it moves no cursor, sets no colour and ends no line."""

from __future__ import annotations

__all__ = ["make_printable"]


def make_printable(text: str, limit: int = 500) -> str:
    """The text with what is not printable, such as control characters and lone surrogates, written as its escape.

    Args:
        limit: on the characters of the text that are shown.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:limit])
