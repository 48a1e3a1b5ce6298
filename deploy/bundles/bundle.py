"""A detector in one folder: everything a device needs, each file with its hash."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Mapping

from deploy.bundles.archive import write_archive
from deploy.bundles.external_data import has_external_data
from deploy.errors import DeployError, InputError
from deploy.files import hash_file, replace_folder
from deploy.pipeline.model import ModelSource
from deploy.pipeline.nms import Selection, parse_selection
from deploy.pipeline.preprocess import Preprocess

__all__ = ["SCHEMA_VERSION", "Bundle", "BundleManifest", "open_bundle", "write_bundle"]

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
ARCHIVE_FILE = "detect.pyz"
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class BundleManifest:
    """What a bundle says about its model; `bundle.json` holds it.

    Attributes:
        arch_id, arch: the architecture's identity and its description, as JSON.
        head: how the outputs are read, a name in `deploy.pipeline.decode.HEADS`. selection: which of them are objects,
            for a head that leaves it to the host; None is the head's usual one.
        precision: of the arithmetic written into the graph. nms, roi_align: the variants
            written into it.
        metrics: what was found out about the model, as JSON: average precision, latency records.
        files: SHA-256 of every file beside `bundle.json`, by name; filled in by `write_bundle`.
    """

    name: str
    arch_id: str
    arch: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocess: Preprocess
    head: str = "detections"
    precision: str = "fp32"
    nms: str = "op"
    max_detections: int = 100
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    selection: Selection | None = None
    roi_align: str = "op"

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": self.schema_version,
            "name": self.name,
            "arch_id": self.arch_id,
            "arch": dict(self.arch),
            "class_names": list(self.class_names),
            "preprocess": self.preprocess.to_json(),
            "head": self.head,
            "selection": None if self.selection is None else self.selection.to_json(),
            "precision": self.precision,
            "nms": self.nms,
            "roi_align": self.roi_align,
            "max_detections": self.max_detections,
            "metrics": dict(self.metrics),
            "files": dict(self.files),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> BundleManifest:
        """The inverse of `to_json`; an `InputError` names what is missing, unknown or of another version."""
        version = value.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"schema version {version!r}; this release reads {SCHEMA_VERSION}: write the bundle again, or use "
                "the release "
                "it is from"
            )
        try:
            return BundleManifest(
                name=str(value["name"]),
                arch_id=str(value["arch_id"]),
                arch=dict(value["arch"]),
                class_names=tuple(str(name) for name in value["class_names"]),
                preprocess=Preprocess.from_json(value["preprocess"]),
                head=str(value["head"]),
                selection=parse_selection(value.get("selection")),  # bundles had none before there was a choice
                precision=str(value["precision"]),
                nms=str(value["nms"]),
                roi_align=str(value.get("roi_align", "op")),  # there was no other before the key
                max_detections=int(value["max_detections"]),
                metrics=dict(value["metrics"]),
                files={str(name): str(digest) for name, digest in dict(value["files"]).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"not a bundle's description: {error!r}") from error


class Bundle(ModelSource):
    """A bundle on disk whose every file was checked."""

    preprocess: Preprocess
    head: str

    def __init__(self, folder: Path, manifest: BundleManifest) -> None:
        super().__init__(folder / MODEL_FILE, manifest.preprocess, manifest.head, manifest.selection)
        self.folder, self.manifest = folder, manifest

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.class_names


def write_bundle(
    folder: str | Path, model_path: Path, manifest: BundleManifest, extra_files: Mapping[str, Path] = NOTHING
) -> Bundle:
    """The bundle of a model, whole or not at all: written aside, flushed, renamed; a bundle of that name is replaced.

    ``extra_files`` maps names in the bundle to files to copy. `detect.pyz`, the runtime, is always added.

    Raises:
        InputError: the folder exists and is not a bundle, a name of ``extra_files`` is taken or leaves the folder, or
            the model keeps tensors in other files.
        DeployError: the disk is full or not writable; nothing is left behind.
    """
    folder = Path(folder)
    if (
        folder.exists()
        and not (folder / MANIFEST_FILE).is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise InputError(f"{folder} exists and is not a bundle; it is left alone, choose another folder")
    for name in extra_files:
        if name in (MODEL_FILE, ARCHIVE_FILE, MANIFEST_FILE) or not _stays_inside(name):
            raise InputError(f"{name!r} cannot be the name of an extra file in a bundle")
    if model_path.is_file():
        _refuse_external_data(model_path)
    try:
        with replace_folder(folder) as aside:
            for name, source in {MODEL_FILE: model_path, **extra_files}.items():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(source), str(aside / name))
            write_archive(aside / ARCHIVE_FILE)
            names = [MODEL_FILE, ARCHIVE_FILE, *extra_files]
            complete = replace(manifest, files={name: hash_file(aside / name) for name in sorted(names)})
            content = json.loads(json.dumps(complete.to_json()))  # as a reader will see it
            text = json.dumps({**content, "sha256": _hash_content(content)}, indent=1, sort_keys=True)
            (aside / MANIFEST_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DeployError(f"the bundle {folder} could not be written: {error}") from error
    return Bundle(folder, complete)


def open_bundle(path: str | Path) -> Bundle:
    """The bundle in a folder (or beside a `bundle.json`), after every hash was compared.

    Other files in the folder, such as images, take no part: the model may not keep tensors in files beside it.

    Raises:
        InputError: not a bundle, incomplete, altered, of another schema version, or with a link among its files.
    """
    folder = Path(path).parent if Path(path).name == MANIFEST_FILE else Path(path)
    if not folder.exists():
        raise InputError(f"there is no bundle {folder}")
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder} is not a bundle: it holds no {MANIFEST_FILE}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / MANIFEST_FILE} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{folder / MANIFEST_FILE} is damaged: it holds no JSON object")
    stated = str(content.pop("sha256", "nothing"))
    try:
        manifest = BundleManifest.from_json(content)
    except InputError as error:
        raise InputError(f"{folder / MANIFEST_FILE}: {error}") from error
    _compare(folder, MANIFEST_FILE, _hash_content(content), stated)
    if MODEL_FILE not in manifest.files:
        raise InputError(f"{folder / MANIFEST_FILE}: it lists no {MODEL_FILE}")
    for name, digest in sorted(manifest.files.items()):
        if not _stays_inside(name):
            raise InputError(f"{folder / MANIFEST_FILE}: the file name {name!r} leaves the bundle")
        if not (folder / name).is_file():
            raise InputError(f"the bundle {folder} is incomplete: {name} is missing")
        if (folder / name).resolve() != folder.resolve() / name:
            raise InputError(
                f"the bundle {folder} is not whole: {name} is, or is reached by, a link; copy the file itself"
            )
        _compare(folder, name, hash_file(folder / name), digest)
    _refuse_external_data(folder / MODEL_FILE)
    return Bundle(folder, manifest)


def _refuse_external_data(model: Path) -> None:
    if has_external_data(model):
        raise InputError(
            f"{model} keeps tensors in other files, which its hash does not cover; write it as one file: "
            "onnx.save(onnx.load(path), path, save_as_external_data=False)"
        )


def _hash_content(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _compare(folder: Path, name: str, found: str, stated: str) -> None:
    if found != stated:
        raise InputError(
            f"the bundle {folder} was altered or cut short: the SHA-256 of {name} begins {found[:12]}, "
            f"{MANIFEST_FILE} says {stated[:12]}"
        )


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name
