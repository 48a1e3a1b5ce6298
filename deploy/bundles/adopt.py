"""A model from elsewhere made a bundle: what its file does not say is stated once, and checked against it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from deploy.bundles.bundle import Bundle, write_bundle
from deploy.bundles.manifest import BundleManifest
from deploy.bundles.propose import propose_head
from deploy.data.classes import require_unique
from deploy.data.coco_names import COCO_CLASSES
from deploy.data.text import read_lines
from deploy.engines import TensorSpec, open_engine
from deploy.engines.base import check_model_file
from deploy.errors import DeployError, InputError
from deploy.files import hash_file
from deploy.pipeline.batch import ImageInput, explain_input, find_image_input
from deploy.pipeline.decode import Head, get_head
from deploy.pipeline.detector import Detector
from deploy.pipeline.model import ModelSource
from deploy.pipeline.nms import Selection
from deploy.pipeline.preprocess import Preprocess

__all__ = ["COCO_CLASSES", "ModelStatement", "adopt_model", "find_canvas_size", "read_class_names", "require_trust"]


@dataclass(frozen=True)
class ModelStatement:
    """What a model's file does not say, and its owner knows.

    Attributes:
        class_names: in the order of its labels.
        head: what its outputs mean; None proposes one by their names and shapes.
        prepare: the preprocessing for the head and the (width, height) of the model's input; None is what models with
            this head are usually fed with.
        max_detections: the best so many remain of an image, where the graph does not select by itself.
    """

    class_names: Sequence[str]
    head: str | None = None
    prepare: Callable[[Head, int, int], Preprocess] | None = None
    max_detections: int | None = None


def adopt_model(
    model: Path,
    folder: str | Path,
    stated: ModelStatement,
    trust: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """The bundle of an ONNX model that was not exported here; afterwards it is one like any other.

    The model is loaded from a copy, alone in a folder, and detects in one image of noise: what would fail later fails
    here, and no bundle is written.

    Args:
        trust: whether the caller vouches for where the file is from.
        report: takes a line on why a head was proposed.

    Raises:
        InputError: the file is not trusted, does not take images of a fixed number and size, keeps weights in other
            files, or its outputs are not those of the head or of this number of classes.
    """
    model = check_model_file(model, "ONNX model")
    head, class_names = stated.head, stated.class_names
    if head is not None:
        get_head(head)
    require_trust(model, trust)
    with tempfile.TemporaryDirectory(prefix="adopt-") as aside:
        copy = Path(aside) / model.name
        shutil.copyfile(str(model), str(copy))
        taken, outputs = _read_ends(copy, model)
        width, height = taken.width, taken.height
        if head is None:
            head, why = propose_head(outputs, taken.images, (width, height), len(class_names))
            report(f"head {head}, as {model.name} answers with {why}; --head says otherwise")
        kind = get_head(head)
        selection = _choose_selection(head, kind, stated.max_detections)
        preprocess = (stated.prepare or Head.usual_preprocess)(kind, width, height)
        with Detector(ModelSource(copy, preprocess, head, selection), 1) as detector:
            count = detector.class_count
            if count is not None and count != len(class_names):
                raise InputError(f"{model.name} tells {count} classes apart, but {len(class_names)} are named")
            noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            try:
                labels = detector(noise).labels
            except DeployError as error:
                raise InputError(f"{model.name} cannot be run: {error}") from error
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
            raise InputError(f"{model.name} answers with class {labels.max()}, but {len(class_names)} are named")
        digest = hash_file(copy)
        manifest = BundleManifest(
            name=model.stem,
            arch_id=digest[:12],
            arch={"adopted": model.name, "sha256": digest},
            class_names=tuple(class_names),
            preprocess=preprocess,
            head=head,
            precision="as adopted",
            nms="as adopted",
            roi_align="as adopted",
            max_detections=stated.max_detections or (kind.selection.max_detections if kind.selection else 100),
            selection=selection,
        )
        return write_bundle(folder, copy, manifest)


def require_trust(model: Path, trust: bool, signers: Path | None = None) -> None:
    """Refuse a model that nobody vouches for, or that cannot be signed where that is asked for (by ``signers``)."""
    if signers is not None:
        raise InputError(f"{model} is not a bundle, and only a bundle can be signed: leave --require-signature out")
    if not trust:
        raise InputError(
            f"{model} is not in a bundle, so it is not known who made it; a runtime does not read models in a sandbox: "
            "add --trust if you know its source"
        )


def find_canvas_size(inputs: Sequence[TensorSpec]) -> tuple[int, int] | None:
    """(width, height) of the one image [1, 3, height, width] float32 that a model takes; None if it takes others."""
    taken = find_image_input(inputs)
    if taken is None or taken != ImageInput(1, taken.width, taken.height, taken.name):
        return None
    return taken.width, taken.height


def read_class_names(source: str) -> tuple[str, ...]:
    """The names in a text file, one per line, in the order of the model's labels; "coco" is COCO's eighty.

    Raises:
        InputError: the file cannot be read, is empty, or names a class twice.
    """
    if source == "coco":
        return COCO_CLASSES
    try:
        lines = read_lines(Path(source))
    except InputError as error:
        raise InputError(f"the class names {source} cannot be read: {error}") from error
    listed = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not listed:
        raise InputError(f"the file of class names {source} is empty; one name per line is wanted")
    names = [name for _, name in listed]
    require_unique(names, [f"line {number}" for number, _ in listed], Path(source))
    return tuple(names)


def _choose_selection(name: str, head: Head, max_detections: int | None) -> Selection | None:
    if max_detections is None:
        return None
    if head.selection is None:
        raise InputError(f"a model of head {name} selects by itself: its graph says how many detections there are")
    return replace(head.selection, max_detections=max_detections)


def _read_ends(copy: Path, model: Path) -> tuple[ImageInput, Sequence[TensorSpec]]:
    """Input and outputs of a copy that lies alone; errors speak of the model it is a copy of."""
    try:
        inputs, outputs = _list_ends(copy)
    except InputError as error:
        _list_ends(model)  # says what is wrong with the model itself
        raise InputError(
            f"{model} keeps weights in files beside it, and a bundle holds one file: save it as one"
        ) from error
    taken = find_image_input(inputs)
    if taken is None:
        found = ", ".join(map(str, inputs)) or "no input"
        raise InputError(
            f"{model} takes {found}, not one image [1, 3, height, width] float32, or a fixed number of them: "
            f"{explain_input(inputs)}"
        )
    return taken, outputs


def _list_ends(model: Path) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
    with open_engine(model, 1) as engine:
        return engine.inputs, engine.outputs
