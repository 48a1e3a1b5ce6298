"""A detector in one folder: everything a device needs, each file with its hash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Mapping

from deploy.bundles.archive import write_archive
from deploy.bundles.external_data import has_external_data
from deploy.bundles.manifest import BundleManifest
from deploy.bundles.signature import SIGNATURE_FILE, verify_signature
from deploy.errors import DeployError, InputError, explain_disk_error
from deploy.files import hash_file, replace_folder
from deploy.pipeline.decode import get_head
from deploy.pipeline.model import ModelSource
from deploy.pipeline.preprocess import Preprocess
from deploy.reading import parse_json, read_plain

__all__ = ["Bundle", "is_bundle", "open_bundle", "read_manifest", "write_bundle"]

MANIFEST_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
ARCHIVE_FILE = "detect.pyz"
OWN_FILES = (MODEL_FILE, ARCHIVE_FILE, MANIFEST_FILE, SIGNATURE_FILE)
MANIFEST_LIMIT = 64 << 20  # bytes
FILE_LIMIT = 4 << 30  # bytes; a model in one file has less than two GiB
NOTHING: Mapping[str, Any] = MappingProxyType({})


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
        if name in OWN_FILES or not _stays_inside(name):
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
            text = json.dumps({**content, "sha256": _hash_content(content)}, indent=1, sort_keys=True, allow_nan=False)
            (aside / MANIFEST_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DeployError(f"the bundle {folder} could not be written: {explain_disk_error(error)}") from error
    return Bundle(folder, complete)


def open_bundle(path: str | Path, signers: Path | None = None) -> Bundle:
    """The bundle in a folder (or beside a `bundle.json`), after every hash was compared.

    Args:
        signers: who may have signed it, as a file of OpenSSH's allowed signers; None asks for no signature.

    Raises:
        InputError: not a bundle, incomplete, altered, of another schema version, with a link among its files or with
            files that it does not list; or not signed by one of the signers.
    """
    folder = Path(path).parent if Path(path).name == MANIFEST_FILE else Path(path)
    try:
        return _open(folder, signers)
    except OSError as error:
        raise InputError(f"the bundle {folder} cannot be read: {error}") from error


def is_bundle(path: str | Path) -> bool:
    """Whether a path is one that `open_bundle` takes; any other is a model's."""
    return Path(path).is_dir() or Path(path).name == MANIFEST_FILE


def read_manifest(folder: Path) -> bytes:
    """The text of a bundle's `bundle.json`; an `InputError` where there is none that can be read."""
    if not folder.exists():
        raise InputError(f"there is no bundle {folder}")
    place = folder / MANIFEST_FILE
    if not place.exists() and not place.is_symlink():
        raise InputError(f"{folder} is not a bundle: it holds no {MANIFEST_FILE}")
    return read_plain(place, MANIFEST_LIMIT, follow_link=False)


def _open(folder: Path, signers: Path | None) -> Bundle:
    text = read_manifest(folder)
    if signers is not None:
        verify_signature(folder, text, signers)
    content = parse_json(text, str(folder / MANIFEST_FILE))
    if not isinstance(content, dict):
        raise InputError(f"{folder / MANIFEST_FILE} is damaged: it holds no JSON object")
    stated = str(content.pop("sha256", "nothing"))
    try:
        manifest = BundleManifest.from_json(content)
        get_head(manifest.head)
    except InputError as error:
        raise InputError(f"{folder / MANIFEST_FILE}: {error}") from error
    _compare(folder, MANIFEST_FILE, _hash_content(content), stated)
    if MODEL_FILE not in manifest.files:
        raise InputError(f"{folder / MANIFEST_FILE}: it lists no {MODEL_FILE}")
    for name, digest in sorted(manifest.files.items()):
        _check_file(folder, name, digest)
    _refuse_unlisted(folder, manifest.files)
    _refuse_external_data(folder / MODEL_FILE)
    return Bundle(folder, manifest)


def _check_file(folder: Path, name: str, digest: str) -> None:
    place = folder / name
    if not _stays_inside(name):
        raise InputError(f"{folder / MANIFEST_FILE}: the file name {name!r} leaves the bundle")
    if not place.exists() and not place.is_symlink():
        raise InputError(f"the bundle {folder} is incomplete: {name} is missing")
    if place.is_symlink() or place.resolve() != folder.resolve() / name:
        raise InputError(f"the bundle {folder} is not whole: {name} is, or is reached by, a link; copy the file itself")
    if not place.is_file():
        raise InputError(f"the bundle {folder} is not whole: {name} is not a plain file")
    size = place.stat().st_size
    if size > FILE_LIMIT:
        raise InputError(
            f"the bundle {folder} is not used: {name} has {size >> 20} MiB; {FILE_LIMIT >> 20} are allowed"
        )
    _compare(folder, name, hash_file(place), digest)


def _refuse_unlisted(folder: Path, files: Mapping[str, str]) -> None:
    """Nothing may lie in a bundle that no hash covers: some reader, of ours or another's, may take it for a part."""
    known = {MANIFEST_FILE, SIGNATURE_FILE, *(PurePosixPath(name).as_posix() for name in files)}
    waiting, folders = [""], {parent.as_posix() for name in known for parent in PurePosixPath(name).parents}
    while waiting:
        inside = waiting.pop()
        with os.scandir(str(folder / inside)) as entries:
            found = {inside + entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        for name, is_folder in found.items():
            if is_folder and name in folders:
                waiting.append(name + "/")
            elif name not in known:
                raise InputError(
                    f"the bundle {folder} holds {name!r}, which {MANIFEST_FILE} does not list; move it elsewhere"
                )


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
