"""Checkpoints of our own detectors, of torchvision's detectors and of torchvision's classifiers, into a detector."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from optimizer.detectors.base import Detector
from optimizer.errors import InputError

__all__ = ["LoadReport", "load_weights"]

BODY = "backbone.body."
WRAPPERS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint filled.

    Attributes:
        loaded: tensors taken over.
        fresh: names left as they were initialised: class layers of another number of classes, or all but the backbone.
    """

    loaded: int
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        if not self.fresh:
            return f"{self.loaded} tensors, all of the detector"
        layers = sorted({name.rsplit(".", 1)[0] for name in self.fresh})
        shown = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more layers" if len(layers) > 3 else "")
        return f"{self.loaded} tensors; freshly initialised: {shown}"


def load_weights(detector: Detector, path: Path) -> LoadReport:
    """Fill a detector from a `.pth`, `.pt` or `.safetensors` file of tensors.

    Class layers of another number of classes stay as they are; so does everything but the backbone for a classifier's
    checkpoint. A torchvision backbone with frozen BatchNorm has the same weights under the same names.

    Raises:
        InputError: the file holds no weights, or weights of another architecture.
    """
    weights = _read_tensors(path)
    own, class_layers = detector.state_dict(), detector.class_layers
    of_classifier = not any(name.startswith("backbone.") for name in weights)
    if of_classifier:  # what stands on its body is left out
        children = {name.removeprefix(BODY).split(".")[0] for name in own if name.startswith(BODY)}
        weights = {f"{BODY}{name}": value for name, value in weights.items() if name.split(".")[0] in children}
    wrong = [name for name, value in weights.items() if name in own and own[name].shape != value.shape]
    unfit = [name for name in wrong if not name.startswith(class_layers)]
    if unfit:
        name = unfit[0]
        raise InputError(
            f"{path} is of another architecture: {name} is {tuple(weights[name].shape)} there and "
            f"{tuple(own[name].shape)} here ({len(unfit)} such tensors)"
        )
    fitting = {name: value for name, value in weights.items() if name not in wrong}
    if wrong:  # a head is taken over whole or not at all
        fitting = {name: value for name, value in fitting.items() if not name.startswith(class_layers)}
    found = detector.load_state_dict(fitting, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    lacking = [
        name for name in missing if name.startswith(BODY) or not (of_classifier or name.startswith(class_layers))
    ]
    if lacking or found.unexpected_keys:
        what = f"lacks {lacking[0]}" if lacking else f"has {found.unexpected_keys[0]}, which this detector has not"
        raise InputError(
            f"{path} is of another architecture: it {what} "
            f"({len(lacking)} missing, {len(found.unexpected_keys)} unknown tensors)"
        )
    return LoadReport(len(fitting), tuple(missing))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name; nothing in the file is executed."""
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise InputError(f"{path} is not a file of weights ({reason})") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path} is not a file of weights: it holds no dictionary of tensors")
    return content
