"""What is wrong with a data set beyond single labels: pixels, files that were not taken, and shares of the whole."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from deploy.data.find import Tree
from deploy.data.images import image_format, image_sizes, read_described
from deploy.data.records import Dataset, Problem, Record
from deploy.errors import InputError

__all__ = [
    "check_records",
    "find_links_out",
    "find_unlisted",
    "keep_fitting",
    "summarise_problems",
    "warn_of_problems",
    "warn_of_shared",
]

MANY = 0.1  # the share of images from which on something is a warning
MOST_OBJECTS = 100  # that average precision looks at, as COCO's protocol does
OF_IMAGES = (
    "no labels", "missing image", "missing labels", "path outside", "unreadable image", "broken labels", "wrong size",
    "labels without image", "not in the labels", "ambiguous image", "duplicate image",
    "ambiguous labels", "image twice",
)  # fmt: skip
LOST = ("broken line", "broken annotation", "unknown class", "not a number", "inverted box", "zero-area box",
        "box outside", "not a box")  # fmt: skip
MOVED = ("box over the edge",)  # by rounding alone often: a warning where most are
MOST = 0.5


def check_records(records: Sequence[Record], report: Callable[[str], None] = lambda line: None) -> Iterator[Problem]:
    """Problems of the image files themselves, decoded on all cores, in the order of the records."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for number, problems in enumerate(pool.map(_check_record, records)):
            report(f"image {number + 1} of {len(records)}")
            yield from problems


def keep_fitting(dataset: Dataset) -> Dataset:
    """Without the images that are of another size than their labels are for: the rule that training has, too.

    Files' headers are read; one that cannot be read stays, and counts as an image where nothing is detected.

    Raises:
        InputError: no image is left.
    """
    kept, problems = [], []
    for record in dataset.records:
        problem = _check_size(record)
        if problem is None:
            kept.append(record)
        else:
            problems.append(problem)
    if dataset.records and not kept:
        raise InputError(f"not one of {len(problems)} images has the size that its labels are for ({problems[0].text})")
    return replace(dataset, records=tuple(kept), problems=(*dataset.problems, *problems))


def find_unlisted(tree: Tree, datasets: Iterable[Dataset]) -> list[Problem]:
    """The images that no label file speaks of; one problem for each folder."""
    known: set[str] = set()
    for dataset in datasets:
        known.update(str(record.path) for record in dataset.records)
        known.update(str(problem.file) for problem in dataset.problems)
    folders: dict[str, list[str]] = {}
    for name in tree.images:
        folders.setdefault(posixpath.dirname(name), []).append(name)
    found = []
    for folder, names in folders.items():
        rest = [name for name in names if str(tree.path(name)) not in known]
        if rest:
            kind = "not in the labels" if len(rest) < len(names) else "folder without labels"  # as masks are
            text = f"{len(rest)} of {len(names)} images are in no label file, as {posixpath.basename(rest[0])!r}"
            found.append(Problem(tree.path(folder), None, kind, text, "not taken", len(rest)))
    return found


def find_links_out(tree: Tree) -> list[Problem]:
    """The links that lead out of the folder, which are followed all the same; one problem for each folder."""
    root = os.path.realpath(str(tree.root))
    folders: dict[str, list[str]] = {}
    for name in tree.links:
        if not os.path.realpath(str(tree.path(name))).startswith(root + os.sep):
            folders.setdefault(posixpath.dirname(name), []).append(name)
    found = []
    for folder, names in folders.items():
        target = os.path.realpath(str(tree.path(names[0])))
        text = f"links that lead out of {tree.root}: {len(names)}, as {posixpath.basename(names[0])!r} to {target}"
        found.append(Problem(tree.path(folder), None, "link out of the folder", text, "followed", len(names)))
    return found


def summarise_problems(problems: Iterable[Problem]) -> str:
    """One line that counts problems by kind and by what is done, the most frequent first; "none" without any."""
    counts = Counter((problem.kind, problem.action) for problem in problems)
    return ", ".join(f"{count} {kind} ({action})" for (kind, action), count in counts.most_common()) or "none"


def warn_of_problems(dataset: Dataset, max_detections: int = MOST_OBJECTS) -> list[str]:
    """A sentence for what most likely is a mistake.

    That is a tenth of the images or objects that are lost, or more objects than AP looks at.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, Problem] = {}
    for problem in dataset.problems:
        counts[problem.kind] += problem.count
        examples.setdefault(problem.kind, problem)
    background = ("no labels", "labels without image", "image twice")  # of images that are there, or of none
    images = len(dataset.records) + sum(counts[kind] for kind in OF_IMAGES if kind not in background)
    kept = sum(len(record.labels) for record in dataset.records)
    objects = kept + sum(counts[kind] for kind in LOST)
    shares = [("images", images, MANY, OF_IMAGES), ("objects", objects, MANY, LOST), ("objects", kept, MOST, MOVED)]
    warnings = []
    for what, total, share, kinds in shares:
        for kind in kinds:
            if counts[kind] > share * total:
                example, of = examples[kind], max(total, counts[kind])  # of a split that was divided they are all there
                warnings.append(f"{counts[kind]} of {of} {what}: {kind} ({example.action}), as {example.file}")
    tiny = [record for record in dataset.records if len(record.labels) and record.boxes_xyxy.max() <= 1]
    if len(tiny) > MANY * len(dataset.records):
        warnings.append(
            f"{len(tiny)} of {len(dataset.records)} images: all boxes lie within their first pixel, as of "
            f"{tiny[0].path}; if they are shares of the image, multiply them by its size"
        )
    crowded = [record for record in dataset.records if record.counted.sum() > max_detections]
    if crowded:
        most = max(int(record.counted.sum()) for record in crowded)
        warnings.append(
            f"{len(crowded)} images have more than {max_detections} objects, up to {most}: AP looks at the best "
            f"{max_detections}, and counts the rest as missed (--max-detections of optimize, and of deploy adopt and "
            "evaluate)"
        )
    return warnings


def warn_of_shared(train: Dataset, val: Dataset) -> list[str]:
    """A sentence where images that are trained on are validated on as well, which hides overfitting."""
    shared = {record.path for record in train.records} & {record.path for record in val.records}
    if not shared or len(train.records) == len(val.records) == 1:
        return []
    return [f"{len(shared)} of {len(val.records)} validation images are trained on, too, as {min(shared)}"]


def _check_record(record: Record) -> list[Problem]:
    path = record.path
    try:
        pixels, levels = read_described(path, (record.width, record.height))
        name, endings = image_format(path)
    except InputError as error:
        return [Problem(path, None, "unreadable image", str(error), "skipped")]
    problems = []
    if pixels.shape[:2] != (record.height, record.width):
        problems.append(_wrong_size(record, (pixels.shape[1], pixels.shape[0])))
    elif path.suffix.lower() not in endings:
        text = f"the name ends in {path.suffix!r}, the content is {name}"
        problems.append(Problem(path, None, "wrong extension", text, "read by its content"))
    if levels:
        problems.append(Problem(path, None, "unusual levels", levels, "scaled"))
    return problems


def _check_size(record: Record) -> Problem | None:
    try:
        sizes = image_sizes(record.path)
    except InputError:
        return None
    return None if (record.width, record.height) in sizes else _wrong_size(record, sizes[0])


def _wrong_size(record: Record, size: tuple[int, int]) -> Problem:
    text = f"the labels are for {record.width}x{record.height}, the image is {size[0]}x{size[1]}"
    return Problem(record.path, None, "wrong size", text, "skipped")
