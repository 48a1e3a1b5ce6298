"""What is wrong with a data set that only shows when every image is opened, and problems in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from deploy.data.images import image_format, read_image
from deploy.data.records import Problem, Record
from deploy.errors import InputError

__all__ = ["check_records", "summarise_problems"]


def check_records(records: Iterable[Record]) -> Iterator[Problem]:
    """Problems of the image files themselves; decodes one image at a time."""
    for record in records:
        try:
            height, width = read_image(record.path, (record.width, record.height)).shape[:2]
            name, endings = image_format(record.path)
        except InputError as error:
            yield Problem(record.path, None, "unreadable image", str(error), "skipped")
            continue
        if (width, height) != (record.width, record.height):
            text = f"the labels are for {record.width}x{record.height}, the image is {width}x{height}"
            yield Problem(record.path, None, "wrong size", text, "skipped")
        elif record.path.suffix.lower() not in endings:
            text = f"the name ends in {record.path.suffix!r}, the content is {name}"
            yield Problem(record.path, None, "wrong extension", text, "read by its content")


def summarise_problems(problems: Iterable[Problem]) -> str:
    """One line that counts problems by kind and by what is done, the most frequent first; "none" without any."""
    counts = Counter((problem.kind, problem.action) for problem in problems)
    return ", ".join(f"{count} {kind} ({action})" for (kind, action), count in counts.most_common()) or "none"
