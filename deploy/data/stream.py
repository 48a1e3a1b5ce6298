"""JSON files far larger than memory should hold: the elements of their top arrays, one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from deploy.data.text import open_text
from deploy.errors import InputError

__all__ = ["find_arrays", "has_elements", "iterate_json"]

WINDOW = 2**20  # characters read at a time
SPACE = re.compile(r"[ \t\n\r\ufeff]*")
BETWEEN = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def iterate_json(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(name, element) for each element of the arrays of these names at the top of a JSON object, as the file has them.

    Other values are passed over. Memory is that of the largest single element.

    Raises:
        InputError: the file cannot be read, is not JSON, or one of these is not an array.
    """
    with open_text(path) as file:
        window = _Window(file)
        try:
            if window.peek() != "{":
                raise InputError(f"{path} is not understood: the top of the JSON is not an object")
            window.skip("{")
            while window.peek() != "}":
                name = window.take()
                if not isinstance(name, str):
                    raise ValueError(f"a name is text, not {name!r}")
                window.skip(":")
                if name not in names:
                    window.take()
                elif window.peek() != "[":
                    raise InputError(f"{path} is JSON but not COCO: {name!r} is not a list")
                else:
                    for element in window.elements():
                        yield name, element
                if window.peek() != "}":
                    window.skip(",")
            window.skip("}")
            if window.peek():
                raise ValueError("something follows its end")
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read as JSON: {error}") from error


def find_arrays(path: Path, name: str) -> Iterator[list[Any]]:
    """Each array called `name` wherever it is in a JSON file, found by its name alone: fast, and nothing else is read.

    Raises:
        InputError: the file cannot be read.
    """
    wanted = re.compile(rf'"{name}"[ \t\n\r]*:[ \t\n\r]*(?=\[)')
    with open_text(path) as file:
        window = _Window(file)
        while window.skip_to(wanted):
            try:
                yield window.take()
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path} cannot be read as JSON: {error}") from error


def has_elements(path: Path, name: str) -> bool:
    """Whether an array called `name` with something in it is anywhere in a JSON file, found by its name alone.

    Raises:
        InputError: the file cannot be read.
    """
    wanted = re.compile(rf'"{name}"[ \t\n\r]*:[ \t\n\r]*\[')
    with open_text(path) as file:
        window = _Window(file)
        while window.skip_to(wanted):
            if window.peek() not in ("]", ""):
                return True
    return False


class _Window:
    """The part of a text that is being looked at; more is read as it is needed."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0

    def peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while True:
            found = SPACE.match(self._text, self._at)
            assert found
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._extend():
                return ""

    def skip(self, wanted: str) -> None:
        """Go past this character. Raises `ValueError` where something else is."""
        found = self.peek()
        if found != wanted:
            raise ValueError(f"{wanted!r} is wanted where {self._text[self._at : self._at + 20]!r} is")
        self._at += 1

    def skip_to(self, wanted: re.Pattern[str]) -> bool:
        """Go past the next place that matches, which is much shorter than a window; False at the end."""
        while True:
            found = wanted.search(self._text, self._at)
            if found:
                self._at = found.end()
                return True
            self._at = max(self._at, len(self._text) - 200)
            if not self._extend():
                return False

    def take(self) -> Any:
        """The next value. Raises `ValueError` or `RecursionError`."""
        self.peek()
        while True:
            try:
                value, end = SCAN(self._text, self._at)
            except (StopIteration, json.JSONDecodeError) as error:
                if self._extend():
                    continue
                raise ValueError(f"no value at {self._text[self._at : self._at + 20]!r}") from error
            if end < len(self._text) or not self._extend():  # a number may go on in what was not read yet
                self._at = end
                return value

    def elements(self) -> Iterator[Any]:
        """The elements of the array that begins here. Raises `ValueError` or `RecursionError`."""
        self.skip("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            try:
                value, end = SCAN(self._text, self._at)
                between = BETWEEN.match(self._text, end)
            except (StopIteration, ValueError):
                between = None
            if between is None or between.end() == len(self._text):  # at the end of what was read, or not JSON
                value = self.take()
                if self.peek() not in (",", "]"):
                    raise ValueError(f"',' or ']' is wanted where {self._text[self._at : self._at + 20]!r} is")
                between = BETWEEN.match(self._text, self._at)
                assert between
            self._at = between.end()
            yield value
            if between.group(1) == "]":
                return

    def _extend(self) -> bool:
        rest = self._text[self._at :]
        more = self._file.read(max(WINDOW, len(rest)))  # twice as much each time, so that all of it is linear
        if not more:
            return False
        self._text, self._at = rest + more, 0
        return True
