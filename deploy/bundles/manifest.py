"""What a bundle says about its model: `bundle.json` as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Mapping

from deploy.errors import InputError
from deploy.pipeline.nms import Selection, parse_selection
from deploy.pipeline.preprocess import Preprocess

__all__ = ["SCHEMA_VERSION", "BundleManifest"]

SCHEMA_VERSION = 1
SHA256 = re.compile(r"[0-9a-f]{64}\Z")
SHOWN = 200  # characters of what is wrong with a description


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
                name=_read_text(value["name"]),
                arch_id=_read_text(value["arch_id"]),
                arch=_read_object(value["arch"]),
                class_names=tuple(_read_text(name) for name in _read_list(value["class_names"])),
                preprocess=Preprocess.from_json(value["preprocess"]),
                head=_read_text(value["head"]),
                selection=parse_selection(value.get("selection")),  # bundles had none before there was a choice
                precision=_read_text(value["precision"]),
                nms=_read_text(value["nms"]),
                roi_align=_read_text(value.get("roi_align", "op")),  # there was no other before the key
                max_detections=_read_count(value["max_detections"]),
                metrics=_read_object(value["metrics"]),
                files={_read_text(name): _read_hash(digest) for name, digest in _read_object(value["files"]).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"not a bundle's description: {error!r:.{SHOWN}}") from error


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    value.encode()  # a lone surrogate is none either
    return value


def _read_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _read_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _read_count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is not a positive whole number")
    return int(value)


def _read_hash(value: Any) -> str:
    if not isinstance(value, str) or not SHA256.match(value):
        raise ValueError(f"{value!r} is not a SHA-256")
    return value
