"""Valid label files of each layout, and copies of any content that are damaged at random; for tests and a benchmark."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from deploy.data import read_dataset
from deploy.errors import InputError

__all__ = ["SEEDS", "assert_read_or_refused", "mutate", "plant"]

LINE = "0 0.5 0.5 0.5 0.4\n"
YAML = "path: .\ntrain: images\nval: images\nkpt_shape: [1, 2]\nnames:\n  0: cat\n  1: dog\n"
XML = (
    '<?xml version="1.0" encoding="utf-8"?><annotation><filename>a.png</filename><size><width>40</width>'
    "<height>30</height></size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"
)
CVAT = (
    '<annotations><image id="0" name="a.png" width="40" height="30"><box label="cat" xtl="1" ytl="2" xbr="30" '
    'ybr="20"/></image></annotations>'
)
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 18], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat", "supercategory": "none"}],
    }
)
# Of each layout: the file that is damaged, its valid content, and the others beside it.
SEEDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "coco": ("annotations/instances_train.json", COCO, {}),
    "other coco": ("result.json", COCO, {}),
    "voc": ("Annotations/a.xml", XML, {}),
    "voc list": ("ImageSets/Main/train.txt", "a\n", {"Annotations/a.xml": XML}),
    "voc beside": ("images/a.xml", XML, {}),
    "yolo": ("data.yaml", YAML, {"labels/a.txt": LINE}),
    "yolo lines": ("labels/a.txt", LINE, {"data.yaml": YAML}),
    "yolo list": ("list.txt", "images/a.png\n", {"data.yaml": "train: list.txt\nnames: [cat]\n", "labels/a.txt": LINE}),
    "classes": ("classes.txt", "cat\n", {"labels/a.txt": LINE}),
    "cvat": ("annotations.xml", CVAT, {}),
}
# fmt: off
TOKENS = (
    b"", b"\0", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xb0\xb2", b"../../../../etc/passwd", b"/dev/zero", b"nan",
    b"-inf", b"1e999", b"9" * 400, b"-1", b"null", b"true", b"[" * 3000, b"{" * 3000, b"&a *a", b"<a>" * 3000,
    b"<!ENTITY a 'b'>", b"%2e%2e%2f", b"..\\..\\", b"\r", b"\n", b"'", b'"', b"{}", b"[]", b"\xed\xa0\x80", b"1_0",
)
# fmt: on


WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e300, 5e-324, 2**53, 10**390, float("nan"), float("inf"), "", "text", "1", "\x1b[2J",
    "\ud800", "../../etc/passwd", "/dev/zero", "javascript:alert(1)", "a" * 5000, [], {}, [[]], [None], {"a": 1},
    [0] * 1000, [[[[[[[[1]]]]]]]],
)  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """A copy that is damaged; of JSON every other one is whole, with something else in one to three of its places."""
    if rng.random() < 0.5:
        try:
            value = json.loads(content)
        except ValueError:
            pass
        else:
            for _ in range(rng.randint(1, 3)):
                value = _replace(value, rng)
            return json.dumps(value).encode()
    return _damage(content, rng)


def _replace(value: Any, rng: random.Random) -> Any:
    """The value with something else in a random place: another kind, nothing, the same twice, or what is elsewhere."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return rng.choice(WRONG)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, what = rng.choice(keys), rng.randrange(8)
    changed = value.copy()
    if what == 0:
        del changed[key]
    elif what == 1 and isinstance(changed, list):
        changed *= rng.choice((2, 50))
    elif what == 2:
        changed[key] = value[rng.choice(keys)]
    else:
        changed[key] = _replace(value[key], rng)
    return changed


def _damage(content: bytes, rng: random.Random) -> bytes:
    """A copy with one to four changes: bytes flipped, cut out, doubled or replaced by what is awkward; or cut short."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(changed))
        end = min(len(changed), start + rng.choice((0, 1, 1, 2, 5, 20)))
        what = rng.randrange(5)
        if what == 0:
            changed[start:end] = bytes(rng.randrange(256) for _ in range(end - start))
        elif what == 1:
            del changed[start:end]
        elif what == 2:
            changed[start:start] = changed[start:end] * rng.choice((1, 2, 50))
        elif what == 3:
            changed[start:end] = rng.choice(TOKENS)
        else:
            del changed[start:]
    encoding = rng.choice((None, None, None, "utf-16", "utf-8-sig"))
    return bytes(changed) if encoding is None else bytes(changed).decode("utf-8", "replace").encode(encoding)


def plant(folder: Path, kind: str, change: Callable[[bytes], bytes]) -> Path:
    """A small data set of a layout in which one file is changed."""
    name, content, others = SEEDS[kind]
    for path, text in {**others, name: content}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    images = folder / ("JPEGImages" if kind in ("voc", "voc list") else "images")
    images.mkdir(exist_ok=True)
    if not (images / "a.png").exists():
        Image.new("RGB", (40, 30)).save(images / "a.png")
    (folder / name).write_bytes(change(content.encode()))
    return folder


def assert_read_or_refused(folder: Path) -> bool:
    """Whether a folder is a data set; anything but records inside it or an `InputError` of one line is a failure."""
    try:
        dataset = read_dataset(folder, "all")
    except InputError as error:
        assert "\n" not in str(error).strip(), f"an error of several lines: {error}"
        return False
    for record in dataset.records:
        assert record.path.resolve().is_relative_to(folder.resolve()), f"{record.path} is outside"
    return True
