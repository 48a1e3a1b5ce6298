"""Valid files of each kind that strangers write, and copies that are damaged at random; for tests and a benchmark."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from deploy import BundleManifest, Preprocess, open_bundle
from deploy.bundles.bundle import MANIFEST_FILE, MODEL_FILE
from deploy.data import read_dataset
from deploy.errors import InputError
from deploy.targets.agent import REQUESTS, parse_request
from deploy.targets.parse import parse_target

__all__ = ["FORMS", "SEEDS", "mutate", "plant", "try_form", "try_reading"]

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


def mutate(content: bytes, rng: random.Random) -> bytes:
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


def try_reading(folder: Path) -> bool:
    """Whether a folder is a data set; anything but records inside it or an `InputError` of one line is a failure."""
    try:
        dataset = read_dataset(folder, "all")
    except InputError as error:
        assert "\n" not in str(error).strip(), f"an error of several lines: {error}"
        return False
    for record in dataset.records:
        assert record.path.resolve().is_relative_to(folder.resolve()), f"{record.path} is outside"
    return True


MODEL = b"not a model, which nobody finds out before it is run"
MANIFEST = BundleManifest(
    "student", "0" * 12, {"body": {"widths": [1, 2]}}, ("cat", "dog"), Preprocess.imagenet(64, 48),
    metrics={"ap": 0.5}, files={MODEL_FILE: hashlib.sha256(MODEL).hexdigest()},
)  # fmt: skip
TARGET = """name = "board"
link = "ssh"
engine = "trt"
nms = "matrix"
precisions = ["fp16", "int8", "fp32"]
threads = 4
mode = "burst"
lock_clocks = "never"
tensorrt = "10.3"
python = "python3.8"
description = "a board"
"""
SUBJECT = {"model": "a" * 64, "preprocess": Preprocess.imagenet(64, 48).to_json(), "head": None, "selection": None}
MEASURE = {
    "op": "measure", "limit_s": 60, "subjects": {"tiny": SUBJECT}, "images": ["b" * 64], "protocol": "quick", "seed": 0,
    "setup": {"engine": "ort", "threads": 1, "mode": "sustained", "lock_clocks": "never", "lease_timeout_s": 10},
}  # fmt: skip


def _try_manifest(folder: Path, content: bytes) -> None:
    """A bundle whose manifest says what it likes and has the hash of just that."""
    try:
        value = json.loads(content)
        del value["sha256"]
        sealed = hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        content = json.dumps({**value, "sha256": sealed}).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).write_bytes(content)
    (folder / MODEL_FILE).write_bytes(MODEL)
    bundle = open_bundle(folder)
    assert bundle.model.resolve().is_relative_to(folder.resolve())
    assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in bundle.manifest.files)


def _try_target(folder: Path, content: bytes) -> None:
    parse_target(content.decode("utf-8", "replace"), "board.toml")


def _try_request(folder: Path, content: bytes) -> None:
    """What a board's agent does with a line, up to the files, none of which was pushed to it."""
    request = parse_request(content)
    if request["op"] != "examine":
        REQUESTS[request["op"]](request, folder, lambda answer: None)


# Of each form: a valid one, and what is done with any other. Raises `InputError` where it is refused.
FORMS: dict[str, tuple[bytes, Callable[[Path, bytes], None]]] = {
    "manifest": (json.dumps({**MANIFEST.to_json(), "sha256": ""}).encode(), _try_manifest),
    "target": (TARGET.encode(), _try_target),
    "request": (json.dumps(MEASURE).encode(), _try_request),
}


def try_form(folder: Path, kind: str, change: Callable[[bytes], bytes]) -> bool:
    """Whether a changed form is taken; anything but that or an `InputError` of one line is a failure."""
    content, use = FORMS[kind]
    try:
        use(folder, change(content))
    except InputError as error:
        assert "\n" not in str(error).strip(), f"an error of several lines: {error}"
        return False
    return True
