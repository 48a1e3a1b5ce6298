"""Checkpoints of our own detectors, of torchvision's detectors and of torchvision's classifiers, into a detector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from optimizer.detectors.base import BACKGROUND, Detector
from optimizer.detectors.checkpoints import read_checkpoint
from optimizer.detectors.pretrained import Pretrained
from optimizer.errors import InputError

__all__ = ["LoadReport", "fill", "fold_name", "load_pretrained", "load_weights", "take_classes"]

BODY = "backbone.body."
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint filled.

    Attributes:
        fresh: names left as they were initialised: class layers of other classes, or all but the body.
        groups: tensors taken over and started anew, by what a person calls a part of the detector.
        classes: names of the classes whose rows were taken over one by one; None where classes were not compared.
        note: what else a person has to know, as the end of a sentence.
    """

    fresh: tuple[str, ...]
    groups: Mapping[str, tuple[int, int]]
    classes: tuple[str, ...] | None = None
    note: str = ""

    def __str__(self) -> str:
        taken = [f"{done} of {group}" for group, (done, _) in self.groups.items() if done]
        anew = [group for group, (_, left) in self.groups.items() if left]
        text = f"tensors taken over: {', '.join(taken)}"
        if self.classes is not None:
            text += f"; of the class head the rows of {', '.join(self.classes) or 'no class'}, all others anew"
        return text + (f"; freshly initialised: {', '.join(anew)}" if anew else "") + self.note


def load_weights(detector: Detector, path: Path) -> LoadReport:
    """Fill a detector from a `.pth`, `.pt` or `.safetensors` file of tensors.

    Class layers of another number of classes stay as they are; so does everything but the body for a classifier's
    checkpoint. A torchvision backbone with frozen BatchNorm has the same weights under the same names.

    Raises:
        InputError: the file holds no weights, or weights of another architecture.
    """
    return fill(detector, _read_tensors(path), path)


def load_pretrained(detector: Detector, entry: Pretrained, class_names: Sequence[str]) -> LoadReport:
    """Fill a detector from published weights, whose file is fetched first if need be.

    Rows of the class layers are taken over for classes of the same name, without regard to case and spaces; the others
    stay as they are.

    Raises:
        InputError: the file cannot be fetched, is damaged, or holds weights of another architecture.
    """
    path = entry.fetch()
    weights = _read_tensors(path)
    if not entry.outcomes:
        return fill(detector, weights, path)
    _follow_epsilon(detector, weights, entry.norm_eps)
    kept = take_classes(detector, weights, entry.outcomes, class_names)
    return replace(fill(detector, weights, path), classes=kept)


def fill(detector: Detector, weights: dict[str, Tensor], path: Path) -> LoadReport:
    """Fill a detector with tensors under our names; class layers that do not fit stay as they are.

    Raises:
        InputError: they are those of another architecture; `path` is named.
    """
    own, class_layers = detector.state_dict(), tuple(detector.class_layers)
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
    if wrong:  # a head is taken over whole or not at all
        weights = {name: value for name, value in weights.items() if not name.startswith(class_layers)}
    try:
        found = detector.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # a name of an early torchvision, which is translated while it is loaded
        raise InputError(f"{path} is of another architecture: {str(error).splitlines()[-1].strip()}") from error
    missing = [name for name in found.missing_keys if not name.endswith(COUNTER)]
    lacking = [
        name for name in missing if name.startswith(BODY) or not (of_classifier or name.startswith(class_layers))
    ]
    if lacking or found.unexpected_keys:
        what = f"lacks {lacking[0]}" if lacking else f"has {found.unexpected_keys[0]}, which this detector has not"
        raise InputError(
            f"{path} is of another architecture: it {what} "
            f"({len(lacking)} missing, {len(found.unexpected_keys)} unknown tensors)"
        )
    return LoadReport(tuple(missing), _count_groups(detector, own, missing))


def _count_groups(detector: Detector, names: Iterable[str], fresh: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Tensors taken over and started anew, for each part of the detector in the order data flows."""
    arch = detector.arch
    groups = {
        f"{BODY}{arch.body.name_block((stage, block))}.": f"stage {stage + 1}" for stage, block, _ in arch.body.blocks()
    }
    groups |= {BODY: "stem", f"backbone.{arch.neck.kind}.": arch.neck.title, **detector.head_groups}
    groups |= {layer: f"class head ({layer.rpartition('.')[0]})" for layer in detector.class_layers}
    counts: dict[str, tuple[int, int]] = {}
    for name in names:
        if not name.endswith(COUNTER):
            group = next((group for start, group in groups.items() if name.startswith(start)), "head")
            taken, anew = counts.get(group, (0, 0))
            counts[group] = (taken + (name not in fresh), anew + (name in fresh))
    return counts


def _follow_epsilon(detector: Detector, weights: dict[str, Tensor], eps: float) -> None:
    """Scale weights of BatchNorm that were trained with another epsilon, so that they come to the same with our own."""
    for name, module in detector.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.eps != eps and f"{name}.running_var" in weights:
            variance = weights[f"{name}.running_var"]
            weights[f"{name}.weight"] = weights[f"{name}.weight"] * ((variance + module.eps) / (variance + eps)).sqrt()


def take_classes(
    detector: Detector, weights: dict[str, Tensor], outcomes: Sequence[str], class_names: Sequence[str]
) -> tuple[str, ...]:
    """Turn the class layers into our own with rows of theirs for classes of the same name, and for the background.

    Returns those classes.
    """
    theirs = {fold_name(name): row for row, name in enumerate(outcomes) if name}
    ours = [*([BACKGROUND] if detector.has_background else []), *class_names]
    pairs = [(row, theirs[fold_name(name)]) for row, name in enumerate(ours) if fold_name(name) in theirs]
    targets, sources = [row for row, _ in pairs], [row for _, row in pairs]
    own = detector.state_dict()
    for layer, rows in detector.class_layers.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in weights:
                tensor = own[name].clone()
                rows.split(tensor)[:, targets] = rows.split(weights[name])[:, sources]
                weights[name] = tensor
    return tuple(name for name in class_names if fold_name(name) in theirs)


def fold_name(name: str) -> str:
    """A class name without regard to case and spaces."""
    return "".join(name.split()).casefold()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    return read_checkpoint(path).tensors
