"""Text of label files however it was saved: UTF-8 with or without a mark, UTF-16 or UTF-32 with one, any line ends.

Bytes that are not text of their encoding are kept as lone surrogates, as Python keeps such file names: a list of files
whose names are not UTF-8 still finds them.
"""

from __future__ import annotations

import codecs
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, TextIO

from deploy.errors import InputError
from deploy.reading import open_plain

__all__ = ["open_text", "read_lines", "read_text", "read_xml", "read_yaml"]

LIMIT = 256 * 2**20  # bytes of a text that is read as one; JSON is read in pieces
YAML_LIMIT = 2**20
YAML_DEPTH = 100  # of lists and mappings in each other
MARKS = (  # UTF-32's first: it begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


def open_text(path: Path) -> TextIO:
    """A label file opened for reading; line ends become "\\n".

    Raises:
        InputError: it cannot be opened, or is not a plain file (a pipe or a device might never end).
    """
    file = open_plain(path)
    encoding = _find_encoding(file.read(4))
    file.seek(0)
    return io.TextIOWrapper(file, encoding, "surrogateescape" if encoding.startswith("utf-8") else "replace")


def read_text(path: Path, limit: int = LIMIT) -> str:
    """All of a label file. `InputError` as `open_text`, or where it is larger than `limit` bytes."""
    with open_text(path) as file:
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{path} has {size} bytes; label text has at most {limit}")
        return file.read()


def read_lines(path: Path) -> list[str]:
    """The lines of a label file, without their ends."""
    return read_text(path).split("\n")


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file, in any encoding that Python knows.

    Raises:
        ValueError: it is not XML, or defines entities, by which a small file becomes a large one.
        InputError: as `read_text`.
    """
    with open_plain(path) as file:
        content = file.read(LIMIT)
    declared = DECLARED.match(content[:200])
    try:
        encoding = _find_encoding(content[:4])
        if encoding == "utf-8" and declared:
            encoding = declared.group(1).decode().lower()
            if encoding.startswith(("utf-16", "utf-32")):  # which it cannot be: .NET writes so, and saves UTF-8
                encoding = "utf-8-sig"
        if encoding == "utf-8":  # which the parser decodes faster
            if b"<!ENTITY" in content:
                raise ValueError("it defines entities")
            return _leave_namespace(ElementTree.fromstring(content))
        text = content.decode(encoding)
        if "<!ENTITY" in text:
            raise ValueError("it defines entities")
        return _leave_namespace(ElementTree.fromstring(text))
    except (ElementTree.ParseError, LookupError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _leave_namespace(root: ElementTree.Element) -> ElementTree.Element:
    if root.tag.startswith("{"):
        for item in root.iter():
            item.tag = item.tag.rpartition("}")[2]
    return root


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping whose scalars are all text, so that a class called `no` or `1e3` keeps its name.

    Raises:
        InputError: as `read_text`; it is not a mapping, has a key twice, or repeats lists or mappings by aliases, by
            which a small file becomes a large one.
    """
    try:
        import yaml
    except ImportError as error:
        raise InputError(f"reading {path} needs PyYAML ({error}): python3 -m pip install pyyaml") from error

    class Loader(yaml.BaseLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                events: Any = self
                if not isinstance(self.anchors.get(events.peek_event().anchor), yaml.ScalarNode):
                    raise yaml.YAMLError("aliases of lists and mappings are not read")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            known: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in known:
                        raise yaml.YAMLError(f"the key {key.value!r} is there twice")
                    known.add(key.value)
            return super().construct_mapping(node, deep)

    text = read_text(path, YAML_LIMIT)
    if _find_depth(text) > YAML_DEPTH:  # which PyYAML takes long for before it gives up
        raise InputError(f"{path} cannot be read: it has lists in lists, more than {YAML_DEPTH} deep")
    try:
        content = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a YOLO data description: the top is not a mapping")
    return content


def _find_depth(text: str) -> int:
    """How many brackets and braces are open at once, at most; those in quotes are counted too."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def _find_encoding(start: bytes) -> str:
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), "utf-8")
