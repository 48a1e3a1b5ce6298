"""What the folder of a teacher pool says of the pool: how it is trained, on which images, and the AP it came to.

`training.json` stands there while the pool is trained; `pool.json`, written last, makes it a trained one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from deploy.data import Dataset
from deploy.files import hash_file, write_file
from deploy.reading import read_json_object
from optimizer.data.class_folder import fingerprint_folder
from optimizer.errors import InputError
from optimizer.store.values import DAMAGE, read_list, read_mapping, read_number, read_text, read_whole
from optimizer.supernet.catalogue import config_from_json
from optimizer.supernet.config import SupernetConfig

__all__ = [
    "Manifest", "classifier_path", "find_manifest", "is_trained", "key_pool", "phase_path", "pretrained_path",
    "read_manifest",
]  # fmt: skip

SCHEMA = 1
LIMIT = 16 << 20  # bytes of a manifest
TRAINED = "pool.json"
IN_TRAINING = "training.json"


class _OfAnotherVersion(InputError):
    """It is whole, and this release cannot read it."""


@dataclass(frozen=True)
class Manifest:
    """A teacher pool on disk, without its weights.

    Attributes:
        data: SHA-256 of the training images' names, sizes and objects, and of the classes.
        images: how many of them.
        weights_sha256: of the file with the trained super-network; None while the pool is in training.
        ap: AP on the validation images of the subnets that were evaluated, by name.
        states: SHA-256 of each file that a path filter's training left, by name; empty where there was none.
    """

    folder: Path
    config: SupernetConfig
    class_names: tuple[str, ...]
    images: int
    data: str
    weights_sha256: str | None = None
    ap: Mapping[str, float] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of_training(folder: Path, config: SupernetConfig, dataset: Dataset) -> Manifest:
        """That of a pool whose training on these images begins."""
        return Manifest(folder, config, dataset.class_names, len(dataset.records), _fingerprint(dataset))

    def trained(self, ap: Mapping[str, float], states: Mapping[str, str] = {}) -> Manifest:
        """That of the same pool, all of whose phases lie in its folder."""
        return replace(self, weights_sha256=hash_file(self.weights), ap=ap, states=states)

    @property
    def is_trained(self) -> bool:
        return self.weights_sha256 is not None

    @property
    def weights(self) -> Path:
        """The file with the super-network as the last phase leaves it."""
        return phase_path(self.folder, len(self.config.phases) - 1)

    def is_of(self, dataset: Dataset) -> bool:
        """Whether the pool is trained on these very images."""
        return self.data == _fingerprint(dataset)

    def write(self) -> None:
        content = {
            "config": self.config.model_dump(mode="json"), "class_names": list(self.class_names),
            "images": self.images, "data": self.data,
        }  # fmt: skip
        if self.is_trained:
            content |= {"schema": SCHEMA, "weights_sha256": self.weights_sha256, "ap": dict(self.ap)}
        if self.states:
            content["filter_sha256"] = dict(self.states)
        text = json.dumps(content, indent=2) + "\n"
        write_file(self.folder / (TRAINED if self.is_trained else IN_TRAINING), text.encode())
        if self.is_trained:
            (self.folder / IN_TRAINING).unlink(missing_ok=True)


def read_manifest(folder: Path) -> Manifest:
    """That of a trained pool.

    Raises:
        InputError: there is none, or it is damaged.
    """
    return _read(folder, TRAINED)


def find_manifest(folder: Path) -> Manifest | None:
    """That of a pool, trained or in training; None where there is no pool.

    Raises:
        InputError: it is damaged.
    """
    if is_trained(folder):
        return _read(folder, TRAINED)
    return _read(folder, IN_TRAINING) if (folder / IN_TRAINING).is_file() else None


def is_trained(folder: Path) -> bool:
    """Whether a trained pool is there."""
    return (folder / TRAINED).is_file()


def phase_path(folder: Path, phase: int) -> Path:
    """Where the super-network lies as a phase left it."""
    return folder / f"phase-{phase}.safetensors"


def pretrained_path(folder: Path) -> Path:
    """Where the body lies as the training before the first phase left it."""
    return folder / "pretrained.safetensors"


def classifier_path(folder: Path) -> Path:
    """Where what was behind the body in that training lies, if a path filter asks for it."""
    return folder / "classifier.safetensors"


def key_pool(config: SupernetConfig, dataset: Dataset) -> str:
    """What makes a pool the one wanted: recipe, classes, and every image's name, size and objects; 12 hex digits.

    A folder of classes that it is pre-trained on counts by the images in it, not by its place.

    Raises:
        InputError: that folder cannot be read.
    """
    text = f"{json.dumps(config.to_identity(), sort_keys=True)}|{_fingerprint(dataset)}"
    before = config.pretrained_on
    if before is not None and before.folder is not None:
        text += f"|{fingerprint_folder(before.folder)}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read(folder: Path, name: str) -> Manifest:
    if not (folder / name).exists():
        raise InputError(f"{folder} is not a teacher pool: it has no {name}")
    try:
        content = read_json_object(folder / name, LIMIT)
        if name == TRAINED and content["schema"] != SCHEMA:
            raise _OfAnotherVersion(
                f"{folder} has schema version {content['schema']!r:.20}; this release reads version {SCHEMA}"
            )
        return Manifest(
            folder,
            config_from_json(content["config"]),
            tuple(read_text(class_name) for class_name in read_list(content["class_names"])),
            read_whole(content["images"]),
            read_text(content["data"]),
            read_text(content["weights_sha256"]) if name == TRAINED else None,
            {member: read_number(ap, 0, 1) for member, ap in read_mapping(content.get("ap", {})).items()},
            {file: read_text(digest) for file, digest in read_mapping(content.get("filter_sha256", {})).items()},
        )
    except _OfAnotherVersion:
        raise
    except (InputError, ValidationError, *DAMAGE) as error:
        why = " ".join(repr(error).split())  # a fault that pydantic finds has several lines
        raise InputError(f"the teacher pool {folder} is damaged: {name} cannot be read ({why:.200})") from error


def _fingerprint(dataset: Dataset) -> str:
    digest = hashlib.sha256("|".join(dataset.class_names).encode())
    for record in dataset.records:  # file names need not be Unicode
        digest.update(f"{record.path.name} {record.width} {record.height}".encode(errors="backslashreplace"))
        digest.update(record.boxes_xyxy.tobytes())
        digest.update(record.labels.tobytes())
    return digest.hexdigest()
