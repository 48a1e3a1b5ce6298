"""A corpus of bundles that no reader takes: each is one line and exit code 2, and nothing outside of it is touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image

from deploy.bundles.external_data import has_external_data

pytestmark = pytest.mark.timeout(60)  # nothing is waited for

Command = Callable[..., tuple[int, str, str]]
Damage = Callable[[Path, Path], object]  # what is done to a bundle; the second folder is outside of it
GOOD = Path(__file__).parents[2] / "golden" / "v0_1_0" / "bundle"
LOCK = "detopt-measuring.lock"
SECRET = "a" * 64


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "bundle.json").read_text()))


def seal(folder: Path, **changes: Any) -> None:
    """Change the manifest as somebody would who knows the format: its own hash is right again."""
    content = {**read(folder), **changes}
    content.pop("sha256")
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps({**content, "sha256": digest}))


def sealed(**changes: Any) -> Damage:
    return lambda folder, outside: seal(folder, **changes)


def lacking(key: str) -> Damage:
    def damage(folder: Path, outside: Path) -> None:
        content = read(folder)
        del content[key], content["sha256"]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        (folder / "bundle.json").write_text(json.dumps({**content, "sha256": digest}))

    return damage


def preparing(**changes: Any) -> Damage:
    return lambda folder, outside: seal(folder, preprocess={**read(folder)["preprocess"], **changes})


def listing(files: dict[str, Any]) -> Damage:
    return lambda folder, outside: seal(folder, files={**read(folder)["files"], **files})


def saying(text: str | bytes) -> Damage:
    content = text if isinstance(text, bytes) else text.encode()
    return lambda folder, outside: (folder / "bundle.json").write_bytes(content)


def replacing(old: str, new: str) -> Damage:
    """A word of the manifest's text, which JSON's own writer would not write."""

    def damage(folder: Path, outside: Path) -> None:
        text = (folder / "bundle.json").read_text()
        assert old in text
        (folder / "bundle.json").write_text(text.replace(old, new, 1))

    return damage


def holding(content: bytes | Callable[[bytes], bytes]) -> Damage:
    """Another model, with the right hash."""

    def damage(folder: Path, outside: Path) -> None:
        model = folder / "model.onnx"
        model.write_bytes(content if isinstance(content, bytes) else content(model.read_bytes()))
        seal(folder, files={**read(folder)["files"], "model.onnx": hash_of(model)})

    return damage


def instead(name: str, make: Callable[[Path, Path], object]) -> Damage:
    """Something else in the place of a file."""

    def damage(folder: Path, outside: Path) -> None:
        (folder / name).unlink()
        make(folder / name, outside)

    return damage


def link_outside(path: Path, outside: Path) -> None:
    shutil.copy(GOOD / path.name, outside / path.name)
    path.symlink_to(outside / path.name)


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def link_to_zeros(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def make_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path, outside: Path) -> None:
    path.mkdir()


def make_sparse(size: int) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def add(name: str | bytes, make: Callable[[Path, Path], object] = lambda path, outside: path.touch()) -> Damage:
    def damage(folder: Path, outside: Path) -> None:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        make(path, outside)

    return damage


def reach_by_link(folder: Path, outside: Path) -> None:
    (outside / "notes.txt").write_text("not covered")
    (folder / "docs").symlink_to(outside)
    listing({"docs/notes.txt": hash_of(outside / "notes.txt")})(folder, outside)


def list_secret(folder: Path, outside: Path) -> None:
    listing({"../outside/precious": hash_of(outside / "precious")})(folder, outside)


def keep_tensor_outside(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../outside/precious")
    return bytes(model.SerializeToString())


nested: Any = []
for _ in range(150):
    nested = [nested]

# Refused as the bundle is opened, whatever is wanted of it.
NEVER_OPENED: dict[str, Damage] = {
    "no manifest": lambda folder, outside: (folder / "bundle.json").unlink(),
    "an empty manifest": saying(""),
    "a brace": saying("{"),
    "a list": saying("[]"),
    "null": saying("null"),
    "a number": saying("3"),
    "no UTF-8": saying(b"\xff\xfe{}"),
    "UTF-16": lambda folder, outside: (folder / "bundle.json").write_text(json.dumps(read(folder)), "utf-16"),
    "lists without end": saying("[" * 200_000),
    "objects without end": saying('{"a":' * 200_000),
    "150 lists in each other": sealed(arch={"a": nested}),
    "a number that is none": sealed(metrics={"ap": float("nan")}),
    "an infinite number": sealed(metrics={"ap": float("inf")}),
    "a number that is too large": replacing('"schema_version": 1', '"schema_version": 1e999'),
    "a number of 5000 digits": replacing('"schema_version": 1', '"schema_version": ' + "9" * 5000),
    "another hash of its own": replacing('"sha256": "', '"sha256": "0'),
    "no hash of its own": lambda folder, outside: saying(
        json.dumps({k: v for k, v in read(folder).items() if k != "sha256"})
    )(folder, outside),
    "a later version": sealed(schema_version=99),
    "a version in words": sealed(schema_version="1"),
    **{f"no {key}": lacking(key) for key in (
        "schema_version", "name", "arch_id", "arch", "class_names", "preprocess", "head", "precision", "nms",
        "max_detections", "metrics", "files",
    )},
    "a name that is a number": sealed(name=3),
    "a name that is not text": sealed(name="\ud800"),
    "an architecture that is a list": sealed(arch=[]),
    "an architecture that is a text": sealed(arch="r18"),
    "metrics that are a list": sealed(metrics=[]),
    "classes in one text": sealed(class_names="cat"),
    "a class that is a number": sealed(class_names=[1]),
    "a class that is not text": sealed(class_names=["\ud800"]),
    "a head of no kind": sealed(head="magic"),
    "a head that is a number": sealed(head=3),
    "a selection that is a text": sealed(selection="best"),
    "a selection of nothing": sealed(selection={"score_threshold": 2, "iou_threshold": 0.5, "max_detections": 9}),
    "no detections": sealed(max_detections=0),
    "half a detection": sealed(max_detections=0.5),
    "true detections": sealed(max_detections=True),
    "no preprocessing": sealed(preprocess=None),
    "a width in words": preparing(width="64"),
    "no width": preparing(width=0),
    "a width below nothing": preparing(width=-64),
    "a canvas larger than memory": preparing(width=10**6, height=10**6),
    "a mean in one text": preparing(mean="123"),
    "two means": preparing(mean=[1, 2]),
    "no deviation": preparing(std=[0, 1, 1]),
    "padding beyond white": preparing(pad=[0, 0, 300]),
    "an order of no kind": preparing(order="xyz"),
    "files in a list": sealed(files=[]),
    "no file": sealed(files={}),
    "a file that leaves the folder": list_secret,
    "a file of the system": listing({"/etc/passwd": SECRET}),
    "a file that leaves by a detour": listing({"docs/../../outside/precious": SECRET}),
    "a file that leaves as on Windows": listing({"..\\outside\\precious": SECRET}),
    "a file without a name": listing({"": SECRET}),
    "a file whose name ends early": listing({"model\0.txt": SECRET}),
    "a file with a long name": listing({"a" * 5000: SECRET}),
    "a file that is not there": listing({"notes.txt": SECRET}),
    "a hash that is none": listing({"detect.pyz": "x"}),
    "a hash that is a number": listing({"detect.pyz": 3}),
    "a file behind a linked folder": reach_by_link,
    "no model": lambda folder, outside: (folder / "model.onnx").unlink(),
    "no archive": lambda folder, outside: (folder / "detect.pyz").unlink(),
    "a model cut short": lambda folder, outside: os.truncate(folder / "model.onnx", 1000),
    "an altered archive": lambda folder, outside: (folder / "detect.pyz").write_bytes(b"PK"),
    "a model larger than models are": instead("model.onnx", make_sparse(5 << 30)),
    "a manifest larger than manifests are": instead("bundle.json", make_sparse(65 << 20)),
    **{f"a linked {name}": instead(name, link_outside) for name in ("bundle.json", "model.onnx", "detect.pyz")},
    **{f"a circle of links for {name}": instead(name, link_to_itself) for name in ("bundle.json", "model.onnx")},
    **{f"zeros for {name}": instead(name, link_to_zeros) for name in ("bundle.json", "model.onnx")},
    **{f"a pipe for {name}": instead(name, make_pipe) for name in ("bundle.json", "model.onnx", "detect.pyz")},
    **{f"a folder for {name}": instead(name, make_folder) for name in ("bundle.json", "model.onnx")},
    "tensors in another file": holding(keep_tensor_outside),
    "a file that is not listed": add("weights.bin"),
    "a hidden file": add(".notes"),
    "a file of no Unicode": add(b"\xff\xfe"),
    "a folder that is not listed": add("docs", make_folder),
    "a file in a folder that is not listed": add("docs/notes.txt"),
    "a link that is not listed": add("notes", link_to_zeros),
    "a pipe that is not listed": add("notes", make_pipe),
}  # fmt: skip
# Opened, since every hash is right, and refused as the model is read.
NEVER_READ: dict[str, Damage] = {
    "an empty model": holding(b""),
    "rubbish for a model": holding(b"rubbish" * 100),
    "half a model, with its hash": holding(lambda content: content[: len(content) // 2]),
    "a pointer to a model": holding(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"),
}


def take_stock(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    found = {path: path.lstat() for path in folder.rglob("*") if path.name != LOCK}
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in found.items() if not path.is_dir()}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOOD, tmp_path / "bundle"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What others keep beside the bundle, an image and labels among it."""
    folder = tmp_path / "outside"
    (folder / "images").mkdir(parents=True)
    (folder / "precious").write_text("mine")
    Image.new("RGB", (96, 96)).save(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.4\n")
    names = json.dumps(read(GOOD)["class_names"])
    (folder / "data.yaml").write_text(f"train: images\nval: images\nnames: {names}\n")
    return folder


def list_readers(bundle: Path, outside: Path) -> dict[str, list[object]]:
    return {
        "run": ["run", bundle, outside / "images" / "a.png", "--out", outside / "drawn"],
        "measure": ["measure", bundle, "--level", "quick"],
        "evaluate": ["evaluate", bundle, "--data", outside / "data.yaml"],
        "errors": ["errors", bundle, "--data", outside / "data.yaml"],
        "check": ["check", bundle],
        "convert": ["convert", bundle, "--precision", "fp16", "--data", outside / "data.yaml"],
        "sign": ["sign", bundle, "--key", outside / "precious"],
    }


@pytest.mark.parametrize("damage", NEVER_OPENED.values(), ids=NEVER_OPENED)
def test_a_bad_bundle_is_opened_by_nobody(deploy: Command, bundle: Path, outside: Path, damage: Damage) -> None:
    damage(bundle, outside)
    before = take_stock(bundle.parent)
    for name, words in list_readers(bundle, outside).items():
        code, out, err = deploy(*words)
        assert (code, out) == (2, ""), (name, code, out, err)
        assert err.startswith("deploy: ") and err.count("\n") == 1 and "unexpected" not in err, (name, err)
    assert take_stock(bundle.parent) == before


@pytest.mark.parametrize("damage", NEVER_READ.values(), ids=NEVER_READ)
def test_a_bundle_whose_model_is_none_is_used_by_nobody(
    deploy: Command, bundle: Path, outside: Path, damage: Damage
) -> None:
    damage(bundle, outside)
    before = take_stock(bundle.parent)
    for name, words in list_readers(bundle, outside).items():
        if name != "sign":
            code, out, err = deploy(*words)
            assert code == 2, (name, code, out, err)
            assert err.startswith("deploy: ") and err.count("\n") == 1 and "unexpected" not in err, (name, err)
    assert {path: was for path, was in take_stock(bundle.parent).items() if path in before} == before


def test_the_same_bundle_undamaged_is_used_by_everybody(deploy: Command, bundle: Path, outside: Path) -> None:
    assert not has_external_data(bundle / "model.onnx")
    readers = list_readers(bundle, outside)
    for name in ("run", "measure", "evaluate", "errors"):
        code, _, err = deploy(*readers[name])
        assert code == 0, (name, err)
    assert (outside / "drawn" / "a.png").exists()


def test_a_name_of_others_has_no_power_over_the_terminal(deploy: Command, bundle: Path, outside: Path) -> None:
    names = read(bundle)["class_names"]
    seal(bundle, class_names=["\x1b]0;title\x07" + name for name in names], name="\x1b[2J")
    code, out, _ = deploy("run", bundle, outside / "images" / "a.png", "--score", 0)
    assert code == 0 and "\x1b" not in out
