"""JSON files far larger than memory should hold: the elements of their top arrays, one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from deploy.data.text import open_text
from deploy.errors import InputError

__all__ = ["find_arrays", "has_elements", "iterate_json", "iterate_parts"]

WINDOW = 2**20  # characters read at a time
SPACE = re.compile(r"[ \t\n\r\ufeff]*")
BORDER = re.compile(r"\}(?=[ \t\n\r]*,[ \t\n\r]*\{)")  # between two objects of a list
BATCH = 4096  # elements in a row, at least, but for the last ones
LONGEST_CUT = 2  # characters after what looks like a whole number, as in 1e+, that may belong to it
TAIL = 2**16  # characters in which the last border is looked for
SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def iterate_json(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(name, element) for each element of the arrays of these names at the top of a JSON object, as the file has them.

    Raises as `iterate_parts` does.
    """
    for name, elements in iterate_parts(path, names):
        for element in elements:
            yield name, element


def iterate_parts(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, list[Any]]]:
    """(name, some elements in a row) of the arrays of these names at the top of a JSON object, as the file has them.

    Other values are passed over. Memory is that of a window's elements, and of the largest single element.

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
                    for elements in window.elements():
                        yield name, elements
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
        self._is_tried = False  # whether what was read was looked at for many elements

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
            if end + LONGEST_CUT < len(self._text) or not self._extend():
                self._at = end
                return value

    def elements(self) -> Iterator[list[Any]]:
        """The elements of the array that begins here, some at a time. Raises `ValueError` or `RecursionError`."""
        self.skip("[")
        if self.peek() == "]":
            self._at += 1
            return
        elements: list[Any] = []
        while True:
            elements += self._take_many() or [self.take()]
            end = self.peek()
            if end not in (",", "]"):
                raise ValueError(f"',' or ']' is wanted where {self._text[self._at : self._at + 20]!r} is")
            self._at += 1
            if end == "]" or len(elements) >= BATCH:
                yield elements
                elements = []
            if end == "]":
                return

    def _take_many(self) -> list[Any]:
        """The objects up to the last border between two in what was read; none where that is no border of this array.

        What is cut inside of a text or of an inner value is no list, so a list is the elements it looks like. It is
        tried once for what was read, so that all is linear.
        """
        self.peek()
        borders = () if self._is_tried else BORDER.finditer(self._text, max(self._at, len(self._text) - TAIL))
        cut = max((border.end() for border in borders), default=self._at)
        part = f"[{self._text[self._at : cut]}]"
        try:
            elements, end = SCAN(part, 0)
        except (StopIteration, ValueError):
            elements, end = [], 0
        self._is_tried = True
        if not elements or end != len(part):
            return []
        self._at = cut
        return list(elements)

    def _extend(self) -> bool:
        rest = self._text[self._at :]
        more = self._file.read(max(WINDOW, len(rest)))  # twice as much each time, so that all of it is linear
        if not more:
            return False
        self._text, self._at, self._is_tried = rest + more, 0, False
        return True
